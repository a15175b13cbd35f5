//! `swarm info`: what this host and its cluster are.

use crate::VERSION;
use crate::cli::Context;
use crate::error::{CliError, EXIT_TEMPLATE, Result};
use crate::json::{flag, int, list, object, text, texts};
use crate::names::Object;
use crate::table::write_out;
use crate::template::Template;
use crate::units::{binary_size, human_duration};
use clap::Args;
use serde_json::{Value, json};
use swarm_core::template::Fault;

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Form of the output: json or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub async fn run(context: &Context, args: InfoArgs) -> Result<()> {
    let (mut info, failure) = match server(context).await {
        Ok(info) => (info, None),
        Err(error) => (json!({}), Some(error)),
    };
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    if format.is_some() {
        info["ClientInfo"] = super::version::client_info();
        if let Some(error) = &failure {
            info["ServerErrors"] = json!([error.to_string()]);
        }
    }
    match format {
        None => {
            let mut page = Page { out: String::new() };
            page.client();
            match &failure {
                None => page.server(&info),
                Some(_) => page.line(0, "Server:", ""),
            }
            write_out(&page.out);
            texts(&info, "/Warnings").iter().for_each(|warning| eprintln!("{warning}"));
        }
        Some("json") => write_out(&format!("{info}\n")),
        Some(format) => write_out(&fill(format, "", &info, Object::Info)?),
    }
    failure.map_or(Ok(()), Err)
}

async fn server(context: &Context) -> Result<Value> {
    context.client().await?.get("/info").await
}

/// The text of a template for an object that docker does not inspect but prints: its name is told in errors, and the
/// exit code of one that is no template is docker's.
pub fn fill(format: &str, name: &str, value: &Value, object: Object) -> Result<String> {
    let told = |fault: &Fault| fault.as_in_go(name).to_string();
    let template = Template::for_objects(format).map_err(|fault| CliError::Coded {
        message: format!("template parsing error: {}", told(&fault)),
        code: EXIT_TEMPLATE,
    })?;
    match template.render_typed(value, object) {
        Ok(text) => Ok(format!("{text}\n")),
        Err(fault) => {
            write_out("\n");
            Err(CliError::usage(told(&fault)))
        }
    }
}

/// Docker's text, without what this daemon has not.
struct Page {
    out: String,
}

impl Page {
    fn line(&mut self, depth: usize, name: &str, value: &str) {
        let text = format!("{}{name} {value}", " ".repeat(depth));
        self.out.push_str(text.trim_end_matches(' '));
        self.out.push('\n');
    }

    /// `Name: value`.
    fn pair(&mut self, depth: usize, name: &str, value: &str) {
        self.out.push_str(&format!("{}{name}: {value}\n", " ".repeat(depth)));
    }

