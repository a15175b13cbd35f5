//! Copying a directory tree as it is: owners, modes, times, attributes, links, devices. Never follows a link.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::shim::open;

/// Depth of a tree: file systems take paths of 4096 bytes, so no real one is deeper.
const DEPTH_MAX: usize = 2_048;
/// Bytes of one extended attribute's value (XATTR_SIZE_MAX) and of the list of names (XATTR_LIST_MAX).
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// A directory inside a root file system, held open.
pub(super) struct Source {
    _dir: File,
    path: PathBuf,
}

/// The directory at `target`, with `rootfs` as `/`; `None` when there is none.
pub(super) fn source(rootfs: &Path, target: &Path) -> io::Result<Option<Source>> {
    let target = target.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    match open::in_root(rootfs, target, libc::O_RDONLY | libc::O_DIRECTORY) {
        Ok(dir) => {
            let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
            Ok(Some(Source { _dir: dir, path }))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes `target` a copy of the source directory.
pub(super) fn tree(source: &Source, target: &Path) -> io::Result<()> {
    let meta = fs::metadata(&source.path)?;
    let mut links = HashMap::new();
    directory(&source.path, target, &meta, &mut links, 0)
}

type Links = HashMap<(u64, u64), PathBuf>;

fn directory(from: &Path, to: &Path, meta: &fs::Metadata, links: &mut Links, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the tree is too deep"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&from)?;
        if meta.is_dir() {
            directory(&from, &to, &meta, links, depth + 1)?;
            continue;
        }
        if meta.nlink() > 1 {
            if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
                fs::hard_link(first, &to)?;
                continue;
            }
            links.insert((meta.dev(), meta.ino()), to.clone());
        }
        leaf(&from, &to, &meta)?;
    }
    attributes(from, to, meta)
}

fn leaf(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
        let path = c_path(to)?;
        // SAFETY: the path outlives the call.
        if unsafe { libc::mknod(path.as_ptr(), meta.mode(), meta.rdev()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    } else {
        return Ok(()); // A socket has no content and no meaning without its process.
    }
    attributes(from, to, meta)
}

/// Owner before mode and attributes: a change of owner takes set-user-id bits and file capabilities away.
pub(super) fn attributes(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    if !meta.is_symlink() {
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    // The source directory itself is named by a link of /proc, which must be followed.
    let from = if meta.is_dir() { from.join(".") } else { from.to_owned() };
    extended(&from, to)?;
    let time = |seconds, nanos| libc::timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = [time(meta.atime(), meta.atime_nsec()), time(meta.mtime(), meta.mtime_nsec())];
    let path = c_path(to)?;
    // SAFETY: path and times outlive the call.
    let set = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
    if set != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Extended attributes. A file system without them copies none.
fn extended(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    let mut names = vec![0u8; ATTRIBUTE_BYTES_MAX];
    // SAFETY: the buffer outlives the call and its true length is given.
    let count = unsafe { libc::llistxattr(from.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(count) = usize::try_from(count) else {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(()) } else { Err(error) };
    };
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name)?;
        let mut value = vec![0u8; ATTRIBUTE_BYTES_MAX];
        // SAFETY: the buffer outlives the call and its true length is given.
        let length = unsafe { libc::lgetxattr(from.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        let Ok(length) = usize::try_from(length) else { continue };
        // SAFETY: names and value outlive the call and the value's true length is given.
        let set = unsafe { libc::lsetxattr(to.as_ptr(), name.as_ptr(), value.as_ptr().cast(), length, 0) };
        if set != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EOPNOTSUPP) {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}
