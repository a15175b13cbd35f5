//! Pulling an image: find it, download the layers that are missing, unpack them in order, give it its name.

use super::Endpoint;
use super::client::RegistryClient;
use super::download::{Download, fetch_small};
use super::progress::{PullProgress, PullState, Reporter, Sink};
use crate::image::auth::RegistryAuth;
use crate::image::catalog::ImageRecord;
use crate::image::config::{CONFIG_BYTES_MAX, ConfigFile};
use crate::image::digest::{Digest, chain_ids, digest_like};
use crate::image::error::{ImageError, Result};
use crate::image::manifest::{self, Descriptor, Document, Manifest};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageStore, Inner, NewImage, Pins};
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures_util::stream::{self, StreamExt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// Layers of one image downloaded at once (Docker's default).
const LAYERS_AT_ONCE: usize = 3;

type Answer = Result<Image>;
type Waiting = BoxFuture<'static, Answer>;
type Key = (Reference, Platform, [u8; 32]);

/// The pulls under way, so that those of the same image are one. Entries are dropped with their last waiter.
#[derive(Default)]
pub(super) struct Pulls(Mutex<HashMap<Key, (WeakShared<Waiting>, Reporter)>>);

/// Ends the task when nobody waits any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> AbortOnDrop<Result<T>> {
    async fn join(mut self, what: &'static str) -> Result<T> {
        (&mut self.0).await.unwrap_or(Err(ImageError::Interrupted { what }))
    }
}

/// Runs disk work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ImageError::Interrupted { what }))
}

impl ImageStore {
    /// Pulls an image (Docker API `POST /images/create?fromImage=`). `platform` defaults to this machine.
    ///
    /// `progress` is called for every step, from another task; it must not block. Calls for the same
    /// image, platform and credentials share one download. Dropping the future stops it unless another
    /// waits; what has been downloaded is continued by the next pull.
    /// Errors leave the store as it was: [`ImageError::NotInRegistry`], [`ImageError::Unauthorized`],
    /// [`ImageError::Unreachable`], [`ImageError::PlatformMissing`], [`ImageError::DigestMismatch`],
    /// [`ImageError::BadLayer`], [`ImageError::DiskFull`], ...
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        auth: Option<&RegistryAuth>,
        progress: impl Fn(PullProgress) + Send + Sync + 'static,
    ) -> Result<Image> {
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        let key = (reference.clone(), platform.clone(), RegistryAuth::fingerprint(auth));
        let sink: Sink = Arc::new(progress);
        let (answer, _subscription) = {
            let mut pulls = self.inner.registries.pulls.0.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, (pull, _)| pull.upgrade().is_some());
            match pulls.get(&key).and_then(|(pull, reporter)| Some((pull.upgrade()?, reporter.clone()))) {
                Some((answer, reporter)) => (answer, reporter.subscribe(sink)),
                None => {
                    let reporter = Reporter::default();
                    let subscription = reporter.subscribe(sink);
                    let answer =
                        start(self.inner.clone(), reference.clone(), platform, auth.cloned(), reporter.clone());
                    if let Some(weak) = answer.downgrade() {
                        pulls.insert(key, (weak, reporter));
                    }
                    (answer, subscription)
                }
            }
        };
        answer.await
    }

    /// The image if it is here, or else pulled: what a container needs before it starts. With a digest it is
    /// the very image; by tag it is what the tag means on this node.
    pub async fn ensure(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        auth: Option<&RegistryAuth>,
        progress: impl Fn(PullProgress) + Send + Sync + 'static,
    ) -> Result<Image> {
        let stored = self.inner.state().image_named(reference);
        if let Some(image) = stored {
            return Ok(image);
        }
        self.pull(reference, platform, auth, progress).await
    }
}

fn start(
    inner: Arc<Inner>,
    reference: Reference,
    platform: Platform,
    auth: Option<RegistryAuth>,
    reporter: Reporter,
) -> Shared<Waiting> {
    async move {
        let pull = Pull { inner, reference, platform, reporter };
        AbortOnDrop(tokio::spawn(async move { pull.run(auth.as_ref()).await })).join("the pull").await
    }
    .boxed()
    .shared()
}

