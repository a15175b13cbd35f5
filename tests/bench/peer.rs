//! The peer: a real Docker Swarm of three managers, one engine per network namespace, joined by a switch in a
//! namespace of its own. Nothing of it touches the machine's own network or engine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{self, Probe, assert_success, pids, wait_for, wait_until};
use crate::subject::{Subject, args, inside};

const HOSTS: u8 = 3;
/// Lives in the peer's namespaces only.
const NET: &str = "10.213.9";
/// An engine starts within seconds, and ends its containers within their grace period of 10 s.
const LIMIT: Duration = Duration::from_secs(60);

struct Engine {
    namespace: String,
    network: u64,
    socket: PathBuf,
    process: Child,
}

pub struct Peer {
    root: tempfile::TempDir,
    switch: String,
    registry: Option<Child>,
    engines: Vec<Engine>,
    images: BTreeMap<u32, String>,
}

/// What scripts/setup.sh fetched, then what the machine has.
fn search_path() -> OsString {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let fetched = ["peer/usr/sbin", "peer/usr/bin", ""].map(|dir| tools.join(dir));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    std::env::join_paths(fetched.into_iter().chain(own)).expect("no folder here has a colon in its name")
}

/// A program of the peer, alone with its path: Command looks a name up in the caller's PATH.
fn program(name: &str) -> Option<Command> {
    let path = search_path();
    let file = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?;
    let mut command = Command::new(file);
    command.env("PATH", path).env_remove("DOCKER_HOST").stdin(Stdio::null());
    Some(command)
}

/// The engine's version, where there is one and what it needs.
pub fn version() -> Option<String> {
    for needed in ["containerd", "containerd-shim-runc-v2", "runc", "docker-init", "docker", "docker-registry", "ip"] {
        program(needed)?;
    }
    let output = program("dockerd")?.arg("--version").output().ok()?;
    // Docker version 20.10.24+dfsg1, build 297e128
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.split([' ', ',', '+']).nth(2).map(str::to_owned)
}

