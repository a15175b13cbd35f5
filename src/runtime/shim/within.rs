//! Mounts of a path within a directory that containers write to, such as a subpath of a volume.
//!
//! The path is resolved once, by the kernel, and what it found is held as a mount without a place: whatever users of
//! the directory put there afterwards is not looked at. The helper that makes the container then gives it a place, in
//! mounts of its own that the host never sees and that end with it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::oci::SpecError;
use super::open;
use crate::spec::{Mount, MountKind, Propagation};

/// A mount that waits for its place.
pub(super) struct Held {
    tree: OwnedFd,
    place: PathBuf,
}

/// Finds what the mounts name and makes each a bind of its place to be, below the run directory.
pub(super) fn hold(mounts: &mut [Mount], run_dir: &Path) -> Result<Vec<Held>, SpecError> {
    let mut out = Vec::new();
    for (number, mount) in mounts.iter_mut().enumerate() {
        let MountKind::Within { directory, path } = &mount.kind else { continue };
        let failed = |error: io::Error| SpecError::Within {
            directory: directory.clone(),
            path: path.clone(),
            why: match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => "does not exist".to_owned(),
                Some(libc::EXDEV | libc::ELOOP) => "leads out of it".to_owned(),
                _ => format!("cannot be mounted: {error}"),
            },
        };
        let found = open::beneath(directory, path, libc::O_PATH).map_err(failed)?;
        let place = run_dir.join(format!("within-{number}"));
        out.push(Held { tree: hold_one(&found, &place).map_err(failed)?, place: place.clone() });
        mount.kind = MountKind::Bind { source: place, propagation: Propagation::Rprivate };
    }
    Ok(out)
}

/// A file is mounted on a file, a directory on a directory.
fn hold_one(found: &File, place: &Path) -> io::Result<OwnedFd> {
    if found.metadata()?.is_dir() {
        fs::create_dir(place)?;
    } else {
        File::create(place)?;
    }
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE) as u32;
    // SAFETY: the empty path outlives the call and names the descriptor itself.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, found.as_raw_fd(), c"".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Gives the mounts their places, in a mount namespace of this process's own. Without any, nothing changes.
pub(super) fn place(all: &[Held]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let change = |place: &Path, flags| mount(None::<&str>, place, None::<&str>, flags, None::<&str>);
    // The host's later mounts still come in, for those who asked for them; ours never go out.
    change(Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    for held in all {
        let place = CString::new(held.place.as_os_str().as_encoded_bytes())?;
        // SAFETY: both paths outlive the call; the first is empty and names the descriptor itself.
        let moved = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                held.tree.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                place.as_ptr(),
                libc::MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        if moved != 0 {
            return Err(io::Error::last_os_error());
        }
        change(&held.place, MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(directory: &Path, path: &str) -> Vec<Mount> {
        let kind = MountKind::Within { directory: directory.to_owned(), path: path.into() };
        vec![Mount { target: "/data".into(), kind, read_only: false }]
    }

    #[test]
    fn what_was_found_stays_when_its_path_comes_to_name_something_else() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (volume, run) = (dir.path().join("volume"), dir.path().join("run"));
        fs::create_dir_all(volume.join("sub")).and(fs::create_dir(&run)).expect("mkdir");
        fs::write(volume.join("sub/file"), "the volume's").expect("write");
        let mut mounts = within(&volume, "sub");
        let held = hold(&mut mounts, &run).expect("found");
        fs::rename(volume.join("sub"), volume.join("old")).expect("rename");
        std::os::unix::fs::symlink("/etc", volume.join("sub")).expect("link");
        let kept = run.join("within-0");
        let source = MountKind::Bind { source: kept.clone(), propagation: Propagation::Rprivate };
        assert_eq!(mounts[0].kind, source);
        let seen = std::thread::spawn(move || {
            place(&held).expect("place");
            fs::read_to_string(kept.join("file")).expect("read")
        });
        assert_eq!(seen.join().expect("the thread"), "the volume's");
        assert_eq!(fs::read_dir(run.join("within-0")).expect("read").count(), 0, "the host sees no mount");
    }

    #[test]
    fn a_path_that_leads_out_or_nowhere_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let volume = dir.path().join("volume");
        fs::create_dir(&volume).expect("mkdir");
        std::os::unix::fs::symlink("/etc", volume.join("absolute")).expect("link");
        std::os::unix::fs::symlink("..", volume.join("above")).expect("link");
        for (path, why) in [
            ("absolute", "leads out of it"),
            ("above", "leads out of it"),
            ("../volume", "leads out of it"),
            ("/etc", "leads out of it"),
            ("missing", "does not exist"),
        ] {
            let refused = hold(&mut within(&volume, path), dir.path()).map(drop).expect_err(path).to_string();
            assert!(refused.ends_with(why), "{refused}");
        }
    }
}
