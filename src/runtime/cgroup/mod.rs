//! Control groups of one container: where they are, their limits, their figures.
//!
//! Owns everything written below the container's cgroup directories, on cgroup v1 (also hybrid) and v2. Called by
//! the shim (create, limits, device rules, OOM count, removal) and by the daemon (figures, freezing, killing what a
//! dead shim left). libcontainer only moves the first process in; it never sets a limit here.
//! Must never touch a cgroup outside the parent it was given, but for `make_room` inside a container.

mod bpf;
mod devices;
mod limits;
mod stats;

pub use devices::{DeviceKind, DeviceRule, default_rules, everything};
pub use stats::{BlockFigures, Stats, Usage};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::spec::Resources;

/// Longest wait for the kernel to empty a killed cgroup before its removal is given up, in milliseconds: reaping a
/// few thousand processes takes tens of milliseconds, a process stuck in uninterruptible I/O would take for ever.
const REMOVE_WAIT_MS_MAX: u64 = 2_000;

/// A failure to read or write a cgroup file.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host has no usable hierarchy. Nothing was changed.
    #[error("no cgroup file system is mounted below /sys/fs/cgroup: mount cgroup2 there")]
    Missing,
    /// A limit needs a controller that is not available. The cgroup may exist without the limit.
    #[error("the cgroup controller \"{0}\" is not available on this host, so its limit cannot be set")]
    Controller(&'static str),
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The parent's name is not a plain absolute path.
    #[error("cgroup path {0:?} must be absolute and without \"..\"")]
    Path(String),
}

pub(crate) type Result<T> = std::result::Result<T, CgroupError>;

/// One mounted cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Controllers of this hierarchy; empty for a named one and for the v2 part of a hybrid host.
    pub controllers: Vec<String>,
    /// Name below the mount's parent, such as `cpu,cpuacct` or `systemd`.
    pub name: String,
    pub path: PathBuf,
}

/// How the host mounts its cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// cgroup v1, possibly hybrid. `others` are the named hierarchies and the v2 tree, which carry no limits.
    V1 { mounts: Vec<Mount>, others: Vec<PathBuf> },
    /// cgroup v2 only.
    V2 { root: PathBuf },
}

impl Hierarchy {
    /// Reads the mount table of this process.
    pub fn detect() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let table = read(path)?;
        Self::from_mountinfo(&table).ok_or(CgroupError::Missing)
    }

    /// As [`Hierarchy::detect`], read once by this process and those forked from it: the table has a line for each
    /// container of the host, and every shim would read it.
    pub fn known() -> Result<Self> {
        static KNOWN: OnceLock<Hierarchy> = OnceLock::new();
        match KNOWN.get() {
            Some(known) => Ok(known.clone()),
            None => Self::detect().map(|found| KNOWN.get_or_init(|| found).clone()),
        }
    }

    /// proc_pid_mountinfo(5): fields 5 (mount point), then after " - " type, source, super options.
    fn from_mountinfo(table: &str) -> Option<Self> {
        let (mut mounts, mut others, mut unified) = (Vec::new(), Vec::new(), None);
        for line in table.lines() {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, point) = (left.next()?, PathBuf::from(left.next()?));
            if !point.starts_with("/sys/fs/cgroup") || root != "/" {
                continue;
            }
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            match kind {
                "cgroup2" => unified = Some(point),
                "cgroup" => {
                    let name = point.file_name()?.to_str()?.to_owned();
                    let controllers = v1_controllers(options);
                    if controllers.is_empty() {
                        others.push(point);
                    } else {
                        mounts.push(Mount { controllers, name, path: point });
                    }
                }
                _ => {}
            }
        }
        if mounts.is_empty() {
            return unified.map(|root| Self::V2 { root });
        }
        others.extend(unified);
        Some(Self::V1 { mounts, others })
    }

    /// Whether limits are set the v2 way.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2 { .. })
    }
}

