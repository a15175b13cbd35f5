//! Processes of a cluster: named without mistaking one for a later one of the same number, found
//! again when no record tells of them, and ended.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Environment variable the daemons are started with; what they start inherits it.
pub(super) const MARK: &str = "SWARM_DEV_CLUSTER";
/// How often the process table is read while waiting for an end.
const POLL: Duration = Duration::from_millis(5);

/// A process: its id means one process only together with its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Clock ticks after boot, field 22 of proc_pid_stat(5).
    pub(super) start_ticks: u64,
}

impl Process {
    /// The process that has this id now; none when it ended, even if nobody collected it yet.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything: fields are counted from its end.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return None;
        }
        Some(Self { pid, start_ticks: fields.get(19)?.parse().ok()? })
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends SIGKILL and waits until the process is gone, at most `limit`. Returns whether it is.
    pub(super) fn end(self, limit: Duration) -> bool {
        self.kill();
        let until = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    pub(super) fn kill(self) {
        if self.is_alive() {
            // It may have ended in between: then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// The control groups it is in, one line of proc_pid_cgroup(5) each: (controllers, path).
    pub(super) fn cgroups(self) -> Vec<(String, String)> {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        let line = |l: &str| {
            let mut parts = l.splitn(3, ':').skip(1);
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        };
        text.lines().filter_map(line).collect()
    }
}

/// What marks a process as one of a cluster.
#[derive(Debug)]
pub(super) struct Belongs {
    /// Value of [`MARK`].
    pub(super) mark: PathBuf,
    /// Folders of the cluster: sockets and records, data.
    pub(super) dirs: Vec<PathBuf>,
    /// Identities (device, inode) of its network namespaces.
    pub(super) namespaces: Vec<(u64, u64)>,
}

impl Belongs {
    /// Every live process of the cluster but ourselves: in one of its networks, marked by its
    /// environment, running on a root file system that lies in its data, or our binary with one of its
    /// folders as an argument.
    pub(super) fn processes(&self) -> Vec<Process> {
        let me = std::process::id().cast_signed();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != me && *pid != 1)
            .filter_map(Process::of)
            .filter(|p| self.has(*p))
            .collect()
    }

    fn has(&self, p: Process) -> bool {
        let dir = PathBuf::from(format!("/proc/{}", p.pid));
        self.in_network(&dir) || self.is_marked(&dir) || self.is_contained(&dir) || self.is_ours(&dir)
    }

    fn in_network(&self, proc_dir: &Path) -> bool {
        identity(&proc_dir.join("ns/net")).is_some_and(|id| self.namespaces.contains(&id))
    }

    fn is_marked(&self, proc_dir: &Path) -> bool {
        let wanted = [MARK.as_bytes(), b"=", self.mark.as_os_str().as_bytes()].concat();
        fs::read(proc_dir.join("environ")).is_ok_and(|env| env.split(|b| *b == 0).any(|v| v == wanted))
    }

    /// A container: the mount at its root is an overlay whose upper folder is in the data.
    fn is_contained(&self, proc_dir: &Path) -> bool {
        let Ok(text) = fs::read_to_string(proc_dir.join("mountinfo")) else { return false };
        let root = text.lines().find(|l| l.split(' ').nth(4) == Some("/"));
        root.is_some_and(|line| self.dirs.iter().any(|d| line.contains(&format!("{}/", d.display()))))
    }

    fn is_ours(&self, proc_dir: &Path) -> bool {
        let ours = |exe: PathBuf| exe.file_name().is_some_and(|n| n == "swarm" || n == "swarm (deleted)");
        fs::read_link(proc_dir.join("exe")).is_ok_and(ours)
            && fs::read(proc_dir.join("cmdline")).is_ok_and(|line| {
                line.split(|b| *b == 0)
                    .any(|arg| self.dirs.iter().any(|d| Path::new(std::ffi::OsStr::from_bytes(arg)).starts_with(d)))
            })
    }
}

/// Which namespace a path names: equal when it is the same one (namespaces(7)).
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