pub(super) struct Pull {
    pub inner: Arc<Inner>,
    pub reference: Reference,
    pub platform: Platform,
    pub reporter: Reporter,
}

/// What the registry says an image is.
struct Found {
    client: Arc<RegistryClient>,
    /// Of what the name stands for: an index or the manifest itself.
    top: Digest,
    manifest: Manifest,
    manifest_digest: Digest,
    manifest_bytes: Vec<u8>,
}

/// One layer that is missing.
struct Job {
    blob: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
    below: Vec<Digest>,
    what: String,
}

impl Pull {
    async fn run(self, auth: Option<&RegistryAuth>) -> Answer {
        let tag = self.reference.digest().map(Digest::to_string).or(self.reference.tag().map(str::to_owned));
        let name = self.reference.repository().to_owned();
        self.reporter.image(PullState::Pulling { name, tag: tag.unwrap_or_default() });
        let found = self.find(auth).await?;
        let config_bytes = self.config(&found.client, &found.manifest.config).await?;
        let config = ConfigFile::parse(&config_bytes, &self.reference.familiar())?;
        self.check_config(&found, &config)?;
        let chain = chain_ids(&config.rootfs.diff_ids);
        let blobs = found.manifest.layers.iter().map(|l| l.digest.clone());
        let extra = [found.manifest.config.digest.clone(), found.manifest_digest.clone()];
        let pins = Arc::new(self.inner.pin(chain.iter().cloned().chain(blobs).chain(extra).collect()));
        let result = self.layers(&found, &config, &chain, &pins).await;
        let result = match result {
            Ok(was_there) => self.finish(found, config_bytes, &config, chain, was_there).await,
            Err(error) => Err(error),
        };
        drop(pins);
        let inner = self.inner.clone();
        if result.is_err() {
            blocking("cleaning up after the pull", move || inner.collect_layers()).await?;
        }
        result
    }

    async fn find(&self, auth: Option<&RegistryAuth>) -> Result<Found> {
        let shown = self.reference.familiar();
        let (client, top, mut bytes) = self.first_document(auth).await?;
        let mut digest = top.clone();
        for _ in 0..manifest::INDEX_DEPTH_MAX {
            match Document::parse(&bytes, &shown)? {
                Document::Image(manifest) => {
                    return Ok(Found { client, top, manifest, manifest_digest: digest, manifest_bytes: bytes });
                }
                Document::Index(entries) => {
                    let wanted = &manifest::choose(&entries, &self.platform, &shown)?.digest;
                    (digest, bytes) = self.document(&client, Some(wanted)).await?;
                }
            }
        }
        let limit = format!("{} indexes within each other", manifest::INDEX_DEPTH_MAX);
        Err(ImageError::TooBig { what: format!("the index of {shown}"), limit })
    }

    /// What the name stands for, at the first endpoint that knows it.
    pub(super) async fn first_document(
        &self,
        auth: Option<&RegistryAuth>,
    ) -> Result<(Arc<RegistryClient>, Digest, Vec<u8>)> {
        let endpoints = self.inner.registries.endpoints(&self.reference);
        let last = endpoints.len() - 1;
        for (i, endpoint) in endpoints.iter().enumerate() {
            // Credentials are for the registry, not for its mirrors.
            let auth = auth.filter(|_| i == last);
            match self.document_at(endpoint, auth).await {
                Err(error) if i < last => {
                    tracing::warn!(mirror = %endpoint.host, error = %error.one_line(), "the mirror does not serve the image");
                }
                done => return done,
            }
        }
        Err(ImageError::Interrupted { what: "the search for the image" })
    }

    async fn document_at(
        &self,
        endpoint: &Endpoint,
        auth: Option<&RegistryAuth>,
    ) -> Result<(Arc<RegistryClient>, Digest, Vec<u8>)> {
        let (inner, at, credentials) = (self.inner.clone(), endpoint.clone(), auth.cloned());
        // Reads certificates.
        let client =
            blocking("preparing the connection", move || inner.registries.client(&at, credentials.as_ref())).await?;
        let (digest, bytes) = self.document(&client, self.reference.digest()).await?;
        Ok((client, digest, bytes))
    }

