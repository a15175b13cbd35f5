//! A cluster of daemons that only answer pings: what `up` makes, `down` removes, from any state.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::Process;
use super::state::{Cluster, ClusterName};
use super::*;
use crate::daemon::{cgroup_parent, instance};

/// Long enough for a packet on one machine, short enough to wait for one that never comes.
const PACKET_LIMIT: Duration = Duration::from_millis(500);
/// After a cut a neighbour may be in the middle of three ARP requests, one a second (arp(7)).
const NEIGHBOUR_LIMIT: Duration = Duration::from_secs(10);

/// The control group of a daemon's containers, in a hierarchy every machine has.
fn cgroup(data_dir: &Path) -> PathBuf {
    let all = down::hierarchies();
    let (_, point) = all.iter().find(|(c, _)| c.is_empty() || c == "pids").expect("pids or cgroup2 is mounted");
    point.join(cgroup_parent(&instance(data_dir)).trim_start_matches('/'))
}

/// Started by the stand-in binary: answers pings for ever. Keeps what a daemon keeps: a mount, a
/// network namespace, a container in its control group, and the group of a container that ended.
#[test]
fn stand_in_daemon() {
    let (Some(socket), Some(data)) = (std::env::var_os("STAND_IN_SOCKET"), std::env::var_os("STAND_IN_DATA")) else {
        return;
    };
    let data = PathBuf::from(data);
    if !data.join("mnt").exists() {
        for id in ["alive", "ended"] {
            fs::create_dir_all(cgroup(&data).join(id)).expect("root may make control groups");
        }
        fs::create_dir(data.join("mnt")).expect("data is writable");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(None::<&str>, &data.join("mnt"), Some("tmpfs"), flags, None::<&str>).expect("root may mount");
        let mut container = std::process::Command::new("sleep");
        container.arg("1000").env_clear().env("PATH", "/usr/bin:/bin");
        let mut container = netns::on_thread(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
            let (own, path) = ("/proc/thread-self/ns/net", data.join("netns"));
            fs::write(&path, "").expect("data is writable");
            nix::mount::mount(Some(own), &path, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
                .expect("root may mount");
            Ok(container.spawn().expect("sleep starts"))
        })
        .expect("the thread ran");
        let group = cgroup(&data).join("alive/cgroup.procs");
        fs::write(group, container.id().to_string()).expect("root may move processes");
        std::thread::spawn(move || container.wait());
    }
    let listener = UnixListener::bind(PathBuf::from(socket)).expect("the socket is free");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accept works");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    }
}

/// A cluster under test, with a binary in place of ours; removed when dropped.
struct Rig {
    name: ClusterName,
    dir: tempfile::TempDir,
    data_root: PathBuf,
}

