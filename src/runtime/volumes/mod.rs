//! Volumes of this host: directories that outlive the containers using them (Docker's `local` driver).
//!
//! Owns one directory per volume: `_data`, which containers mount, and `volume.json`. Called by the agent and the
//! API. Whether a container uses a volume is for [`crate::Containers::binding`] to say; nothing here looks.

mod copy;
mod fill;
mod owned;

pub use owned::owned_name;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::shim::log::{now_ns, rfc3339_nanos};

const DATA: &str = "_data";
const META: &str = "volume.json";

/// What went wrong with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Nothing was changed.
    #[error("invalid volume name {0:?}: use letters, digits, \"_\", \".\" and \"-\", beginning with a letter or digit")]
    Name(String),
    #[error("no such volume: {0}")]
    NotFound(String),
    /// The volume may be there in part; the same call may be made again.
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, VolumeError>;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Io { action, path, source }
}

/// A volume (Docker API: `Volume`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Whose it is and with whom it goes; a named one is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The directory that containers mount.
    #[serde(skip)]
    pub mountpoint: PathBuf,
}

/// All volumes below one directory; clonable.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
    /// One change at a time: two containers may use a new volume first at the same moment.
    changing: Arc<Mutex<()>>,
}

impl Volumes {
    /// Makes the directory when it is missing, and closes it to all but root: what other users may open in a volume,
    /// even set-user-id programs, is for containers, which pass none of the directories above a mount.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed("create", &dir))?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).map_err(failed("close", &dir))?;
        let dir = dir.canonicalize().map_err(failed("find", &dir))?;
        Ok(Self { dir, changing: Arc::new(Mutex::new(())) })
    }

    /// Makes a volume; one that exists is returned as it is, as Docker does.
    pub async fn create(&self, name: &str, labels: BTreeMap<String, String>) -> Result<Volume> {
        self.make(name, labels, None).await
    }

    async fn make(&self, name: &str, labels: BTreeMap<String, String>, owner: Option<String>) -> Result<Volume> {
        check(name)?;
        let _guard = self.changing.lock().await;
        match self.read(name) {
            Err(VolumeError::NotFound(_)) => {}
            found => return found,
        }
        let volume = Volume {
            name: name.to_owned(),
            labels,
            created_at: rfc3339_nanos(now_ns()),
            owner,
            mountpoint: self.dir.join(name).join(DATA),
        };
        let data = &volume.mountpoint;
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(data).map_err(failed("create", data))?;
        // Last, because a volume is there when this file is.
        let meta = self.dir.join(name).join(META);
        let partial = meta.with_extension("tmp");
        let text = serde_json::to_vec(&volume).map_err(|error| failed("write", &meta)(error.into()))?;
        std::fs::write(&partial, text).map_err(failed("write", &partial))?;
        std::fs::rename(&partial, &meta).map_err(failed("write", &meta))?;
        Ok(volume)
    }

    /// One volume.
    pub async fn inspect(&self, name: &str) -> Result<Volume> {
        check(name)?;
        self.read(name)
    }

    /// All volumes, by name.
    pub async fn list(&self) -> Result<Vec<Volume>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed("read", &self.dir))?.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            match self.read(&name) {
                Ok(volume) => out.push(volume),
                Err(VolumeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        out.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(out)
    }

    /// Removes a volume and everything in it. The caller has made sure that no container uses it.
    pub async fn remove(&self, name: &str) -> Result<()> {
        check(name)?;
        let _guard = self.changing.lock().await;
        self.read(name)?;
        let dir = self.dir.join(name);
        let meta = dir.join(META);
        std::fs::remove_file(&meta).map_err(failed("remove", &meta))?;
        blocking(&dir, move |dir| std::fs::remove_dir_all(dir)).await.map_err(failed("remove", &dir))
    }

    /// Copies what the image has at `target` into an empty volume, with owners, modes and attributes. `rootfs` is
    /// the container's root directory. A volume with content or one whose directory is `in_use`, and an image without
    /// the directory, are left alone.
    pub async fn populate(
        &self,
        name: &str,
        rootfs: &Path,
        target: &Path,
        in_use: impl FnOnce(&Path) -> bool + Send + 'static,
    ) -> Result<()> {
        check(name)?;
        let _guard = self.changing.lock().await;
        let data = self.read(name)?.mountpoint;
        let (rootfs, target) = (rootfs.to_owned(), target.to_owned());
        let filled = blocking(&self.dir.join(name), move |dir| fill::fill(dir, &rootfs, &target, in_use)).await;
        filled.map_err(failed("copy the image's files into", &data))
    }

    fn read(&self, name: &str) -> Result<Volume> {
        let path = self.dir.join(name).join(META);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(VolumeError::NotFound(name.to_owned()));
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut volume: Volume =
            serde_json::from_slice(&text).map_err(|error| failed("understand", &path)(error.into()))?;
        volume.mountpoint = self.dir.join(name).join(DATA);
        Ok(volume)
    }
}