    /// A manifest or index, by digest or by the tag, verified.
    async fn document(&self, client: &RegistryClient, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>)> {
        let tag = self.reference.tag().unwrap_or(crate::image::reference::DEFAULT_TAG);
        let what = format!("manifests/{}", digest.map_or(tag, Digest::as_str));
        let policy = self.inner.registries.policy();
        let max = manifest::MANIFEST_BYTES_MAX;
        let fetched = fetch_small(client, self.reference.repository(), &what, manifest::ACCEPT, max, policy).await;
        let (bytes, headers) = fetched.map_err(|e| self.with_name(e))?;
        let promised =
            headers.get("docker-content-digest").and_then(|v| v.to_str().ok()).and_then(|d| Digest::parse(d).ok());
        for expected in [digest, promised.as_ref()].into_iter().flatten() {
            let actual = digest_like(expected, &bytes);
            if actual != *expected {
                let what = format!("the manifest of {}", self.reference.familiar());
                return Err(ImageError::DigestMismatch {
                    what,
                    expected: expected.to_string(),
                    actual: actual.to_string(),
                });
            }
        }
        Ok((digest.cloned().unwrap_or_else(|| Digest::sha256(&bytes)), bytes))
    }

    /// The error with the name the user gave.
    fn with_name(&self, error: ImageError) -> ImageError {
        let reference = self.reference.familiar();
        match error {
            ImageError::NotInRegistry { registry, .. } => ImageError::NotInRegistry { registry, reference },
            ImageError::Unauthorized { registry, hint, .. } => ImageError::Unauthorized { registry, reference, hint },
            other => other,
        }
    }

    pub(super) async fn config(&self, client: &RegistryClient, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if descriptor.size > CONFIG_BYTES_MAX {
            let what = format!("the configuration of {}", self.reference.familiar());
            return Err(ImageError::TooBig { what, limit: format!("{CONFIG_BYTES_MAX} bytes") });
        }
        let (inner, digest) = (self.inner.clone(), descriptor.digest.clone());
        let stored = blocking("reading the configuration", move || inner.blobs.read(&digest, CONFIG_BYTES_MAX)).await;
        if let Ok(bytes) = stored {
            return Ok(bytes);
        }
        let what = format!("blobs/{}", descriptor.digest);
        let (repository, policy) = (self.reference.repository(), self.inner.registries.policy());
        let (bytes, _) = fetch_small(client, repository, &what, "*/*", CONFIG_BYTES_MAX, policy).await?;
        let actual = digest_like(&descriptor.digest, &bytes);
        if actual != descriptor.digest {
            let what = format!("the configuration of {}", self.reference.familiar());
            return Err(ImageError::DigestMismatch {
                what,
                expected: descriptor.digest.to_string(),
                actual: actual.to_string(),
            });
        }
        Ok(bytes)
    }

