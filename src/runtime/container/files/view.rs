//! A container's files as the API shows them: its root file system and what is mounted into it from the host, but not
//! what lives in memory or in the kernel (`/proc`, `/sys`, `/dev`, tmpfs), whether the container runs or not.
//!
//! They are put together in mounts of the calling thread's own, which nobody else sees and which end with it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::image::layer::in_root::{InRoot, open_host_dir};
use crate::image::tree::{errno, os};
use crate::spec::{ContainerSpec, Mount, MountKind};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The root file system alone.
    Root,
    /// With the volumes and directories of the host that are mounted into it.
    Mounted,
}

/// Puts the view together. Only for a thread that ends afterwards: its mounts are no longer the daemon's.
pub(super) fn open(spec: &ContainerSpec, scope: Scope) -> io::Result<InRoot> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(errno)?;
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    if spec.read_only_rootfs {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&spec.rootfs), &spec.rootfs, None::<&str>, bind, None::<&str>).map_err(errno)?;
        change(&spec.rootfs, READ_ONLY)?;
    }
    let root = InRoot::new(open_host_dir(&spec.rootfs)?)?;
    if scope == Scope::Mounted {
        for mount in &spec.mounts {
            place(&root, mount)?;
        }
    }
    Ok(root)
}

/// Whether the container has something else at a path than the view: what is written there it would never see.
pub(super) fn is_out_of_view(spec: &ContainerSpec, path: &[u8]) -> bool {
    let path = Path::new("/").join(os(path));
    let kernel = ["/proc", "/sys", "/dev"].map(|place| (Path::new(place), true));
    let mounts =
        spec.mounts.iter().map(|mount| (mount.target.as_path(), matches!(mount.kind, MountKind::Tmpfs { .. })));
    let places = kernel.into_iter().chain(mounts).filter(|(place, _)| path.starts_with(place));
    // The innermost is what is seen; of several at one place, the last.
    places.max_by_key(|(place, _)| place.components().count()).is_some_and(|(_, hidden)| hidden)
}

const READ_ONLY: MsFlags = MsFlags::MS_REMOUNT.union(MsFlags::MS_BIND).union(MsFlags::MS_RDONLY);

fn change(place: &Path, flags: MsFlags) -> io::Result<()> {
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>).map_err(errno)
}

/// A source or target that is gone is left out: the rest can still be looked at.
fn place(root: &InRoot, one: &Mount) -> io::Result<()> {
    let target = one.target.as_os_str().as_encoded_bytes();
    let held;
    let source = match &one.kind {
        MountKind::Tmpfs { .. } => return Ok(()),
        MountKind::Bind { source, .. } => source.clone(),
        MountKind::Within { directory, path } => {
            let path = path.as_os_str().as_encoded_bytes();
            held = match open_host_dir(directory).and_then(|dir| InRoot::new(dir)?.open(path, OFlag::O_PATH)) {
                Ok(found) => found,
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            by_descriptor(&held)
        }
    };
    let found = match root.open(target, OFlag::O_PATH) {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    match mount(Some(&source), &by_descriptor(&found), None::<&str>, bind, None::<&str>).map_err(errno) {
        Err(error) if is_missing(&error) => return Ok(()),
        done => done?,
    }
    if one.read_only {
        // Looked up again: the descriptor is of what lies below the mount.
        change(&by_descriptor(&root.open(target, OFlag::O_PATH)?), READ_ONLY)?;
    }
    Ok(())
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// A name for what is open, whatever its path has become.
pub(super) fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}
