//! Volumes without a name of their own: each belongs to an owner, such as a task, and goes with it.

use super::{META, Result, Volume, VolumeError, Volumes, blocking, failed};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Digits of a name that are its owner's; the rest are the path's. 64 in all, as Docker's names.
const OWNER_DIGITS: usize = 32;

/// Name of the owner's volume at a path of its container: the same for the same two.
pub fn owned_name(owner: &str, path: &str) -> String {
    let mut name = prefix(owner);
    name.push_str(&hex::encode(Sha256::digest(path))[OWNER_DIGITS..]);
    name
}

/// What the names of all volumes of an owner begin with, so that they are found without reading every volume.
fn prefix(owner: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(format!("volumes of {owner}")));
    digits.truncate(OWNER_DIGITS);
    digits
}

impl Volumes {
    /// Makes the owner's volume at a path; one that exists is returned as it is.
    pub async fn create_owned(&self, owner: &str, path: &str, labels: BTreeMap<String, String>) -> Result<Volume> {
        self.make(&owned_name(owner, path), labels, Some(owner.to_owned())).await
    }

    /// Removes the owner's volumes and what a crash left of one, but for those whose directory `in_use` says
    /// somebody else mounts: they stay, as a named one would. May be called again, and for an owner without any.
    pub async fn remove_owned(&self, owner: &str, in_use: impl Fn(&Path) -> bool) -> Result<()> {
        let _guard = self.changing.lock().await;
        let prefix = prefix(owner);
        for entry in std::fs::read_dir(&self.dir).map_err(failed("read", &self.dir))?.flatten() {
            let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(&prefix)).map(str::to_owned)
            else {
                continue;
            };
            let removable = match self.read(&name) {
                Ok(volume) => volume.owner.as_deref() == Some(owner) && !in_use(&volume.mountpoint),
                Err(VolumeError::NotFound(_)) => true,
                Err(error) => return Err(error),
            };
            if removable {
                let dir = self.dir.join(name);
                blocking(&dir, remove_record_last).await.map_err(failed("remove", &dir))?;
            }
        }
        Ok(())
    }

    /// Everybody who has a volume here.
    pub async fn owners(&self) -> Result<BTreeSet<String>> {
        Ok(self.list().await?.into_iter().filter_map(|volume| volume.owner).collect())
    }
}

/// A removal that is cut short leaves the owner's name behind, and is found and finished by it.
fn remove_record_last(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() != META {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    std::fs::remove_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::DATA;

    async fn volumes() -> (tempfile::TempDir, Volumes) {
        let dir = tempfile::tempdir().expect("temp dir");
        let volumes = Volumes::open(dir.path()).await.expect("open");
        (dir, volumes)
    }

    async fn names(volumes: &Volumes) -> Vec<String> {
        volumes.list().await.expect("list").into_iter().map(|volume| volume.name).collect()
    }

    #[tokio::test]
    async fn an_owner_s_volumes_go_with_it_and_all_others_stay() {
        let (_dir, volumes) = volumes().await;
        volumes.create("named", BTreeMap::new()).await.expect("create");
        for (owner, path) in [("one", "/a"), ("one", "/b"), ("two", "/a")] {
            let made = volumes.create_owned(owner, path, BTreeMap::new()).await.expect("create");
            std::fs::write(made.mountpoint.join("file"), "x").expect("write");
            assert_eq!(volumes.create_owned(owner, path, BTreeMap::new()).await.expect("again"), made);
        }
        assert_eq!(volumes.owners().await.expect("owners"), ["one".to_owned(), "two".to_owned()].into());
        volumes.remove_owned("one", |_| false).await.expect("remove");
        assert_eq!(names(&volumes).await, [owned_name("two", "/a"), "named".to_owned()]);
        volumes.remove_owned("one", |_| false).await.expect("again");
    }

    #[tokio::test]
    async fn a_volume_that_another_container_mounts_stays() {
        let (_dir, volumes) = volumes().await;
        let shared = volumes.create_owned("one", "/shared", BTreeMap::new()).await.expect("create");
        volumes.create_owned("one", "/own", BTreeMap::new()).await.expect("create");
        volumes.remove_owned("one", |path| path == shared.mountpoint).await.expect("remove");
        assert_eq!(names(&volumes).await, [shared.name]);
    }

    #[tokio::test]
    async fn what_a_crash_left_of_a_volume_goes_too() {
        let (dir, volumes) = volumes().await;
        let half_made = dir.path().join(owned_name("one", "/a"));
        std::fs::create_dir_all(half_made.join(DATA)).expect("mkdir");
        let half_removed = volumes.create_owned("one", "/b", BTreeMap::new()).await.expect("create");
        std::fs::remove_dir(half_removed.mountpoint).expect("remove");
        volumes.remove_owned("one", |_| false).await.expect("remove");
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
    }

    #[tokio::test]
    async fn a_named_volume_is_never_taken_for_an_owner_s() {
        let (_dir, volumes) = volumes().await;
        let name = owned_name("one", "/a");
        volumes.create(&name, BTreeMap::new()).await.expect("create");
        volumes.remove_owned("one", |_| false).await.expect("remove");
        assert_eq!(names(&volumes).await, [name]);
    }
}
