//! `swarm service inspect`.

use super::list::{mode, replicas};
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, label_lines};
use crate::error::{CliError, Result};
use crate::json::{int, list, object, text, texts};
use crate::names::Object;
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
        found.map_err(|error| match error.is_not_found() {
            true => CliError::usage(format!("Error: no such service: {name}")),
            false => error,
        })
    };
    if !args.pretty && !args.inspect.is_pretty() {
        return args.inspect.run_with(Object::Service, fetch).await;
    }
    let words = async |service: &Value| {
        let mut networks = BTreeMap::new();
        for network in list(service, "/Spec/TaskTemplate/Networks") {
            let id = text(network, "/Target");
            let found = client.get(&format!("/networks/{}", segment(id))).await?;
            networks.insert(id.to_owned(), text(&found, "/Name").to_owned());
        }
        Ok(describe(service, &networks, OffsetDateTime::now_utc()))
    };
    args.inspect.run_pretty(fetch, words).await
}

/// The text of docker's template for services; its sections are parted only by their headings.
fn describe(service: &Value, networks: &BTreeMap<String, String>, now: OffsetDateTime) -> String {
    let mut page = Page { service, out: String::from("\n") };
    page.line("ID:\t\t", text(service, "/ID"));
    page.line("Name:\t\t", text(service, "/Spec/Name"));
    let labels = label_lines(service, "/Spec/Labels");
    if !labels.is_empty() {
        page.line("Labels:", "");
        labels.iter().for_each(|label| page.line(" ", label));
    }
    let (kind, count) = match mode(service) {
        "replicated" => ("Replicated", Some(page.int("Mode/Replicated/Replicas"))),
        "replicated-job" => ("ReplicatedJob", Some(page.int("Mode/ReplicatedJob/TotalCompletions"))),
        "global-job" => ("GlobalJob", None),
        _ => ("Global", None),
    };
    page.line("Service Mode:\t", kind);
    if let Some(count) = count {
        page.line(" Replicas:\t", &count.to_string());
    }
    page.some("Waiting:\t", text(service, "/Waiting"));
    page.autoscale(now);
    page.update_status(now);
    page.placement();
    page.beyond();
    page.update_config("UpdateConfig");
    page.update_config("RollbackConfig");
    page.container();
    page.files();
    page.log_driver();
    page.resources();
    let attached: Vec<&str> = list(service, "/Spec/TaskTemplate/Networks")
        .iter()
        .map(|network| text(network, "/Target"))
        .map(|id| networks.get(id).map_or(id, String::as_str))
        .collect();
    if !attached.is_empty() {
        page.line(
            "Networks:",
            &attached.iter().map(|name| format!(" {name}")).chain([" ".to_owned()]).collect::<String>(),
        );
    }
    page.line("Endpoint Mode:\t", text(service, "/Endpoint/Spec/Mode"));
    page.ports();
    page.healthcheck();
    page.out.push('\n');
    page.out
}