    fn some(&mut self, depth: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.pair(depth, name, value);
        }
    }

    /// A heading, and a line for each.
    fn list(&mut self, name: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.line(1, &format!("{name}:"), "");
        values.iter().for_each(|value| self.line(2, value, ""));
    }

    fn client(&mut self) {
        self.line(0, "Client:", "");
        self.pair(1, "Version", &format!("   {VERSION}"));
        self.pair(1, "Context", &format!("   {}", super::version::CONTEXT));
        self.pair(1, "Debug Mode", "false");
        self.line(0, "", "");
    }

    fn server(&mut self, info: &Value) {
        self.line(0, "Server:", "");
        self.pair(1, "Containers", &int(info, "/Containers").to_string());
        for state in ["Running", "Paused", "Stopped"] {
            self.pair(2, state, &int(info, &format!("/Containers{state}")).to_string());
        }
        self.pair(1, "Images", &int(info, "/Images").to_string());
        self.pair(1, "Server Version", text(info, "/ServerVersion"));
        self.pair(1, "Storage Driver", text(info, "/Driver"));
        for status in list(info, "/DriverStatus") {
            self.pair(2, text(status, "/0"), text(status, "/1"));
        }
        self.some(1, "Logging Driver", text(info, "/LoggingDriver"));
        self.some(1, "Cgroup Driver", text(info, "/CgroupDriver"));
        self.some(1, "Cgroup Version", text(info, "/CgroupVersion"));
        self.line(1, "Plugins:", "");
        for kind in ["Volume", "Network", "Authorization", "Log"] {
            self.some(2, kind, &texts(info, &format!("/Plugins/{kind}")).join(" "));
        }
        self.pair(1, "Swarm", text(info, "/Swarm/LocalNodeState"));
        self.swarm(info);
        self.machine(info);
    }

    fn machine(&mut self, info: &Value) {
        let runtimes: Vec<&str> =
            object(info, "/Runtimes").into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if !runtimes.is_empty() {
            self.pair(1, "Runtimes", &runtimes.join(" "));
            self.pair(1, "Default Runtime", text(info, "/DefaultRuntime"));
        }
        self.some(1, "Init Binary", text(info, "/InitBinary"));
        self.some(1, "containerd version", text(info, "/ContainerdCommit/ID"));
        self.some(1, "runc version", text(info, "/RuncCommit/ID"));
        self.some(1, "init version", text(info, "/InitCommit/ID"));
        self.security(&texts(info, "/SecurityOptions"));
        for (name, path) in [
            ("Kernel Version", "/KernelVersion"),
            ("Operating System", "/OperatingSystem"),
            ("OSType", "/OSType"),
            ("Architecture", "/Architecture"),
        ] {
            self.pair(1, name, text(info, path));
        }
        self.pair(1, "CPUs", &int(info, "/NCPU").to_string());
        self.pair(1, "Total Memory", &binary_size(int(info, "/MemTotal")));
        self.pair(1, "Name", text(info, "/Name"));
        self.pair(1, "ID", text(info, "/ID"));
        self.pair(1, "Docker Root Dir", text(info, "/DockerRootDir"));
        self.pair(1, "Debug Mode", &flag(info, "/Debug").to_string());
        for (name, path) in [("HTTP Proxy", "/HttpProxy"), ("HTTPS Proxy", "/HttpsProxy"), ("No Proxy", "/NoProxy")] {
            self.some(1, name, text(info, path));
        }
        self.list("Labels", &texts(info, "/Labels"));
        self.pair(1, "Experimental", &flag(info, "/ExperimentalBuild").to_string());
        self.list("Insecure Registries", &insecure(info));
        self.list("Registry Mirrors", &texts(info, "/RegistryConfig/Mirrors"));
        self.pair(1, "Live Restore Enabled", &flag(info, "/LiveRestoreEnabled").to_string());
        self.some(1, "Product License", text(info, "/ProductLicense"));
        let pools = list(info, "/DefaultAddressPools").iter();
        let pools: Vec<String> =
            pools.map(|pool| format!("Base: {}, Size: {}", text(pool, "/Base"), int(pool, "/Size"))).collect();
        self.list("Default Address Pools", &pools);
        self.line(0, "", "");
    }

    /// `name=seccomp,profile=builtin` in two lines.
    fn security(&mut self, options: &[String]) {
        if options.is_empty() {
            return;
        }
        self.line(1, "Security Options:", "");
        for option in options {
            for part in option.split(',') {
                match part.split_once('=') {
                    Some(("name", name)) => self.line(2, name, ""),
                    Some(("profile", profile)) => self.pair(3, "Profile", profile),
                    Some((key, value)) => self.pair(3, key, value),
                    None => self.line(2, part, ""),
                }
            }
        }
    }

    fn swarm(&mut self, info: &Value) {
        let get = |path: &str| text(info, &format!("/Swarm/{path}"));
        if matches!(get("LocalNodeState"), "inactive" | "locked" | "") {
            return;
        }
        self.pair(2, "NodeID", get("NodeID"));
        self.some(2, "Error", get("Error"));
        let manager = flag(info, "/Swarm/ControlAvailable");
        self.pair(2, "Is Manager", &manager.to_string());
        if manager && object(info, "/Swarm/Cluster").is_some() && !matches!(get("LocalNodeState"), "error") {
            self.pair(2, "ClusterID", get("Cluster/ID"));
            self.pair(2, "Managers", &int(info, "/Swarm/Managers").to_string());
            self.pair(2, "Nodes", &int(info, "/Swarm/Nodes").to_string());
            self.cluster(&info["Swarm"]["Cluster"]);
        }
        self.pair(2, "Node Address", get("NodeAddr"));
        let managers = list(info, "/Swarm/RemoteManagers").iter();
        let mut managers: Vec<&str> = managers.map(|manager| text(manager, "/Addr")).collect();
        managers.sort_unstable();
        if !managers.is_empty() {
            self.line(2, "Manager Addresses:", "");
            managers.iter().for_each(|manager| self.line(3, manager, ""));
        }
    }

    fn cluster(&mut self, cluster: &Value) {
        let number = |path: &str| int(cluster, &format!("/Spec/{path}")).to_string();
        let words = |path: &str| human_duration(int(cluster, &format!("/Spec/{path}")) / 1_000_000_000);
        // The blanks are docker's.
        let pools: String = texts(cluster, "/DefaultAddrPool").iter().map(|pool| format!("{pool}  ")).collect();
        self.some(2, "Default Address Pool", &pools);
        if !pools.is_empty() {
            self.pair(2, "SubnetSize", &int(cluster, "/SubnetSize").to_string());
        }
        self.pair(2, "Data Path Port", &int(cluster, "/DataPathPort").to_string());
        self.line(2, "Orchestration:", "");
        self.pair(3, "Task History Retention Limit", &number("Orchestration/TaskHistoryRetentionLimit"));
        self.line(2, "Raft:", "");
        self.pair(3, "Snapshot Interval", &number("Raft/SnapshotInterval"));
        self.pair(3, "Number of Old Snapshots to Retain", &number("Raft/KeepOldSnapshots"));
        self.pair(3, "Heartbeat Tick", &number("Raft/HeartbeatTick"));
        self.pair(3, "Election Tick", &number("Raft/ElectionTick"));
        self.line(2, "Dispatcher:", "");
        self.pair(3, "Heartbeat Period", &words("Dispatcher/HeartbeatPeriod").to_lowercase());
        self.line(2, "CA Configuration:", "");
        self.pair(3, "Expiry Duration", &words("CAConfig/NodeCertExpiry").to_lowercase());
        self.pair(3, "Force Rotate", &number("CAConfig/ForceRotate"));
        let certificate = text(cluster, "/Spec/CAConfig/SigningCACert").trim();
        if !certificate.is_empty() {
            self.out.push_str(&format!("   Signing CA Certificate: \n{certificate}\n\n"));
        }
        let external = list(cluster, "/Spec/CAConfig/ExternalCAs");
        if !external.is_empty() {
            self.line(3, "External CAs:", "");
        }
        for ca in external {
            self.pair(5, text(ca, "/Protocol"), text(ca, "/URL"));
        }
        let autolock = flag(cluster, "/Spec/EncryptionConfig/AutoLockManagers");
        self.pair(2, "Autolock Managers", &autolock.to_string());
        self.pair(2, "Root Rotation In Progress", &flag(cluster, "/RootRotationInProgress").to_string());
    }
}

/// Registries that are spoken to without their certificates being checked.
fn insecure(info: &Value) -> Vec<String> {
    let indexes = object(info, "/RegistryConfig/IndexConfigs").into_iter().flatten();
    let names = indexes.filter(|(_, index)| index["Secure"] == false).map(|(name, _)| name.clone());
    names.chain(texts(info, "/RegistryConfig/InsecureRegistryCIDRs")).collect()
}
