//! `swarm service inspect`.

use super::list::mode;
use super::options::CONTAINER;
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, labels};
use crate::error::Result;
use crate::json::{int, list, object, text, texts};
use crate::table::write_out;
use crate::units::{ago, binary_size, go_duration};
use clap::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct ServiceInspectArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// In words
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

pub async fn run(client: &Client, args: ServiceInspectArgs) -> Result<()> {
    let defaults = [("insertDefaults", Some("true"))];
    let fetch = async |name: String| {
        let found = client.get_with(&super::path(&name), &defaults).await;
        found.map_err(|error| super::no_such(&name, error))
    };
    if !args.pretty {
        return args.inspect.run_with(fetch).await;
    }
    for name in &args.inspect.names {
        let service = fetch(name.clone()).await?;
        let mut networks = BTreeMap::new();
        for network in list(&service, "/Spec/TaskTemplate/Networks") {
            let id = text(network, "/Target");
            let found = client.get(&format!("/networks/{}", segment(id))).await?;
            networks.insert(id.to_owned(), text(&found, "/Name").to_owned());
        }
        write_out(&describe(&service, &networks, OffsetDateTime::now_utc()));
    }
    Ok(())
}

/// Lines of `NAME: VALUE`, a section's ones indented.
struct Page {
    out: String,
}

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        let tabs = "\t".repeat(2usize.saturating_sub((name.len() + 1) / 8).max(1));
        self.out.push_str(&format!("{name}:{tabs}{value}\n"));
    }

    fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(name, value);
        }
    }

    fn heading(&mut self, name: &str) {
        self.out.push_str(&format!("{name}:\n"));
    }
}

fn describe(service: &Value, networks: &BTreeMap<String, String>, now: OffsetDateTime) -> String {
    let mut page = Page { out: String::from("\n") };
    page.line("ID", text(service, "/ID"));
    page.line("Name", text(service, "/Spec/Name"));
    let labels = labels(service, "/Spec/Labels");
    if !labels.is_empty() {
        page.heading("Labels");
        labels.split(',').for_each(|label| page.out.push_str(&format!(" {label}\n")));
    }
    let (kind, count) = match mode(service) {
        "replicated" => ("Replicated", Some(int(service, "/Spec/Mode/Replicated/Replicas"))),
        "replicated-job" => ("ReplicatedJob", Some(int(service, "/Spec/Mode/ReplicatedJob/TotalCompletions"))),
        "global-job" => ("GlobalJob", None),
        _ => ("Global", None),
    };
    page.line("Service Mode", kind);
    if let Some(count) = count {
        page.line(" Number of Replicas", &count.to_string());
    }
    update_status(&mut page, service, now);
    placement(&mut page, service);
    update_config(&mut page, service, "UpdateConfig");
    update_config(&mut page, service, "RollbackConfig");
    container(&mut page, service);
    resources(&mut page, service);
    let attached: Vec<&str> = list(service, "/Spec/TaskTemplate/Networks")
        .iter()
        .map(|network| text(network, "/Target"))
        .map(|id| networks.get(id).map_or(id, String::as_str))
        .collect();
    page.some("Networks", &attached.join(" "));
    page.line(
        "Endpoint Mode",
        match text(service, "/Endpoint/Spec/Mode") {
            "" => "vip",
            mode => mode,
        },
    );
    let ports = list(service, "/Endpoint/Ports");
    if !ports.is_empty() {
        page.heading("Ports");
    }
    for port in ports {
        page.line(" PublishedPort", &int(port, "/PublishedPort").to_string());
        page.some("  HostIP", text(port, "/HostIP"));
        page.line("  Protocol", text(port, "/Protocol"));
        page.line("  TargetPort", &int(port, "/TargetPort").to_string());
        page.line("  PublishMode", text(port, "/PublishMode"));
    }
    page.out.push('\n');
    page.out
}

fn update_status(page: &mut Page, service: &Value, now: OffsetDateTime) {
    if text(service, "/UpdateStatus/State").is_empty() {
        return;
    }
    page.heading("UpdateStatus");
    page.line(" State", text(service, "/UpdateStatus/State"));
    page.some(" Started", &ago(text(service, "/UpdateStatus/StartedAt"), now).to_lowercase());
    page.some(" Completed", &ago(text(service, "/UpdateStatus/CompletedAt"), now).to_lowercase());
    page.line(" Message", text(service, "/UpdateStatus/Message"));
}

fn placement(page: &mut Page, service: &Value) {
    let at = |field: &str| format!("/Spec/TaskTemplate/Placement/{field}");
    let constraints = texts(service, &at("Constraints"));
    let preferences: Vec<&str> =
        list(service, &at("Preferences")).iter().map(|item| text(item, "/Spread/SpreadDescriptor")).collect();
    let most = int(service, &at("MaxReplicas"));
    if constraints.is_empty() && preferences.is_empty() && most == 0 {
        return;
    }
    page.heading("Placement");
    if !constraints.is_empty() {
        page.line(" Constraints", &format!("[{}]", constraints.join(" ")));
    }
    if !preferences.is_empty() {
        page.line(" Preferences", &format!("[spread={}]", preferences.join(" spread=")));
    }
    if most > 0 {
        page.line(" Max Replicas Per Node", &most.to_string());
    }
}