struct Page<'a> {
    service: &'a Value,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, name: &str, value: &str) {
        self.out.push_str(name);
        self.out.push_str(value);
        self.out.push('\n');
    }

    fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(name, value);
        }
    }

    /// A field below `Spec`.
    fn text(&self, path: &str) -> String {
        text(self.service, &format!("/Spec/{path}")).to_owned()
    }

    fn int(&self, path: &str) -> i64 {
        int(self.service, &format!("/Spec/{path}"))
    }

    fn words(&self, path: &str) -> String {
        texts(self.service, &format!("/Spec/{path}")).join(" ")
    }

    /// Ours: docker has no such services.
    fn autoscale(&mut self, now: OffsetDateTime) {
        if object(self.service, "/Spec/Swarm/Autoscale").is_none() {
            return;
        }
        let at = |field: &str| self.int(&format!("Swarm/Autoscale/{field}"));
        let targets =
            [("CPUPercent", "cpu ", "%"), ("MemoryPercent", "memory ", "%"), ("RequestsPerSecond", "", " requests/s")];
        let targets = targets.into_iter().filter(|(field, ..)| at(field) > 0);
        let targets: Vec<String> = targets.map(|(field, name, unit)| format!("{name}{}{unit}", at(field))).collect();
        let limits = format!("{} ({} to {})", replicas(self.service), at("Min"), at("Max"));
        let times = (go_duration(at("Window")), go_duration(at("ScaleDownDelay")));
        let decided = ago(text(self.service, "/Scaled/At"), now);
        self.line("Autoscale:", "");
        self.line(" Replicas:\t", &limits);
        self.line(" Target:\t", &targets.join(", "));
        self.line(" Window:\t", &times.0);
        self.line(" Scale-down delay: ", &times.1);
        self.some(" Decided:\t", &decided);
        self.line(" Reason:\t", text(self.service, "/Scaled/Reason"));
    }

    fn update_status(&mut self, now: OffsetDateTime) {
        let at = |field: &str| text(self.service, &format!("/UpdateStatus/{field}")).to_owned();
        let (state, message) = (at("State"), at("Message"));
        let (started, completed) = (ago(&at("StartedAt"), now), ago(&at("CompletedAt"), now));
        if state.is_empty() {
            return;
        }
        self.line("UpdateStatus:", "");
        self.line(" State:\t\t", &state);
        self.some(" Started:\t", &started);
        self.some(" Completed:\t", &completed);
        self.line(" Message:\t", &message);
    }

    fn placement(&mut self) {
        self.line("Placement:", "");
        let constraints = self.words("TaskTemplate/Placement/Constraints");
        if !constraints.is_empty() {
            self.line(" Constraints:\t", &format!("[{constraints}]"));
        }
        let preferences = list(self.service, "/Spec/TaskTemplate/Placement/Preferences");
        let preferences: Vec<&str> = preferences.iter().map(|item| text(item, "/Spread/SpreadDescriptor")).collect();
        if !preferences.is_empty() {
            self.line(" Preferences:   ", &format!("[spread={}]", preferences.join(" spread=")));
        }
        match self.int("Swarm/Priority") {
            0 => {}
            priority => self.line(" Priority:\t", &priority.to_string()),
        }
        match self.int("TaskTemplate/Placement/MaxReplicas") {
            0 => {}
            most => self.line(" Max Replicas Per Node:   ", &most.to_string()),
        }
    }

    /// What docker's services do not have.
    fn beyond(&mut self) {
        match self.int("Swarm/AtMostOne") {
            0 => {}
            lease => self.line("At Most One:\t", &format!("lease {}", go_duration(lease))),
        }
        match self.int("Swarm/RestartBackoffMax") {
            0 => {}
            most => self.line("Restart Delay:\t", &format!("doubles up to {}", go_duration(most))),
        }
        let service = self.service;
        let dependencies = list(service, "/Spec/Swarm/DependsOn").iter();
        let words = dependencies.map(|on| format!(" {} ({})", text(on, "/Service"), text(on, "/Condition")));
        let words: Vec<String> = words.collect();
        if !words.is_empty() {
            self.line("Depends On:\t", words.join(",").trim_start());
        }
    }

    fn update_config(&mut self, section: &str) {
        if object(self.service, &format!("/Spec/{section}")).is_none() {
            return;
        }
        let at = |field: &str| format!("{section}/{field}");
        self.line(section, ":");
        self.line(" Parallelism:\t", &self.int(&at("Parallelism")).to_string());
        match self.int(&at("Delay")) {
            0 => {}
            delay => self.line(" Delay:\t\t", &go_duration(delay)),
        }
        self.line(" On failure:\t", &self.text(&at("FailureAction")));
        match self.int(&at("Monitor")) {
            0 => {}
            monitor => self.line(" Monitoring Period: ", &go_duration(monitor)),
        }
        let ratio = self.service.pointer(&format!("/Spec/{section}/MaxFailureRatio")).and_then(Value::as_f64);
        self.line(" Max failure ratio: ", &ratio.unwrap_or(0.0).to_string());
        let word = if section == "UpdateConfig" { " Update order:      " } else { " Rollback order:    " };
        self.line(word, &self.text(&at("Order")));
        // Ours: of the last update.
        let canary = self.int("Swarm/Canary/Tasks");
        if section == "UpdateConfig" && canary > 0 {
            self.line(" Canary tasks:      ", &canary.to_string());
            match self.int("Swarm/Canary/PromoteAfter") {
                0 => {}
                after => self.line(" Promoted after:    ", &go_duration(after)),
            }
        }
    }

    fn container(&mut self) {
        let at = |field: &str| format!("TaskTemplate/ContainerSpec/{field}");
        self.line("ContainerSpec:", "");
        self.line(" Image:\t\t", &self.text(&at("Image")));
        for (name, field) in [(" Command:\t", "Command"), (" Args:\t\t", "Args"), (" Env:\t\t", "Env")] {
            let words = self.words(&at(field));
            if !words.is_empty() {
                self.line(name, &format!("{words} "));
            }
        }
        self.some(" Dir:\t\t", &self.text(&at("Dir")));
        if let Some(init) = self.service.pointer(&format!("/Spec/{}", at("Init"))).and_then(Value::as_bool) {
            self.line(" Init:\t\t", &init.to_string());
        }
        self.some(" User: ", &self.text(&at("User")));
        self.some(" Hostname: ", &self.text(&at("Hostname")));
        for (name, field) in [(" Readiness:\t", "Readiness"), (" Liveness:\t", "Liveness")] {
            if let Some(probe) = self.service.pointer(&format!("/Spec/Swarm/{field}")) {
                self.line(name, &super::probes::words(probe));
            }
        }
        self.capabilities();
    }

    /// What a container may, and how far.
    fn capabilities(&mut self) {
        let at = |field: &str| format!("/Spec/TaskTemplate/ContainerSpec/{field}");
        let service = self.service;
        let (added, dropped) = (texts(service, &at("CapabilityAdd")), texts(service, &at("CapabilityDrop")));
        if !added.is_empty() || !dropped.is_empty() {
            self.line("Capabilities:", "");
            self.some(" Add: ", &added.join(", "));
            self.some(" Drop: ", &dropped.join(", "));
        }
        let settings = object(service, &at("Sysctls")).into_iter().flatten();
        let settings: Vec<String> =
            settings.map(|(key, value)| format!(" {key}: {}", value.as_str().unwrap_or(""))).collect();
        let limits = list(service, &at("Ulimits")).iter();
        let limit =
            |limit: &Value| format!(" {}: {}:{}", text(limit, "/Name"), int(limit, "/Soft"), int(limit, "/Hard"));
        let limits: Vec<String> = limits.map(limit).collect();
        for (heading, lines) in [("SysCtls:", settings), ("Ulimits:", limits)] {
            if !lines.is_empty() {
                self.line(heading, "");
                lines.iter().for_each(|line| self.line(line, ""));
            }
        }
    }

    fn log_driver(&mut self) {
        let service = self.service;
        let name = text(service, "/Spec/TaskTemplate/LogDriver/Name");
        if object(service, "/Spec/TaskTemplate/LogDriver").is_none() {
            return;
        }
        self.line("Log Driver:", "");
        self.some(" Name:\t\t", name);
        let options = object(service, "/Spec/TaskTemplate/LogDriver/Options").into_iter().flatten();
        let options: Vec<(&String, &str)> = options.map(|(key, value)| (key, value.as_str().unwrap_or(""))).collect();
        if !options.is_empty() {
            self.line(" LogOpts:", "");
        }
        for (key, value) in options {
            let value = if value.is_empty() { String::new() } else { format!(":       {value}") };
            self.line(&format!("  {key}"), &value);
        }
        self.line("", "");
    }

    /// Mounts, configs and secrets.
    fn files(&mut self) {
        let at = |field: &str| format!("TaskTemplate/ContainerSpec/{field}");
        let mounts = list(self.service, &format!("/Spec/{}", at("Mounts")));
        if !mounts.is_empty() {
            self.line("Mounts:", "");
        }
        for mount in mounts {
            self.line(" Target:\t", text(mount, "/Target"));
            self.line("  Source:\t", text(mount, "/Source"));
            self.line("  ReadOnly:\t", &crate::json::flag(mount, "/ReadOnly").to_string());
            self.line("  Type:\t\t", text(mount, "/Type"));
        }
        for (kind, heading) in [("Config", "Configs"), ("Secret", "Secrets")] {
            let files = list(self.service, &format!("/Spec/{}", at(heading)));
            if !files.is_empty() {
                self.line(heading, ":");
            }
            for file in files {
                self.line(" Target:\t", text(file, "/File/Name"));
                let name = text(file, &format!("/{kind}Name"));
                self.line("  Source:\t", name);
                self.some("  Version:\t", &self.content_version(kind, name));
            }
        }
    }

    /// Which content of a secret or config the service has.
    fn content_version(&self, kind: &str, name: &str) -> String {
        let found = list(self.service, "/Contents").iter().find(|content| text(content, &format!("/{kind}")) == name);
        let Some(content) = found else { return String::new() };
        let (version, newest, held) = (int(content, "/Version"), int(content, "/Newest"), int(content, "/Held"));
        match (newest, held) {
            (0, _) => version.to_string(),
            (newest, 0) => format!("{version} (the newest is {newest})"),
            (newest, held) => format!("{version} (the newest is {newest}; rolled back from {held})"),
        }
    }

    fn resources(&mut self) {
        if object(self.service, "/Spec/TaskTemplate/Resources").is_none() {
            return;
        }
        self.line("Resources:", "");
        for section in ["Reservations", "Limits"] {
            let at = |field: &str| self.int(&format!("TaskTemplate/Resources/{section}/{field}"));
            let (cpus, memory, pids) = (at("NanoCPUs"), at("MemoryBytes"), at("Pids"));
            let generic = list(self.service, &format!("/Spec/TaskTemplate/Resources/{section}/GenericResources"));
            let generic = super::placing::generic_words(generic);
            if cpus == 0 && memory == 0 && pids == 0 && generic.is_empty() {
                continue;
            }
            self.line(&format!(" {section}:"), "");
            if cpus > 0 {
                self.line("  CPU:\t\t", &(cpus as f64 / 1e9).to_string());
            }
            if memory > 0 {
                self.line("  Memory:\t", &binary_size(memory));
            }
            if pids > 0 {
                self.line("  PIDs:\t\t", &pids.to_string());
            }
            self.some("  Generic:\t", &generic);
        }
    }

    fn ports(&mut self) {
        let ports = list(self.service, "/Endpoint/Ports");
        if !ports.is_empty() {
            self.line("Ports:", "");
        }
        for (at, port) in ports.iter().enumerate() {
            self.line(" PublishedPort = ", &int(port, "/PublishedPort").to_string());
            // Ours: docker publishes on all addresses.
            self.some("  HostIP = ", text(port, "/HostIP"));
            self.line("  Protocol = ", text(port, "/Protocol"));
            self.line("  TargetPort = ", &int(port, "/TargetPort").to_string());
            // The blank is docker's, and so is the one below.
            let end = if at + 1 == ports.len() { " " } else { "" };
            self.line("  PublishMode = ", &format!("{}{end}", text(port, "/PublishMode")));
        }
    }

    fn healthcheck(&mut self) {
        let at = |field: &str| format!("/Spec/TaskTemplate/ContainerSpec/Healthcheck/{field}");
        let test = texts(self.service, &at("Test"));
        if object(self.service, "/Spec/TaskTemplate/ContainerSpec/Healthcheck").is_none() {
            return;
        }
        let service = self.service;
        let time = |field: &str| go_duration(int(service, &at(field)));
        self.line(" Healthcheck:", "");
        self.line("  Interval = ", &time("Interval"));
        self.line("  Retries = ", &int(service, &at("Retries")).to_string());
        self.line("  StartPeriod =\t", &time("StartPeriod"));
        self.line("  Timeout =\t", &time("Timeout"));
        if test.is_empty() {
            return;
        }
        self.line("  Tests:", "");
        let words: Vec<String> = test.iter().map(|word| format!("\t Test = {word}")).collect();
        self.line(&words.join("\n"), " ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_autoscaled_service_tells_its_limits_and_why_it_has_as_many_tasks() {
        let autoscale = json!({"Min": 1, "Max": 5, "CPUPercent": 70, "MemoryPercent": 80,
            "Window": 60_000_000_000i64, "ScaleDownDelay": 300_000_000_000i64});
        let service = json!({"Scaled": {"Replicas": 4, "At": "1970-01-01T00:00:00Z", "Reason": "cpu 90%: 2 -> 4"},
            "Spec": {"Mode": {"Replicated": {"Replicas": 2}}, "Swarm": {"Autoscale": autoscale}}});
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(5);
        let expected = "\
Autoscale:
 Replicas:\t4 (1 to 5)
 Target:\tcpu 70%, memory 80%
 Window:\t1m0s
 Scale-down delay: 5m0s
 Decided:\t5 minutes ago
 Reason:\tcpu 90%: 2 -> 4
Placement:";
        let text = describe(&service, &BTreeMap::new(), now);
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_service_is_told_in_words() {
        let service = json!({
            "ID": "s1", "Spec": {
                "Name": "web", "Labels": {"a": "1"}, "Mode": {"Replicated": {"Replicas": 2}},
                "Swarm": {"Readiness": {"TCP": {"Port": 80}, "Interval": 10_000_000_000i64, "Timeout": 1_000_000_000,
                    "Failures": 3, "Successes": 1, "StartPeriod": 0}},
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
 Replicas:\t2
Placement:
UpdateConfig:
 Parallelism:\t1
 Delay:\t\t10s
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0.25
 Update order:      stop-first
ContainerSpec:
 Image:\t\tweb:1
 Env:\t\tA=1 \n\
\x20Readiness:\ttcp://:80 every 10s, at most 1s, 3 failures
Mounts:
 Target:\t/d
  Source:\tdata
  ReadOnly:\tfalse
  Type:\t\tvolume
Resources:
 Limits:
  CPU:\t\t0.5
  Memory:\t64MiB
Networks: front 
Endpoint Mode:\tvip
Ports:
 PublishedPort = 8080
  Protocol = tcp
  TargetPort = 80
  PublishMode = ingress 

";
        assert_eq!(describe(&service, &names, OffsetDateTime::UNIX_EPOCH), expected);
    }
}
