//! Images of this host, and what registries say of them.

use super::{Answer, Failure, not_implemented};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use swarm_core::Sensitive;

/// An image of this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageRecord {
    /// `sha256:...` of its configuration.
    pub id: String,
    /// `docker.io/library/redis:7` in the short form people write: `redis:7`.
    pub repo_tags: Vec<String>,
    /// `redis@sha256:...`.
    pub repo_digests: Vec<String>,
    pub size_bytes: i64,
    /// Seconds since 1970 it was made, from its configuration; 0 when unknown.
    pub created_s: i64,
    /// The whole image configuration (OCI image-spec, config.md): `config`, `rootfs`, `history`, ...
    pub configuration: serde_json::Value,
    /// Containers of this host made from it.
    pub containers: i64,
}

/// What to pull, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Reference as the user wrote it, tag or digest included.
    pub reference: String,
    pub auth: Option<RegistryAuth>,
    /// `os[/arch[/variant]]`; empty is this host's.
    pub platform: String,
}

/// API `AuthConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: Sensitive<String>,
    pub identity_token: Sensitive<String>,
    pub registry_token: Sensitive<String>,
}

/// One line of progress (API `CreateImageInfo`). The last item of a stream decides: an error is a failed operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `Downloading`, `Pull complete`, `Status: Downloaded newer image for redis:7`, ...
    pub status: String,
    /// Short layer digest or tag; empty for the whole.
    pub id: String,
    /// Bytes done and in all, where known.
    pub current: Option<i64>,
    pub total: Option<i64>,
    /// Words for people (API `stream`), as of `load`: `Loaded image: x:1`.
    pub stream: String,
}

/// Progress of a long operation; ends with it.
pub type ProgressStream = BoxStream<'static, Result<Progress, Failure>>;

/// A body being uploaded.
pub type Upload = BoxStream<'static, std::io::Result<Bytes>>;

/// What a registry says of an image (API `DistributionInspect`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistributionInfo {
    pub media_type: String,
    /// `sha256:...` of what the reference names: an index or a manifest.
    pub digest: String,
    pub size_bytes: i64,
    /// Its platforms: os, architecture, variant.
    pub platforms: Vec<(String, String, String)>,
}

/// What became of an image that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRemoval {
    Untagged(String),
    Deleted(String),
}

/// The images of this host. Names are looked up by the binder: full id, unique id prefix, or reference.
pub trait Images: Send + Sync + 'static {
    /// All images, untagged ones included.
    fn images(&self) -> Answer<'_, Vec<ImageRecord>>;

    /// One image by reference or id; `NotFound` otherwise.
    fn image<'a>(&'a self, name: &'a str) -> Answer<'a, ImageRecord>;

    /// Pulls an image.
    fn pull(&self, request: PullRequest) -> Answer<'_, ProgressStream>;

    /// Takes in the images of an archive of `docker save` or an OCI layout.
    fn load(&self, archive: Upload) -> Answer<'_, ProgressStream>;

    /// Makes an image of a root file system tar; `reference` may be empty. `changes` as of `docker import -c`.
    fn import(
        &self,
        archive: Upload,
        reference: String,
        changes: Vec<String>,
        message: String,
    ) -> Answer<'_, ProgressStream>;

    /// Gives an image another name.
    fn tag<'a>(&'a self, name: &'a str, reference: &'a str) -> Answer<'a, ()>;

    /// Removes a name, and the image when it was the last; `Conflict` when a container uses it, unless forced.
    fn remove_image<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, Vec<ImageRemoval>>;

    /// Asks the registry what a reference names.
    fn distribution<'a>(&'a self, reference: &'a str, auth: Option<RegistryAuth>) -> Answer<'a, DistributionInfo> {
        let _ = (reference, auth);
        not_implemented("asking a registry about an image")
    }
}
