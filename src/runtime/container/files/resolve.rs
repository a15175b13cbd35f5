//! Paths inside a container, and what is there.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::os::fd::AsRawFd;

use super::view::{by_descriptor, is_missing};
use super::{FilesError, PathStat, Result};
use crate::image::layer::in_root::{self, InRoot};
use crate::image::tree::{errno, os};

/// What a path names: a directory itself, or something in one, whose last part was not followed.
pub(super) struct Located {
    pub parent: OwnedFd,
    /// `.` for `parent` itself.
    pub name: Vec<u8>,
    pub stat: FileStat,
    /// Its last part as it was written: what an archive of it calls it.
    pub base: Vec<u8>,
}

/// An absolute path without `.`, `..` and doubled slashes; `..` takes away what is written before it, as in Go's
/// `path.Clean`, which Docker's clients count on.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Whether the path says that it names a directory: what it links to, then, not the link.
fn is_entered(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path == b"."
}

/// Looks a path up, following links on the way but not the last part unless the path ends with a slash.
pub(super) fn locate(root: &InRoot, path: &[u8]) -> Result<Located> {
    let whole = clean(path);
    let failed = |error: io::Error| fault(error, path);
    let name_at = whole.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    if whole.is_empty() || is_entered(path) {
        let parent = root.open_dir(&whole).map_err(failed)?;
        let stat = fstat(parent.as_raw_fd()).map_err(|error| failed(errno(error)))?;
        let base = match path {
            path if path.ends_with(b"/.") || path == b"." => b".".to_vec(),
            _ if whole.is_empty() => b"/".to_vec(),
            _ => whole[name_at..].to_vec(),
        };
        return Ok(Located { parent, name: b".".to_vec(), stat, base });
    }
    let (dir, name) = (&whole[..name_at.saturating_sub(1)], &whole[name_at..]);
    let parent = root.open_dir(dir).map_err(failed)?;
    let stat = in_root::stat(&parent, name).map_err(failed)?;
    let stat = stat.ok_or_else(|| FilesError::NotFound(shown(path)))?;
    Ok(Located { parent, name: name.to_vec(), stat, base: name.to_vec() })
}

/// As Docker's `ContainerPathStat`.
pub(super) fn describe(root: &InRoot, path: &[u8], located: &Located) -> Result<PathStat> {
    let stat = &located.stat;
    let link_target = match kind(stat) == SFlag::S_IFLNK {
        true => link_target(root, path, located).map_err(|error| fault(error, path))?,
        false => String::new(),
    };
    Ok(PathStat {
        name: String::from_utf8_lossy(&located.base).into_owned(),
        size: stat.st_size,
        mode: stat.st_mode,
        mtime_s: stat.st_mtime,
        mtime_ns: stat.st_mtime_nsec,
        link_target,
    })
}

/// Where a link leads in the end, absolute; also where nothing is.
fn link_target(root: &InRoot, path: &[u8], located: &Located) -> io::Result<String> {
    let whole = clean(path);
    let target = match root.open(&whole, OFlag::O_PATH) {
        Ok(found) => inside(root, &found)?,
        Err(error) if is_missing(&error) || error.raw_os_error() == Some(libc::ELOOP) => {
            let written = readlinkat(Some(located.parent.as_raw_fd()), os(&located.name)).map_err(errno)?;
            let written = written.as_bytes();
            let dir = &whole[..whole.len() - located.name.len()];
            if written.starts_with(b"/") { clean(written) } else { clean(&[dir, written].concat()) }
        }
        Err(error) => return Err(error),
    };
    Ok(format!("/{}", String::from_utf8_lossy(&target)))
}

/// The path of something open, from the root; without a slash in front.
pub(super) fn inside(root: &InRoot, found: &OwnedFd) -> io::Result<Vec<u8>> {
    let (root, found) = (std::fs::read_link(by_descriptor(root.root()))?, std::fs::read_link(by_descriptor(found))?);
    let below = found.strip_prefix(&root).map_err(|_| io::Error::from_raw_os_error(libc::EXDEV))?;
    Ok(below.as_os_str().as_bytes().to_vec())
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// A path for people.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

pub(super) fn fault(error: io::Error, path: &[u8]) -> FilesError {
    match error.raw_os_error() {
        Some(libc::ENOENT) => FilesError::NotFound(shown(path)),
        Some(libc::ENOTDIR) => FilesError::NotADirectory(shown(path)),
        Some(libc::EROFS) => FilesError::ReadOnly(shown(path)),
        Some(libc::ELOOP | libc::ENAMETOOLONG) => FilesError::Invalid(format!("{}: {error}", shown(path))),
        Some(_) | None => FilesError::Io { path: shown(path), source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::in_root::open_host_dir;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, InRoot) {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc/app")).expect("mkdir");
        fs::write(root.join("etc/app/file"), "hello").expect("write");
        fs::write(dir.path().join("secret"), "the host's").expect("write");
        symlink("/etc/app", root.join("absolute")).expect("link");
        symlink("../../secret", root.join("etc/above")).expect("link");
        symlink("/nowhere/at", root.join("dangling")).expect("link");
        let opened = InRoot::new(open_host_dir(&root).expect("open")).expect("root");
        (dir, opened)
    }

    fn stat(root: &InRoot, path: &str) -> Result<PathStat> {
        locate(root, path.as_bytes()).and_then(|located| describe(root, path.as_bytes(), &located))
    }

    #[test]
    fn a_path_names_what_it_would_name_in_the_container() {
        let (_dir, root) = tree();
        let file = stat(&root, "/absolute/file").expect("through a link");
        assert_eq!((file.name.as_str(), file.size, file.link_target.as_str()), ("file", 5, ""));
        let link = stat(&root, "absolute").expect("the link");
        assert_eq!((link.mode & libc::S_IFMT, link.link_target.as_str()), (libc::S_IFLNK, "/etc/app"));
        let entered = stat(&root, "absolute/").expect("what it leads to");
        assert_eq!((entered.mode & libc::S_IFMT, entered.name.as_str()), (libc::S_IFDIR, "absolute"));
        assert_eq!(stat(&root, "/dangling").expect("the link").link_target, "/nowhere/at");
        assert_eq!(stat(&root, "/").expect("the root").name, "/");
        assert_eq!(locate(&root, b"/etc/.").expect("a directory").base, b".");
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let (_dir, root) = tree();
        // As a process whose root this is: there is no way up from it.
        for path in ["/etc/above/", "/../secret", "/etc/../../secret", "/absolute/../../../secret"] {
            assert!(matches!(stat(&root, path), Err(FilesError::NotFound(_))), "{path}");
        }
        assert_eq!(stat(&root, "/etc/above").expect("the link").link_target, "/secret");
        assert!(matches!(stat(&root, "/etc/app/file/"), Err(FilesError::NotADirectory(_))));
    }
}
