//! What this host is: for the managers, who place tasks by it, and for people.

use crate::daemon::DaemonArgs;
use api::ports::HostInfo;
use std::collections::BTreeMap;
use swarm_core::model::{NodeDescription, Platform, Resources};

/// What the managers are told.
pub fn description(labels: BTreeMap<String, String>) -> NodeDescription {
    NodeDescription {
        hostname: hostname(),
        platform: Platform { os: "linux".to_owned(), architecture: std::env::consts::ARCH.to_owned() },
        resources: Resources {
            nano_cpus: cpus().saturating_mul(1_000_000_000),
            memory_bytes: memory_bytes(),
            ..Resources::default()
        },
        engine_version: crate::VERSION.to_owned(),
        engine_labels: labels,
        ..NodeDescription::default()
    }
}

/// What the API tells.
pub fn info(args: &DaemonArgs, description: &NodeDescription, labels: BTreeMap<String, String>) -> HostInfo {
    let release = os_release();
    let uname = nix::sys::utsname::uname().ok();
    let word = |text: Option<&std::ffi::OsStr>| text.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    HostInfo {
        hostname: description.hostname.clone(),
        daemon_id: daemon_id(),
        version: crate::VERSION.to_owned(),
        revision: String::new(),
        kernel_version: word(uname.as_ref().map(|uname| uname.release())),
        operating_system: release.get("PRETTY_NAME").cloned().unwrap_or_else(|| "Linux".to_owned()),
        os_version: release.get("VERSION_ID").cloned().unwrap_or_default(),
        machine: word(uname.as_ref().map(|uname| uname.machine())),
        architecture: architecture().to_owned(),
        cpus: cpus(),
        memory_bytes: memory_bytes(),
        data_dir: args.data_dir.display().to_string(),
        storage_driver: "overlayfs".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if unified { 2 } else { 1 },
        security_options: vec!["name=seccomp,profile=builtin".to_owned()],
        labels,
        insecure_registries: args.insecure_registries.clone(),
        warnings: Vec::new(),
    }
}

/// The processor in the names of OCI image indexes.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "localhost".to_owned())
}

/// The machine's id, which is the daemon's too.
fn daemon_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn cpus() -> i64 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn memory_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn os_release() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}
