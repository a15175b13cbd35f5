//! Writes what is in a container as a tar stream, while others may change it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use tar::{Builder, EntryType, Header};

use super::resolve::{Located, kind};
use super::view::by_descriptor;
use crate::image::layer::in_root;
use crate::image::tree::{children, errno, open_child_dir, os};

/// Directories within each other: each is open while those below it are written.
const DEPTH_MAX: usize = 200;
/// Files with several names that are remembered; the names of further ones are written as files of their own.
const LINKS_MAX: usize = 1 << 20;
/// Bytes of a name in a header.
const NAME_BYTES: usize = 100;
/// File systems that are views of the kernel: without end, and nothing of the container's.
const KERNEL_VIEWS: [FsType; 4] = [
    FsType(libc::PROC_SUPER_MAGIC),
    FsType(libc::SYSFS_MAGIC),
    FsType(libc::CGROUP_SUPER_MAGIC),
    FsType(libc::CGROUP2_SUPER_MAGIC),
];

/// A tar stream in the making.
pub(super) struct Packer<W: Write> {
    tar: Builder<W>,
    /// Names of files that have several, by device and number.
    links: BTreeMap<(u64, u64), Vec<u8>>,
}

/// A directory that is being written.
struct Level {
    dir: OwnedFd,
    device: u64,
    /// With a slash at its end; empty at the top of an export.
    path: Vec<u8>,
    /// In reverse order.
    rest: Vec<Vec<u8>>,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { tar: Builder::new(out), links: BTreeMap::new() }
    }

    /// Writes what was found, and all below it, below `name`: kept as it is, also `.` and `/`, as Docker's clients put
    /// another in its place. Empty: only what is below.
    pub(super) fn tree(&mut self, top: &Located, name: &[u8]) -> io::Result<()> {
        let mut levels = Vec::new();
        levels.extend(self.entry(&top.parent, &top.name, name, &top.stat)?);
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.rest.pop() else {
                levels.pop();
                continue;
            };
            // What goes meanwhile is left out.
            let Some(stat) = in_root::stat(&level.dir, &name)? else { continue };
            let path = [&level.path[..], &name].concat();
            let device = level.device;
            let Some(below) = self.entry(&level.dir, &name, &path, &stat)? else { continue };
            if levels.len() >= DEPTH_MAX {
                return Err(io::Error::other(format!("more than {DEPTH_MAX} directories within each other")));
            }
            if below.device == device || !is_kernel_view(&below.dir) {
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.tar.finish()?;
        self.tar.get_mut().flush()
    }

    /// One entry; the directory it is, to go on with.
    fn entry(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8], stat: &FileStat) -> io::Result<Option<Level>> {
        let mut header = header(stat);
        let entry_type = match kind(stat) {
            SFlag::S_IFREG => return self.file(parent, name, path, header).map(|()| None),
            SFlag::S_IFDIR => return self.directory(parent, name, path, header),
            SFlag::S_IFLNK => {
                header.set_entry_type(EntryType::Symlink);
                let Some(target) = gone(readlinkat(Some(parent.as_raw_fd()), os(name)))? else { return Ok(None) };
                return self.append(header, path, target.as_bytes(), io::empty()).map(|()| None);
            }
            SFlag::S_IFCHR => EntryType::Char,
            SFlag::S_IFBLK => EntryType::Block,
            SFlag::S_IFIFO => EntryType::Fifo,
            // A socket is of no use to anybody else.
            _ => return Ok(None),
        };
        header.set_entry_type(entry_type);
        if entry_type != EntryType::Fifo {
            header.set_device_major(u32::try_from(major(stat.st_rdev)).unwrap_or(0))?;
            header.set_device_minor(u32::try_from(minor(stat.st_rdev)).unwrap_or(0))?;
        }
        self.append(header, path, b"", io::empty()).map(|()| None)
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        mut header: Header,
    ) -> io::Result<Option<Level>> {
        let dir = match open_child_dir(parent, name) {
            Ok(dir) => dir,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut path = path.to_vec();
        if !path.is_empty() {
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            header.set_entry_type(EntryType::Directory);
            self.append(header, &path, b"", io::empty())?;
        }
        let mut rest = children(&dir)?;
        rest.sort_by(|a, b| b.cmp(a));
        let device = fstat(dir.as_raw_fd()).map_err(errno)?.st_dev;
        Ok(Some(Level { dir, device, path, rest }))
    }

    fn file(&mut self, parent: &OwnedFd, name: &[u8], path: &[u8], mut header: Header) -> io::Result<()> {
        // Looked at before it is opened for reading: it may have become a device, which opening alone sets going.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Some(fd) = gone(openat(Some(parent.as_raw_fd()), os(name), flags, Mode::empty()))? else { return Ok(()) };
        // SAFETY: openat just gave us this descriptor; nothing else owns it.
        let found = unsafe { OwnedFd::from_raw_fd(fd) };
        let stat = fstat(found.as_raw_fd()).map_err(errno)?;
        if kind(&stat) != SFlag::S_IFREG {
            return Ok(());
        }
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity).cloned() {
                header.set_entry_type(EntryType::Link);
                return self.append(header, path, &first, io::empty());
            }
            if self.links.len() < LINKS_MAX {
                self.links.insert(identity, path.to_owned());
            }
        }
        let file = File::open(by_descriptor(&found))?;
        if let Some(value) = capability(&file) {
            self.tar.append_pax_extensions([("SCHILY.xattr.security.capability", value.as_slice())])?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        header.set_entry_type(EntryType::Regular);
        self.append(header, path, b"", Exactly { file, left: size })
    }

    /// Writes an entry whose names stay as they are. Long ones come before it (GNU tar, "LongLink").
    fn append(&mut self, mut header: Header, path: &[u8], link: &[u8], content: impl Read) -> io::Result<()> {
        for (name, kind) in [(link, EntryType::GNULongLink), (path, EntryType::GNULongName)] {
            if name.len() > NAME_BYTES {
                let mut long = Header::new_gnu();
                long.set_entry_type(kind);
                long.set_mode(0o644);
                long.set_size(name.len() as u64 + 1);
                put(&mut long.as_old_mut().name, b"././@LongLink");
                long.set_cksum();
                self.tar.append(&long, name.chain(&b"\0"[..]))?;
            }
        }
        put(&mut header.as_old_mut().name, path);
        put(&mut header.as_old_mut().linkname, link);
        header.set_cksum();
        self.tar.append(&header, content)
    }
}