fn update_config(page: &mut Page, service: &Value, section: &str) {
    let at = |field: &str| format!("/Spec/{section}/{field}");
    if object(service, &format!("/Spec/{section}")).is_none() {
        return;
    }
    page.heading(section);
    page.line(" Parallelism", &int(service, &at("Parallelism")).to_string());
    if int(service, &at("Delay")) > 0 {
        page.line(" Delay", &go_duration(int(service, &at("Delay"))));
    }
    page.line(" On failure", text(service, &at("FailureAction")));
    if int(service, &at("Monitor")) > 0 {
        page.line(" Monitoring Period", &go_duration(int(service, &at("Monitor"))));
    }
    let ratio = service.pointer(&at("MaxFailureRatio")).and_then(Value::as_f64).unwrap_or(0.0);
    page.line(" Max failure ratio", &ratio.to_string());
    page.line(" Update order", text(service, &at("Order")));
}

fn container(page: &mut Page, service: &Value) {
    let at = |field: &str| format!("/Spec{CONTAINER}/{field}");
    page.heading("ContainerSpec");
    page.line(" Image", text(service, &at("Image")));
    page.some(" Command", &texts(service, &at("Command")).join(" "));
    page.some(" Args", &texts(service, &at("Args")).join(" "));
    page.some(" Env", &texts(service, &at("Env")).join(" "));
    page.some(" Dir", text(service, &at("Dir")));
    page.some(" User", text(service, &at("User")));
    page.some(" Hostname", text(service, &at("Hostname")));
    let mounts = list(service, &at("Mounts"));
    if !mounts.is_empty() {
        page.heading("Mounts");
    }
    for mount in mounts {
        page.line(" Target", text(mount, "/Target"));
        page.some("  Source", text(mount, "/Source"));
        page.line("  ReadOnly", &crate::json::flag(mount, "/ReadOnly").to_string());
        page.line("  Type", text(mount, "/Type"));
    }
    for (kind, heading) in [("Config", "Configs"), ("Secret", "Secrets")] {
        let files = list(service, &at(heading)).to_vec();
        if !files.is_empty() {
            page.heading(heading);
        }
        for file in &files {
            page.line(" Target", text(file, "/File/Name"));
            page.line("  Source", text(file, &format!("/{kind}Name")));
        }
    }
}

fn resources(page: &mut Page, service: &Value) {
    let at = |field: &str| format!("/Spec/TaskTemplate/Resources/{field}");
    let mut lines: Vec<(String, String)> = Vec::new();
    for section in ["Reservations", "Limits"] {
        let cpus = int(service, &at(&format!("{section}/NanoCPUs")));
        let memory = int(service, &at(&format!("{section}/MemoryBytes")));
        let pids = int(service, &at(&format!("{section}/Pids")));
        if cpus == 0 && memory == 0 && pids == 0 {
            continue;
        }
        lines.push((format!(" {section}"), String::new()));
        if cpus > 0 {
            lines.push(("  CPU".to_owned(), (cpus as f64 / 1e9).to_string()));
        }
        if memory > 0 {
            lines.push(("  Memory".to_owned(), binary_size(memory)));
        }
        if pids > 0 {
            lines.push(("  Pids".to_owned(), pids.to_string()));
        }
    }
    if lines.is_empty() {
        return;
    }
    page.heading("Resources");
    for (name, value) in lines {
        page.line(&name, &value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_is_told_in_words() {
        let service = json!({
            "ID": "s1", "Spec": {
                "Name": "web", "Labels": {"a": "1"}, "Mode": {"Replicated": {"Replicas": 2}},
                "UpdateConfig": {"Parallelism": 1, "Delay": 10_000_000_000i64, "FailureAction": "pause",
                    "Monitor": 5_000_000_000i64, "MaxFailureRatio": 0.25, "Order": "stop-first"},
                "TaskTemplate": {
                    "ContainerSpec": {"Image": "web:1", "Env": ["A=1"], "Mounts":
                        [{"Type": "volume", "Source": "data", "Target": "/d"}]},
                    "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864}},
                    "Networks": [{"Target": "n1"}]}},
            "Endpoint": {"Spec": {"Mode": "vip"}, "Ports":
                [{"PublishedPort": 8080, "TargetPort": 80, "Protocol": "tcp", "PublishMode": "ingress"}]},
        });
        let names = [("n1".to_owned(), "front".to_owned())].into();
        let expected = "
ID:\t\ts1
Name:\t\tweb
Labels:
 a=1
Service Mode:\tReplicated
 Number of Replicas:\t2
UpdateConfig:
 Parallelism:\t1
 Delay:\t\t10s
 On failure:\tpause
 Monitoring Period:\t5s
 Max failure ratio:\t0.25
 Update order:\tstop-first
ContainerSpec:
 Image:\t\tweb:1
 Env:\t\tA=1
Mounts:
 Target:\t/d
  Source:\tdata
  ReadOnly:\tfalse
  Type:\t\tvolume
Resources:
 Limits:\t
  CPU:\t\t0.5
  Memory:\t64MiB
Networks:\tfront
Endpoint Mode:\tvip
Ports:
 PublishedPort:\t8080
  Protocol:\ttcp
  TargetPort:\t80
  PublishMode:\tingress

";
        assert_eq!(describe(&service, &names, OffsetDateTime::UNIX_EPOCH), expected);
    }
}
