//! A real cluster of this build's binary, and ways to ask and to hurt it.
//!
//! Dropping a [`Cluster`] takes it down, also when the test panicked; then it first prints what the
//! daemons wrote. A cluster that leaves something behind fails its test.

pub mod capture;
pub mod http;
pub mod images;
pub mod probe;
pub mod terminal;

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

pub use probe::Probe;

/// The binary under test.
pub const SWARM: &str = env!("CARGO_BIN_EXE_swarm");
/// How often a condition is asked for.
const POLL: Duration = Duration::from_millis(20);
/// What a test allows for anything that has no limit of its own in the scenario.
pub const SOON: Duration = Duration::from_secs(40);
/// Lines of each daemon's log shown when a test fails.
const LOG_LINES: usize = 120;

/// One host, as `swarm dev ls` tells it.
#[derive(Debug, Clone)]
pub struct Host {
    pub index: u8,
    pub namespace: String,
    pub address: Ipv4Addr,
    pub socket: PathBuf,
    pub data: PathBuf,
    /// Which network namespace it is: the number tells also when its name is gone.
    pub network: u64,
    /// Keeps the namespace, so that no other is given its number meanwhile.
    _held: Option<Arc<File>>,
}

/// A cluster that lives as long as this value.
pub struct Cluster {
    pub name: String,
    pub hosts: Vec<Host>,
    /// Files of the test: stacks, image archives.
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// Brings up `nodes` managers, named after the scenario.
    pub fn up(scenario: &str, nodes: u8) -> Self {
        Self::up_with(scenario, nodes, &[])
    }

    /// The same, with more options of their daemons.
    pub fn up_with(scenario: &str, nodes: u8, daemon: &[&str]) -> Self {
        let options: Vec<&str> = ["--"].iter().chain(daemon).copied().collect();
        Self::make(scenario, nodes, &options)
    }

    /// Hosts whose daemons run and are in no cluster.
    pub fn apart(scenario: &str, nodes: u8) -> Self {
        Self::make(scenario, nodes, &["--no-join"])
    }

    fn make(scenario: &str, nodes: u8, options: &[&str]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        // The process id keeps runs of several checkouts apart.
        let name = format!("{scenario}-{}", std::process::id());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Self { name, hosts: Vec::new(), dir };
        let nodes_word = nodes.to_string();
        let up: Vec<&str> = ["up", "--nodes", &nodes_word].iter().chain(options).copied().collect();
        let output = cluster.try_dev(&up);
        // Read the hosts even of a half made cluster: their logs say why.
        cluster.hosts = cluster.read_hosts();
        assert_success("swarm dev up", &output);
        assert_eq!(cluster.hosts.len(), usize::from(nodes), "hosts that came up");
        cluster
    }

