//! Applies one layer (OCI image-spec, layer.md) to a directory that shows what the layers below made.
//!
//! The directory is an overlay mount of the lower layers with the new one on top, as the overlay file
//! system does the merging: a parent that the layer does not list keeps its owner and mode, a hard link to
//! a file of a lower layer works, and removing a file leaves the whiteout.

use super::decompress::{LimitedReader, decompress};
use super::in_root::{self, InRoot};
use super::kept::{Kept, TooMuch};
use super::tar_stream::{Entry, Kind, TarError, TarStream};
use crate::image::digest::{Digest, Hasher, HashingReader};
use crate::image::error::{ImageError, Result, is_disk_full};
use crate::image::tree;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;
/// Of a path in a message.
const SHOWN_CHARS_MAX: usize = 200;
/// Parts of a name; longer ones serve only to break tools.
const PATH_PARTS_MAX: usize = 200;

/// How much one layer may be. Generous: they exist to stop an archive made to fill the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the plain tar.
    pub plain_bytes_max: u64,
    /// Files, directories and links.
    pub entries_max: u64,
    /// Plain bytes per compressed byte, for what is above `ratio_free_bytes`. gzip cannot exceed 1032.
    pub ratio_max: u64,
    /// Plain bytes that any layer may have.
    pub ratio_free_bytes: u64,
    /// Memory for what must be remembered of the entries.
    pub kept_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plain_bytes_max: 128 << 30,
            entries_max: 4_000_000,
            ratio_max: 200,
            ratio_free_bytes: 2 << 30,
            kept_bytes_max: 128 << 20,
        }
    }
}

impl Limits {
    fn plain_bytes(&self, compressed_bytes: Option<u64>) -> u64 {
        let by_ratio = compressed_bytes.map_or(u64::MAX, |n| n.saturating_mul(self.ratio_max));
        self.plain_bytes_max.min(by_ratio.max(self.ratio_free_bytes))
    }
}

/// What came out of a layer.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// Bytes of all files in it.
    pub content_bytes: u64,
}

/// Unpacks `source` into `root`, whose path is `shown` in errors. `what` names the layer.
pub(crate) fn unpack(
    source: impl Read,
    compressed_bytes: Option<u64>,
    root: OwnedFd,
    shown: &Path,
    what: &str,
    limits: &Limits,
) -> Result<Unpacked> {
    let bad = |reason: String| ImageError::BadLayer { what: what.to_owned(), reason };
    let plain = decompress(source).map_err(|e| bad(e.to_string()))?;
    let limited = LimitedReader::new(plain, limits.plain_bytes(compressed_bytes));
    let mut hashing = HashingReader::new(limited, Hasher::sha256());
    let mut stream = TarStream::new(&mut hashing);
    let mut layer = Layer {
        root: InRoot::new(root).map_err(|e| ImageError::io("cannot find", shown, e))?,
        kept: Kept::new(limits.kept_bytes_max),
        parent: None,
        content_bytes: 0,
        buffer: vec![0; COPY_BYTES],
    };
    let mut entries = 0;
    let result = loop {
        match stream.next_entry() {
            Err(e) => break Err(Fault::from(e)),
            Ok(None) => break layer.set_directory_times().and_then(|()| Ok(stream.drain().map_err(TarError::Read)?)),
            Ok(Some(entry)) => {
                entries += 1;
                if entries > limits.entries_max {
                    break Err(Fault::Bad(format!("it has more than {} entries", limits.entries_max)));
                }
                if let Err(fault) = layer.apply(&entry, &mut stream) {
                    break Err(fault.at(&entry.path));
                }
            }
        }
    };
    let content_bytes = layer.content_bytes;
    drop(layer);
    match result {
        Ok(()) => Ok(Unpacked { diff_id: hashing.finish().0, content_bytes }),
        Err(Fault::Bad(reason)) => Err(bad(reason)),
        Err(Fault::Disk(e)) if is_disk_full(&e) => Err(ImageError::io("", shown, e)),
        Err(Fault::Disk(e)) => Err(bad(e.to_string())),
    }
}

/// Whose fault it is.
#[derive(Debug)]
enum Fault {
    /// The archive's.
    Bad(String),
    /// Making something failed; the archive's (a file where a directory should be) or the disk's.
    Disk(io::Error),
}

