//! File operations that cannot leave a directory, whatever names and links an archive holds.
//!
//! A parent directory is found by openat2(2) with RESOLVE_IN_ROOT, which takes `..` and absolute links as
//! a process with that root would; the last part of a name is never followed. Nobody else writes in the
//! tree meanwhile: it belongs to one unpacking and lies where only root may enter.

use super::tar_stream::{Entry, Kind};
use crate::image::tree::{errno, os};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// The mode of directories that a layer uses but does not list, if no layer below has them.
const IMPLIED_DIRECTORY_MODE: u32 = 0o755;

/// Times a lookup through `..` is repeated: any rename or mount on the host while it runs makes the kernel
/// unsure and say EAGAIN (openat2(2)).
const RACES_MAX: u32 = 10_000;

/// Directories within each other in an image. Links let short names reach deep ones, and what walks a tree
/// needs memory for each level.
const DEPTH_MAX: usize = 200;

/// The directory nothing leaves.
pub(crate) struct InRoot {
    root: OwnedFd,
    /// Parts of the path of the root on the host.
    root_parts: usize,
}

impl InRoot {
    pub(crate) fn new(root: OwnedFd) -> io::Result<Self> {
        let root_parts = host_path_parts(&root)?;
        Ok(Self { root, root_parts })
    }

    /// The root itself.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens an existing directory; links on the way stay inside.
    pub(crate) fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// Opens what is there; links stay inside, and the last part is followed unless `flags` say otherwise.
    pub(crate) fn open(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..RACES_MAX {
            match openat2(self.root.as_raw_fd(), os(path), how) {
                Err(Errno::EAGAIN) => std::thread::yield_now(),
                // SAFETY: openat2 just gave us this descriptor; nothing else owns it.
                done => return done.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).map_err(errno),
            }
        }
        Err(errno(Errno::EAGAIN))
    }

    /// Opens a directory to put something into, and makes what is missing of it.
    pub(crate) fn open_or_make_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let dir = self.find_or_make_dir(path)?;
        if host_path_parts(&dir)? > self.root_parts + DEPTH_MAX {
            return Err(io::Error::other(format!("more than {DEPTH_MAX} directories within each other")));
        }
        Ok(dir)
    }

    fn find_or_make_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        match self.open_dir(path) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            done => return done,
        }
        let mut parent = self.open_dir(b"")?;
        let mut end = 0;
        for part in path.split(|b| *b == b'/') {
            end += part.len();
            let prefix = &path[..end];
            end += 1;
            parent = match self.open_dir(prefix) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    mkdirat(Some(parent.as_raw_fd()), os(part), Mode::from_bits_truncate(IMPLIED_DIRECTORY_MODE))
                        .map_err(errno)?;
                    // mkdir is subject to the umask.
                    chmod(&parent, part, IMPLIED_DIRECTORY_MODE)?;
                    self.open_dir(prefix)?
                }
                done => done?,
            };
        }
        Ok(parent)
    }
}

/// How deep a directory lies, links resolved. One whose path is longer than PATH_MAX is an error.
fn host_path_parts(dir: &OwnedFd) -> io::Result<usize> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
    Ok(path.components().count())
}

/// What is at `name`, itself and not where it links to.
pub(crate) fn stat(parent: &OwnedFd, name: &[u8]) -> io::Result<Option<FileStat>> {
    match fstatat(Some(parent.as_raw_fd()), os(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(errno(e)),
    }
}

pub(crate) fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Makes a new file for writing.
pub(crate) fn create_file(parent: &OwnedFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(Some(parent.as_raw_fd()), os(name), flags, Mode::from_bits_truncate(0o600)).map_err(errno)?;
    // SAFETY: openat just gave us this descriptor; nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes whatever the entry is but files and hard links.
pub(crate) fn make_node(parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
    let at = Some(parent.as_raw_fd());
    let private = Mode::from_bits_truncate(0o600);
    let device = || makedev(entry.major.into(), entry.minor.into());
    match entry.kind {
        Kind::Directory => mkdirat(at, os(name), Mode::from_bits_truncate(0o700)),
        Kind::Symlink => symlinkat(os(&entry.link), at, os(name)),
        Kind::CharDevice => mknodat(at, os(name), SFlag::S_IFCHR, private, device()),
        Kind::BlockDevice => mknodat(at, os(name), SFlag::S_IFBLK, private, device()),
        Kind::Fifo => mknodat(at, os(name), SFlag::S_IFIFO, private, 0),
        Kind::File | Kind::HardLink => Err(Errno::EINVAL),
    }
    .map_err(errno)
}

/// Gives `name` in `parent` a second name.
pub(crate) fn hard_link(from: &OwnedFd, from_name: &[u8], parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    linkat(Some(from.as_raw_fd()), os(from_name), Some(parent.as_raw_fd()), os(name), AtFlags::empty()).map_err(errno)
}

/// Owner, of a link itself.
pub(crate) fn chown(parent: &OwnedFd, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(Some(parent.as_raw_fd()), os(name), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(errno)
}

/// Permissions of what is known not to be a link.
pub(crate) fn chmod(parent: &OwnedFd, name: &[u8], mode: u32) -> io::Result<()> {
    fchmodat(Some(parent.as_raw_fd()), os(name), Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
        .map_err(errno)
}

/// Modification time, of a link itself; the access time is the same.
pub(crate) fn set_mtime(parent: &OwnedFd, name: &[u8], seconds: i64, ns: i64) -> io::Result<()> {
    let time = TimeSpec::new(seconds, ns);
    utimensat(Some(parent.as_raw_fd()), os(name), &time, &time, UtimensatFlags::NoFollowSymlink).map_err(errno)
}

/// An extended attribute, of a link itself.
pub(crate) fn set_xattr(parent: &OwnedFd, name: &[u8], key: &[u8], value: &[u8]) -> io::Result<()> {
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    let (path, key) = (CString::new(path)?, CString::new(key)?);
    // SAFETY: both strings end in a zero byte, the value is valid for its length; the kernel keeps none of them.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a directory of the host.
pub(crate) fn open_host_dir(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).open(path)?;
    Ok(file.into())
}
