//! The API's port to what this host keeps: images, volumes, containers.

use super::internal;
use api::ports::{
    Answer, ContainerRecord, ContainerState, Failure, HostInfo, ImageRecord, ImageRemoval, Local, LogOptions,
    LogRecord, LogRecords, LogStream, Progress, ProgressStream, PullRequest, Upload, VolumeRecord,
};
use futures_util::StreamExt;
use futures_util::stream;
use node::engine::{LocalEngine, TASK_LABEL};
use node::node::Node;
use runtime::container::{LogOptions as RuntimeLogOptions, Status};
use runtime::image::{
    Image, ImageError, ImageStore, ImportOptions, Platform, PullProgress, PullState, Reference, RegistryAuth, Removed,
};
use runtime::shim::Output;
use runtime::spec::{ContainerSpec, MountKind};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Lines of progress ahead of a slow client; more are dropped, the end never is.
const PROGRESS_AHEAD: usize = 256;

/// This host.
#[derive(Clone)]
pub struct BoundLocal {
    engine: LocalEngine,
    info: Arc<HostInfo>,
}

impl BoundLocal {
    /// Binds the engine of this host.
    pub fn new(engine: LocalEngine, _node: Node, info: HostInfo) -> Self {
        Self { engine, info: Arc::new(info) }
    }
}

fn image_failure(error: ImageError) -> Failure {
    let words = error.one_line();
    match error {
        ImageError::NotFound { .. } => Failure::NotFound(words),
        ImageError::InUse { .. } => Failure::Conflict(words),
        ImageError::BadReference { .. } => Failure::Invalid(words),
        _other => Failure::Internal(words),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(&error)),
    }
}

fn seconds(rfc3339: Option<&str>) -> i64 {
    let parsed =
        rfc3339.and_then(|text| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok());
    parsed.map_or(0, time::OffsetDateTime::unix_timestamp)
}

