//! What a container's root file system has that its image has not (`docker diff`), read from the upper directory of its
//! overlay (kernel documentation, filesystems/overlayfs.rst, "whiteouts and opaque directories").

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{FileStat, SFlag};

use super::resolve::{fault, kind};
use super::view::by_descriptor;
use super::{FilesError, Result};
use crate::image::layer::in_root::{self, open_host_dir};
use crate::image::tree::{children, errno, open_child_dir};

/// Changes told of one container, and directories within each other that are looked at.
const CHANGES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 200;
/// Made for every container, which nobody asked for: told only when something was put there.
const PLUMBING: [&[u8]; 10] = [
    b"dev",
    b"dev/console",
    b"dev/mqueue",
    b"dev/pts",
    b"dev/shm",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/resolv.conf",
    b"proc",
    b"sys",
];

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// One change (Docker API `FilesystemChange`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute, inside the container.
    pub path: String,
    pub kind: ChangeKind,
}

/// In the order of paths. `lower`: directories of the layers, topmost first; their sum is mounted on `place`, in the
/// calling thread's own mounts.
pub(super) fn changes(place: &Path, lower: &[PathBuf], upper: &Path) -> Result<Vec<Change>> {
    let of_host = |source: io::Error| fault(source, upper.as_os_str().as_encoded_bytes());
    let top = open_host_dir(upper).map_err(of_host)?;
    let below = below(place, lower).map_err(of_host)?;
    let mut walk = Walk { found: Vec::new() };
    walk.dir(&top, below.as_ref(), b"", 0)?;
    Ok(walk.found)
}

/// All layers as one directory; none without layers.
fn below(place: &Path, lower: &[PathBuf]) -> io::Result<Option<OwnedFd>> {
    match lower {
        [] => Ok(None),
        [one] => open_host_dir(one).map(Some),
        several => {
            let open: Vec<OwnedFd> = several.iter().map(|dir| open_host_dir(dir)).collect::<io::Result<_>>()?;
            // Descriptors have short names without separators, whatever the paths are.
            let names: Vec<String> = open.iter().map(|fd| by_descriptor(fd).display().to_string()).collect();
            let options = format!("lowerdir={}", names.join(":"));
            mount(Some("overlay"), place, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
                .map_err(errno)?;
            open_host_dir(place).map(Some)
        }
    }
}

struct Walk {
    found: Vec<Change>,
}

impl Walk {
    fn tell(&mut self, path: &[u8], kind: ChangeKind) -> Result<()> {
        if self.found.len() >= CHANGES_MAX {
            return Err(FilesError::Invalid(format!("the container has more than {CHANGES_MAX} changes")));
        }
        self.found.push(Change { path: format!("/{}", String::from_utf8_lossy(path)), kind });
        Ok(())
    }

    fn dir(&mut self, upper: &OwnedFd, lower: Option<&OwnedFd>, path: &[u8], depth: usize) -> Result<()> {
        let failed = |error: io::Error| fault(error, path);
        if depth > DEPTH_MAX {
            return Err(FilesError::Invalid(format!("more than {DEPTH_MAX} directories within each other")));
        }
        let mut names = children(upper).map_err(failed)?;
        if let Some(lower) = lower
            && is_opaque(upper)
        {
            names.extend(children(lower).map_err(failed)?);
        }
        names.sort();
        names.dedup();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { [path, &name].join(&b'/') };
            let old = match lower {
                Some(lower) => in_root::stat(lower, &name).map_err(failed)?,
                None => None,
            };
            match in_root::stat(upper, &name).map_err(failed)? {
                Some(new) if !is_whiteout(&new) => {
                    self.entry(upper, lower, &name, (&new, old.as_ref()), &path, depth)?
                }
                // Hidden, or in an opaque directory and not there any more.
                Some(_) | None if old.is_some() => self.tell(&path, ChangeKind::Deleted)?,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        upper: &OwnedFd,
        lower: Option<&OwnedFd>,
        name: &[u8],
        (new, old): (&FileStat, Option<&FileStat>),
        path: &[u8],
        depth: usize,
    ) -> Result<()> {
        let failed = |error: io::Error| fault(error, path);
        let changed = if old.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        let at = self.found.len();
        self.tell(path, changed)?;
        let plumbing = old.is_none() && PLUMBING.contains(&path);
        if !in_root::is_dir(new) {
            if plumbing && new.st_size == 0 {
                self.found.truncate(at);
            }
            return Ok(());
        }
        let was_dir = old.is_some_and(in_root::is_dir);
        let below = match lower {
            Some(lower) if was_dir => Some(open_child_dir(lower, name).map_err(failed)?),
            Some(_) | None => None,
        };
        self.dir(&open_child_dir(upper, name).map_err(failed)?, below.as_ref(), path, depth + 1)?;
        let same = |old: &FileStat| (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid);
        let nothing_below = self.found.len() == at + 1;
        // Copied up for what was put in it and taken away again, or for what every container gets.
        if nothing_below && (plumbing || (was_dir && old.is_some_and(same))) {
            self.found.truncate(at);
        }
        Ok(())
    }
}

fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let Ok(path) = CString::new(format!("/proc/self/fd/{}", dir.as_raw_fd())) else { return false };
    let mut value = [0u8; 1];
    // SAFETY: both strings end in a zero byte and the buffer's true length is given; the kernel keeps none of them.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"trusted.overlay.opaque".as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    length == 1 && value[0] == b'y'
}
