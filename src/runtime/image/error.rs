//! What can go wrong with images. Each text is one line that names the place; the cause is in `source`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of everything in [`crate::image`].
pub type Result<T> = std::result::Result<T, ImageError>;

/// The errors of images. Clonable, because one download may have several waiters.
///
/// Unless a variant says otherwise the store is unchanged when it is returned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is not an image reference. `docker inspect` goes on to the next kind of object at these words.
    #[error("invalid reference format: {text:?}: {reason}")]
    BadReference { text: String, reason: &'static str },
    /// No image of that name or id is in this node's store.
    #[error("no such image on this node: {name}")]
    NotFound { name: String },
    /// A short id fits several images.
    #[error("image id {prefix:?} is ambiguous: give more digits")]
    Ambiguous { prefix: String },
    /// The registry answered, and does not have it.
    #[error("no such image in registry {registry}: {reference}")]
    NotInRegistry { registry: String, reference: String },
    /// The registry refused the credentials, or wants some. Registries also say this of images that do not exist.
    #[error("registry {registry} refused {reference}: {hint}")]
    Unauthorized { registry: String, reference: String, hint: &'static str },
    /// No answer from the registry after all attempts.
    #[error("registry {registry} cannot be reached: {reason}")]
    Unreachable { registry: String, reason: String },
    /// The registry asked to come back later, after all attempts.
    #[error("registry {registry} limits the rate of requests: try again later or log in")]
    RateLimited { registry: String },
    /// The registry answered something that is not of the protocol.
    #[error("registry {registry} answered unexpectedly: {reason}")]
    Protocol { registry: String, reason: String },
    /// The content of a blob is not what its digest promises.
    #[error("{what} is corrupt: expected {expected}, got {actual}")]
    DigestMismatch { what: String, expected: String, actual: String },
    /// A layer cannot be unpacked: damaged, hostile or beyond a limit.
    #[error("{what} cannot be unpacked: {reason}")]
    BadLayer { what: String, reason: String },
    /// The image has no variant for this platform.
    #[error("{reference} has no image for {wanted}; it has: {}", .available.join(", "))]
    PlatformMissing { reference: String, wanted: String, available: Vec<String> },
    /// A manifest or configuration does not parse.
    #[error("{what} is not valid: {reason}")]
    BadManifest { what: String, reason: String },
    /// An archive given to load or import cannot be read.
    #[error("the archive cannot be read: {reason}")]
    BadArchive { reason: String },
    /// A change given to import is not understood.
    #[error("invalid change {change:?}: {reason}")]
    BadChange { change: String, reason: String },
    /// The file system that holds the images is full; what was half made is gone.
    #[error("no space left on the device that holds {}: free some or remove unused images", .path.display())]
    DiskFull { path: PathBuf },
    /// The image, or a layer of it, is the root of a container.
    #[error("image {name} is in use by container {}", .containers.join(", "))]
    InUse { name: String, containers: Vec<String> },
    /// Removing by id an image that has several names.
    #[error("image {name} has several names ({}): remove them by name, or force", .references.join(", "))]
    SeveralNames { name: String, references: Vec<String> },
    /// A layer directory of a stored image is gone.
    #[error("image {name} is damaged, layer {layer} is missing: pull or load it again")]
    Damaged { name: String, layer: String },
    /// The container id cannot name a directory.
    #[error("invalid container id {id:?}")]
    BadContainerId { id: String },
    /// A container id that already has a root made from another image.
    #[error("container {id} already has a root file system made from {image}")]
    SnapshotExists { id: String, image: String },
    /// Another process has the store open.
    #[error("the image store {} is in use by another process", .path.display())]
    Locked { path: PathBuf },
    /// A file of the store does not parse; it is never overwritten.
    #[error("the image store file {} is damaged: {reason}", .path.display())]
    BadStoreFile { path: PathBuf, reason: String },
    /// A limit of this build.
    #[error("{what} exceeds the limit of {limit}")]
    TooBig { what: String, limit: String },
    /// Something the build does not do.
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// The operating system refused.
    #[error("{doing} {}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    /// A background task ended without an answer; a bug, or the daemon is stopping.
    #[error("{what} was interrupted")]
    Interrupted { what: &'static str },
}

impl ImageError {
    /// An operating-system error at `path`; a full disk becomes [`ImageError::DiskFull`].
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        if is_disk_full(&source) {
            return ImageError::DiskFull { path: path.to_path_buf() };
        }
        ImageError::Io { doing, path: path.to_path_buf(), source: Arc::new(source) }
    }

    /// This error and its causes on one line.
    pub fn one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        text
    }
}

/// ENOSPC and EDQUOT.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) || error.kind() == io::ErrorKind::StorageFull
}