fn v1_controllers(options: &str) -> Vec<String> {
    const KNOWN: [&str; 13] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "rdma",
    ];
    options.split(',').filter(|option| KNOWN.contains(option)).map(str::to_owned).collect()
}

/// The cgroup of one container.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchy: Hierarchy,
    /// Relative, such as `swarm/3f2a`.
    path: PathBuf,
}

impl Cgroup {
    /// Names a cgroup; creates nothing. `path` is absolute below the hierarchy's root (`/swarm/3f2a`).
    pub fn new(hierarchy: Hierarchy, path: &str) -> Result<Self> {
        let relative = path.strip_prefix('/').ok_or_else(|| CgroupError::Path(path.to_owned()))?;
        let plain = relative.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            return Err(CgroupError::Path(path.to_owned()));
        }
        Ok(Self { hierarchy, path: PathBuf::from(relative) })
    }

    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Creates the directories, sets the limits and installs the device rules, in this order, before any process is
    /// inside. On an error the caller removes what was made.
    pub fn create(&self, resources: &Resources, devices: &[DeviceRule]) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1 { mounts, others } => {
                for root in others {
                    make_dir(&root.join(&self.path))?;
                }
                for mount in mounts {
                    // cpuset must inherit its parent's CPUs first; libcontainer does that when it moves the process.
                    if !mount.controllers.iter().any(|name| name == "cpuset") {
                        make_dir(&mount.path.join(&self.path))?;
                    }
                }
                self.set_limits(resources)?;
                if let Some(dir) = self.v1("devices") {
                    devices::write_v1(&dir, devices)?;
                }
            }
            Hierarchy::V2 { root } => {
                self.enable_controllers(root)?;
                self.set_limits(resources)?;
                bpf::attach(&root.join(&self.path), devices)?;
            }
        }
        Ok(())
    }

    /// Moves a process into the hierarchies that libcontainer does not know: named ones and the v2 part of a hybrid.
    pub fn adopt(&self, pid: i32) -> Result<()> {
        if let Hierarchy::V1 { others, .. } = &self.hierarchy {
            for root in others {
                let dir = root.join(&self.path);
                make_dir(&dir)?;
                write(&dir.join("cgroup.procs"), &pid.to_string())?;
            }
        }
        Ok(())
    }

    /// Moves a process into this cgroup in every hierarchy. For the shim itself, which has no limits.
    pub fn join(&self, pid: i32) -> Result<()> {
        if let Hierarchy::V2 { root } = &self.hierarchy {
            self.enable_controllers(root)?;
        }
        for dir in self.directories() {
            let cpuset = dir.components().any(|part| part.as_os_str() == "cpuset");
            if cpuset {
                continue; // An empty cpuset takes no process, and the shim needs none of its own.
            }
            make_dir(&dir)?;
            write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Kills every process inside. Does not wait.
    pub fn kill(&self) -> Result<()> {
        if let Hierarchy::V2 { root } = &self.hierarchy {
            let file = root.join(&self.path).join("cgroup.kill");
            if file.exists() {
                return write(&file, "1");
            }
        }
        for pid in self.processes() {
            // SAFETY: kill(2) takes plain numbers; the pid was read from the cgroup just now.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        Ok(())
    }

    /// Process ids inside, as this pid namespace sees them. Empty when the cgroup is gone.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = Vec::new();
        for dir in self.directories().iter().flat_map(|dir| tree(dir)) {
            let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Where below this cgroup a joining process has to go, seen from the container's first process; `None`: inside.
    ///
    /// A privileged container may turn controllers on for groups of its own, as systemd and Docker in it do; then only
    /// those may hold processes (cgroup-v2.rst, "No Internal Process Constraint").
    pub fn below(&self, pid: i32) -> Option<String> {
        let Hierarchy::V2 { root } = &self.hierarchy else { return None };
        let on = std::fs::read_to_string(root.join(&self.path).join("cgroup.subtree_control")).ok()?;
        if on.trim().is_empty() {
            return None;
        }
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let below = Path::new(group).strip_prefix(&self.path).ok()?.to_str()?;
        (!below.is_empty()).then(|| below.to_owned())
    }

    /// Kills what is inside and removes the directories, with those a privileged container made below. Gone already
    /// is success.
    pub fn remove(&self) -> Result<()> {
        let give_up = Instant::now() + Duration::from_millis(REMOVE_WAIT_MS_MAX);
        for dir in self.directories() {
            loop {
                let result = tree(&dir).iter().try_for_each(|dir| match std::fs::remove_dir(dir) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    Ok(()) | Err(_) => Ok(()),
                });
                match result {
                    Ok(()) => break,
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < give_up => {
                        self.thaw_quietly();
                        self.kill()?;
                        // The kernel announces an emptied v1 cgroup to nobody; looking again is the only way.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(source) => return Err(CgroupError::Io { action: "remove", path: dir, source }),
                }
            }
        }
        Ok(())
    }

    /// Removes the directories with those below, unless a process is inside; says whether they are gone. Harms
    /// nothing: for the parent of all containers once the last has ended.
    pub fn remove_unused(&self) -> Result<bool> {
        for dir in self.directories() {
            if !self.processes().is_empty() {
                return Ok(false);
            }
            for dir in tree(&dir) {
                match std::fs::remove_dir(&dir) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    // A process that came or is just going.
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(false),
                    Err(source) => return Err(CgroupError::Io { action: "remove", path: dir, source }),
                }
            }
        }
        Ok(true)
    }

    fn thaw_quietly(&self) {
        if self.is_frozen() {
            let _ = self.freeze(false);
        }
    }

    /// Stops or continues every process inside; returns when the kernel has done so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        match &self.hierarchy {
            Hierarchy::V1 { .. } => {
                let dir = self.v1("freezer").ok_or(CgroupError::Controller("freezer"))?;
                let wanted = if frozen { "FROZEN" } else { "THAWED" };
                write(&dir.join("freezer.state"), wanted)?;
            }
            Hierarchy::V2 { root } => {
                write(&root.join(&self.path).join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
            }
        }
        let give_up = Instant::now() + Duration::from_millis(REMOVE_WAIT_MS_MAX);
        while self.is_frozen() != frozen && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1)); // FREEZING is a state of its own; it ends within a tick.
        }
        Ok(())
    }

    /// Whether the processes are stopped. A cgroup that is gone is not frozen.
    pub fn is_frozen(&self) -> bool {
        match &self.hierarchy {
            Hierarchy::V1 { .. } => self
                .v1("freezer")
                .and_then(|dir| std::fs::read_to_string(dir.join("freezer.state")).ok())
                .is_some_and(|state| state.trim() == "FROZEN"),
            Hierarchy::V2 { root } => {
                let events = std::fs::read_to_string(root.join(&self.path).join("cgroup.events")).unwrap_or_default();
                field(&events, "frozen") == Some(1)
            }
        }
    }

    /// How many processes the kernel killed here for want of memory.
    ///
    /// v1: `memory.oom_control`, v2: `memory.events` (cgroup-v2.rst). Zero when the controller is missing.
    pub fn oom_kills(&self) -> u64 {
        let file = match &self.hierarchy {
            Hierarchy::V1 { .. } => self.v1("memory").map(|dir| dir.join("memory.oom_control")),
            Hierarchy::V2 { root } => Some(root.join(&self.path).join("memory.events")),
        };
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        field(&text, "oom_kill").unwrap_or(0)
    }

    /// Where each v1 hierarchy's part of this container is, for the read-only view inside the container: those with
    /// controllers and the named ones, under their names.
    pub fn v1_views(&self) -> Vec<(String, PathBuf)> {
        let Hierarchy::V1 { mounts, others } = &self.hierarchy else { return Vec::new() };
        let named = others.iter().filter(|path| !path.join("cgroup.controllers").exists()).filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, path.join(&self.path)))
        });
        mounts.iter().map(|mount| (mount.name.clone(), mount.path.join(&self.path))).chain(named).collect()
    }

    fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1 { mounts, others } => {
                mounts.iter().map(|mount| &mount.path).chain(others).map(|root| root.join(&self.path)).collect()
            }
            Hierarchy::V2 { root } => vec![root.join(&self.path)],
        }
    }

    fn v1(&self, controller: &str) -> Option<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1 { mounts, .. } => mounts
                .iter()
                .find(|mount| mount.controllers.iter().any(|name| name == controller))
                .map(|mount| mount.path.join(&self.path)),
            Hierarchy::V2 { .. } => None,
        }
    }

    /// Makes the directories and turns the controllers on for every level above the leaf, which holds the processes
    /// (cgroup-v2.rst, "No Internal Process Constraint").
    fn enable_controllers(&self, root: &Path) -> Result<()> {
        make_room(root)?;
        let mut dir = root.to_owned();
        for part in self.path.components() {
            let wanted = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            for name in wanted.split_whitespace() {
                // A controller that cannot be turned on is reported when a limit needs it.
                let _ = write(&dir.join("cgroup.subtree_control"), &format!("+{name}"));
            }
            dir.push(part);
            make_dir(&dir)?;
        }
        Ok(())
    }
}

