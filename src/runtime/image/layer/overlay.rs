//! Mounting overlayfs (kernel documentation, filesystems/overlayfs.rst).

use crate::image::error::{ImageError, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// mount(2) takes at most one page of options, with the zero byte.
const OPTIONS_BYTES_MAX: usize = 4095;

/// The parts of an overlay; all on the host, none empty.
pub(crate) struct Overlay<'a> {
    /// Topmost first.
    pub lower: &'a [PathBuf],
    pub upper: &'a Path,
    pub work: &'a Path,
}

impl Overlay<'_> {
    /// Mounts it on `target`.
    ///
    /// `volatile`: what is written to an overlay is thrown away if the host stops hard, so it need not
    /// be synced; without it unmounting one writes out the whole file system below. Kernels before 5.10
    /// do not know it and mount without.
    pub(crate) fn mount(&self, target: &Path) -> Result<()> {
        let fault = |e: Errno| ImageError::io("cannot mount an overlay file system on", target, e.into());
        match self.mount_with(target, ",volatile") {
            Err(Errno::EINVAL) => self.mount_with(target, "").map_err(fault),
            done => done.map_err(fault),
        }
    }

    fn mount_with(&self, target: &Path, more: &str) -> nix::Result<()> {
        let plain = self.options(more, |path| Ok(path.as_os_str().to_owned()))?;
        let special = |path: &Path| path.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b',' | b'\\'));
        let awkward = self.lower.iter().map(PathBuf::as_path).chain([self.upper, self.work]).any(special);
        let mut open: Vec<OwnedFd> = Vec::new();
        let options = if awkward || plain.len() > OPTIONS_BYTES_MAX {
            // Descriptors have short names without separators, whatever the paths are.
            self.options(more, |path| {
                let fd = super::in_root::open_host_dir(path)
                    .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
                let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
                open.push(fd);
                Ok(name.into())
            })?
        } else {
            plain
        };
        mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_os_str()))
    }

    fn options(&self, more: &str, mut name: impl FnMut(&Path) -> nix::Result<OsString>) -> nix::Result<OsString> {
        let mut text = b"lowerdir=".to_vec();
        for (i, lower) in self.lower.iter().enumerate() {
            if i > 0 {
                text.push(b':');
            }
            text.extend_from_slice(name(lower)?.as_bytes());
        }
        text.extend_from_slice(b",upperdir=");
        text.extend_from_slice(name(self.upper)?.as_bytes());
        text.extend_from_slice(b",workdir=");
        text.extend_from_slice(name(self.work)?.as_bytes());
        // A layer must hold whole files, whatever the defaults of this kernel are.
        text.extend_from_slice(b",index=off,metacopy=off");
        text.extend_from_slice(more.as_bytes());
        Ok(OsString::from_vec(text))
    }
}

/// Gives the root of an upper directory the owner and mode of the root below: the overlay shows the upper one's.
pub(crate) fn copy_root_attributes(lower: &Path, upper: &Path) -> Result<()> {
    let fault = |e| ImageError::io("cannot set the owner and mode of", upper, e);
    let from = fs::metadata(lower).map_err(|e| ImageError::io("cannot read", lower, e))?;
    std::os::unix::fs::chown(upper, Some(from.uid()), Some(from.gid())).map_err(fault)?;
    fs::set_permissions(upper, from.permissions()).map_err(fault)
}

/// Unmounts `target`, and what is mounted below, even if in use. Not mounted is fine.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(ImageError::io("cannot unmount", target, e.into())),
    }
}

/// The mount points at and below `dir`, innermost last (proc(5), mountinfo).
pub(crate) fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(|e| ImageError::io("cannot read", path, e))?;
    let points = text.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> = points.filter(|p| p.starts_with(dir)).collect();
    found.sort();
    Ok(found)
}

/// Blanks and backslashes are `\ooo` there.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read_back() {
        assert_eq!(unescape(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape(b"/x\\"), Path::new("/x\\"));
    }
}