fn record(image: &Image, containers: i64) -> ImageRecord {
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
fn in_background<F, Fut>(work: F) -> ProgressStream
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

fn pull_line(progress: &PullProgress) -> Option<Progress> {
    let id = progress.layer.clone().unwrap_or_default();
    let words = |status: &str| Some(Progress { status: status.to_owned(), id: id.clone(), ..Progress::default() });
    match &progress.state {
        PullState::Pulling { name, tag } => {
            Some(Progress { status: format!("Pulling from {name}"), id: tag.clone(), ..Progress::default() })
        }
        PullState::Waiting => words("Waiting"),
        PullState::AlreadyExists => words("Already exists"),
        PullState::Downloading { current, total } => Some(Progress {
            status: "Downloading".to_owned(),
            id: id.clone(),
            current: i64::try_from(*current).ok(),
            total: i64::try_from(*total).ok(),
            ..Progress::default()
        }),
        PullState::Retrying { attempt, reason } => words(&format!("Retrying ({attempt}): {reason}")),
        PullState::DownloadComplete => words("Download complete"),
        PullState::Extracting => words("Extracting"),
        PullState::PullComplete => words("Pull complete"),
        PullState::Digest(digest) => words(&format!("Digest: {}", digest.as_str())),
        _done => None,
    }
}

fn auth(auth: Option<api::ports::RegistryAuth>) -> Option<RegistryAuth> {
    let auth = auth.filter(|auth| !auth.username.is_empty())?;
    Some(RegistryAuth::basic(auth.username, auth.password.expose().clone()))
}

async fn pull(
    images: ImageStore,
    request: PullRequest,
    lines: mpsc::Sender<Result<Progress, Failure>>,
) -> Result<(), Failure> {
    let reference = Reference::parse(&request.reference).map_err(image_failure)?;
    let platform = match request.platform.as_str() {
        "" => None,
        text => Some(Platform::parse(text).map_err(image_failure)?),
    };
    let telling = lines.clone();
    let tell = move |progress: PullProgress| {
        if let Some(line) = pull_line(&progress) {
            let _ = telling.try_send(Ok(line));
        }
    };
    let auth = auth(request.auth);
    images.pull(&reference, platform.as_ref(), auth.as_ref(), tell).await.map_err(image_failure)?;
    let status = format!("Status: Image is up to date for {}", reference.familiar());
    let _ = lines.send(Ok(Progress { status, ..Progress::default() })).await;
    Ok(())
}

/// The body as a blocking reader, for a thread.
fn reader(archive: Upload) -> SyncIoBridge<StreamReader<Upload, bytes::Bytes>> {
    SyncIoBridge::new(StreamReader::new(archive))
}

impl Local for BoundLocal {
    fn info(&self) -> Answer<'_, HostInfo> {
        Box::pin(async { Ok((*self.info).clone()) })
    }

    fn images(&self) -> Answer<'_, Vec<ImageRecord>> {
        Box::pin(async {
            let engine = self.engine.clone();
            blocking(move || {
                let prepared = engine.images.list_prepared().map_err(image_failure)?;
                let users = |image: &Image| prepared.iter().filter(|p| p.image_id == image.id).count();
                let images = engine.images.list().map_err(image_failure)?;
                Ok(images.iter().map(|image| record(image, i64::try_from(users(image)).unwrap_or(0))).collect())
            })
            .await
        })
    }

    fn image<'a>(&'a self, name: &'a str) -> Answer<'a, ImageRecord> {
        Box::pin(async move {
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            blocking(move || Ok(record(&images.inspect(&name).map_err(image_failure)?, 0))).await
        })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, ProgressStream> {
        Box::pin(async move {
            let images = self.engine.images.clone();
            Ok(in_background(move |lines| pull(images, request, lines)))
        })
    }

    fn load(&self, archive: Upload) -> Answer<'_, ProgressStream> {
        Box::pin(async move {
            let images = self.engine.images.clone();
            Ok(in_background(move |lines| async move {
                let reader = reader(archive);
                let loaded = blocking(move || images.load(reader).map_err(image_failure)).await?;
                for image in loaded {
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
                text => Some(Reference::parse(text).map_err(image_failure)?),
            };
            let images = self.engine.images.clone();
            Ok(in_background(move |lines| async move {
                let reader = reader(archive);
                let options = ImportOptions { changes, message, ..ImportOptions::default() };
                let image =
                    blocking(move || images.import(reader, name.as_ref(), &options).map_err(image_failure)).await?;
                let status = image.id.as_str().to_owned();
                let _ = lines.send(Ok(Progress { status, ..Progress::default() })).await;
                Ok(())
            }))
        })
    }

    fn tag<'a>(&'a self, name: &'a str, reference: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let reference = Reference::parse(reference).map_err(image_failure)?;
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            blocking(move || images.tag(&name, &reference).map_err(image_failure)).await
        })
    }

    fn remove_image<'a>(&'a self, name: &'a str, force: bool) -> Answer<'a, Vec<ImageRemoval>> {
        Box::pin(async move {
            let (images, name) = (self.engine.images.clone(), name.to_owned());
            blocking(move || {
                let removed = images.remove(&name, force).map_err(image_failure)?;
                let one = |removed: Removed| match removed {
                    Removed::Untagged(name) => ImageRemoval::Untagged(name),
                    Removed::Deleted(id) => ImageRemoval::Deleted(id.as_str().to_owned()),
                };
                Ok(removed.into_iter().map(one).collect())
            })
            .await
        })
    }

    fn volumes(&self) -> Answer<'_, Vec<VolumeRecord>> {
        Box::pin(async {
            let volumes = self.engine.volumes.list().await.map_err(|error| internal(&error))?;
            let used = self.used_volumes();
            let one = |volume: runtime::volumes::Volume| {
                let users = used.iter().filter(|path| path.starts_with(&volume.mountpoint)).count();
                volume_record(volume, i64::try_from(users).unwrap_or(0))
            };
            Ok(volumes.into_iter().map(one).collect())
        })
    }

    fn create_volume(&self, volume: VolumeRecord) -> Answer<'_, VolumeRecord> {
        Box::pin(async move {
            if !matches!(volume.driver.as_str(), "" | "local") {
                return Err(Failure::Invalid(format!("volume driver {} is not supported: use local", volume.driver)));
            }
            if let Some(option) = volume.options.keys().next() {
                return Err(Failure::Invalid(format!("volume option {option} is not supported")));
            }
            let made = self.engine.volumes.create(&volume.name, volume.labels).await;
            made.map(|volume| volume_record(volume, 0)).map_err(|error| Failure::Invalid(error.to_string()))
        })
    }

    fn remove_volume<'a>(&'a self, name: &'a str, _force: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let volume = self.engine.volumes.inspect(name).await;
            let volume = volume.map_err(|error| Failure::NotFound(error.to_string()))?;
            if self.used_volumes().iter().any(|path| path.starts_with(&volume.mountpoint)) {
                return Err(Failure::Conflict(format!("volume {name} is in use by a container")));
            }
            self.engine.volumes.remove(name).await.map_err(|error| internal(&error))
        })
    }

    fn containers(&self) -> Answer<'_, Vec<ContainerRecord>> {
        Box::pin(async {
            let ids = self.engine.containers.list().map_err(|error| internal(&error))?;
            let mut records = Vec::with_capacity(ids.len());
            for id in ids {
                // One that goes meanwhile is left out.
                let Ok(spec) = self.engine.containers.spec(&id) else { continue };
                let status = self.engine.containers.status(&id).await;
                records.push(container_record(id, spec, status.ok()));
            }
            Ok(records)
        })
    }

    fn container_logs<'a>(&'a self, id: &'a str, options: LogOptions) -> Answer<'a, LogRecords> {
        Box::pin(async move {
            let options = RuntimeLogOptions {
                follow: options.follow,
                tail: options.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
                since_ns: options.since_ns.and_then(|at| u64::try_from(at).ok()),
                until_ns: options.until_ns.and_then(|at| u64::try_from(at).ok()),
                stdout: options.stdout,
                stderr: options.stderr,
            };
            let lines = self.engine.containers.logs(id, options).await.map_err(|error| internal(&error))?;
            let one = |line: std::io::Result<runtime::container::LogLine>| match line {
                Ok(line) => Ok(LogRecord {
                    time_ns: i64::try_from(line.time_ns).unwrap_or(i64::MAX),
                    stream: if line.stream == Output::Stderr { LogStream::Stderr } else { LogStream::Stdout },
                    source: None,
                    line: line.bytes,
                }),
                Err(error) => Err(internal(&error)),
            };
            Ok(lines.map(one).boxed())
        })
    }

    fn kill<'a>(&'a self, id: &'a str, signal: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let number = match signal {
                "" => libc::SIGKILL,
                name => runtime::signals::signal_number(name)
                    .ok_or_else(|| Failure::Invalid(format!("invalid signal: {name}")))?,
            };
            self.engine.containers.signal(id, number).await.map_err(|error| Failure::Conflict(error.to_string()))
        })
    }

    fn stop<'a>(&'a self, id: &'a str, timeout_s: Option<u64>) -> Answer<'a, ()> {
        Box::pin(async move {
            let spec = self.engine.containers.spec(id).map_err(|error| Failure::NotFound(error.to_string()))?;
            let signal = runtime::signals::signal_number(&spec.stop_signal).unwrap_or(libc::SIGTERM);
            let grace = Duration::from_secs(timeout_s.unwrap_or(10));
            self.engine.containers.stop(id, signal, grace).await.map(drop).map_err(|error| internal(&error))
        })
    }
}

