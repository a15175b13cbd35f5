//! `swarm dev down`: ends and removes everything that is a cluster's, whatever state it is in.
//!
//! Works from the cluster's name as well as from its record, so that it also removes what a command
//! that was killed half way left. What cannot be removed is named, never passed over.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use super::process::{Belongs, Process, identity};
use super::state::{Cluster, ClusterName, DATA_ROOT, Lock};
use super::{DevError, NameArg, fabric, netns};
use crate::daemon::{cgroup_parent, instance};

/// A killed process may be busy in the kernel (unmounting, closing a network); longer is a fault.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How often the process table is read meanwhile: it is a walk over all of /proc.
const END_POLL: Duration = Duration::from_millis(20);
/// A control group stays busy for a moment after its last process ended.
const CGROUP_LIMIT: Duration = Duration::from_secs(5);
/// Namespace files (linux/magic.h `NSFS_MAGIC`).
const NSFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6e73_6673);
/// Mounts can lie on one another; more layers than this are a loop.
const UMOUNT_ROUNDS_MAX: usize = 64;

/// Removes a cluster. One that is not there is no error when `down` ran for it before.
pub(super) fn down(args: &NameArg) -> Result<(), DevError> {
    let name = &args.name;
    let _lock = Lock::take()?;
    let record = match Cluster::load(name) {
        Ok(c) => Some(c),
        Err(DevError::BadState { .. } | DevError::NoCluster(_)) => None,
        Err(e) => return Err(e),
    };
    let data = record.map_or_else(|| Path::new(DATA_ROOT).join(name.as_str()), |c| c.state.data);
    let found = Found::look(name, data);
    if !found.anything() {
        return Err(DevError::NoCluster(name.as_str().to_owned()));
    }
    found.remove(name)
}

/// What there is of a cluster on this machine.
pub(super) struct Found {
    pub(super) belongs: Belongs,
    namespaces: Vec<String>,
    run: PathBuf,
    data: PathBuf,
    uplink: bool,
}

impl Found {
    pub(super) fn look(name: &ClusterName, data: PathBuf) -> Self {
        let run = name.run_dir();
        let namespaces = netns::names(|n| name.owns_namespace(n));
        let machine = identity(Path::new("/proc/self/ns/net"));
        let belongs = Belongs {
            mark: name.mark(),
            dirs: vec![run.clone(), data.clone()],
            // Those of the hosts, and those the daemons keep for networks and containers in their folders.
            // Never the machine's own, which a path whose mount is missing cannot be told from.
            namespaces: namespaces
                .iter()
                .map(|n| netns::path(n))
                .chain(mount_points().into_iter().filter(|p| p.starts_with(&run) || p.starts_with(&data)))
                .filter(|p| nix::sys::statfs::statfs(p).is_ok_and(|f| f.filesystem_type() == NSFS))
                .filter_map(|p| identity(&p))
                .filter(|id| Some(*id) != machine)
                .collect(),
        };
        Self { belongs, namespaces, uplink: fabric::has_uplink(name), run, data }
    }

    fn anything(&self) -> bool {
        self.uplink
            || self.run.exists()
            || self.data.exists()
            || !self.namespaces.is_empty()
            || !self.belongs.processes().is_empty()
    }

    fn remove(self, name: &ClusterName) -> Result<(), DevError> {
        let mut left = Vec::new();
        let cgroups = self.end_processes(name, &mut left);
        // The groups of daemons whose containers had ended before are known by the data folders only.
        let parents: Vec<String> = subfolders(&self.data).iter().map(|d| cgroup_parent(&instance(d))).collect();
        let named = hierarchies().into_iter().flat_map(|(_, point)| {
            parents.iter().map(move |p| point.join(p.trim_start_matches('/'))).collect::<Vec<_>>()
        });
        let named = named.filter(|folder| folder.exists());
        remove_cgroups(&folders(&cgroups).into_iter().chain(named).collect(), &mut left);
        self.unmount(&mut left);
        fabric::remove_uplink(name)?;
        for namespace in &self.namespaces {
            netns::delete(namespace)?;
        }
        netns::unshare_dir();
        // The record goes last: as long as something is left, `down` finds its way again.
        for dir in [&self.data, &self.run] {
            if left.is_empty()
                && let Err(e) = fs::remove_dir_all(dir)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                left.push(format!("{} ({e})", dir.display()));
            }
        }
        // The folder of all clusters, once the last one is gone.
        if let Some(parent) = self.data.parent() {
            let _ = fs::remove_dir(parent);
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(DevError::Left { name: name.as_str().to_owned(), left: left.join(", ") })
    }

    /// Kills until none is left: a daemon may start a container, a shim may fork, while we read the
    /// table. Returns the control groups they were in.
    fn end_processes(&self, name: &ClusterName, left: &mut Vec<String>) -> BTreeSet<(String, String)> {
        let mut cgroups = BTreeSet::new();
        let until = Instant::now() + END_LIMIT;
        loop {
            // Looked at anew: a daemon may have made a namespace and a container in it since.
            let alive = Self::look(name, self.data.clone()).belongs.processes();
            if alive.is_empty() {
                return cgroups;
            }
            for p in &alive {
                cgroups.extend(p.cgroups());
                p.kill();
            }
            thaw(&cgroups);
            if Instant::now() > until {
                let names = |p: &Process| format!("process {}", p.pid);
                left.extend(alive.iter().map(names));
                return cgroups;
            }
            std::thread::sleep(END_POLL);
        }
    }