/// As much of a name as fits.
fn put(field: &mut [u8; NAME_BYTES], name: &[u8]) {
    let length = name.len().min(NAME_BYTES);
    field[..length].copy_from_slice(&name[..length]);
}

fn header(stat: &FileStat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// `None` for what went, or became a link, after it was listed.
fn gone<T>(result: nix::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ELOOP | Errno::EINVAL | Errno::ENXIO) => Ok(None),
        Err(error) => Err(errno(error)),
    }
}

fn is_kernel_view(dir: &OwnedFd) -> bool {
    fstatfs(dir).is_ok_and(|of| KERNEL_VIEWS.contains(&of.filesystem_type()))
}

/// What lets a program do more than its user: lost, it no longer works.
fn capability(file: &File) -> Option<Vec<u8>> {
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut value = [0u8; 64];
    // SAFETY: both strings end in a zero byte and the buffer's true length is given; the kernel keeps none of them.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    usize::try_from(length).ok().filter(|length| *length > 0).map(|length| value[..length].to_vec())
}

/// As many bytes as the header promised, whatever became of the file.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..most];
        let count = match self.file.read(buffer)? {
            0 => {
                buffer.fill(0);
                most
            }
            count => count,
        };
        self.left -= count as u64;
        Ok(count)
    }
}
