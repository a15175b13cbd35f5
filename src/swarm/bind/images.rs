//! Images as the API shows them, and talking to registries for it.

use super::{BoundLocal, blocking};
use api::ports::{
    Answer, DistributionInfo, Failure, ImageRecord, ImageRemoval, Images, Progress, ProgressStream, PullRequest, Upload,
};
use futures_util::stream::{self, StreamExt};
use node::engine::LocalEngine;
use runtime::image::{
    Image, ImageError, ImageStore, ImportOptions, Platform, PullProgress, PullState, Reference, RegistryAuth, Removed,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
#[cfg(test)]
use swarm_core::Sensitive;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Lines of progress ahead of a slow client; more are dropped, the end never is.
const PROGRESS_AHEAD: usize = 256;

/// The API's answer to a failed operation on images.
pub fn failure(error: ImageError) -> Failure {
    let words = error.one_line();
    match error {
        ImageError::NotFound { .. } | ImageError::NotInRegistry { .. } => Failure::NotFound(words),
        ImageError::InUse { .. } => Failure::Conflict(words),
        ImageError::BadReference { .. } => Failure::Invalid(words),
        _other => Failure::Internal(words),
    }
}

/// Seconds since 1970; 0 for what is no time.
pub fn seconds(rfc3339: Option<&str>) -> i64 {
    let parsed =
        rfc3339.and_then(|text| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok());
    parsed.map_or(0, time::OffsetDateTime::unix_timestamp)
}

/// As the API shows it; `containers` use it.
pub fn record(image: &Image, containers: i64) -> ImageRecord {
    let config = &image.config;
    let exposed: serde_json::Map<_, _> = config.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    let volumes: serde_json::Map<_, _> = config.volumes.iter().map(|path| (path.clone(), json!({}))).collect();
    let history: Vec<_> = image.history.iter().map(|entry| serde_json::to_value(entry).unwrap_or_default()).collect();
    ImageRecord {
        id: image.id.as_str().to_owned(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size_bytes: i64::try_from(image.size).unwrap_or(i64::MAX),
        created_s: seconds(image.created.as_deref()),
        configuration: json!({
            "created": image.created,
            "architecture": config.architecture,
            "variant": config.variant,
            "os": config.os,
            "author": config.author,
            "config": {
                "User": config.user,
                "ExposedPorts": exposed,
                "Env": config.env,
                "Entrypoint": config.entrypoint,
                "Cmd": config.cmd,
                "Volumes": volumes,
                "WorkingDir": config.working_dir,
                "Labels": config.labels,
                "StopSignal": config.stop_signal,
                "Shell": config.shell,
            },
            "rootfs": { "type": "layers", "diff_ids": image.diff_ids.iter().map(|d| d.as_str()).collect::<Vec<_>>() },
            "history": history,
        }),
        containers,
    }
}

/// Runs `work` beside the answer; its words and its end come as a stream.
pub fn in_background<F, Fut>(work: F) -> ProgressStream
where
    F: FnOnce(mpsc::Sender<Result<Progress, Failure>>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    let (lines, received) = mpsc::channel(PROGRESS_AHEAD);
    tokio::spawn(async move {
        if let Err(failure) = work(lines.clone()).await {
            let _ = lines.send(Err(failure)).await;
        }
    });
    stream::unfold(received, |mut received| async { received.recv().await.map(|line| (line, received)) }).boxed()
}

/// `None` for the end, which is told last.
fn pull_line(progress: &PullProgress) -> Option<Progress> {
    let id = progress.layer.clone().unwrap_or_default();
    let said = Progress { status: progress.state.to_string(), id, ..Progress::default() };
    match &progress.state {
        PullState::Pulling { tag, .. } => Some(Progress { id: tag.clone(), ..said }),
        PullState::Downloading { current, total } => {
            Some(Progress { current: i64::try_from(*current).ok(), total: i64::try_from(*total).ok(), ..said })
        }
        PullState::Waiting
        | PullState::AlreadyExists
        | PullState::Retrying { .. }
        | PullState::DownloadComplete
        | PullState::Extracting
        | PullState::PullComplete
        | PullState::Digest(_) => Some(said),
        PullState::UpToDate { .. } | PullState::Downloaded { .. } => None,
    }
}

/// Credentials as the registry client takes them; those it cannot use are an error, never an anonymous request.
pub fn credentials(auth: Option<api::ports::RegistryAuth>) -> Result<Option<RegistryAuth>, Failure> {
    let Some(auth) = auth else { return Ok(None) };
    if !auth.registry_token.expose().is_empty() {
        return Ok(Some(RegistryAuth::Bearer(auth.registry_token)));
    }
    if !auth.identity_token.expose().is_empty() {
        return Err(Failure::NotImplemented("logging in to a registry with an identity token"));
    }
    Ok((!auth.username.is_empty()).then(|| RegistryAuth::basic(auth.username, auth.password.expose().clone())))
}

/// Pulls, telling each step on `lines` and the outcome last.
pub async fn pull(
    engine: LocalEngine,
    request: PullRequest,
    lines: mpsc::Sender<Result<Progress, Failure>>,
) -> Result<(), Failure> {
    let reference = Reference::parse(&request.reference).map_err(failure)?;
    let platform = match request.platform.as_str() {
        "" => None,
        text => Some(Platform::parse(text).map_err(failure)?),
    };
    let auth = credentials(request.auth)?;
    let (telling, outcome) = (lines.clone(), Arc::new(OnceLock::new()));
    let ended = outcome.clone();
    let tell = move |progress: PullProgress| match pull_line(&progress) {
        // What a slow client does not take is left out.
        Some(line) => drop(telling.try_send(Ok(line))),
        None => drop(ended.set(progress.state)),
    };
    engine.images.pull(&reference, platform.as_ref(), auth.as_ref(), tell).await.map_err(failure)?;
    let name = reference.familiar();
    if !matches!(outcome.get(), Some(PullState::UpToDate { .. })) {
        engine.events.tell("image", "pull", &name, [("name".to_owned(), name.clone())].into());
    }
    let status = outcome.get().map(ToString::to_string);
    let status = status.unwrap_or_else(|| PullState::Downloaded { name }.to_string());
    let _ = lines.send(Ok(Progress { status, ..Progress::default() })).await;
    Ok(())
}

/// For a registry to say what a name stands for: clients ask before each deployment and go on without an answer.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);

/// What the registry says a name stands for.
pub async fn distribution(
    images: &ImageStore,
    reference: &str,
    auth: Option<api::ports::RegistryAuth>,
) -> Result<DistributionInfo, Failure> {
    let reference = Reference::parse(reference).map_err(failure)?;
    let auth = credentials(auth)?;
    let resolving = tokio::time::timeout(RESOLVE_TIME_MAX, images.resolve(&reference, auth.as_ref())).await;
    let late = |_| {
        let (registry, limit) = (reference.registry(), RESOLVE_TIME_MAX.as_secs());
        Failure::Unavailable(format!(
            "registry {registry} did not answer for {} within {limit} s",
            reference.familiar()
        ))
    };
    let found = resolving.map_err(late)?.map_err(|error| match error {
        ImageError::Unauthorized { .. } => Failure::Forbidden(error.one_line()),
        other => failure(other),
    })?;
    Ok(DistributionInfo {
        media_type: found.media_type,
        digest: found.digest.as_str().to_owned(),
        size_bytes: i64::try_from(found.size).unwrap_or(i64::MAX),
        platforms: found.platforms.into_iter().map(|p| (p.os, p.architecture, p.variant)).collect(),
    })
}

/// The body as a blocking reader, for a thread.
pub fn reader(archive: Upload) -> SyncIoBridge<StreamReader<Upload, bytes::Bytes>> {
    SyncIoBridge::new(StreamReader::new(archive))
}

impl Images for BoundLocal {
    fn images(&self) -> Answer<'_, Vec<ImageRecord>> {
        Box::pin(async {
            let engine = self.engine.clone();
            blocking(move || {
                let prepared = engine.images.list_prepared().map_err(failure)?;
                let users = |image: &Image| prepared.iter().filter(|p| p.image_id == image.id).count();
                let images = engine.images.list().map_err(failure)?;
                Ok(images.iter().map(|image| record(image, i64::try_from(users(image)).unwrap_or(0))).collect())
            })
            .await
        })
    }

    fn image<'a>(&'a self, name: &'a str) -> Answer<'a, ImageRecord> {
        Box::pin(async move {
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            blocking(move || Ok(record(&images.inspect(&name).map_err(failure)?, 0))).await
        })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, ProgressStream> {
        Box::pin(async move {
            let engine = self.engine.clone();
            Ok(in_background(move |lines| pull(engine, request, lines)))
        })
    }

    fn load(&self, archive: Upload) -> Answer<'_, ProgressStream> {
        Box::pin(async move {
            let (images, events) = (self.engine.images.clone(), self.engine.events.clone());
            Ok(in_background(move |lines| async move {
                let reader = reader(archive);
                let loaded = blocking(move || images.load(reader).map_err(failure)).await?;
                for image in loaded {
                    events.tell("image", "load", image.image.id.as_str(), BTreeMap::new());
                    let names = match image.names.is_empty() {
                        true => vec![format!("Loaded image ID: {}\n", image.image.id.as_str())],
                        false => image.names.iter().map(|name| format!("Loaded image: {name}\n")).collect(),
                    };
                    for stream in names {
                        let _ = lines.send(Ok(Progress { stream, ..Progress::default() })).await;
                    }
                }
                Ok(())
            }))
        })
    }

    fn import(
        &self,
        archive: Upload,
        reference: String,
        changes: Vec<String>,
        message: String,
    ) -> Answer<'_, ProgressStream> {
        Box::pin(async move {
            let name = match reference.as_str() {
                "" => None,
                text => Some(Reference::parse(text).map_err(failure)?),
            };
            let (images, events) = (self.engine.images.clone(), self.engine.events.clone());
            Ok(in_background(move |lines| async move {
                let reader = reader(archive);
                let options = ImportOptions { changes, message, ..ImportOptions::default() };
                let image = blocking(move || images.import(reader, name.as_ref(), &options).map_err(failure)).await?;
                let status = image.id.as_str().to_owned();
                events.tell("image", "import", &status, named(&reference));
                let _ = lines.send(Ok(Progress { status, ..Progress::default() })).await;
                Ok(())
            }))
        })
    }

    fn tag<'a>(&'a self, name: &'a str, reference: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let reference = Reference::parse(reference).map_err(failure)?;
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            let target = reference.familiar();
            let id = blocking(move || {
                images.tag(&name, &reference).map_err(failure)?;
                Ok(images.inspect(&reference.familiar()).map_err(failure)?.id)
            });
            self.engine.events.tell("image", "tag", id.await?.as_str(), named(&target));
            Ok(())
        })
    }

    fn remove_image<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, Vec<ImageRemoval>> {
        Box::pin(async move {
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            let removed: Vec<ImageRemoval> = blocking(move || {
                let removed = images.remove(&name, force).map_err(failure)?;
                let one = |removed: Removed| match removed {
                    Removed::Untagged(name) => ImageRemoval::Untagged(name),
                    Removed::Deleted(id) => ImageRemoval::Deleted(id.as_str().to_owned()),
                };
                Ok(removed.into_iter().map(one).collect())
            })
            .await?;
            for removal in &removed {
                match removal {
                    ImageRemoval::Untagged(name) => self.engine.events.tell("image", "untag", name, named(name)),
                    ImageRemoval::Deleted(id) => self.engine.events.tell("image", "delete", id, BTreeMap::new()),
                }
            }
            Ok(removed)
        })
    }

    fn distribution<'a>(
        &'a self,
        reference: &'a str,
        auth: Option<api::ports::RegistryAuth>,
    ) -> Answer<'a, DistributionInfo> {
        Box::pin(distribution(&self.engine.images, reference, auth))
    }
}