impl BoundLocal {
    /// Paths of the host that containers have mounted.
    fn used_volumes(&self) -> Vec<std::path::PathBuf> {
        let ids = self.engine.containers.list().unwrap_or_default();
        let specs = ids.iter().filter_map(|id| self.engine.containers.spec(id).ok());
        let mounts = specs.flat_map(|spec| spec.mounts);
        mounts
            .filter_map(|mount| match mount.kind {
                MountKind::Bind { source, .. } => Some(source),
                MountKind::Tmpfs { .. } => None,
            })
            .collect()
    }
}

fn volume_record(volume: runtime::volumes::Volume, users: i64) -> VolumeRecord {
    VolumeRecord {
        name: volume.name,
        driver: "local".to_owned(),
        mountpoint: volume.mountpoint.display().to_string(),
        labels: volume.labels,
        options: Default::default(),
        created_s: seconds(Some(&volume.created_at)),
        users,
    }
}

fn container_record(id: String, spec: ContainerSpec, status: Option<Status>) -> ContainerRecord {
    let label = |name: &str| spec.labels.get(name).cloned().unwrap_or_default();
    let mut record = ContainerRecord {
        id,
        name: label("com.docker.swarm.task.name"),
        image: label(node::engine::IMAGE_LABEL),
        task: spec.labels.get(TASK_LABEL).and_then(|id| id.parse().ok()),
        command: spec.process.args.clone(),
        env: spec.process.env.clone(),
        working_dir: spec.process.cwd.clone(),
        user: spec.process.user.clone(),
        hostname: spec.hostname.clone(),
        tty: spec.process.tty,
        labels: spec.labels,
        ..ContainerRecord::default()
    };
    let ns = |ms: u64| i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    match status {
        Some(Status::Running { pid }) => (record.state, record.pid) = (ContainerState::Running, i64::from(pid)),
        Some(Status::Paused { pid }) => (record.state, record.pid) = (ContainerState::Paused, i64::from(pid)),
        Some(Status::Created { pid }) => record.pid = i64::from(pid),
        Some(Status::Exited(exit)) => {
            record.state = ContainerState::Exited;
            record.exit_code = i64::from(exit.code);
            record.oom_killed = exit.oom_killed;
            record.started_ns = ns(exit.started_at_ms);
            record.finished_ns = ns(exit.finished_at_ms);
            record.error = exit.error.unwrap_or_default();
        }
        None => record.state = ContainerState::Exited,
    }
    record
}
