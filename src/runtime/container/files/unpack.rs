//! Makes what a tar stream holds in a container, while others may change it there.
//!
//! Differs from the unpacking of layers: nothing is hidden by name, what is there may be kept from being replaced, and
//! the container may rename and link while this goes on. So whatever is written to is open, and known for what it is.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchown};

use super::resolve::{clean, fault, kind, shown};
use super::view::by_descriptor;
use super::{FilesError, Result, WriteOptions};
use crate::image::layer::in_root::{self, InRoot};
use crate::image::layer::tar_stream::{Entry, Kind, TarError, TarStream};
use crate::image::tree::{self, errno, open_child_dir, os};

/// Entries of one archive: as in a layer, more than any tree that somebody copies.
const ENTRIES_MAX: u64 = 4_000_000;
/// Directories whose time is set at the end; those beyond have the time of the copy.
const DIRECTORIES_MAX: usize = 1 << 18;
/// Bytes copied at a time.
const COPY_BYTES: usize = 128 << 10;
/// Attributes that are the file system's own.
const OVERLAY_ATTRIBUTES: &[u8] = b"trusted.overlay.";

/// Unpacks into the directory at `dest`, a path inside the root. `owner`: user and group of everything, in place of the
/// archive's.
pub(super) fn unpack(
    root: &InRoot,
    dest: &[u8],
    archive: impl Read,
    options: &WriteOptions,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let mut stream = TarStream::new(archive);
    let mut work = Unpacking { root, dest, options, owner, times: Vec::new(), buffer: vec![0; COPY_BYTES] };
    let mut entries = 0;
    while let Some(entry) = stream.next_entry().map_err(bad)? {
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(FilesError::Invalid(format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        work.apply(&entry, &mut stream)?;
    }
    work.set_directory_times();
    Ok(())
}

fn bad(error: TarError) -> FilesError {
    FilesError::Invalid(format!("the archive cannot be read: {}", error.reason()))
}

/// Inside the archive: without `.` and doubled slashes, and never above its top.
fn inside(path: &[u8]) -> Result<Vec<u8>> {
    let mut depth = 0usize;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let out = || FilesError::Invalid(format!("the archive names {}, which is outside of it", shown(path)));
                depth = depth.checked_sub(1).ok_or_else(out)?;
            }
            _ => depth += 1,
        }
    }
    Ok(clean(path))
}

struct Unpacking<'a> {
    root: &'a InRoot,
    dest: &'a [u8],
    options: &'a WriteOptions,
    owner: Option<(u32, u32)>,
    /// Of directories: making files in them changes theirs.
    times: Vec<(Made, i64, i64)>,
    buffer: Vec<u8>,
}

/// Where a directory was made, and which it is.
struct Made {
    path: Vec<u8>,
    device: u64,
    number: u64,
}

