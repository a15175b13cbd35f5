//! Contents of secrets and configs by version: an object has one newest content, and keeps the earlier ones that
//! something still refers to.

use super::{Config, ConfigContent, ConfigSpec, ContainerSpec, Meta, Secret, SecretContent, SecretSpec};
use crate::{ConfigId, SecretId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Names a secret or config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContentId {
    Secret(SecretId),
    Config(ConfigId),
}

/// One content of a secret or config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentVersion {
    pub content: ContentId,
    pub version: u64,
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentId::Secret(id) => write!(f, "secret {id}"),
            ContentId::Config(id) => write!(f, "config {id}"),
        }
    }
}

macro_rules! versioned {
    ($object:ident, $id:ident, $spec:ident, $content:ident, $len:expr) => {
        impl $object {
            /// With its first content.
            pub fn new(id: $id, spec: $spec) -> Self {
                Self { id, meta: Meta::default(), spec, content_version: 1, older: Vec::new() }
            }

            /// Has this content still.
            pub fn has(&self, version: u64) -> bool {
                version == self.content_version || self.older.iter().any(|older| older.version == version)
            }

            /// The object as it was with this content, without any other; `None` when that is not there any more.
            pub fn at(self: &Arc<Self>, version: u64) -> Option<Arc<Self>> {
                if version == self.content_version && self.older.is_empty() {
                    return Some(Arc::clone(self));
                }
                let mut spec = self.spec.clone();
                if version != self.content_version {
                    let content = self.older.iter().find(|older| older.version == version)?;
                    spec.data = content.data.clone();
                    spec.templated = content.templated;
                }
                let (id, meta) = (self.id, self.meta);
                Some(Arc::new(Self { id, meta, spec, content_version: version, older: Vec::new() }))
            }

            /// Takes a new specification. Where its content is another the present one becomes an older one.
            pub fn change(&mut self, spec: $spec) {
                let old = std::mem::replace(&mut self.spec, spec);
                if old.data == self.spec.data && old.templated == self.spec.templated {
                    return;
                }
                let (version, data, templated) = (self.content_version, old.data, old.templated);
                self.older.push($content { version, data, templated });
                self.content_version += 1;
            }

            /// Bytes of all contents.
            pub fn content_bytes(&self) -> usize {
                let len: fn(_) -> usize = $len;
                len(&self.spec.data) + self.older.iter().map(|older| len(&older.data)).sum::<usize>()
            }
        }
    };
}

versioned!(Secret, SecretId, SecretSpec, SecretContent, |data: &crate::Sensitive<Vec<u8>>| data.expose().len());
versioned!(Config, ConfigId, ConfigSpec, ConfigContent, |data: &Vec<u8>| data.len());

impl ContainerSpec {
    /// What it refers to, with the versions.
    pub fn contents(&self) -> impl Iterator<Item = (ContentId, u64)> {
        let secrets = self.secrets.iter().map(|secret| (ContentId::Secret(secret.id), secret.version));
        secrets.chain(self.configs.iter().map(|config| (ContentId::Config(config.id), config.version)))
    }

    /// What it refers to, with the versions to be changed.
    pub fn contents_mut(&mut self) -> impl Iterator<Item = (ContentId, &mut u64)> {
        let secrets = self.secrets.iter_mut().map(|secret| (ContentId::Secret(secret.id), &mut secret.version));
        secrets.chain(self.configs.iter_mut().map(|config| (ContentId::Config(config.id), &mut config.version)))
    }
}
