//! Listing and removing directories of any width and depth.
//!
//! What containers and images leave behind is made by strangers: it may be nested deeper than a stack or
//! the table of open files can follow. So nothing here recurses, and at most three directories are open.

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) fn errno(e: Errno) -> io::Error {
    io::Error::from_raw_os_error(e as i32)
}

pub(crate) fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Opens the directory `name`, which must not be a link.
pub(crate) fn open_child_dir(parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(Some(parent.as_raw_fd()), os(name), flags, Mode::empty()).map_err(errno)?;
    // SAFETY: openat just gave us this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The names in a directory.
pub(crate) fn children(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let copy = open_child_dir(dir, b".")?;
    let mut listing = nix::dir::Dir::from_fd(copy.into_raw_fd()).map_err(errno)?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry.map_err(errno)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    /// Device and inode of the directory it is in.
    parent: (u64, u64),
    /// Directories in it that are still there.
    rest: Vec<Vec<u8>>,
}

/// Removes `name` with all below it, following no link; what is not there is fine.
pub(crate) fn remove(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if unlink_unless_dir(parent, name)? {
        return Ok(());
    }
    let mut current = open_child_dir(parent, name)?;
    let rest = unlink_files(&current)?;
    let mut levels = vec![Level { name: name.to_vec(), parent: identity(parent)?, rest }];
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.rest.pop() {
            let next = open_child_dir(&current, &child)?;
            let rest = unlink_files(&next)?;
            levels.push(Level { name: child, parent: identity(&current)?, rest });
            current = next;
            continue;
        }
        let up = open_child_dir(&current, b"..")?;
        if identity(&up)? != level.parent {
            return Err(io::Error::other("a directory was moved while it was being removed"));
        }
        unlinkat(Some(up.as_raw_fd()), os(&level.name), UnlinkatFlags::RemoveDir).map_err(errno)?;
        current = up;
        levels.pop();
    }
    Ok(())
}

/// The same for a path of the host.
pub(crate) fn remove_path(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    match std::fs::File::open(parent) {
        Ok(parent) => remove(&parent.into(), name.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes what is no directory and gives the directories.
fn unlink_files(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for name in children(dir)? {
        if !unlink_unless_dir(dir, &name)? {
            directories.push(name);
        }
    }
    Ok(directories)
}

/// False if it is a directory, and still there.
fn unlink_unless_dir(parent: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    match unlinkat(Some(parent.as_raw_fd()), os(name), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EISDIR) => Ok(false),
        Err(e) => Err(errno(e)),
    }
}

fn identity(dir: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(dir.as_raw_fd()).map_err(errno)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::fs;

    #[test]
    fn a_tree_deeper_than_any_stack_or_table_of_open_files_is_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        // In memory: disks take milliseconds for each.
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), none, None::<&str>).expect("mounts");
        let top: OwnedFd = fs::File::open(dir.path()).expect("open").into();
        let mut current = open_child_dir(&top, b".").expect("open");
        for _ in 0..20_000 {
            mkdirat(Some(current.as_raw_fd()), "d", Mode::S_IRWXU).expect("mkdir");
            current = open_child_dir(&current, b"d").expect("open");
        }
        drop(current);
        let removed = remove(&top, b"d");
        let left = fs::read_dir(dir.path()).expect("list").count();
        nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmounts");
        removed.expect("removes");
        assert_eq!(left, 0);
    }

    #[test]
    fn links_are_removed_and_not_what_they_point_to() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("tree/a/b")).expect("mkdir");
        fs::create_dir(path("kept")).expect("mkdir");
        fs::write(path("kept/file"), "").expect("write");
        fs::write(path("tree/a/file"), "").expect("write");
        std::os::unix::fs::symlink(path("kept"), path("tree/a/link")).expect("link");
        remove_path(&path("tree")).expect("removes");
        assert!(path("kept/file").exists() && !path("tree").exists());
        remove_path(&path("tree")).expect("nothing there is fine");
        remove_path(&path("no/such/parent")).expect("nothing there is fine");
    }
}
