//! `/_ping`, `/version`, `/info`.

use crate::call::{Call, Outcome, ok};
use crate::compat::Answer;
use crate::disk_usage;
use crate::json::{Fields, cluster_info, rfc3339_ms};
use crate::ports::{ContainerState, HostInfo, SwarmState, SwarmStatus, Unavailable};
use crate::routes::unknown_below;
use crate::version::ApiVersion;
use axum::http::HeaderValue;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use std::time::Duration;
use swarm_core::model::NodeRole;

/// How long `/info` waits for the cluster: it is what people ask when something is wrong.
const INFO_READ_MAX: Duration = Duration::from_secs(2);

pub async fn route(call: Call, method: &str, first: &str, rest: &[&str]) -> Outcome {
    match (method, first, rest) {
        ("GET" | "HEAD", "_ping", []) => Ok(ping(&call)),
        ("GET", "version", []) => version(call).await,
        ("GET", "info", []) => info(call).await,
        ("GET", "system", ["df"]) => disk_usage::answer(call).await,
        // Nothing is built here, so nothing is kept of builds; `docker system prune` asks all the same.
        ("POST", "build", ["prune"]) => ok(json!({ "CachesDeleted": [], "SpaceReclaimed": 0 })),
        _ => Err(unknown_below(method, first, rest)),
    }
}

/// API `LocalNodeState`, with the role where there is one.
pub fn state_word(state: SwarmState) -> &'static str {
    match state {
        SwarmState::Inactive => "inactive",
        SwarmState::Pending => "pending",
        SwarmState::Active => "active",
        SwarmState::Locked => "locked",
        SwarmState::Error => "error",
    }
}

