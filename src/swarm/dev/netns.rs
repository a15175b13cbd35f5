//! Named network namespaces, kept where `ip netns` keeps them, so that its commands see them too.
//!
//! Only the network namespace is ever entered: mounts and cgroups stay those of the machine.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::DevError;

/// Where named namespaces are mounted (ip-netns(8)).
pub(super) const DIR: &str = "/run/netns";
/// Beside our records, as long as the mount over [`DIR`] is ours to remove.
const MADE: &str = "/run/swarm-dev/netns-dir-made";

/// Path of a named namespace.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Makes a namespace with its loopback still down.
pub(super) fn create(name: &str) -> Result<(), DevError> {
    share_dir()?;
    let path = path(name);
    let failed = || format!("{}: cannot make the network namespace", path.display());
    fs::File::options().write(true).create_new(true).open(&path).map_err(DevError::io(failed()))?;
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(DevError::sys(failed()))?;
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(DevError::sys(failed()))
    })
}

/// Takes the name away. The namespace ends with the last process in it.
pub(super) fn delete(name: &str) -> Result<(), DevError> {
    let path = path(name);
    while umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(DevError::io(format!("{}: cannot remove the network namespace", path.display()))(e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Names of all namespaces for which `keep` holds.
pub(super) fn names(keep: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIR) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|e| e.file_name().into_string().ok()).filter(|n| keep(n)).collect();
    names.sort();
    names
}

/// The directory is its own, shared mount, as `ip netns add` makes it: a namespace made in one mount
/// namespace is seen in the others.
fn share_dir() -> Result<(), DevError> {
    let failed = || format!("{DIR}: cannot be shared between mount namespaces");
    fs::create_dir_all(DIR).map_err(DevError::io(failed()))?;
    let shared = || mount(None::<&str>, DIR, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    if shared().is_ok() {
        return Ok(());
    }
    fs::write(MADE, "").map_err(DevError::io(MADE))?;
    mount(Some(DIR), DIR, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .and_then(|()| shared())
        .map_err(DevError::sys(failed()))
}

/// Undoes [`share_dir`] once no namespace is left, if it was us who did it.
pub(super) fn unshare_dir() {
    if Path::new(MADE).exists() && names(|_| true).is_empty() && umount2(DIR, MntFlags::MNT_DETACH).is_ok() {
        let _ = fs::remove_file(MADE);
        let _ = fs::remove_dir(DIR);
    }
}

/// Moves the calling thread into a namespace, for good.
pub(super) fn enter(path: &Path) -> Result<(), DevError> {
    let file = open(path)?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .map_err(DevError::sys(format!("{}: cannot enter the network namespace", path.display())))
}

/// A reference to a namespace that keeps it alive.
pub(super) fn open(path: &Path) -> Result<fs::File, DevError> {
    fs::File::open(path).map_err(DevError::io(format!("{}: cannot open the network namespace", path.display())))
}

/// Runs `f` in a namespace, on a thread of its own that ends with it.
pub(super) fn within<T: Send>(path: &Path, f: impl FnOnce() -> Result<T, DevError> + Send) -> Result<T, DevError> {
    on_thread(|| {
        enter(path)?;
        f()
    })
}

/// Runs `f` on a thread whose namespace may be changed without harm to the caller.
pub(super) fn on_thread<T: Send>(f: impl FnOnce() -> Result<T, DevError> + Send) -> Result<T, DevError> {
    std::thread::scope(|s| match s.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