impl Fault {
    fn at(self, path: &[u8]) -> Self {
        let path = shown(path);
        match self {
            Fault::Bad(reason) => Fault::Bad(format!("{path}: {reason}")),
            Fault::Disk(e) if is_disk_full(&e) => Fault::Disk(e),
            Fault::Disk(e) => Fault::Bad(format!("{path}: {e}")),
        }
    }
}

/// A path of an archive for people: a hostile one is long, or holds what a terminal would obey.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Fault::Disk(e)
    }
}

impl From<TooMuch> for Fault {
    fn from(_: TooMuch) -> Self {
        Fault::Bad("the layer has too many different paths".into())
    }
}

impl From<TarError> for Fault {
    fn from(e: TarError) -> Self {
        Fault::Bad(e.reason())
    }
}

struct Layer {
    root: InRoot,
    /// Times of directories are set last: making files changes them.
    kept: Kept,
    /// The directory of the last entry, which most often is that of the next.
    parent: Option<(Vec<u8>, OwnedFd)>,
    content_bytes: u64,
    buffer: Vec<u8>,
}

impl Layer {
    fn apply<R: Read>(&mut self, entry: &Entry, stream: &mut TarStream<R>) -> std::result::Result<(), Fault> {
        let path = clean(&entry.path)?;
        let Some((dir, name)) = split(&path) else {
            if entry.kind != Kind::Directory {
                return Err(Fault::Bad("the root of the image is not a directory".into()));
            }
            let root = self.root.open_dir(b"")?;
            set_attributes(&root, b".", entry)?;
            self.kept.set_time(b"", (entry.mtime_s, entry.mtime_ns))?;
            return Ok(());
        };
        let parent = self.open_parent(dir)?;
        let result = match name.strip_prefix(b".wh.") {
            Some(hidden) => self.whiteout(&parent, dir, hidden),
            None => self.make(&parent, &path, name, entry, stream),
        };
        if self.parent.is_none() {
            self.parent = Some((dir.to_vec(), parent));
        }
        result
    }

    /// Takes the kept parent out; the caller puts it back unless something was removed meanwhile.
    fn open_parent(&mut self, dir: &[u8]) -> std::result::Result<OwnedFd, Fault> {
        match self.parent.take() {
            Some((path, fd)) if path == dir => Ok(fd),
            Some(_) | None => Ok(self.root.open_or_make_dir(dir)?),
        }
    }

    /// `.wh.x` hides x of the layers below, `.wh..wh..opq` all they have in this directory (layer.md, "Whiteouts").
    fn whiteout(&mut self, parent: &OwnedFd, dir: &[u8], hidden: &[u8]) -> std::result::Result<(), Fault> {
        if hidden == b".wh..opq" {
            return Ok(self.hide_lower(parent, dir)?);
        }
        if hidden.starts_with(b".wh.") {
            return Ok(()); // bookkeeping of aufs
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Fault::Bad("a whiteout without a name".into()));
        }
        let path = join(dir, hidden);
        match in_root::stat(parent, hidden)? {
            None => {}
            Some(_) if !self.kept.contains(&path) => tree::remove(parent, hidden)?,
            Some(stat) if in_root::is_dir(&stat) => {
                let hidden = tree::open_child_dir(parent, hidden)?;
                self.hide_lower(&hidden, &path)?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Removes from `dir` what this layer has not made.
    fn hide_lower(&self, dir: &OwnedFd, path: &[u8]) -> io::Result<()> {
        for name in tree::children(dir)? {
            let child = join(path, &name);
            if !self.kept.contains(&child) {
                tree::remove(dir, &name)?;
            } else if in_root::stat(dir, &name)?.is_some_and(|s| in_root::is_dir(&s)) {
                self.hide_lower(&tree::open_child_dir(dir, &name)?, &child)?;
            }
        }
        Ok(())
    }

    fn make<R: Read>(
        &mut self,
        parent: &OwnedFd,
        path: &[u8],
        name: &[u8],
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> std::result::Result<(), Fault> {
        if entry.kind == Kind::CharDevice && (entry.major, entry.minor) == (0, 0) {
            return Err(Fault::Bad("character device 0:0 is how overlayfs marks removed files".into()));
        }
        let there = in_root::stat(parent, name)?;
        let keep = entry.kind == Kind::Directory && there.as_ref().is_some_and(in_root::is_dir);
        let is_self = entry.kind == Kind::HardLink && clean(&entry.link)? == path;
        if is_self {
            return if there.is_some() { Ok(()) } else { Err(Fault::Bad("a hard link to itself".into())) };
        }
        if there.is_some() && !keep {
            tree::remove(parent, name)?;
            self.parent = None;
        }
        match entry.kind {
            Kind::File => self.write_file(parent, name, entry, stream)?,
            Kind::HardLink => self.link(parent, name, entry)?,
            Kind::Directory if keep => {}
            Kind::Directory | Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                in_root::make_node(parent, name, entry)?;
            }
        }
        self.kept.insert(path)?;
        if entry.kind == Kind::HardLink {
            return Ok(()); // shares everything with its target
        }
        set_attributes(parent, name, entry)?;
        if entry.kind == Kind::Directory {
            self.kept.set_time(path, (entry.mtime_s, entry.mtime_ns))?;
        } else {
            in_root::set_mtime(parent, name, entry.mtime_s, entry.mtime_ns)?;
        }
        Ok(())
    }

    fn write_file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> std::result::Result<(), Fault> {
        let mut file = in_root::create_file(parent, name)?;
        loop {
            // A fault here is the archive's, unlike one of writing.
            let n = match stream.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Fault::Bad(e.to_string())),
            };
            file.write_all(&self.buffer[..n])?;
        }
        self.content_bytes += entry.size;
        Ok(())
    }

