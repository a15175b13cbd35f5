//! Downloading one blob: verified, continued after faults and after restarts, by one task at a time.

use super::client::RegistryClient;
use super::progress::{PullState, Reporter};
use super::retry::{Attempts, Fault, RetryPolicy};
use crate::image::digest::{Digest, Hasher};
use crate::image::disk;
use crate::image::error::{ImageError, Result};
use crate::image::manifest::Descriptor;
use crate::image::store::Inner;
use reqwest::{Response, StatusCode, header};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

/// Time between two reports of the same download.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// One lock per digest, for blobs and for layers being unpacked.
#[derive(Default)]
pub(super) struct KeyLocks(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

impl KeyLocks {
    pub(super) async fn lock(&self, key: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(key.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Small content held in memory: a manifest or a configuration.
pub(super) async fn fetch_small(
    client: &RegistryClient,
    repository: &str,
    what: &str,
    accept: &str,
    bytes_max: u64,
    policy: &RetryPolicy,
) -> Result<(Vec<u8>, header::HeaderMap)> {
    let mut attempts = Attempts::new(policy);
    loop {
        match try_small(client, repository, what, accept, bytes_max).await {
            Ok(done) => return Ok(done),
            Err(fault) => {
                attempts
                    .again(fault, |attempt, error| tracing::debug!(attempt, error = %error.one_line(), what, "asking the registry again"))
                    .await?;
            }
        }
    }
}

async fn try_small(
    client: &RegistryClient,
    repository: &str,
    what: &str,
    accept: &str,
    bytes_max: u64,
) -> std::result::Result<(Vec<u8>, header::HeaderMap), Fault> {
    let mut response = client.get(repository, what, accept, None).await?;
    let headers = response.headers().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| client.fault(&e))? {
        if (bytes.len() + chunk.len()) as u64 > bytes_max {
            return Err(client.protocol(format!("{what} is larger than {bytes_max} bytes")).into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, headers))
}

/// What a download needs to know.
pub(super) struct Download<'a> {
    pub inner: &'a Arc<Inner>,
    pub client: &'a RegistryClient,
    pub repository: &'a str,
    pub blob: &'a Descriptor,
    /// Names it in errors: `layer 2 of web:1`.
    pub what: &'a str,
    pub reporter: &'a Reporter,
    pub policy: &'a RetryPolicy,
}

/// How far a download is.
struct Position {
    file: File,
    hasher: Hasher,
    bytes: u64,
    /// Some of it was written by an earlier process, so a wrong digest need not be the registry's fault.
    continued: bool,
    reported: Option<Instant>,
}

impl Download<'_> {
    /// Downloads the blob unless it is there. On an error what has come stays for the next attempt,
    /// except when it is wrong, or the disk is full.
    pub(super) async fn run(&self) -> Result<()> {
        let digest = &self.blob.digest;
        let _turn = self.inner.registries.locks.lock(digest).await;
        if self.inner.blobs.has(digest) {
            return Ok(());
        }
        let result = self.download().await;
        if matches!(result, Err(ImageError::DiskFull { .. })) {
            disk::remove_file(&self.path())?;
        }
        result
    }

    async fn download(&self) -> Result<()> {
        let digest = &self.blob.digest;
        let mut position = self.open().await?;
        let mut attempts = Attempts::new(self.policy);
        loop {
            let before = position.bytes;
            match self.receive(&mut position).await {
                Ok(()) => {
                    position.file.flush().await.map_err(|e| self.disk(e))?;
                    let actual = position.hasher.clone().finish();
                    if actual == *digest {
                        return self.inner.blobs.complete(digest);
                    }
                    self.restart(&mut position).await?;
                    if !std::mem::take(&mut position.continued) {
                        let (what, expected) = (self.what.to_owned(), digest.to_string());
                        return Err(ImageError::DigestMismatch { what, expected, actual: actual.to_string() });
                    }
                }
                Err(fault) => {
                    if position.bytes > before {
                        attempts.progressed();
                    }
                    let report = |attempt, error: &ImageError| {
                        let reason = error.one_line();
                        self.reporter.layer(digest.short(), PullState::Retrying { attempt, reason });
                    };
                    attempts.again(fault, report).await?;
                }
            }
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.inner.blobs.partial_path(&self.blob.digest)
    }

    fn disk(&self, e: std::io::Error) -> ImageError {
        ImageError::io("cannot write", Path::new(&self.path()), e)
    }

    async fn open(&self) -> Result<Position> {
        let (inner, digest) = (self.inner.clone(), self.blob.digest.clone());
        let (hasher, bytes) =
            super::pull::blocking("reading a partial download", move || inner.blobs.hash_partial(&digest)).await?;
        let open =
            tokio::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path()).await;
        let file = open.map_err(|e| self.disk(e))?;
        let mut position = Position { file, hasher, bytes, continued: bytes > 0, reported: None };
        position.file.seek(std::io::SeekFrom::Start(bytes)).await.map_err(|e| self.disk(e))?;
        if bytes > self.blob.size {
            self.restart(&mut position).await?;
        }
        Ok(position)
    }

    /// From the first byte.
    async fn restart(&self, position: &mut Position) -> Result<()> {
        position.hasher = Hasher::like(&self.blob.digest);
        position.bytes = 0;
        position.file.set_len(0).await.map_err(|e| self.disk(e))?;
        position.file.rewind().await.map(drop).map_err(|e| self.disk(e))
    }

    /// One request, until all bytes are there or it breaks.
    async fn receive(&self, position: &mut Position) -> std::result::Result<(), Fault> {
        if position.bytes == self.blob.size {
            return Ok(());
        }
        let from = (position.bytes > 0).then_some(position.bytes);
        let what = format!("blobs/{}", self.blob.digest);
        let mut response = match self.client.get(self.repository, &what, "*/*", from).await {
            Err(Fault::Final(ImageError::NotInRegistry { .. })) => {
                return Err(self.client.protocol(format!("it does not have {}", self.what)).into());
            }
            // Whatever the reason it does not want to continue, from the start is an answer.
            Err(Fault::Final(ImageError::Protocol { .. })) if from.is_some() => {
                self.restart(position).await?;
                self.client.get(self.repository, &what, "*/*", None).await?
            }
            done => done?,
        };
        if position.bytes > 0 && !continues_at(&response, position.bytes) {
            self.restart(position).await?;
            position.continued = false;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                response = self.client.get(self.repository, &what, "*/*", None).await?;
            }
        }
        while let Some(chunk) = response.chunk().await.map_err(|e| self.client.fault(&e))? {
            position.bytes += chunk.len() as u64;
            if position.bytes > self.blob.size {
                self.restart(position).await?;
                let reason = format!("{} is longer than its manifest says", self.what);
                return Err(self.client.protocol(reason).into());
            }
            position.hasher.update(&chunk);
            position.file.write_all(&chunk).await.map_err(|e| self.disk(e))?;
            self.report(position);
        }
        if position.bytes < self.blob.size {
            let registry = self.client.endpoint.host.clone();
            let reason = "the connection ended early".to_owned();
            return Err(Fault::Passing { error: ImageError::Unreachable { registry, reason }, wait: None });
        }
        Ok(())
    }

    fn report(&self, position: &mut Position) {
        let now = Instant::now();
        if position.reported.is_none_or(|last| now - last >= REPORT_INTERVAL) || position.bytes == self.blob.size {
            position.reported = Some(now);
            let state = PullState::Downloading { current: position.bytes, total: self.blob.size };
            self.reporter.layer(self.blob.digest.short(), state);
        }
    }
}

/// The answer is the rest from this byte on (RFC 9110, Content-Range).
fn continues_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    let start = range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split('-').next());
    response.status() == StatusCode::PARTIAL_CONTENT && start.and_then(|s| s.trim().parse().ok()) == Some(from)
}
