//! `swarm service ls`, and the table `stack services` shares.

use crate::client::Client;
use crate::commands::common::{ListArgs, image_name, natural};
use crate::error::Result;
use crate::filter;
use crate::json::{int, list, object, text};
use crate::table::{Output, Table};
use crate::units::short_id;
use serde_json::{Value, json};

const SERVICES: Table = Table {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
    template: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    quiet: "ID",
    row: "*service.serviceContext",
    raw: "id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n",
    configured: "servicesFormat",
};

pub async fn run(client: &Client, args: ListArgs) -> Result<()> {
    let filters = filter::encode(&args.filters)?;
    let services = fetch(client, filters.as_deref()).await?;
    print(services, &args.output())
}

/// Services with their counts of tasks.
pub async fn fetch(client: &Client, filters: Option<&str>) -> Result<Vec<Value>> {
    client.list("/services", &[("filters", filters), ("status", Some("true"))]).await
}

pub fn print(mut services: Vec<Value>, output: &Output<'_>) -> Result<()> {
    services.sort_by(|a, b| natural(text(a, "/Spec/Name"), text(b, "/Spec/Name")));
    let rows: Vec<Value> = services.iter().map(row).collect();
    SERVICES.print(&rows, output)
}

/// `replicated`, `global`, `replicated-job`, `global-job`.
pub fn mode(service: &Value) -> &'static str {
    let has = |name: &str| object(service, &format!("/Spec/Mode/{name}")).is_some();
    if has("Global") {
        "global"
    } else if has("ReplicatedJob") {
        "replicated-job"
    } else if has("GlobalJob") {
        "global-job"
    } else {
        "replicated"
    }
}

fn row(service: &Value) -> Value {
    json!({
        "ID": short_id(text(service, "/ID")),
        "Name": text(service, "/Spec/Name"),
        "Mode": mode(service).replace('-', " "),
        "Replicas": running(service),
        "Image": image_name(text(service, "/Spec/TaskTemplate/ContainerSpec/Image")),
        "Ports": ports(list(service, "/Endpoint/Ports")),
    })
}

/// Tasks that a replicated service is to have: by its specification, or by its load.
pub fn replicas(service: &Value) -> i64 {
    match object(service, "/Scaled") {
        Some(_) => int(service, "/Scaled/Replicas"),
        None => int(service, "/Spec/Mode/Replicated/Replicas"),
    }
}

fn running(service: &Value) -> String {
    let count = |name: &str| int(service, &format!("/ServiceStatus/{name}"));
    let (running, wanted) = (count("RunningTasks"), count("DesiredTasks"));
    match mode(service) {
        "replicated-job" => {
            let total = int(service, "/Spec/Mode/ReplicatedJob/TotalCompletions");
            format!("{running}/{wanted} ({}/{total} completed)", count("CompletedTasks"))
        }
        "global-job" => {
            let completed = count("CompletedTasks");
            format!("{running}/{wanted} ({completed}/{} completed)", completed + wanted)
        }
        _ => match int(service, "/Spec/TaskTemplate/Placement/MaxReplicas") {
            0 => format!("{running}/{wanted}"),
            max => format!("{running}/{wanted} (max {max} per node)"),
        },
    }
}

/// One published port, or several that follow one another.
#[derive(Debug)]
struct Run {
    host: String,
    protocol: String,
    published: (i64, i64),
    target: (i64, i64),
}

/// Ports of the routing mesh: `*:8080-8081->80-81/tcp`.
pub fn ports(ports: &[Value]) -> String {
    let mut runs: Vec<Run> = Vec::new();
    let ingress = ports.iter().filter(|port| text(port, "/PublishMode") != "host");
    let mut sorted: Vec<&Value> = ingress.collect();
    sorted.sort_by_key(|port| (text(port, "/Protocol"), text(port, "/HostIP"), int(port, "/PublishedPort")));
    for port in sorted {
        let (published, target) = (int(port, "/PublishedPort"), int(port, "/TargetPort"));
        let (protocol, host) = (text(port, "/Protocol"), text(port, "/HostIP"));
        match runs.last_mut() {
            Some(run)
                if run.protocol == protocol
                    && run.host == host
                    && run.published.1 + 1 == published
                    && run.target.1 + 1 == target =>
            {
                (run.published.1, run.target.1) = (published, target);
            }
            Some(_) | None => runs.push(Run {
                host: host.to_owned(),
                protocol: protocol.to_owned(),
                published: (published, published),
                target: (target, target),
            }),
        }
    }
    let range = |(first, last): (i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let word = |run: &Run| {
        let host = if run.host.is_empty() { "*" } else { &run.host };
        format!("{host}:{}->{}/{}", range(run.published), range(run.target), run.protocol)
    };
    runs.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(published: i64, target: i64, protocol: &str, mode: &str) -> Value {
        json!({"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode})
    }

    #[test]
    fn ports_that_follow_one_another_are_one_range() {
        let list = [
            port(8081, 81, "tcp", "ingress"),
            port(8080, 80, "tcp", "ingress"),
            port(53, 53, "udp", "ingress"),
            port(9000, 9000, "tcp", "host"),
        ];
        assert_eq!(ports(&list), "*:8080-8081->80-81/tcp, *:53->53/udp");
    }

    #[test]
    fn services_are_listed_as_docker_does() {
        let web = json!({
            "ID": "abcdefghijklmnopqrstuvwxy", "Spec": {
                "Name": "shop_web", "Mode": {"Replicated": {"Replicas": 3}},
                "TaskTemplate": {"ContainerSpec": {"Image": "web:1@sha256:00"}, "Placement": {"MaxReplicas": 2}}},
            "Endpoint": {"Ports": [port(8080, 80, "tcp", "ingress")]},
            "ServiceStatus": {"RunningTasks": 2, "DesiredTasks": 3},
        });
        let agent = json!({
            "ID": "zyxwvutsrqponmlkjihgfedcb", "Spec": {
                "Name": "agent", "Mode": {"Global": {}}, "TaskTemplate": {"ContainerSpec": {"Image": "agent"}}},
            "ServiceStatus": {"RunningTasks": 3, "DesiredTasks": 3},
        });
        let rows = [row(&agent), row(&web)];
        let expected = "\
ID             NAME       MODE         REPLICAS               IMAGE     PORTS
zyxwvutsrqpo   agent      global       3/3                    agent     \n\
abcdefghijkl   shop_web   replicated   2/3 (max 2 per node)   web:1     *:8080->80/tcp\n";
        assert_eq!(SERVICES.render(&rows, &Output::default()).unwrap_or_default(), expected);
    }
}
