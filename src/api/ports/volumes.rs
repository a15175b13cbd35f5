//! Named volumes of this host.

use super::Answer;
use std::collections::BTreeMap;

/// A named volume of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeRecord {
    pub name: String,
    pub driver: String,
    pub mountpoint: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub created_s: i64,
    /// Containers of this host that use it.
    pub users: i64,
}

/// The volumes of this host.
pub trait Volumes: Send + Sync + 'static {
    /// All volumes.
    fn volumes(&self) -> Answer<'_, Vec<VolumeRecord>>;

    /// Makes a volume, or gives back the one of this name when it is alike.
    fn create_volume(&self, volume: VolumeRecord) -> Answer<'_, VolumeRecord>;

    /// `Conflict` while a container uses it.
    fn remove_volume<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, ()>;
}
