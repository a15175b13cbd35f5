//! What is measured: a cluster of three managers on this machine, ours or a peer's.

use crate::harness::{self, Probe, pids};

/// A cluster that can be asked over the Docker API, looked into and hurt. Dropping it takes it down.
pub trait Subject: Probe + Sized {
    /// Brings up three managers; `phase` names the cluster.
    fn up(phase: &str) -> Self;
    /// Makes the image of `version` and has it on every host. It holds busybox.
    fn load_image(&mut self, version: u32);
    /// What a service names to run it, without asking a registry again.
    fn image(&self, version: u32) -> String;
    /// Processes that are the nodes themselves.
    fn daemons(&self) -> Vec<u32>;
    /// Processes that are there for the containers, beside the containers' own programs.
    fn helpers(&self) -> Vec<u32>;
    /// Part of the path of every root file system of its containers on this machine.
    fn storage(&self) -> Vec<String>;
    /// SIGKILL to the daemon of a host.
    fn kill(&mut self, host: u8);
    /// Cuts a host off from the others, in both directions.
    fn cut(&self, host: u8);
    /// Mends it.
    fn mend(&self, host: u8);
}

/// Programs of services that run on this machine, counted by what they are and where their files lie.
pub fn containers(subject: &impl Subject) -> usize {
    let storage = subject.storage();
    let ours = |pid: &&u32| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.lines().any(|l| l.split(' ').nth(4) == Some("/") && storage.iter().any(|d| l.contains(d.as_str())))
    };
    harness::processes_running(&["sleep", "1000000"]).iter().filter(ours).count()
}

/// The command line of a process; empty when it is gone.
pub fn args(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// Processes in one of the network namespaces with these numbers.
pub fn inside(networks: &[u64]) -> Vec<u32> {
    let here = |p: &u32| harness::inode(&format!("/proc/{p}/ns/net")).is_some_and(|n| networks.contains(&n));
    pids().into_iter().filter(here).collect()
}

/// Memory of processes in MB of a million bytes: a field of smaps_rollup (proc_pid_smaps(5)).
pub fn memory_mb(pids: &[u32], field: &str) -> f64 {
    let one = |pid: &u32| {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let value = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        let kib = value.and_then(|v| v.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_else(|| panic!("{path}: no {field}")) * 1024.0 / 1e6
    };
    pids.iter().map(one).sum()
}
