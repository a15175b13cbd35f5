//! Content by digest: manifests and configurations for good, compressed layers until they are unpacked.
//!
//! `blobs/<algorithm>/<hex>` is complete and has been verified; `partial/<algorithm>-<hex>` is a download
//! under way. Nobody but the downloader that holds the digest's lock writes a partial file.

use super::digest::{Digest, Hasher, digest_like};
use super::disk;
use super::error::{ImageError, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age after which a download that nobody continued is dropped.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Clone, Debug)]
pub(crate) struct BlobStore {
    blobs: PathBuf,
    partial: PathBuf,
}

impl BlobStore {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let store = Self { blobs: dir.join("blobs"), partial: dir.join("partial") };
        disk::make_dir(&store.partial)?;
        for algorithm in ["sha256", "sha512"] {
            disk::make_dir(&store.blobs.join(algorithm))?;
        }
        Ok(store)
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.partial.join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    pub(crate) fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|e| ImageError::io("cannot open the blob", &path, e))
    }

    /// A small blob, verified again.
    pub(crate) fn read(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        self.open(digest)?
            .take(bytes_max)
            .read_to_end(&mut bytes)
            .map_err(|e| ImageError::io("cannot read the blob", &path, e))?;
        let actual = digest_like(digest, &bytes);
        if actual != *digest {
            let what = format!("the stored blob {}", path.display());
            return Err(ImageError::DigestMismatch { what, expected: digest.to_string(), actual: actual.to_string() });
        }
        Ok(bytes)
    }

    /// Stores a small blob for good. The caller has verified it.
    pub(crate) fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if self.read(digest, bytes.len() as u64).is_ok() {
            return Ok(());
        }
        disk::write_atomic(&self.path(digest), bytes)
    }

    /// A partial file that was verified becomes a blob. Not synced: see [`BlobStore::recover`].
    pub(crate) fn complete(&self, digest: &Digest) -> Result<()> {
        let (from, to) = (self.partial_path(digest), self.path(digest));
        fs::rename(&from, &to).map_err(|e| ImageError::io("cannot move the blob to", &to, e))
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<()> {
        disk::remove_file(&self.path(digest))
    }

    /// At start: whatever no image needs becomes a partial download again, which the next pull verifies
    /// from its first byte, as the host may have stopped before it was on disk. Old ones go.
    pub(crate) fn recover(&self, needed: &HashSet<PathBuf>) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            let dir = self.blobs.join(algorithm);
            for name in disk::names(&dir)? {
                let path = dir.join(&name);
                if needed.contains(&path) {
                    continue;
                }
                let digest = name.to_str().map(|hex| Digest::parse(&format!("{algorithm}:{hex}")));
                match digest {
                    Some(Ok(digest)) => fs::rename(&path, self.partial_path(&digest))
                        .map_err(|e| ImageError::io("cannot move the blob", &path, e))?,
                    Some(Err(_)) | None => disk::remove_file(&path)?,
                }
            }
        }
        let now = SystemTime::now();
        for name in disk::names(&self.partial)? {
            let path = self.partial.join(name);
            let age = fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|t| now.duration_since(t).ok());
            if age.is_some_and(|age| age > PARTIAL_AGE_MAX) {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Hashes what is there of a partial download: state of the hash and number of bytes. Blocks.
    pub(crate) fn hash_partial(&self, digest: &Digest) -> Result<(Hasher, u64)> {
        let path = self.partial_path(digest);
        let mut hasher = Hasher::like(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((hasher, 0)),
            Err(e) => return Err(ImageError::io("cannot open", &path, e)),
        };
        let mut buffer = vec![0; 256 << 10];
        let mut bytes = 0;
        loop {
            let n = file.read(&mut buffer).map_err(|e| ImageError::io("cannot read", &path, e))?;
            if n == 0 {
                return Ok((hasher, bytes));
            }
            hasher.update(&buffer[..n]);
            bytes += n as u64;
        }
    }
}
