//! Takes an archive of an image apart on disk, as what describes it may come after what it describes.

use crate::image::digest::{Digest, Hasher};
use crate::image::disk::{self, Scratch};
use crate::image::error::{ImageError, Result};
use crate::image::layer::decompress;
use crate::image::layer::tar_stream::{Entry, Kind, TarStream};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Files in an archive; one image has three for each layer.
const MEMBERS_MAX: usize = 20_000;
/// Links followed from one name in an archive to the file; old `docker save` uses one.
const LINKS_MAX: usize = 8;
/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

enum Member {
    File {
        path: PathBuf,
        bytes: u64,
        sha256: Digest,
    },
    /// Path within the archive, cleaned.
    Link(String),
}

/// The files of an archive by their cleaned name; deleted when dropped.
pub(super) struct Spool {
    _scratch: Scratch,
    members: HashMap<String, Member>,
}

/// A file of the archive, on disk.
pub(super) struct Found<'a> {
    pub path: &'a Path,
    pub bytes: u64,
    pub sha256: &'a Digest,
}

pub(super) fn bad(reason: impl Into<String>) -> ImageError {
    ImageError::BadArchive { reason: reason.into() }
}

impl Spool {
    /// Reads the whole archive, compressed or not.
    pub(super) fn read(archive: impl Read, tmp: &Path) -> Result<Self> {
        let scratch = Scratch::directory(tmp, "load")?;
        let plain = decompress(archive).map_err(|e| bad(e.to_string()))?;
        let mut stream = TarStream::new(plain);
        let mut members = HashMap::new();
        let mut buffer = vec![0; COPY_BYTES];
        while let Some(entry) = stream.next_entry().map_err(|e| bad(e.reason()))? {
            if members.len() >= MEMBERS_MAX {
                return Err(ImageError::TooBig { what: "the archive".into(), limit: format!("{MEMBERS_MAX} files") });
            }
            let name = clean(&entry.path)?;
            match entry.kind {
                Kind::File => {
                    let path = scratch.path().join(members.len().to_string());
                    let (sha256, bytes) = copy(&mut stream, &path, &mut buffer)?;
                    members.insert(name, Member::File { path, bytes, sha256 });
                }
                Kind::Symlink | Kind::HardLink => {
                    let target = link_target(&name, &entry)?;
                    members.insert(name, Member::Link(target));
                }
                Kind::Directory | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {}
            }
        }
        if members.is_empty() {
            return Err(bad("it is empty"));
        }
        Ok(Self { _scratch: scratch, members })
    }

    /// A file, also through links.
    pub(super) fn find(&self, name: &str) -> Option<Found<'_>> {
        let mut name = clean(name.as_bytes()).ok()?;
        for _ in 0..=LINKS_MAX {
            match self.members.get(&name)? {
                Member::File { path, bytes, sha256 } => return Some(Found { path, bytes: *bytes, sha256 }),
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }

    /// A file that must be there.
    pub(super) fn get(&self, name: &str) -> Result<Found<'_>> {
        self.find(name).ok_or_else(|| bad(format!("{name} is missing in it")))
    }

    /// The content of a small file.
    pub(super) fn small(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>> {
        let found = self.get(name)?;
        if found.bytes > bytes_max {
            return Err(ImageError::TooBig {
                what: format!("{name} in the archive"),
                limit: format!("{bytes_max} bytes"),
            });
        }
        std::fs::read(found.path).map_err(|e| ImageError::io("cannot read", found.path, e))
    }
}

impl Found<'_> {
    pub(super) fn open(&self) -> Result<File> {
        File::open(self.path).map_err(|e| ImageError::io("cannot open", self.path, e))
    }
}

fn copy(stream: &mut impl Read, path: &Path, buffer: &mut [u8]) -> Result<(Digest, u64)> {
    let mut file = disk::create_new(path)?;
    let mut hasher = Hasher::sha256();
    let mut bytes = 0;
    loop {
        let n = match stream.read(buffer) {
            Ok(0) => return Ok((hasher.finish(), bytes)),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(bad(e.to_string())),
        };
        hasher.update(&buffer[..n]);
        bytes += n as u64;
        file.write_all(&buffer[..n]).map_err(|e| ImageError::io("cannot write", path, e))?;
    }
}

/// Names are only keys here, never paths of the host; still one that leads out is refused.
fn clean(name: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(name).map_err(|_| bad("a file name in it is not UTF-8"))?;
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(|| bad(format!("{text:?} leads out of it")))?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn link_target(name: &str, entry: &Entry) -> Result<String> {
    if entry.kind == Kind::HardLink || entry.link.starts_with(b"/") {
        return clean(&entry.link);
    }
    let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
    clean(&[dir.as_bytes(), b"/", &entry.link].concat())
}