fn ping(call: &Call) -> axum::response::Response {
    let status = call.ports.cluster.status();
    let swarm = match (status.state, status.manager) {
        (SwarmState::Active, true) => "active/manager",
        (SwarmState::Active, false) => "active/worker",
        (SwarmState::Inactive | SwarmState::Pending | SwarmState::Locked | SwarmState::Error, _) => {
            state_word(status.state)
        }
    };
    let mut response = "OK".into_response();
    let headers = response.headers_mut();
    headers.insert("Swarm", HeaderValue::from_static(swarm));
    headers.insert("Cache-Control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("Pragma", HeaderValue::from_static("no-cache"));
    response
}

async fn version(call: Call) -> Outcome {
    let info = call.ports.local.info().await?;
    let (newest, oldest) = (ApiVersion::MAX.to_string(), ApiVersion::MIN.to_string());
    let details = Fields::new()
        .set("ApiVersion", newest.as_str())
        .set("Arch", info.architecture.as_str())
        .set("Experimental", "false")
        .set("BuildTime", "")
        .set("GitCommit", info.revision.as_str())
        .set("GoVersion", "")
        .set("KernelVersion", info.kernel_version.as_str())
        .set("MinAPIVersion", oldest.as_str())
        .set("Os", "linux");
    let engine = Fields::new().set("Name", "Engine").set("Version", info.version.as_str()).set("Details", details);
    let answer = Fields::new()
        .set("Platform", json!({ "Name": "swarm" }))
        .set("Components", json!([Value::from(engine)]))
        .set("Version", info.version.as_str())
        .set("ApiVersion", newest)
        .set("MinAPIVersion", oldest)
        .set("GitCommit", info.revision.as_str())
        .set("GoVersion", "")
        .set("Os", "linux")
        .set("Arch", info.architecture.as_str())
        .set("KernelVersion", info.kernel_version.as_str())
        .set("Experimental", false)
        .set("BuildTime", "");
    ok(call.write(Answer::Version, answer))
}

async fn info(call: Call) -> Outcome {
    let host = call.ports.local.info().await?;
    let images = call.ports.local.images().await?.len();
    let containers = call.ports.local.containers().await?;
    let count = |state| containers.iter().filter(|container| container.state == state).count();
    let now = rfc3339_ms(call.ports.cluster.now());
    let stopped = count(ContainerState::Exited) + count(ContainerState::Created);
    let answer = write_host(&host)
        .set("Containers", containers.len())
        .set("ContainersRunning", count(ContainerState::Running))
        .set("ContainersPaused", count(ContainerState::Paused))
        .set("ContainersStopped", stopped)
        .set("Images", images)
        .set("SystemTime", now)
        .set("Swarm", swarm_info(&call).await);
    ok(call.write(Answer::Info, answer))
}

fn write_host(host: &HostInfo) -> Fields {
    let labels: Vec<_> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let plugins = json!({
        "Volume": ["local"], "Network": ["host", "null", "overlay"], "Authorization": [], "Log": ["json-file", "local"],
    });
    let registry = json!({
        "InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": [],
    });
    Fields::new()
        .set("ID", host.daemon_id.as_str())
        .set("Name", host.hostname.as_str())
        .set("ServerVersion", host.version.as_str())
        .set("Driver", host.storage_driver.as_str())
        .set("DriverStatus", json!([]))
        .set("Plugins", plugins)
        .set("RegistryConfig", with_registries(registry, host))
        .set("LoggingDriver", "local")
        .set("CgroupDriver", host.cgroup_driver.as_str())
        .set("CgroupVersion", host.cgroup_version.to_string())
        .set("KernelVersion", host.kernel_version.as_str())
        .set("OperatingSystem", host.operating_system.as_str())
        .set("OSVersion", host.os_version.as_str())
        .set("OSType", "linux")
        .set("Architecture", host.machine.as_str())
        .set("NCPU", host.cpus)
        .set("MemTotal", host.memory_bytes)
        .set("DockerRootDir", host.data_dir.as_str())
        .set("Labels", labels)
        .set("SecurityOptions", host.security_options.clone())
        .set("Warnings", host.warnings.clone())
        .set("MemoryLimit", true)
        .set("SwapLimit", true)
        .set("CpuCfsPeriod", true)
        .set("CpuCfsQuota", true)
        .set("CPUShares", true)
        .set("CPUSet", true)
        .set("PidsLimit", true)
        .set("IPv4Forwarding", true)
        .set("OomKillDisable", false)
        .set("Debug", false)
        .set("ExperimentalBuild", false)
        .set("LiveRestoreEnabled", true)
        .set("DefaultRuntime", "swarm")
        .set("Runtimes", json!({ "swarm": { "path": "swarm", "status": {} } }))
        // Containers are run by this binary: there is no containerd, runc or docker-init to tell the revision of.
        .set("ContainerdCommit", json!({ "ID": "" }))
        .set("RuncCommit", json!({ "ID": "" }))
        .set("InitCommit", json!({ "ID": "" }))
        .set("InitBinary", "")
        .set("Isolation", "")
        .set("CDISpecDirs", json!([]))
        .set("FirewallBackend", json!({ "Driver": "nftables" }))
        .set("HttpProxy", "")
        .set("HttpsProxy", "")
        .set("NoProxy", "")
        .set("IndexServerAddress", "https://index.docker.io/v1/")
}

fn with_registries(mut registry: Value, host: &HostInfo) -> Value {
    for name in &host.insecure_registries {
        registry["IndexConfigs"][name] = json!({ "Name": name, "Mirrors": [], "Secure": false, "Official": false });
    }
    registry
}

/// API `SwarmInfo`. Asks the store where this node can; says why where it can't.
async fn swarm_info(call: &Call) -> Value {
    let status = call.ports.cluster.status();
    let mut fields = Fields::new()
        .set("NodeID", status.node.map(|node| node.to_string()).unwrap_or_default())
        .set("NodeAddr", status.addr.map(|addr| addr.to_string()).unwrap_or_default())
        .set("LocalNodeState", state_word(status.state))
        .set("ControlAvailable", status.manager)
        .set("RemoteManagers", remote_managers(&status));
    let mut error = status.error.clone();
    if status.manager {
        let read = tokio::time::timeout(INFO_READ_MAX, call.ports.cluster.read());
        let timed_out = || {
            Unavailable("The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.".to_owned())
        };
        match read.await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(view) => {
                let managers = view.nodes().filter(|node| node.spec.role == NodeRole::Manager).count();
                fields = fields.set("Nodes", view.counts()[0]).set("Managers", managers);
                fields = fields.opt("Cluster", view.cluster().map(|cluster| cluster_info(cluster)));
            }
            Err(unavailable) => error = unavailable.0,
        }
    }
    fields.set("Error", error).into()
}

fn remote_managers(status: &SwarmStatus) -> Value {
    if status.managers.is_empty() {
        return Value::Null;
    }
    let managers = status.managers.iter();
    managers.map(|peer| json!({ "NodeID": peer.node.to_string(), "Addr": peer.addr.to_string() })).collect()
}