impl Unpacking<'_> {
    fn full(&self, path: &[u8]) -> Vec<u8> {
        clean(&[self.dest, path].join(&b'/'))
    }

    fn apply<R: Read>(&mut self, entry: &Entry, stream: &mut TarStream<R>) -> Result<()> {
        let path = inside(&entry.path)?;
        let full = self.full(&path);
        let failed = |error: io::Error| fault(error, &full);
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                return Err(FilesError::Invalid("the top of the archive is not a directory".to_owned()));
            }
            return Ok(()); // It is where the archive is unpacked, and stays as it is.
        }
        let at = full.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = at.map_or((&full[..0], &full[..]), |at| (&full[..at], &full[at + 1..]));
        let parent = self.root.open_or_make_dir(dir).map_err(failed)?;
        let keep = self.make_room(&parent, name, &full, entry)?;
        match entry.kind {
            Kind::File => match self.file(&parent, name, entry, stream) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(bad(TarError::Read(error))),
                done => done.map_err(failed)?,
            },
            Kind::HardLink => return self.link(&parent, name, entry),
            Kind::Directory if keep => {}
            Kind::Directory | Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                in_root::make_node(&parent, name, entry).map_err(failed)?;
            }
        }
        match entry.kind {
            Kind::File | Kind::HardLink => Ok(()),
            Kind::Directory => self.directory(&parent, name, &full, entry).map_err(failed),
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.node(&parent, name, entry).map_err(failed)
            }
        }
    }

    /// Takes away what is in the way; true for a directory that stays.
    fn make_room(&self, parent: &OwnedFd, name: &[u8], full: &[u8], entry: &Entry) -> Result<bool> {
        let Some(there) = in_root::stat(parent, name).map_err(|error| fault(error, full))? else { return Ok(false) };
        let (is_dir, makes_dir) = (in_root::is_dir(&there), entry.kind == Kind::Directory);
        if is_dir && makes_dir {
            return Ok(true);
        }
        if self.options.no_overwrite_dir_non_dir && is_dir != makes_dir {
            let (old, new) = if is_dir { ("directory", "non-directory") } else { ("non-directory", "directory") };
            return Err(FilesError::Invalid(format!("cannot overwrite {old} \"/{}\" with {new}", shown(full))));
        }
        tree::remove(parent, name).map_err(|error| fault(error, full))?;
        Ok(false)
    }

    fn file<R: Read>(&mut self, at: &OwnedFd, name: &[u8], entry: &Entry, from: &mut TarStream<R>) -> io::Result<()> {
        let mut file = in_root::create_file(at, name)?;
        loop {
            match from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => file.write_all(&self.buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.attributes(file.as_raw_fd(), entry)?;
        let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::new(
            u64::try_from(entry.mtime_s).unwrap_or(0),
            u32::try_from(entry.mtime_ns).unwrap_or(0),
        ));
        time.map_or(Ok(()), |time| file.set_modified(time))
    }

    /// Owner first: changing it takes the set-id bits away.
    fn attributes(&self, fd: i32, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(errno)?;
        for (key, value) in &entry.xattrs {
            set_attribute(fd, key, value)?;
        }
        fchmod(fd, Mode::from_bits_truncate(entry.mode)).map_err(errno)
    }

    fn directory(&mut self, parent: &OwnedFd, name: &[u8], full: &[u8], entry: &Entry) -> io::Result<()> {
        let dir = open_child_dir(parent, name)?;
        self.attributes(dir.as_raw_fd(), entry)?;
        if self.times.len() < DIRECTORIES_MAX {
            let stat = fstat(dir.as_raw_fd()).map_err(errno)?;
            let identity = Made { path: full.to_vec(), device: stat.st_dev, number: stat.st_ino };
            self.times.push((identity, entry.mtime_s, entry.mtime_ns));
        }
        Ok(())
    }

    /// Owner, mode and time of what cannot be opened for itself.
    fn node(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(Some(parent.as_raw_fd()), os(name), flags, Mode::empty()).map_err(errno)?;
        // SAFETY: openat just gave us this descriptor; nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        in_root::chown(parent, name, uid, gid)?;
        let stat = fstat(fd.as_raw_fd()).map_err(errno)?;
        if kind(&stat) != SFlag::S_IFLNK {
            let mode = Mode::from_bits_truncate(entry.mode);
            fchmodat(None, &by_descriptor(&fd), mode, FchmodatFlags::FollowSymlink).map_err(errno)?;
        }
        in_root::set_mtime(parent, name, entry.mtime_s, entry.mtime_ns)
    }

    fn link(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let target = self.full(&inside(&entry.link)?);
        let failed = |error: io::Error| fault(error, &target);
        let at = target.iter().rposition(|byte| *byte == b'/');
        let (dir, last) = at.map_or((&target[..0], &target[..]), |at| (&target[..at], &target[at + 1..]));
        let from = self.root.open_dir(dir).map_err(failed)?;
        in_root::hard_link(&from, last, parent, name).map_err(failed)
    }

    /// What has become something else meanwhile keeps its time.
    fn set_directory_times(&mut self) {
        for (made, seconds, ns) in self.times.drain(..).rev() {
            let Ok(dir) = self.root.open_dir(&made.path) else { continue };
            if fstat(dir.as_raw_fd()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (made.device, made.number)) {
                let _ = in_root::set_mtime(&dir, b".", seconds, ns);
            }
        }
    }
}

fn set_attribute(fd: i32, key: &[u8], value: &[u8]) -> io::Result<()> {
    if key.starts_with(OVERLAY_ATTRIBUTES) {
        return Err(io::Error::other(format!("the attribute {} cannot be set", shown(key))));
    }
    let key = std::ffi::CString::new(key)?;
    // SAFETY: the key ends in a zero byte, the value is valid for its length; the kernel keeps neither.
    let done = unsafe { libc::fsetxattr(fd, key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    match done {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Docker leaves out what the file system does not take, too.
            error if error.raw_os_error() == Some(libc::ENOTSUP) => {
                tracing::debug!(key = ?key, "an extended attribute was not copied: its file system has none");
                Ok(())
            }
            error => Err(error),
        },
    }
}