async fn blocking(path: &Path, work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path)).await.map_err(io::Error::other)?
}

/// Docker's names.
fn check(name: &str) -> Result<()> {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let valid =
        name.len() <= 255 && name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(rest);
    if valid { Ok(()) } else { Err(VolumeError::Name(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    async fn volumes() -> (tempfile::TempDir, Volumes) {
        let dir = tempfile::tempdir().expect("temp dir");
        let volumes = Volumes::open(dir.path().join("volumes")).await.expect("open");
        (dir, volumes)
    }

    #[tokio::test]
    async fn a_volume_is_made_once_and_found_again() {
        let (dir, volumes) = volumes().await;
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let made = volumes.create("data", labels).await.expect("create");
        assert!(made.mountpoint.is_dir());
        assert_eq!(volumes.create("data", BTreeMap::new()).await.expect("again"), made);
        let again = Volumes::open(dir.path().join("volumes")).await.expect("open");
        assert_eq!(again.list().await.expect("list"), [made]);
        again.remove("data").await.expect("remove");
        assert!(matches!(again.inspect("data").await, Err(VolumeError::NotFound(_))));
    }

    #[tokio::test]
    async fn only_root_passes_into_the_volumes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let open = dir.path().join("open");
        std::fs::create_dir(&open).expect("mkdir");
        for path in [open, dir.path().join("new")] {
            let volumes = Volumes::open(&path).await.expect("open");
            assert_eq!(path.metadata().expect("metadata").mode() & 0o777, 0o700);
            let data = volumes.create("v", BTreeMap::new()).await.expect("create").mountpoint;
            assert_eq!(data.metadata().expect("metadata").mode() & 0o777, 0o755, "for any user of a container");
        }
    }

    #[tokio::test]
    async fn names_that_are_paths_are_refused() {
        let (_dir, volumes) = volumes().await;
        for name in ["", "..", "a/b", ".hidden", "a b"] {
            assert!(matches!(volumes.create(name, BTreeMap::new()).await, Err(VolumeError::Name(_))), "{name}");
        }
    }

    #[tokio::test]
    async fn the_image_s_files_fill_an_empty_volume_only() {
        let (dir, volumes) = volumes().await;
        let rootfs = dir.path().join("rootfs");
        let source = rootfs.join("srv/data");
        std::fs::create_dir_all(source.join("sub")).expect("mkdir");
        std::fs::write(source.join("sub/file"), "one").expect("write");
        std::fs::hard_link(source.join("sub/file"), source.join("same")).expect("link");
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).expect("symlink");
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o750)).expect("chmod");
        std::os::unix::fs::chown(source.join("sub/file"), Some(1000), Some(1001)).expect("chown");
        let data = volumes.create("v", BTreeMap::new()).await.expect("create").mountpoint;
        volumes.populate("v", &rootfs, Path::new("/srv/data"), |_| false).await.expect("populate");
        let meta = data.join("sub/file").metadata().expect("copied");
        assert_eq!((meta.uid(), meta.gid(), meta.nlink()), (1000, 1001, 2));
        assert_eq!(data.metadata().expect("meta").mode() & 0o777, 0o750);
        assert_eq!(std::fs::read_link(data.join("link")).expect("a link"), Path::new("/etc/passwd"));
        std::fs::write(source.join("sub/file"), "two").expect("write");
        volumes.populate("v", &rootfs, Path::new("/srv/data"), |_| false).await.expect("again");
        assert_eq!(std::fs::read_to_string(data.join("sub/file")).expect("read"), "one");
    }

    #[tokio::test]
    async fn a_link_out_of_the_image_copies_nothing_of_the_host() {
        let (dir, volumes) = volumes().await;
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs).expect("mkdir");
        std::os::unix::fs::symlink("/etc", rootfs.join("data")).expect("symlink");
        let data = volumes.create("v", BTreeMap::new()).await.expect("create").mountpoint;
        volumes.populate("v", &rootfs, Path::new("/data"), |_| false).await.expect("populate");
        assert_eq!(std::fs::read_dir(data).expect("read").count(), 0);
    }
}