impl Rig {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data_root = dir.path().join("data");
        let rig = Self { name: name.parse().expect("a good name"), dir, data_root };
        let script = format!(
            "#!/bin/sh\ncase $1 in\n\
             daemon) shift; said=$*; case $said in *--wrong) exit 1 ;; esac; while [ $# -gt 0 ]; do case $1 in -H) socket=${{2#unix://}} ;; --data-dir) data=$2 ;; esac; shift; done\n\
               echo \"$said\" > \"$data/said\"; rm -f \"$socket\"; STAND_IN_SOCKET=$socket STAND_IN_DATA=$data exec {exe} --exact dev::tests::stand_in_daemon ;;\n\
             *) shift 2; echo \"$@\" >> {calls}; case $1 in join-token) echo SWMTKN-1-of-{name} ;; node) for i in $(seq $(grep -c 'init\\|join ' {calls})); do echo Ready Reachable; done ;; esac ;;\nesac\n",
            exe = std::env::current_exe().expect("a test has a binary").display(),
            calls = rig.calls().display(),
            name = name,
        );
        fs::write(rig.swarm(), script).expect("the folder is writable");
        fs::set_permissions(rig.swarm(), fs::Permissions::from_mode(0o755)).expect("the folder is writable");
        rig
    }

    fn swarm(&self) -> PathBuf {
        self.dir.path().join("swarm-stand-in")
    }

    fn calls(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    fn arg(&self) -> NameArg {
        NameArg { name: self.name.clone() }
    }

    fn up(&self, nodes: u8) -> Result<Cluster, DevError> {
        self.up_with(nodes, &[])
    }

    fn up_with(&self, nodes: u8, options: &[&str]) -> Result<Cluster, DevError> {
        up::up(&UpArgs {
            name: self.arg(),
            nodes,
            subnet: None,
            data_root: self.data_root.clone(),
            no_join: false,
            swarm: Some(self.swarm()),
            daemon: options.iter().map(|o| (*o).to_owned()).collect(),
        })
    }

    fn down(&self) -> Result<(), DevError> {
        down::down(&self.arg())
    }

    /// Everything of the cluster that is on the machine.
    fn traces(&self) -> Vec<String> {
        let mut traces = netns::names(|n| self.name.owns_namespace(n));
        traces.extend(fabric::has_uplink(&self.name).then(|| self.name.uplink()));
        for dir in [self.name.run_dir(), self.data_root.join(self.name.as_str())] {
            traces.extend(dir.exists().then(|| dir.display().to_string()));
        }
        traces.extend(self.processes().iter().map(|p| format!("process {}", p.pid)));
        let data = self.data_root.join(self.name.as_str());
        let groups = (1..=3).map(|i: u8| cgroup(&data.join(i.to_string()))).filter(|g| g.exists());
        traces.extend(groups.map(|g| g.display().to_string()));
        traces
    }

    fn processes(&self) -> Vec<Process> {
        down::Found::look(&self.name, self.data_root.join(self.name.as_str())).belongs.processes()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        match self.down() {
            Ok(()) | Err(DevError::NoCluster(_)) => {}
            Err(e) => eprintln!("{e}"),
        }
    }
}

/// Whether a TCP connection from one namespace reaches a listener in another.
fn reaches(from: Option<&str>, to: &str, address: Ipv4Addr) -> bool {
    reaches_within(PACKET_LIMIT, from, to, address)
}

fn reaches_within(limit: Duration, from: Option<&str>, to: &str, address: Ipv4Addr) -> bool {
    let listener = netns::within(&netns::path(to), || TcpListener::bind((address, 0)).map_err(DevError::io("bind")))
        .expect("the host has its address");
    let target = SocketAddr::from((address, listener.local_addr().expect("bound").port()));
    let connect = || Ok(TcpStream::connect_timeout(&target, limit).is_ok());
    match from {
        Some(name) => netns::within(&netns::path(name), connect),
        None => netns::on_thread(connect),
    }
    .expect("the namespace is there")
}

fn mounts_below(dir: &str) -> usize {
    fs::read_to_string("/proc/mounts").expect("proc is mounted").lines().filter(|l| l.contains(dir)).count()
}

#[test]
fn kernel_hosts_reach_one_another_and_the_machine_reaches_them() {
    let rig = Rig::new("t-reach");
    let cluster = rig.up(3).expect("up works");
    let [a, b, c] = cluster.state.hosts.as_slice() else { panic!("three hosts") };
    assert!(reaches(Some(&a.namespace), &b.namespace, b.address));
    assert!(reaches(Some(&c.namespace), &a.namespace, a.address));
    assert!(reaches(None, &c.namespace, c.address), "from the machine itself");
    assert!(reaches(Some(&b.namespace), &b.namespace, b.address), "its own address");
}

#[test]
fn kernel_a_cut_host_reaches_nobody_until_it_is_healed() {
    let rig = Rig::new("t-cut");
    let mut cluster = rig.up(3).expect("up works");
    fabric::set_cut(&mut cluster, 2, true).expect("the cut works");
    let [a, b, c] = cluster.state.hosts.as_slice() else { panic!("three hosts") };
    assert!(!reaches(Some(&a.namespace), &b.namespace, b.address));
    assert!(!reaches(Some(&b.namespace), &c.namespace, c.address));
    assert!(!reaches(None, &b.namespace, b.address));
    assert!(reaches(Some(&b.namespace), &b.namespace, Ipv4Addr::LOCALHOST), "its loopback is its own");
    assert!(reaches(Some(&a.namespace), &c.namespace, c.address), "the others are not cut");
    assert!(ls::render(&cluster.state, Format::Json).contains("\"State\":\"partitioned\""));
    fabric::set_cut(&mut cluster, 2, false).expect("the cut is mended");
    let [a, b, _] = cluster.state.hosts.as_slice() else { panic!("three hosts") };
    assert!(reaches_within(NEIGHBOUR_LIMIT, Some(&a.namespace), &b.namespace, b.address));
}

