//! Network namespaces: made, entered by short threads, kept by a bind mount, removed.
//!
//! A thread that changed its namespace ends afterwards; no thread of the daemon ever stays elsewhere.

use crate::error::{FabricError, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// `f_type` of a namespace file (linux/magic.h `NSFS_MAGIC`).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// A place to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Netns {
    /// Where the process is.
    Own,
    /// A bind-mounted namespace.
    At(PathBuf),
}

impl Netns {
    fn text(&self) -> String {
        match self {
            Netns::Own => "of the process".into(),
            Netns::At(path) => path.display().to_string(),
        }
    }

    /// Opens the namespace, to hand it to the kernel.
    pub fn open(&self) -> Result<File> {
        let path = match self {
            Netns::Own => Path::new("/proc/thread-self/ns/net"),
            Netns::At(path) => path,
        };
        File::open(path).map_err(|source| FabricError::Netns { path: self.text(), what: "open it", source })
    }

    /// Runs `work` inside, on a thread of its own unless it is our own namespace. Sockets, devices
    /// and processes made there stay there.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        if matches!(self, Netns::Own) {
            return Ok(work());
        }
        let file = self.open()?;
        let failed = |source| FabricError::Netns { path: self.text(), what: "enter it", source };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, move || {
                    setns(&file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                    Ok(work())
                })
                .map_err(failed)?;
            match thread.join() {
                Ok(done) => done.map_err(failed),
                Err(_) => Err(failed(io::Error::other("the thread inside it panicked"))),
            }
        })
    }

    /// Whether `path` holds a namespace (and is no left-over empty file).
    pub fn exists(path: &Path) -> bool {
        nix::sys::statfs::statfs(path).is_ok_and(|fs| i128::from(fs.filesystem_type().0) == i128::from(NSFS_MAGIC))
    }

    /// Makes a new namespace and keeps it at `path`, which must not hold one.
    pub fn create(path: &Path) -> Result<Self> {
        let err = |what| move |source| FabricError::Netns { path: path.display().to_string(), what, source };
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(err("create its file"))?;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                })
                .map_err(err("start a thread for it"))?;
            match thread.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(errno)) => Err(err("make it")(io::Error::from(errno))),
                Err(_) => Err(err("make it")(io::Error::other("the thread panicked"))),
            }
        })?;
        Ok(Netns::At(path.to_path_buf()))
    }

    /// Lets go of the namespace at `path`; it vanishes with its last process. Nothing there is fine.
    pub fn remove(path: &Path) -> Result<()> {
        let err = |what| move |source| FabricError::Netns { path: path.display().to_string(), what, source };
        // More than one mount can lie on top of each other after a crash in the middle of `create`.
        while Self::exists(path) {
            umount2(path, MntFlags::MNT_DETACH).map_err(|e| err("unmount it")(io::Error::from(e)))?;
        }
        match std::fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(err("remove its file")(e)),
        }
    }

    /// Writes kernel settings, each a path below `/proc/sys/net/` and its value. Those of IPv6 are
    /// nothing to a kernel without it.
    pub fn sysctl(&self, settings: &[(String, &str)]) -> Result<()> {
        self.enter(|| {
            settings.iter().try_for_each(|(name, value)| {
                let path = format!("/proc/sys/net/{name}");
                if name.starts_with("ipv6/") && !Path::new("/proc/sys/net/ipv6").exists() {
                    return Ok(());
                }
                // A write of the value that is there can fail where /proc/sys is read-only.
                if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == *value) {
                    return Ok(());
                }
                std::fs::write(&path, value).map_err(|source| FabricError::Sysctl { path, source })
            })
        })?
    }
}