    fn link(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> std::result::Result<(), Fault> {
        let target = clean(&entry.link)?;
        let missing = || Fault::Bad(format!("a hard link to {}, which is not in the image", shown(&entry.link)));
        let (dir, target_name) = split(&target).ok_or_else(missing)?;
        let from = self.root.open_dir(dir).map_err(|_| missing())?;
        match in_root::stat(&from, target_name)? {
            None => Err(missing()),
            Some(stat) if in_root::is_dir(&stat) => Err(Fault::Bad("a hard link to a directory".into())),
            Some(_) => Ok(in_root::hard_link(&from, target_name, parent, name)?),
        }
    }

    fn set_directory_times(&mut self) -> std::result::Result<(), Fault> {
        for (path, (seconds, ns)) in self.kept.take_times() {
            let Some((dir, name)) = split(&path) else {
                in_root::set_mtime(self.root.root(), b".", seconds, ns)?;
                continue;
            };
            // A later entry may have put something else there.
            let Ok(parent) = self.root.open_dir(dir) else { continue };
            if in_root::stat(&parent, name)?.is_some_and(|s| in_root::is_dir(&s)) {
                in_root::set_mtime(&parent, name, seconds, ns)?;
            }
        }
        Ok(())
    }
}

/// Owner first, as changing it clears set-id bits and capabilities.
fn set_attributes(parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
    in_root::chown(parent, name, entry.uid, entry.gid)?;
    if entry.kind != Kind::Symlink {
        in_root::chmod(parent, name, entry.mode)?;
    }
    for (key, value) in &entry.xattrs {
        if !may_set(key) {
            continue;
        }
        match in_root::set_xattr(parent, name, key, value) {
            // Not every file system has every attribute, and links may not have those of users: as Docker does.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {}
            done => done?,
        }
    }
    Ok(())
}

/// `trusted.*` would speak to overlayfs in our name, and labels of the builder's host mean nothing here.
fn may_set(key: &[u8]) -> bool {
    let user = key.starts_with(b"user.") && !key.starts_with(b"user.overlay.");
    user || key == b"security.capability" || key.starts_with(b"system.posix_acl_")
}

/// The path without `/` in front, `.` and `..`; one that leads out of the root is an error.
fn clean(path: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or_else(|| Fault::Bad("a path leads out of the image".into()))?;
            }
            part => parts.push(part),
        }
    }
    if parts.len() > PATH_PARTS_MAX {
        return Err(Fault::Bad(format!("a path has more than {PATH_PARTS_MAX} parts")));
    }
    Ok(parts.join(&b'/'))
}

/// Directory and name; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