    /// Every mount below the cluster's folders, the last made first.
    fn unmount(&self, left: &mut Vec<String>) {
        let below = |p: &Path| self.belongs.dirs.iter().any(|d| p.starts_with(d));
        for _ in 0..UMOUNT_ROUNDS_MAX {
            let mounts: Vec<PathBuf> = mount_points().into_iter().filter(|p| below(p)).collect();
            if mounts.is_empty() {
                return;
            }
            for point in mounts.iter().rev() {
                // Checked by reading the table again.
                let _ = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
            }
        }
        left.extend(mount_points().into_iter().filter(|p| below(p)).map(|p| format!("mount {}", p.display())));
    }
}

/// The mount points of this process, in the order they were made (proc_pid_mountinfo(5), field 5).
fn mount_points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape).collect()
}

/// Spaces and the like are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Where each hierarchy is mounted: (controllers as proc_pid_cgroup(5) writes them, mount point).
pub(super) fn hierarchies() -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let known = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|l| l.split(':').nth(1)).collect();
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let Some(point) = front.split(' ').nth(4).map(unescape) else { continue };
        let mut back = back.split(' ');
        let (kind, options) = (back.next().unwrap_or(""), back.nth(1).unwrap_or(""));
        match kind {
            "cgroup2" => out.push((String::new(), point)),
            "cgroup" => {
                let options: BTreeSet<&str> = options.split(',').collect();
                let of = |c: &&&str| !c.is_empty() && c.split(',').all(|name| options.contains(name));
                out.extend(known.iter().find(of).map(|c| ((*c).to_owned(), point)));
            }
            _ => {}
        }
    }
    out
}

/// The folders of the groups, without those we or the machine's services are in.
fn folders(cgroups: &BTreeSet<(String, String)>) -> BTreeSet<PathBuf> {
    let own: Vec<(String, String)> =
        Process::of(std::process::id().cast_signed()).map(Process::cgroups).unwrap_or_default();
    let mounted = hierarchies();
    let is_ancestor = |c: &str, p: &str| own.iter().any(|(oc, op)| oc == c && Path::new(op).starts_with(p));
    cgroups
        .iter()
        .filter(|(c, p)| p != "/" && !is_ancestor(c, p))
        .flat_map(|(c, p)| {
            let at = move |(_, point): &(String, PathBuf)| point.join(p.trim_start_matches('/'));
            mounted.iter().filter(move |(name, _)| name == c).map(at)
        })
        .collect()
}

/// A frozen process does not die.
fn thaw(cgroups: &BTreeSet<(String, String)>) {
    for folder in folders(cgroups) {
        for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let path = folder.join(file);
            if path.exists() {
                // It may have been removed meanwhile by the process that made it.
                let _ = fs::write(path, value);
            }
        }
    }
}

/// Removes the groups that are empty now, with the empty ones below and above them that bear our name.
fn remove_cgroups(folders: &BTreeSet<PathBuf>, left: &mut Vec<String>) {
    for folder in folders.iter().rev() {
        let until = Instant::now() + CGROUP_LIMIT;
        while folder.exists() && is_empty(folder) {
            if remove_tree(folder).is_ok() {
                break;
            }
            if Instant::now() > until {
                left.push(format!("control group {}", folder.display()));
                break;
            }
            std::thread::sleep(END_POLL);
        }
        let ours = |p: &&Path| p.file_name().is_some_and(|n| n.to_string_lossy().contains("swarm"));
        for parent in folder.ancestors().skip(1).take_while(ours) {
            // Not empty: another cluster's.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// No process is in the group or in one below it.
fn is_empty(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|t| t.trim().is_empty())
        && subfolders(folder).iter().all(|f| is_empty(f))
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for sub in subfolders(folder) {
        remove_tree(&sub)?;
    }
    fs::remove_dir(folder)
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_mount_point_is_read_as_it_is_on_disk() {
        assert_eq!(unescape(r"/run/a\040b\134c"), PathBuf::from(r"/run/a b\c"));
        assert_eq!(unescape(r"/plain\"), PathBuf::from(r"/plain\"));
    }

    #[test]
    fn every_control_group_of_a_process_has_its_folder() {
        let own = Process::of(std::process::id().cast_signed()).expect("this process lives").cgroups();
        let mounted = hierarchies();
        assert!(!mounted.is_empty(), "no cgroup file system is mounted");
        for (controllers, path) in own {
            let folder =
                mounted.iter().find(|(c, _)| *c == controllers).map(|(_, p)| p.join(path.trim_start_matches('/')));
            assert!(folder.is_some_and(|f| f.join("cgroup.procs").exists()), "{controllers}:{path}");
        }
    }
}
