//! `swarm dev up`: namespaces, daemons, and one cluster of them, made as a user would make it.
//!
//! Each step is recorded before it is taken. A failure leaves what was made, with the logs, to be
//! looked at; `down` removes it.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::state::{Cluster, ClusterName, Host, Lock, State};
use super::{DevError, UpArgs, fabric, host, netns};

/// Each host becomes a voter within a second of joining; on a machine busy compiling it takes longer.
const MANAGERS_LIMIT: Duration = Duration::from_secs(60);
/// How often a host is asked meanwhile.
const MANAGERS_POLL: Duration = Duration::from_millis(50);

/// Brings a cluster up and returns its record.
pub(super) fn up(args: &UpArgs) -> Result<Cluster, DevError> {
    let name = &args.name.name;
    let lock = Lock::take()?;
    refuse_existing(name)?;
    let mut cluster = plan(args)?;
    cluster.save()?;
    fabric::make_switch(&cluster)?;
    for host in &cluster.state.hosts {
        fabric::make_host(&cluster, host)?;
    }
    // The lock guards what clusters share, the choice of a subnet; from here on they are apart.
    drop(lock);
    let indexes: Vec<u8> = cluster.state.hosts.iter().map(|h| h.index).collect();
    for index in &indexes {
        host::start(&mut cluster, *index, None)?;
    }
    for host in &cluster.state.hosts {
        host::wait_ready(host)?;
        eprintln!("host {}: {} is up in {}", host.index, host.address, host.namespace);
    }
    if !args.no_join {
        join(&cluster)?;
    }
    cluster.state.complete = true;
    cluster.save()?;
    Ok(cluster)
}

fn refuse_existing(name: &ClusterName) -> Result<(), DevError> {
    let exists = |how| Err(DevError::Exists { name: name.as_str().to_owned(), how });
    match Cluster::load(name) {
        Ok(c) if c.state.complete => exists("up already"),
        Ok(_) => exists("half made"),
        Err(DevError::NoCluster(_)) => {
            let left = !netns::names(|n| name.owns_namespace(n)).is_empty() || fabric::has_uplink(name);
            if left { exists("half removed") } else { Ok(()) }
        }
        Err(e) => Err(e),
    }
}

pub(super) fn plan(args: &UpArgs) -> Result<Cluster, DevError> {
    let name = &args.name.name;
    let subnet = fabric::choose_subnet(args)?;
    let data = args.data_root.join(name.as_str());
    let swarm = match &args.swarm {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(DevError::io("cannot tell where this binary is"))?,
    };
    let hosts = (1..=args.nodes)
        .map(|index| {
            let run_dir = name.run_dir().join(index.to_string());
            Host {
                index,
                namespace: name.namespace(index),
                address: Ipv4Addr::from(u32::from(subnet.network()) + u32::from(index)),
                data_dir: data.join(index.to_string()),
                socket: run_dir.join("swarm.sock"),
                run_dir,
                daemon: None,
                daemon_options: args.daemon.clone(),
                cut: false,
            }
        })
        .collect();
    let gateway = Ipv4Addr::from(u32::from(subnet.broadcast()) - 1);
    let state = State { name: name.clone(), subnet, gateway, data, swarm, complete: false, hosts };
    Ok(Cluster { state })
}

/// Host 1 makes the cluster, the others join it as managers.
fn join(cluster: &Cluster) -> Result<(), DevError> {
    let mut hosts = cluster.state.hosts.iter();
    let Some(first) = hosts.next() else { return Ok(()) };
    let address = first.address.to_string();
    command(cluster, first, &["init", "--advertise-addr", &address])?;
    let token = command(cluster, first, &["join-token", "-q", "manager"])?;
    let remote = format!("{address}:2377");
    for host in hosts {
        let own = host.address.to_string();
        command(cluster, host, &["join", "--advertise-addr", &own, "--token", token.trim(), &remote])?;
        eprintln!("host {}: joined as a manager", host.index);
    }
    for host in &cluster.state.hosts {
        wait_managers(cluster, host)?;
    }
    Ok(())
}

/// Waits until a host sees all hosts as ready managers: a host that joined votes only once it has
/// what the others have, and until then the loss of one host may be the loss of the majority.
fn wait_managers(cluster: &Cluster, host: &Host) -> Result<(), DevError> {
    let until = Instant::now() + MANAGERS_LIMIT;
    loop {
        let list = command(cluster, host, &["node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}"])?;
        let managers = list.lines().filter(|l| matches!(*l, "Ready Leader" | "Ready Reachable")).count();
        if managers == cluster.state.hosts.len() {
            return Ok(());
        }
        if Instant::now() > until {
            let what = format!(
                "it sees {managers} of {} hosts as managers after {} s",
                cluster.state.hosts.len(),
                MANAGERS_LIMIT.as_secs()
            );
            return Err(DevError::Daemon { index: host.index, what, log: host.log().display().to_string() });
        }
        std::thread::sleep(MANAGERS_POLL);
    }
}

/// Runs one of our own commands against a host's socket, as a user would; returns its output.
fn command(cluster: &Cluster, host: &Host, args: &[&str]) -> Result<String, DevError> {
    let shown = || args.iter().copied().filter(|a| !a.starts_with("SWMTKN")).collect::<Vec<_>>().join(" ");
    let output = Command::new(&cluster.state.swarm)
        .arg("-H")
        .arg(format!("unix://{}", host.socket.display()))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(DevError::io(format!("host {}: cannot run `swarm {}`", host.index, shown())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(DevError::Command { index: host.index, command: shown(), stderr: stderr.trim().to_owned() })
}