    fn read_hosts(&self) -> Vec<Host> {
        let output = self.try_dev(&["ls", "--format", "json"]);
        let field = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| {
                let v: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("dev ls printed {line:?}: {e}"));
                let namespace = field(&v, "Namespace");
                Host {
                    network: inode(&format!("/run/netns/{namespace}")).unwrap_or(0),
                    _held: File::open(format!("/run/netns/{namespace}")).ok().map(Arc::new),
                    index: v["Index"].as_u64().and_then(|n| n.try_into().ok()).expect("an index"),
                    namespace,
                    address: field(&v, "Address").parse().expect("an address"),
                    socket: field(&v, "Socket").into(),
                    data: field(&v, "Data").into(),
                }
            })
            .collect()
    }

    pub fn host(&self, index: u8) -> &Host {
        self.hosts.iter().find(|h| h.index == index).unwrap_or_else(|| panic!("no host {index}"))
    }

    /// `swarm dev ARGS --name NAME`.
    pub fn try_dev(&self, args: &[&str]) -> Output {
        let (verb, rest) = args.split_first().expect("a command");
        run(Command::new(SWARM).arg("dev").arg(verb).args(["--name", &self.name]).args(rest))
    }

    pub fn dev(&self, args: &[&str]) {
        assert_success(&format!("swarm dev {}", args.join(" ")), &self.try_dev(args));
    }

    /// `swarm ARGS` against host `index`.
    pub fn try_swarm(&self, index: u8, args: &[&str]) -> Output {
        run(Command::new(SWARM).arg("-H").arg(self.socket(index)).args(args))
    }

    /// The same; fails the test when the command fails. Returns what it printed.
    pub fn swarm(&self, index: u8, args: &[&str]) -> String {
        let output = self.try_swarm(index, args);
        assert_success(&format!("host {index}: swarm {}", args.join(" ")), &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The docker command line against host `index`.
    pub fn docker(&self, index: u8, args: &[&str]) -> String {
        let output = self.try_docker(index, args);
        assert_success(&format!("host {index}: docker {}", args.join(" ")), &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, whatever comes of it.
    pub fn try_docker(&self, index: u8, args: &[&str]) -> Output {
        run(self.docker_command(index).args(args))
    }

    /// The docker command line against host `index`, to be given arguments and streams.
    pub fn docker_command(&self, index: u8) -> Command {
        let mut command = Command::new(tool("docker"));
        command.arg("-H").arg(self.socket(index)).env_remove("DOCKER_HOST");
        command
    }

    fn socket(&self, index: u8) -> String {
        format!("unix://{}", self.host(index).socket.display())
    }

    /// Writes a stack file and deploys it from host `index`.
    pub fn deploy(&self, index: u8, stack: &str, yaml: &str) {
        let file = self.dir.path().join(format!("{stack}.yml"));
        std::fs::write(&file, yaml).expect("the folder is writable");
        self.swarm(index, &["stack", "deploy", "-c", &file.display().to_string(), stack]);
    }

    /// Runs `f` on a thread in the network namespace of a host.
    pub fn within<T: Send>(&self, index: u8, f: impl FnOnce() -> T + Send) -> T {
        within(&self.host(index).namespace, f)
    }

    /// Namespace of the switch that joins the hosts.
    pub fn switch(&self) -> String {
        format!("swarm-{}-sw", self.name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.print_logs();
        }
        let output = self.try_dev(&["down"]);
        let left = self.traces();
        if !failed {
            assert_success("swarm dev down", &output);
            assert!(left.is_empty(), "left behind: {left:?}");
        } else if !output.status.success() || !left.is_empty() {
            eprintln!("swarm dev down: {}; left behind: {left:?}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Cluster {
    fn print_logs(&self) {
        for host in &self.hosts {
            let log = host.socket.with_file_name("daemon.log");
            let text = std::fs::read_to_string(&log).unwrap_or_else(|e| e.to_string());
            let skip = text.lines().count().saturating_sub(LOG_LINES);
            eprintln!("----- host {} ({}) -----", host.index, log.display());
            text.lines().skip(skip).for_each(|l| eprintln!("{l}"));
        }
        if let Some(host) = self.hosts.first() {
            for args in [&["node", "ls"][..], &["service", "ls"]] {
                let output = self.try_swarm(host.index, args);
                eprintln!("----- swarm {} -----\n{}", args.join(" "), String::from_utf8_lossy(&output.stdout));
            }
        }
    }

    /// What of the cluster is on the machine.
    fn traces(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let data: Vec<String> = self.hosts.iter().map(|h| h.data.display().to_string()).collect();
        let here = |text: &str| text.contains(&format!("/{}/", self.name)) || data.iter().any(|d| text.contains(d));
        found.extend(mounts.lines().filter(|l| here(l)).map(|l| format!("mount {l}")));
        found.extend(data.iter().filter(|d| Path::new(d).exists()).cloned());
        let prefix = format!("swarm-{}-", self.name);
        if let Ok(entries) = std::fs::read_dir("/run/netns") {
            let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
            found.extend(names.filter(|n| n.starts_with(&prefix)));
        }
        for pid in pids() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let network = inode(&format!("/proc/{pid}/ns/net")).unwrap_or(0);
            let inside = network != 0 && self.hosts.iter().any(|h| h.network == network);
            if pid != std::process::id() && (inside || here(&line)) {
                found.push(format!("process {pid}: {line}"));
            }
        }
        found
    }
}

/// The docker command line: the machine's own, or the one scripts/setup.sh fetched.
/// A program of another's that the set-up got, or the machine's own.
pub fn tool(name: &str) -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(name);
    if ours.exists() { ours } else { name.into() }
}

/// Runs `f` on a thread of its own in a named network namespace.
pub fn within<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let path = format!("/run/netns/{namespace}");
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("{path}: {e}"));
            f()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits until `f` gives a value, at most `limit`; fails with what it was waiting for.
pub fn wait_for<T>(what: &str, limit: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Waits until `f` holds.
pub fn wait_until(what: &str, limit: Duration, mut f: impl FnMut() -> bool) {
    wait_for(what, limit, || f().then_some(()));
}

/// The number of a namespace file: equal for the same namespace.
pub fn inode(path: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|m| m.ino())
}

/// Ids of all processes.
pub fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc is mounted");
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Live processes whose command line is exactly `args`.
pub fn processes_running(args: &[&str]) -> Vec<u32> {
    let wanted: Vec<u8> = args.iter().flat_map(|a| a.bytes().chain([0])).collect();
    pids().into_iter().filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == wanted)).collect()
}

fn run(command: &mut Command) -> Output {
    let output = command.env_remove("DOCKER_HOST").env_remove("SWARM_HOST").stdin(Stdio::null()).output();
    output.unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

pub fn assert_success(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