    fn check_config(&self, found: &Found, config: &ConfigFile) -> Result<()> {
        let shown = self.reference.familiar();
        let (layers, diffs) = (found.manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diffs {
            let reason = format!("it lists {layers} layers, its configuration {diffs}");
            return Err(ImageError::BadManifest { what: format!("the manifest of {shown}"), reason });
        }
        let platform = config.to_public().platform();
        // An empty architecture says nothing; a wrong one could only fail to run.
        if !platform.architecture.is_empty() && self.platform.distance(&platform).is_none() {
            let (wanted, available) = (self.platform.to_string(), vec![platform.to_string()]);
            return Err(ImageError::PlatformMissing { reference: shown, wanted, available });
        }
        Ok(())
    }

    /// Brings all layers here. True if they were all here before.
    async fn layers(&self, found: &Found, config: &ConfigFile, chain: &[Digest], pins: &Arc<Pins>) -> Result<bool> {
        let shown = self.reference.familiar();
        let mut jobs = Vec::new();
        for (i, blob) in found.manifest.layers.iter().enumerate() {
            if self.inner.layers.get(&chain[i]).is_some() {
                self.reporter.layer(blob.digest.short(), PullState::AlreadyExists);
                continue;
            }
            self.reporter.layer(blob.digest.short(), PullState::Waiting);
            jobs.push(Job {
                blob: blob.clone(),
                diff_id: config.rootfs.diff_ids[i].clone(),
                chain_id: chain[i].clone(),
                below: config.rootfs.diff_ids[..i].to_vec(),
                what: format!("layer {} of {shown} ({})", i + 1, blob.digest.short()),
            });
        }
        let was_there = jobs.is_empty();
        let downloads = stream::iter(jobs).map(|job| {
            let (inner, client, reporter) = (self.inner.clone(), found.client.clone(), self.reporter.clone());
            let repository = self.reference.repository().to_owned();
            let task =
                AbortOnDrop(tokio::spawn(async move { download(inner, client, repository, reporter, job).await }));
            async move { task.join("the download").await }
        });
        let mut downloads = std::pin::pin!(downloads.buffered(LAYERS_AT_ONCE));
        while let Some(job) = downloads.next().await {
            self.unpack(job?, pins).await?;
        }
        Ok(was_there)
    }

    async fn unpack(&self, job: Job, pins: &Arc<Pins>) -> Result<()> {
        let registries = &self.inner.registries;
        let _turn = registries.locks.lock(&job.chain_id).await;
        let short = job.blob.digest.short().to_owned();
        if self.inner.layers.get(&job.chain_id).is_none() {
            let Ok(_slot) = registries.unpacks.acquire().await else {
                return Err(ImageError::Interrupted { what: "unpacking" });
            };
            self.reporter.layer(&short, PullState::Extracting);
            // The pins go along: if this pull is dropped, the blocking work goes on and needs its layers.
            let (inner, pins) = (self.inner.clone(), pins.clone());
            blocking("unpacking", move || {
                let _pins = pins;
                let blob = inner.blobs.open(&job.blob.digest)?;
                let expected = Some(&job.diff_id);
                inner.layers.apply(blob, Some(job.blob.size), &job.below, expected, &job.what).map(drop)
            })
            .await?;
        }
        self.reporter.layer(&short, PullState::PullComplete);
        Ok(())
    }

    async fn finish(
        &self,
        found: Found,
        config: Vec<u8>,
        parsed: &ConfigFile,
        chain_ids: Vec<Digest>,
        was_there: bool,
    ) -> Answer {
        let id = found.manifest.config.digest.clone();
        let known = was_there && self.inner.state().image(&id).is_ok();
        let mut names = vec![self.reference.pinned(found.top.clone())];
        if self.reference.digest().is_none() {
            names.extend(self.reference.tagged());
        }
        let diff_ids = parsed.rootfs.diff_ids.clone();
        let created = parsed.created.clone();
        let inner = self.inner.clone();
        let layers: Vec<Digest> = found.manifest.layers.iter().map(|l| l.digest.clone()).collect();
        let manifest = Some((found.manifest_digest, found.manifest_bytes));
        let image = blocking("storing the image", move || {
            let size = chain_ids.iter().filter_map(|id| inner.layers.get(id)).map(|meta| meta.size).sum();
            let manifest_digest = manifest.as_ref().map(|(digest, _)| digest.clone());
            let record = ImageRecord { id, diff_ids, chain_ids, size, created, manifest: manifest_digest };
            let image = inner.commit(NewImage { record, config, manifest, names })?;
            // Unpacked, the compressed layers have served, unless another pull is about to unpack them too.
            for digest in layers.iter().filter(|d| inner.pin_count(d) <= 1) {
                inner.blobs.remove(digest)?;
            }
            Ok(image)
        })
        .await?;
        self.reporter.image(PullState::Digest(found.top));
        let name = self.reference.familiar();
        self.reporter.image(if known { PullState::UpToDate { name } } else { PullState::Downloaded { name } });
        Ok(image)
    }
}

async fn download(
    inner: Arc<Inner>,
    client: Arc<RegistryClient>,
    repository: String,
    reporter: Reporter,
    job: Job,
) -> Result<Job> {
    let Ok(slot) = inner.registries.downloads.acquire().await else {
        return Err(ImageError::Interrupted { what: "the download" });
    };
    let download = Download {
        inner: &inner,
        client: &client,
        repository: &repository,
        blob: &job.blob,
        what: &job.what,
        reporter: &reporter,
        policy: inner.registries.policy(),
    };
    download.run().await?;
    reporter.layer(job.blob.digest.short(), PullState::DownloadComplete);
    drop(slot);
    Ok(job)
}