#[test]
fn kernel_the_others_join_by_the_first_ones_token() {
    let rig = Rig::new("t-join");
    let cluster = rig.up(3).expect("up works");
    let calls = fs::read_to_string(rig.calls()).expect("commands were run");
    let at = |i: usize| cluster.state.hosts.get(i).map(|h| h.address.to_string()).expect("three hosts");
    let join = |i| format!("join --advertise-addr {} --token SWMTKN-1-of-t-join {}:2377", at(i), at(0));
    let wanted = [format!("init --advertise-addr {}", at(0)), "join-token -q manager".to_owned(), join(1), join(2)];
    let (asked, made): (Vec<&str>, Vec<&str>) = calls.lines().partition(|l| l.starts_with("node ls"));
    assert_eq!(made, wanted);
    assert_eq!(asked.len(), 3, "each host is asked for its managers");
}

#[test]
fn kernel_down_leaves_nothing() {
    let rig = Rig::new("t-down");
    let before = mounts_below("t-down");
    let cluster = rig.up(2).expect("up works");
    let host = cluster.host(1).expect("host 1");
    assert!(Path::new(&host.socket).exists());
    assert!(!rig.traces().is_empty());
    rig.down().expect("down works");
    assert_eq!(rig.traces(), Vec::<String>::new());
    assert_eq!(mounts_below("t-down"), before);
    assert!(matches!(rig.down(), Err(DevError::NoCluster(_))), "there is nothing to take down twice");
}

#[test]
fn kernel_down_removes_a_cluster_whose_record_is_lost() {
    let mut rig = Rig::new("t-lost");
    rig.data_root = state::DATA_ROOT.into();
    rig.up(2).expect("up works");
    fs::remove_file(rig.name.run_dir().join("state.json")).expect("the record is there");
    assert!(matches!(rig.up(2), Err(DevError::Exists { how: "half removed", .. })));
    rig.down().expect("down works");
    assert_eq!(rig.traces(), Vec::<String>::new());
}

#[test]
fn kernel_down_removes_what_is_there_after_any_step_of_up() {
    // Everything `up` makes, each step alone and with the ones before it.
    for steps in 1..=4 {
        let rig = Rig::new("t-half");
        let args = UpArgs {
            name: rig.arg(),
            nodes: 2,
            subnet: None,
            data_root: rig.data_root.clone(),
            no_join: true,
            swarm: Some(rig.swarm()),
            daemon: Vec::new(),
        };
        let mut cluster = up::plan(&args).expect("planned");
        cluster.save().expect("recorded");
        if steps >= 2 {
            fabric::make_switch(&cluster).expect("the switch is made");
        }
        if steps >= 3 {
            fabric::make_host(&cluster, cluster.host(1).expect("host 1")).expect("a host is made");
        }
        if steps >= 4 {
            host::start(&mut cluster, 1, None).expect("a daemon starts");
        }
        assert!(matches!(rig.up(2), Err(DevError::Exists { how: "half made", .. })), "step {steps}");
        rig.down().expect("down works");
        assert_eq!(rig.traces(), Vec::<String>::new(), "step {steps}");
    }
}

#[test]
fn kernel_a_killed_daemon_starts_again_and_its_children_live_on() {
    let rig = Rig::new("t-kill");
    let mut cluster = rig.up(2).expect("up works");
    let before = rig.processes();
    assert_eq!(before.len(), 4, "two daemons, each with a container");
    host::kill(cluster.host(2).expect("host 2"), "t-kill").expect("the daemon is killed");
    let killed = cluster.host(2).expect("host 2").daemon.expect("it was started");
    assert!(!killed.is_alive());
    assert!(before.iter().filter(|p| **p != killed).all(|p| p.is_alive()), "only the daemon is dead");
    assert!(matches!(host::kill(cluster.host(2).expect("host 2"), "t-kill"), Err(DevError::NotRunning(2, _))));
    assert!(matches!(host::start(&mut cluster, 1, None), Err(DevError::Running(1, _))));
    host::start(&mut cluster, 2, None).expect("it starts again");
    host::wait_ready(cluster.host(2).expect("host 2")).expect("it answers");
}

