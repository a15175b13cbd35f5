//! Making an image of one layer from the tar of a root file system.

use super::changes;
use crate::image::catalog::ImageRecord;
use crate::image::config::{ConfigFile, ConfigSection, History, RootFs};
use crate::image::digest::Digest;
use crate::image::error::{ImageError, Result};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageStore, NewImage};
use std::io::Read;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What to say of an imported image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Dockerfile instructions for its configuration: `CMD ["/bin/sh"]`, `ENV A=1`.
    pub changes: Vec<String>,
    /// Kept in its history.
    pub message: String,
    /// Default: this machine.
    pub platform: Option<Platform>,
}

impl ImageStore {
    /// Makes an image from the tar of a root file system, plain or compressed (Docker API
    /// `POST /images/create?fromSrc=`). Without a name it can be used by its id. Blocks.
    pub fn import(&self, archive: impl Read, name: Option<&Reference>, options: &ImportOptions) -> Result<Image> {
        let mut section = ConfigSection::default();
        for change in &options.changes {
            changes::apply(&mut section, change)?;
        }
        let names = match name {
            None => Vec::new(),
            Some(name) if name.digest().is_some() => {
                let reason = "an imported image cannot be given a digest";
                return Err(ImageError::BadReference { text: name.familiar(), reason });
            }
            Some(name) => vec![name.clone()],
        };
        let new = self.inner.layers.unpack(archive, None, &[], None, "the archive")?;
        // Pinned before it has its name, as only then it could be collected.
        let _pins = self.inner.pin(vec![new.meta.chain_id.clone()]);
        let layer = self.inner.layers.commit(new)?;
        let created =
            OffsetDateTime::now_utc().format(&Rfc3339).map_err(|e| ImageError::BadArchive { reason: e.to_string() })?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let comment = if options.message.is_empty() { "Imported".to_owned() } else { options.message.clone() };
        let file = ConfigFile {
            created: Some(created.clone()),
            comment: Some(comment.clone()),
            architecture: platform.architecture,
            os: platform.os,
            variant: Some(platform.variant).filter(|v| !v.is_empty()),
            config: Some(section),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id.clone()] },
            history: Some(vec![History {
                created: Some(created.clone()),
                comment: Some(comment),
                ..History::default()
            }]),
            author: None,
        };
        let config = serde_json::to_vec(&file).map_err(|e| ImageError::BadArchive { reason: e.to_string() })?;
        let record = ImageRecord {
            id: Digest::sha256(&config),
            diff_ids: vec![layer.diff_id],
            chain_ids: vec![layer.chain_id],
            size: layer.size,
            created: Some(created),
            manifest: None,
        };
        self.inner.commit(NewImage { record, config, manifest: None, names })
    }
}