fn run(name: &str, arguments: &[&str]) -> String {
    let output = program(name).and_then(|mut c| c.args(arguments).output().ok());
    let output = output.unwrap_or_else(|| panic!("{name} cannot be run"));
    assert_success(&format!("{name} {}", arguments.join(" ")), &output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

/// Starts a program in a network namespace, with a host name of its own, its words in a file.
fn spawn_in(namespace: &str, hostname: &str, mut command: Command, log: &Path) -> Child {
    let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
    let log = File::create(log).expect("the folder is writable");
    command.stdout(log.try_clone().expect("a file can be had twice")).stderr(log);
    let hostname = hostname.to_owned();
    // SAFETY: between fork and exec only system calls are made; nothing is allocated, no lock taken.
    unsafe {
        command.pre_exec(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWUTS)?;
            nix::unistd::sethostname(&hostname)?;
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

impl Peer {
    fn registry_address() -> String {
        format!("{NET}.254:5000")
    }

    fn start_registry(&mut self) {
        let (config, data) = (self.root.path().join("registry.yml"), self.root.path().join("registry"));
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{}\"}}\n",
            data.display(),
            Self::registry_address()
        );
        std::fs::write(&config, text).expect("the folder is writable");
        let mut command = program("docker-registry").expect("it was there");
        command.arg("serve").arg(config);
        self.registry = Some(spawn_in(&self.switch, "registry", command, &self.root.path().join("registry.log")));
    }

    fn start_engine(&mut self, host: u8, namespace: String) {
        let dir = self.root.path().join(host.to_string());
        std::fs::create_dir(&dir).expect("the folder is writable");
        let socket = dir.join("docker.sock");
        let mut command = program("dockerd").expect("it was there");
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("-p").arg(dir.join("pid")).arg("-H").arg(format!("unix://{}", socket.display()));
        command.args(["--insecure-registry", &Self::registry_address()]);
        let process = spawn_in(&namespace, &format!("peer-{host}"), command, &dir.join("log"));
        let network = harness::inode(&format!("/run/netns/{namespace}")).expect("the namespace is there");
        self.engines.push(Engine { namespace, network, socket, process });
    }

    fn post(&self, host: u8, path: &str, body: &serde_json::Value) {
        let response = self.try_api(host, "POST", path, Some(body)).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(response.status, 200, "{path}: {}", response.text());
    }

    fn docker(&self, host: u8, arguments: &[&str]) -> String {
        let socket = format!("unix://{}", self.socket_of(host).display());
        run("docker", &[&["-H", &socket], arguments].concat())
    }

    /// Processes of the engines' own network namespaces, by name.
    fn processes(&self, names: &[&str]) -> Vec<u32> {
        let networks: Vec<u64> = self.engines.iter().map(|e| e.network).collect();
        let named = |pid: &u32| {
            let first = args(*pid).into_iter().next().unwrap_or_default();
            names.contains(&first.rsplit('/').next().unwrap_or_default())
        };
        inside(&networks).into_iter().filter(named).collect()
    }

    /// What of it still runs: engines, shims, and programs whose root file system is its own.
    fn alive(&self) -> Vec<u32> {
        let networks: Vec<u64> = self.engines.iter().map(|e| e.network).collect();
        let root = self.root.path().display().to_string();
        let contained = |pid: &u32| {
            let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            mounts.lines().any(|l| l.split(' ').nth(4) == Some("/") && l.contains(&root))
        };
        let own = inside(&networks).into_iter();
        own.chain(pids().into_iter().filter(contained)).filter(|pid| !args(*pid).is_empty()).collect()
    }

    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
        let mut points: Vec<PathBuf> = points.filter(|p| p.starts_with(self.root.path())).collect();
        points.reverse();
        for point in points {
            if let Err(error) = umount2(&point, MntFlags::MNT_DETACH) {
                eprintln!("{}: {error}", point.display());
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for engine in &self.engines {
            let _ = kill(Pid::from_raw(engine.process.id().cast_signed()), Signal::SIGTERM);
        }
        let until = std::time::Instant::now() + LIMIT;
        for engine in &mut self.engines {
            while engine.process.try_wait().is_ok_and(|ended| ended.is_none()) && std::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = engine.process.kill();
            let _ = engine.process.wait();
        }
        // What outlives its engine: shims of one that was killed, and their containers.
        while !self.alive().is_empty() && std::time::Instant::now() < until + LIMIT {
            for pid in self.alive() {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(registry) = &mut self.registry {
            let _ = registry.kill();
            let _ = registry.wait();
        }
        self.unmount();
        for namespace in self.engines.iter().map(|e| &e.namespace).chain([&self.switch]) {
            let _ = program("ip").map(|mut c| c.args(["netns", "del", namespace]).status());
        }
    }
}

impl Probe for Peer {
    fn socket_of(&self, host: u8) -> &Path {
        &self.engines[usize::from(host) - 1].socket
    }

    fn host_count(&self) -> usize {
        self.engines.len()
    }
}

impl Subject for Peer {
    fn up(phase: &str) -> Self {
        let switch = format!("{phase}-peer-{}-sw", std::process::id());
        ip(&format!("netns add {switch}"));
        let root = tempfile::tempdir().expect("a temporary folder");
        let mut peer = Self { root, switch, registry: None, engines: Vec::new(), images: BTreeMap::new() };
        let sw = peer.switch.clone();
        ip(&format!("-n {sw} link add br0 type bridge"));
        ip(&format!("-n {sw} addr add {NET}.254/24 dev br0"));
        ip(&format!("-n {sw} link set br0 up"));
        for host in 1..=HOSTS {
            let ns = format!("{phase}-peer-{}-{host}", std::process::id());
            ip(&format!("netns add {ns}"));
            ip(&format!("-n {sw} link add h{host} type veth peer name eth0 netns {ns}"));
            ip(&format!("-n {sw} link set h{host} master br0 up"));
            ip(&format!("-n {ns} addr add {NET}.{host}/24 dev eth0"));
            ip(&format!("-n {ns} link set eth0 up"));
            ip(&format!("-n {ns} link set lo up"));
            ip(&format!("-n {ns} route add default via {NET}.254"));
            peer.start_engine(host, ns);
        }
        peer.start_registry();
        for host in 1..=HOSTS {
            wait_until("the engine answers", LIMIT, || {
                peer.try_api(host, "GET", "/_ping", None).is_ok_and(|r| r.status == 200)
            });
        }
        let address = |host: u8| format!("{NET}.{host}:2377");
        peer.post(1, "/swarm/init", &json!({"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": address(1)}));
        let swarm = peer.api(1, "/swarm");
        let token = swarm.pointer("/JoinTokens/Manager").expect("a new swarm has tokens");
        for host in 2..=HOSTS {
            let join = json!({
                "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": address(host),
                "RemoteAddrs": [address(1)], "JoinToken": token,
            });
            peer.post(host, "/swarm/join", &join);
        }
        peer
    }

    fn load_image(&mut self, version: u32) {
        let (rootfs, archive) = (self.root.path().join("rootfs"), self.root.path().join("rootfs.tar"));
        let (shown, tar) = (rootfs.display().to_string(), archive.display().to_string());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/demo-images.sh");
        let output = Command::new(script).args(["base", &shown]).output().expect("the script runs");
        assert_success("demo-images.sh", &output);
        std::fs::write(rootfs.join("version"), version.to_string()).expect("the folder is writable");
        run("tar", &["-C", &shown, "-cf", &tar, "."]);
        std::fs::remove_dir_all(&rootfs).expect("it was just made");
        let name = format!("{}/app:{version}", Self::registry_address());
        self.docker(1, &["import", &tar, &name]);
        wait_for("the registry answers", LIMIT, || {
            let socket = format!("unix://{}", self.socket_of(1).display());
            let push = program("docker")?.args(["-H", &socket, "push", "-q", &name]).output().ok()?;
            push.status.success().then_some(())
        });
        let digest = self.docker(1, &["image", "inspect", "--format", "{{index .RepoDigests 0}}", &name]);
        let digest = digest.trim().to_owned();
        for host in 2..=HOSTS {
            self.docker(host, &["pull", "-q", &digest]);
        }
        self.images.insert(version, digest);
    }

    fn image(&self, version: u32) -> String {
        self.images[&version].clone()
    }

    fn daemons(&self) -> Vec<u32> {
        self.processes(&["dockerd", "containerd"])
    }

    fn helpers(&self) -> Vec<u32> {
        self.processes(&["containerd-shim-runc-v2"])
    }

    fn storage(&self) -> Vec<String> {
        vec![self.root.path().display().to_string()]
    }

    fn kill(&mut self, host: u8) {
        let process = &mut self.engines[usize::from(host) - 1].process;
        process.kill().expect("the engine runs");
        process.wait().expect("it is our child");
    }

    fn cut(&self, host: u8) {
        ip(&format!("-n {} link set h{host} down", self.switch));
    }

    fn mend(&self, host: u8) {
        ip(&format!("-n {} link set h{host} up", self.switch));
    }
}
