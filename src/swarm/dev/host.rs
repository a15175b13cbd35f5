//! One host's daemon: started so that it outlives the command, waited for, killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

use super::process::{MARK, Process};
use super::state::{Cluster, Host};
use super::{DevError, netns};

/// A daemon answers within a fraction of a second; on a machine busy compiling it takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How often an unready daemon is asked.
const READY_POLL: Duration = Duration::from_millis(20);
/// A killed process is gone at once, unless the kernel is busy for it.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How much of the end of a log is read for the last line.
const LOG_TAIL_BYTES: u64 = 4096;

/// Starts the daemon of host `index` and records it, with other options when some are given. Does not wait for it to
/// answer.
pub(super) fn start(cluster: &mut Cluster, index: u8, options: Option<Vec<String>>) -> Result<(), DevError> {
    if let Some(p) = cluster.host(index)?.daemon.filter(|p| p.is_alive()) {
        return Err(DevError::Running(index, p.pid));
    }
    if let Some(options) = options {
        cluster.host_mut(index)?.daemon_options = options;
    }
    let host = cluster.host(index)?;
    let failed = || format!("host {index}: cannot start its daemon");
    for dir in [&host.run_dir, &host.data_dir] {
        fs::create_dir_all(dir).map_err(DevError::io(dir.display().to_string()))?;
    }
    let log = fs::File::options().create(true).append(true).open(host.log()).map_err(DevError::io(failed()))?;
    let namespace = netns::open(&netns::path(&host.namespace))?;
    let mut command = Command::new(&cluster.state.swarm);
    command
        .arg("daemon")
        .arg("--data-dir")
        .arg(&host.data_dir)
        .arg("--run-dir")
        .arg(&host.run_dir)
        .arg("-H")
        .arg(format!("unix://{}", host.socket.display()))
        .args(&host.daemon_options)
        .env(MARK, cluster.state.name.mark())
        .env_remove("DOCKER_HOST")
        .env_remove("SWARM_HOST")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(DevError::io(failed()))?)
        .stderr(log);
    let hostname = format!("{}-{index}", cluster.state.name.as_str());
    // SAFETY: between fork and exec only system calls are made; nothing is allocated, no lock taken.
    unsafe {
        command.pre_exec(move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            // A host name of its own, so that the nodes can be told apart by it.
            unshare(CloneFlags::CLONE_NEWUTS)?;
            nix::unistd::sethostname(&hostname)?;
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    let child = command.spawn().map_err(DevError::io(failed()))?;
    cluster.host_mut(index)?.daemon = Process::of(child.id().cast_signed());
    cluster.save()
}

/// Starts the daemon of host `index` and waits until it answers. Options it does not come up with are forgotten.
pub(super) fn start_ready(cluster: &mut Cluster, index: u8, options: Option<Vec<String>>) -> Result<(), DevError> {
    let before = cluster.host(index)?.daemon_options.clone();
    start(cluster, index, options)?;
    wait_ready(cluster.host(index)?).inspect_err(|_| {
        if let Ok(host) = cluster.host_mut(index) {
            host.daemon_options = before;
            // The error that is told is the daemon's.
            let _ = cluster.save();
        }
    })
}

/// Waits until the daemon answers a ping on its socket.
pub(super) fn wait_ready(host: &Host) -> Result<(), DevError> {
    let until = Instant::now() + READY_LIMIT;
    loop {
        if ping(&host.socket) {
            return Ok(());
        }
        let what = if !host.daemon.is_some_and(Process::is_alive) {
            format!("its daemon ended: {}", last_line(&host.log()))
        } else if Instant::now() > until {
            format!("its daemon does not answer on {} after {} s", host.socket.display(), READY_LIMIT.as_secs())
        } else {
            std::thread::sleep(READY_POLL);
            continue;
        };
        return Err(DevError::Daemon { index: host.index, what, log: host.log().display().to_string() });
    }
}

/// Kills the daemon alone.
pub(super) fn kill(host: &Host, cluster: &str) -> Result<(), DevError> {
    let Some(p) = host.daemon.filter(|p| p.is_alive()) else {
        return Err(DevError::NotRunning(host.index, cluster.to_owned()));
    };
    if p.end(KILL_LIMIT) {
        return Ok(());
    }
    Err(DevError::Daemon {
        index: host.index,
        what: format!("process {} did not end within {} s of SIGKILL", p.pid, KILL_LIMIT.as_secs()),
        log: host.log().display().to_string(),
    })
}

/// `GET /_ping` (Docker API): true when the daemon answers 200.
fn ping(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(READY_LIMIT))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: swarm\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// The last line of a log that says something.
fn last_line(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        use std::io::Seek as _;
        let mut file = fs::File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES);
        file.seek(std::io::SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it wrote nothing").trim().to_owned()
}