#[test]
fn kernel_a_daemon_keeps_the_options_it_was_given_until_it_is_given_others() {
    let rig = Rig::new("t-options");
    let mut cluster = rig.up_with(2, &["--label", "a=b"]).expect("up works");
    let said = |cluster: &Cluster, index| {
        let host = cluster.host(index).expect("two hosts");
        fs::read_to_string(host.data_dir.join("said")).expect("it said what it was told").trim().to_owned()
    };
    let mut again = |index, options: Option<&[&str]>| {
        host::kill(cluster.host(index).expect("two hosts"), "t-options").expect("killed");
        let options = options.map(|o| o.iter().map(|o| (*o).to_owned()).collect());
        host::start(&mut cluster, index, options).expect("started");
        host::wait_ready(cluster.host(index).expect("two hosts")).expect("it answers");
        said(&cluster, index)
    };
    assert!(again(1, None).ends_with("swarm.sock --label a=b"));
    assert!(again(2, Some(&["--label", "c=d"])).ends_with("swarm.sock --label c=d"));
    assert!(again(2, None).ends_with("swarm.sock --label c=d"));
    host::kill(cluster.host(2).expect("two hosts"), "t-options").expect("killed");
    assert!(host::start_ready(&mut cluster, 2, Some(vec!["--wrong".to_owned()])).is_err());
    host::start_ready(&mut cluster, 2, None).expect("with what it had before");
    assert!(said(&cluster, 2).ends_with("swarm.sock --label c=d"));
}

#[test]
fn kernel_a_daemon_that_ends_is_reported_with_its_last_line() {
    let rig = Rig::new("t-ends");
    fs::write(rig.swarm(), "#!/bin/sh\necho first\necho no such disk >&2\nexit 3\n").expect("writable");
    match rig.up(1) {
        Err(DevError::Daemon { index: 1, what, log }) => {
            assert!(what.ends_with("no such disk"), "{what}");
            assert!(Path::new(&log).exists());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn kernel_two_clusters_live_side_by_side() {
    let (one, two) = (Rig::new("t-side"), Rig::new("t-side-1"));
    let a = one.up(1).expect("up works");
    let b = two.up(1).expect("up works");
    assert_ne!(a.state.subnet, b.state.subnet);
    one.down().expect("down works");
    let host = b.host(1).expect("host 1");
    assert!(host.daemon.is_some_and(Process::is_alive), "the other cluster is untouched");
    assert!(reaches(None, &host.namespace, host.address));
}

#[test]
fn kernel_a_subnet_in_use_is_refused_and_nothing_is_made() {
    let (one, two) = (Rig::new("t-net-a"), Rig::new("t-net-b"));
    let used = one.up(1).expect("up works").state.subnet;
    let args = UpArgs {
        name: two.arg(),
        nodes: 1,
        subnet: Some(used),
        data_root: two.data_root.clone(),
        no_join: true,
        swarm: Some(two.swarm()),
        daemon: Vec::new(),
    };
    assert!(matches!(up::up(&args), Err(DevError::Subnet { .. })));
    assert_eq!(two.traces(), Vec::<String>::new());
}

#[test]
fn a_name_that_cannot_be_part_of_a_path_is_refused() {
    for bad in ["", "-a", "a/b", "..", "A", "a b", &"a".repeat(32)] {
        assert!(matches!(bad.parse::<ClusterName>(), Err(DevError::Name(_))), "{bad:?}");
    }
    assert!("demo-2".parse::<ClusterName>().is_ok());
}

#[test]
fn a_cluster_owns_its_namespaces_and_no_others() {
    let a: ClusterName = "a".parse().expect("a good name");
    assert!(a.owns_namespace("swarm-a-1") && a.owns_namespace("swarm-a-sw") && a.owns_namespace("swarm-a-12"));
    assert!(!a.owns_namespace("swarm-a-b-1") && !a.owns_namespace("swarm-a-") && !a.owns_namespace("swarm-ab-1"));
    assert!(!a.owns_namespace("swarm-a-1-sw"));
}