fn named(name: &str) -> BTreeMap<String, String> {
    [("name".to_owned(), name.to_owned())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_pull_is_said_in_docker_s_words() {
        let layer = |state| PullProgress { layer: Some("0123456789ab".to_owned()), state };
        let line = pull_line(&layer(PullState::Downloading { current: 1, total: 2 })).expect("a line");
        assert_eq!((line.status.as_str(), line.id.as_str()), ("Downloading", "0123456789ab"));
        assert_eq!((line.current, line.total), (Some(1), Some(2)));
        let top = PullState::Pulling { name: "library/web".to_owned(), tag: "1".to_owned() };
        let line = pull_line(&PullProgress { layer: None, state: top }).expect("a line");
        assert_eq!((line.status.as_str(), line.id.as_str()), ("Pulling from library/web", "1"));
        assert_eq!(pull_line(&layer(PullState::UpToDate { name: "web:1".to_owned() })), None);
    }

    #[test]
    fn credentials_that_cannot_be_used_are_refused() {
        let with = |identity: &str, token: &str| api::ports::RegistryAuth {
            identity_token: Sensitive::new(identity.to_owned()),
            registry_token: Sensitive::new(token.to_owned()),
            ..api::ports::RegistryAuth::default()
        };
        assert_eq!(credentials(None), Ok(None));
        assert_eq!(credentials(Some(with("", ""))), Ok(None));
        assert!(matches!(credentials(Some(with("", "t"))), Ok(Some(RegistryAuth::Bearer(_)))));
        assert!(credentials(Some(with("i", ""))).is_err());
    }
}