/// Moves the processes at the top of the hierarchy one level down, when the daemon is in a container: the top it sees
/// is the container's own group, which may not hold processes and turn controllers on, as the kernel's may. Docker in
/// a container does the same, under the same name. Before any controller is on: some can be with processes inside,
/// and then no group below could take one.
fn make_room(root: &Path) -> Result<()> {
    let kernels_own = !root.join("cgroup.type").exists();
    if kernels_own || read(&root.join("cgroup.procs"))?.is_empty() {
        return Ok(());
    }
    let init = root.join("init");
    make_dir(&init)?;
    for pid in read(&root.join("cgroup.procs"))?.lines() {
        let _ = write(&init.join("cgroup.procs"), pid); // It may have ended. One that stays shows when a limit is set.
    }
    Ok(())
}

/// A cgroup and those below it, deepest first. Empty when it is gone.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut out: Vec<PathBuf> = below.flat_map(|entry| tree(&entry.path())).collect();
    out.push(dir.to_owned());
    out
}

/// `key value` lines.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once([' ', '\t'])?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| CgroupError::Io { action: "read", path: path.to_owned(), source })
}

/// Writes without creating: a missing file is a missing controller, never a new file.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| CgroupError::Io { action: "write to", path: path.to_owned(), source })
}

fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| CgroupError::Io { action: "create", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_only_cgroup2_is_v2() {
        let table = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchy::from_mountinfo(table);
        assert_eq!(found, Some(Hierarchy::V2 { root: "/sys/fs/cgroup".into() }));
    }

    #[test]
    fn a_hybrid_host_sets_limits_the_v1_way() {
        let table = "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                     32 23 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                     33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Some(Hierarchy::V1 { mounts, others }) = Hierarchy::from_mountinfo(table) else { panic!("not v1") };
        assert_eq!(mounts[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(others, [PathBuf::from("/sys/fs/cgroup/systemd"), "/sys/fs/cgroup/unified".into()]);
    }

    #[test]
    fn a_path_that_climbs_out_is_refused() {
        let v2 = Hierarchy::V2 { root: "/x".into() };
        assert!(Cgroup::new(v2.clone(), "/swarm/../y").is_err());
        assert!(Cgroup::new(v2.clone(), "swarm").is_err());
        assert!(Cgroup::new(v2, "/swarm/y").is_ok());
    }

    #[test]
    fn oom_kills_are_read_from_a_v2_tree() {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = root.path().join("swarm/a");
        std::fs::create_dir_all(&dir).expect("mkdir");
        std::fs::write(dir.join("memory.events"), "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\n").expect("write");
        let cgroup = Cgroup::new(Hierarchy::V2 { root: root.path().into() }, "/swarm/a").expect("path");
        assert_eq!(cgroup.oom_kills(), 3);
    }
}
