//! What a name stands for in its registry, without pulling it.

use super::progress::Reporter;
use super::pull::Pull;
use crate::image::auth::RegistryAuth;
use crate::image::config::ConfigFile;
use crate::image::digest::Digest;
use crate::image::error::Result;
use crate::image::manifest::{self, Document};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::ImageStore;

/// The answer (Docker API `GET /distribution/{name}/json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Of the manifest or index.
    pub digest: Digest,
    pub media_type: String,
    /// Bytes of the manifest or index.
    pub size: u64,
    /// What it can run on.
    pub platforms: Vec<Platform>,
}

impl ImageStore {
    /// Asks the registry what a name stands for now, so that all nodes of a service run the same image.
    /// Errors as those of [`ImageStore::pull`].
    pub async fn resolve(&self, reference: &Reference, auth: Option<&RegistryAuth>) -> Result<Resolved> {
        let pull = Pull {
            inner: self.inner.clone(),
            reference: reference.clone(),
            platform: Platform::host(),
            reporter: Reporter::default(),
        };
        let shown = reference.familiar();
        let (client, digest, bytes) = pull.first_document(auth).await?;
        let platforms = match Document::parse(&bytes, &shown)? {
            Document::Index(entries) => {
                let images = entries.iter().filter(|entry| entry.is_image());
                images.filter_map(|entry| entry.platform.clone()).map(Platform::normalised).collect()
            }
            Document::Image(manifest) => {
                let config = pull.config(&client, &manifest.config).await?;
                vec![ConfigFile::parse(&config, &shown)?.to_public().platform()]
            }
        };
        Ok(Resolved { digest, media_type: manifest::media_type(&bytes), size: bytes.len() as u64, platforms })
    }
}
