//! Writing so that a killed process or a lost power supply leaves either the old or the new.

use super::error::{ImageError, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes `path` and its parents, readable by root only.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| ImageError::io("cannot make the directory", path, e))
}

/// A name below `dir` that this process has not used before. `tmp` is emptied when the store opens.
pub(crate) fn fresh_path(dir: &Path, prefix: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    dir.join(format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Opens a new file for writing, mode 0600.
pub(crate) fn create_new(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| ImageError::io("cannot create", path, e))
}

/// Replaces `path` by `bytes`: temporary file beside it, fsync, rename, fsync of the directory.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(e) = write() {
        let _ = fs::remove_file(&temporary);
        return Err(ImageError::io("cannot write", path, e));
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| ImageError::io("cannot sync the directory", dir, e))
}

/// Makes everything written so far to the file system of `dir` durable. One call per image is far
/// cheaper than one fsync per file of it.
pub(crate) fn sync_file_system(dir: &Path) -> Result<()> {
    let handle = File::open(dir).map_err(|e| ImageError::io("cannot open", dir, e))?;
    // SAFETY: the descriptor is open for the length of the call; syncfs touches no memory of ours.
    if unsafe { libc::syncfs(handle.as_raw_fd()) } != 0 {
        return Err(ImageError::io("cannot sync the file system of", dir, std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Removes a tree without following links; what is gone already is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    super::tree::remove_path(path).map_err(|e| ImageError::io("cannot remove", path, e))
}

/// Removes a file; what is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(ImageError::io("cannot remove", path, e)),
    }
}

/// The names in `dir`.
pub(crate) fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let read = || -> std::io::Result<Vec<_>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect() };
    read().map_err(|e| ImageError::io("cannot list", dir, e))
}

/// A directory or file that is removed again unless it was kept.
pub(crate) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// A new directory below `dir`.
    pub(crate) fn directory(dir: &Path, prefix: &str) -> Result<Self> {
        let path = fresh_path(dir, prefix);
        make_dir(&path)?;
        Ok(Self { path, keep: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It has been renamed to where it belongs.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(error = %error.one_line(), "temporary files stay until the store is opened again");
        }
    }
}
