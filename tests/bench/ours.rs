//! Our own cluster as a subject: the one the tests bring up.

use std::path::Path;

use crate::harness::{Cluster, Probe};
use crate::subject::{Subject, args, inside};

pub struct Ours(Cluster);

impl Ours {
    /// Processes of our binary in the hosts' networks, by its subcommand.
    fn processes(&self, subcommand: &str) -> Vec<u32> {
        let networks: Vec<u64> = self.0.hosts.iter().map(|h| h.network).collect();
        inside(&networks).into_iter().filter(|p| args(*p).get(1).is_some_and(|a| a == subcommand)).collect()
    }
}

impl Probe for Ours {
    fn socket_of(&self, host: u8) -> &Path {
        self.0.socket_of(host)
    }

    fn host_count(&self) -> usize {
        self.0.host_count()
    }
}

impl Subject for Ours {
    fn up(phase: &str) -> Self {
        Self(Cluster::up(phase, 3))
    }

    fn load_image(&mut self, version: u32) {
        self.0.load_app(version);
    }

    fn image(&self, version: u32) -> String {
        format!("app:{version}")
    }

    fn daemons(&self) -> Vec<u32> {
        self.processes("daemon")
    }

    /// The shims and the processes they are forked from.
    fn helpers(&self) -> Vec<u32> {
        self.processes("shim")
    }

    fn storage(&self) -> Vec<String> {
        self.0.hosts.iter().map(|h| h.data.display().to_string()).collect()
    }

    fn kill(&mut self, host: u8) {
        self.0.dev(&["kill", &host.to_string()]);
    }

    fn cut(&self, host: u8) {
        self.0.dev(&["partition", &host.to_string()]);
    }

    fn mend(&self, _host: u8) {
        self.0.dev(&["heal"]);
    }
}
