//! Files in and out of containers (`docker cp`, `docker export`), and what a container has changed (`docker diff`).
//!
//! Each operation has a thread of its own, with mounts of its own (see `view`). Nothing named by an archive or a link
//! leads out of the container's files.

mod changes;
mod pack;
mod resolve;
mod unpack;
mod view;

use std::io::{self, Read, Write};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

pub use changes::{Change, ChangeKind};

use super::{Containers, Error};
use crate::image::layer::decompress;
use crate::image::layer::in_root::InRoot;
use crate::shim::user;
use crate::spec::ContainerSpec;
use pack::Packer;
use view::Scope;

/// Operations at a time: each has a thread, and may wait for a client as long as that likes.
pub(super) const FILES_AT_ONCE_MAX: usize = 16;
/// Bytes of a piece of an archive, and pieces ahead of a slow client.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_AHEAD: usize = 4;

/// Why files were not read or written. What was written before stays.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nothing was changed.
    #[error("{0}: no such file or directory")]
    NotFound(String),
    /// Nothing was changed.
    #[error("{0}: not a directory")]
    NotADirectory(String),
    /// The root file system or the mount is read-only.
    #[error("{0} is on a file system that is read-only")]
    ReadOnly(String),
    /// The path or the archive is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Nothing was changed.
    #[error("{FILES_AT_ONCE_MAX} copies to and from containers are under way already: try again")]
    Busy,
    #[error("{path}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Container(#[from] Error),
}

pub(super) type Result<T> = std::result::Result<T, FilesError>;

/// What is at a path of a container (Docker API, `X-Docker-Container-Path-Stat`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    pub size: i64,
    /// As stat(2) has it, the kind included.
    pub mode: u32,
    pub mtime_s: i64,
    pub mtime_ns: i64,
    /// Where a link leads in the end, absolute inside the container; empty for all else.
    pub link_target: String,
}

/// How an archive is unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// A directory is never replaced by something else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to the user that the container runs as, if it names one, and not to whom the archive says.
    pub as_container_user: bool,
}

/// A tar stream; an error is its end.
pub type Archive = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Containers {
    /// What is at `path`; a link is not followed unless the path ends with a slash.
    pub async fn stat_path(&self, id: &str, path: &str) -> Result<PathStat> {
        let path = path.to_owned();
        self.in_view(id, Scope::Mounted, move |_, root| {
            let located = resolve::locate(&root, path.as_bytes())?;
            resolve::describe(&root, path.as_bytes(), &located)
        })
        .await
    }

    /// What is at `path` and below, as a tar stream under the last part of the path.
    pub async fn read_files(&self, id: &str, path: &str) -> Result<(PathStat, Archive)> {
        self.archive(id, Scope::Mounted, path).await
    }

    /// The whole root file system as a tar stream, without what is mounted into it.
    pub async fn export(&self, id: &str) -> Result<Archive> {
        self.archive(id, Scope::Root, "/").await.map(|(_, archive)| archive)
    }

    async fn archive(&self, id: &str, scope: Scope, path: &str) -> Result<(PathStat, Archive)> {
        let path = path.to_owned();
        let (found, finding) = oneshot::channel();
        let (pieces, received) = mpsc::channel(PIECES_AHEAD);
        let work = move |_: &ContainerSpec, root: InRoot| -> Result<()> {
            let located = resolve::locate(&root, path.as_bytes())?;
            let stat = resolve::describe(&root, path.as_bytes(), &located)?;
            if found.send(stat).is_err() {
                return Ok(()); // Nobody waits for it any more.
            }
            // An export has no name to be below.
            let name = if scope == Scope::Root { &b""[..] } else { &located.base };
            let mut packer = Packer::new(Pieces { pieces: pieces.clone(), held: Vec::with_capacity(PIECE_BYTES) });
            if let Err(error) = packer.tree(&located, name).and_then(|()| packer.finish()) {
                // The client may be gone, which is then the error.
                let _ = pieces.blocking_send(Err(error));
            }
            Ok(())
        };
        let working = self.in_view(id, scope, work);
        tokio::pin!(working, finding);
        let stat = tokio::select! {
            biased;
            stat = &mut finding => match stat {
                Ok(stat) => Some(stat),
                // It was not described: then it ends with why.
                Err(_) => {
                    working.as_mut().await?;
                    None
                }
            },
            // It may be done before anybody looks.
            ended = &mut working => {
                ended?;
                finding.await.ok()
            }
        };
        let stat = stat.ok_or_else(|| FilesError::Invalid("nothing was found".to_owned()))?;
        let stream = futures_util::stream::unfold(received, |mut received| async move {
            received.recv().await.map(|piece| (piece, received))
        });
        Ok((stat, Box::pin(stream)))
    }

    /// Unpacks a tar stream, plain or compressed with gzip or zstd, into the directory at `path`.
    pub async fn write_files(
        &self,
        id: &str,
        path: &str,
        archive: impl Read + Send + 'static,
        options: WriteOptions,
    ) -> Result<()> {
        let path = path.to_owned();
        self.in_view(id, Scope::Mounted, move |spec, root| {
            let mut owner = None;
            if options.as_container_user && !spec.process.user.is_empty() {
                let user = user::resolve(&spec.rootfs, &spec.process.user, &[]);
                let user = user.map_err(|error| FilesError::Invalid(error.to_string()))?;
                owner = Some((user.uid, user.gid));
            }
            let entered = [path.as_bytes(), b"/"].concat();
            let dir = resolve::locate(&root, &entered)?;
            let failed = |source| resolve::fault(source, path.as_bytes());
            let dest = resolve::inside(&root, &dir.parent).map_err(failed)?;
            if view::is_out_of_view(spec, &dest) {
                let shown = resolve::shown(&dest);
                let words = "is in the container's memory or the kernel's, where nothing can be copied to";
                return Err(FilesError::Invalid(format!("/{shown} {words}")));
            }
            let plain = decompress(archive).map_err(|error| FilesError::Invalid(error.to_string()))?;
            unpack::unpack(&root, &dest, plain, &options, owner)
        })
        .await
    }

    /// What differs from the image's layers `lower`, topmost first, of which `upper` holds what was written.
    pub async fn changes(
        &self,
        id: &str,
        lower: Vec<std::path::PathBuf>,
        upper: std::path::PathBuf,
    ) -> Result<Vec<Change>> {
        self.in_view(id, Scope::Root, move |spec, _| changes::changes(&spec.rootfs, &lower, &upper)).await
    }

    /// Runs `work` on a thread with the view, at most so many at a time.
    async fn in_view<T: Send + 'static>(
        &self,
        id: &str,
        scope: Scope,
        work: impl FnOnce(&ContainerSpec, InRoot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let spec = self.spec(id)?;
        let permit = self.inner.files.clone().try_acquire_owned().map_err(|_| FilesError::Busy)?;
        let (done, waiting) = oneshot::channel();
        let run = move || {
            let _permit: OwnedSemaphorePermit = permit;
            let failed = |source| FilesError::Io { path: spec.rootfs.display().to_string(), source };
            // Whoever asked may be gone: then nobody minds.
            let _ = done.send(view::open(&spec, scope).map_err(failed).and_then(|root| work(&spec, root)));
        };
        let failed = |source| FilesError::Io { path: "a thread for files".to_owned(), source };
        std::thread::Builder::new().name("container-files".to_owned()).spawn(run).map_err(failed)?;
        waiting.await.map_err(|_| failed(io::Error::other("it ended early")))?
    }
}

/// Hands an archive on piece by piece.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.held.len());
        self.held.extend_from_slice(&bytes[..count]);
        if self.held.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE_BYTES));
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
