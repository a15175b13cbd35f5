//! The API's port to what this host keeps: images, volumes, containers.

use super::images::{self, failure, in_background, record, seconds};
use super::{containers, exec, internal, usage};
use api::ports::{
    Answer, ContainerRecord, DiskUsage, DistributionInfo, ExecRequest, ExecSession, Failure, HostInfo, ImageRecord,
    ImageRemoval, Local, LocalEvent, LogOptions, LogRecord, LogRecords, LogStream, Progress, ProgressStream,
    PullRequest, Upload, VolumeRecord,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use node::engine::LocalEngine;
use node::node::Node;
use runtime::container::LogOptions as RuntimeLogOptions;
use runtime::image::{Image, ImportOptions, Reference, Removed};
use runtime::shim::Output;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Time a container has to stop when nobody says (as Docker).
const GRACE: Duration = Duration::from_secs(10);

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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(&error)),
    }
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
            Ok(in_background(move |lines| images::pull(engine, request, lines)))
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
            let known = self.engine.volumes.inspect(&volume.name).await.is_ok();
            let made = self.engine.volumes.create(&volume.name, volume.labels).await;
            let made = made.map_err(|error| Failure::Invalid(error.to_string()))?;
            if !known {
                self.engine.events.tell("volume", "create", &made.name, driver());
            }
            Ok(volume_record(made, 0))
        })
    }

    fn remove_volume<'a>(&'a self, name: &'a str, _force: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let volume = self.engine.volumes.inspect(name).await;
            let volume = volume.map_err(|error| Failure::NotFound(error.to_string()))?;
            if self.used_volumes().iter().any(|path| path.starts_with(&volume.mountpoint)) {
                return Err(Failure::Conflict(format!("volume {name} is in use by a container")));
            }
            self.engine.volumes.remove(name).await.map_err(|error| internal(&error))?;
            self.engine.events.tell("volume", "destroy", name, driver());
            Ok(())
        })
    }

    fn containers(&self) -> Answer<'_, Vec<ContainerRecord>> {
        Box::pin(async {
            let ids = self.engine.containers.list().map_err(|error| internal(&error))?;
            let mut records = Vec::with_capacity(ids.len());
            for id in ids {
                // One that goes meanwhile is left out.
                records.extend(containers::record(&self.engine, id).await);
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
                name => signal_number(name)?,
            };
            self.engine.containers.signal(id, number).await.map_err(|error| Failure::Conflict(error.to_string()))?;
            self.engine.tell("kill", id, &[("signal", number.to_string())]);
            Ok(())
        })
    }

    fn stop<'a>(&'a self, id: &'a str, signal: &'a str, timeout_s: Option<i64>) -> Answer<'a, ()> {
        Box::pin(async move {
            let spec = self.engine.containers.spec(id).map_err(|error| Failure::NotFound(error.to_string()))?;
            let signal = match signal {
                "" => runtime::signals::signal_number(&spec.stop_signal).unwrap_or(libc::SIGTERM),
                name => signal_number(name)?,
            };
            let grace = grace(timeout_s);
            self.engine.containers.stop(id, signal, grace).await.map(drop).map_err(|error| internal(&error))
        })
    }

    fn exec<'a>(&'a self, id: &'a str, request: ExecRequest) -> Answer<'a, ExecSession> {
        Box::pin(exec::start(&self.engine.containers, id, request))
    }

    fn distribution<'a>(
        &'a self,
        reference: &'a str,
        auth: Option<api::ports::RegistryAuth>,
    ) -> Answer<'a, DistributionInfo> {
        Box::pin(images::distribution(&self.engine.images, reference, auth))
    }

    fn disk_usage(&self) -> Answer<'_, DiskUsage> {
        Box::pin(async {
            let volumes = self.engine.volumes.list().await.map_err(|error| internal(&error))?;
            let images = self.engine.images.clone();
            blocking(move || {
                let layers_bytes = images.layer_bytes().map_err(failure)?;
                let volumes_bytes = volumes.into_iter().map(|volume| (volume.name, usage::bytes(&volume.mountpoint)));
                Ok(DiskUsage {
                    layers_bytes: i64::try_from(layers_bytes).unwrap_or(i64::MAX),
                    volumes_bytes: volumes_bytes.collect(),
                })
            })
            .await
        })
    }

    fn events(&self) -> BoxStream<'static, LocalEvent> {
        let next = |mut events: tokio::sync::broadcast::Receiver<node::engine::Event>| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((local_event(event), events)),
                    // Docker's stream, too, leaves out what a slow listener missed.
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of this host were lost"),
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(self.engine.events.listen(), next).boxed()
    }
}

impl BoundLocal {
    /// Paths of the host that containers have mounted.
    fn used_volumes(&self) -> Vec<std::path::PathBuf> {
        let ids = self.engine.containers.list().unwrap_or_default();
        let specs = ids.iter().filter_map(|id| self.engine.containers.spec(id).ok());
        specs.flat_map(|spec| spec.mounts).filter_map(|mount| mount.kind.source()).collect()
    }
}

fn signal_number(name: &str) -> Result<i32, Failure> {
    runtime::signals::signal_number(name).ok_or_else(|| Failure::Invalid(format!("invalid signal: {name}")))
}

/// How long a container that is stopped may take (API `ContainerStop`, "t").
fn grace(timeout_s: Option<i64>) -> Duration {
    match timeout_s {
        None => GRACE,
        // -1 in Docker's words: it is never killed.
        Some(seconds) => u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs),
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

fn local_event(event: node::engine::Event) -> LocalEvent {
    let node::engine::Event { kind, action, id, attributes, time_ns } = event;
    LocalEvent { kind, action, id, attributes, time_ns }
}

fn named(name: &str) -> BTreeMap<String, String> {
    [("name".to_owned(), name.to_owned())].into()
}

fn driver() -> BTreeMap<String, String> {
    [("driver".to_owned(), "local".to_owned())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_given_the_time_that_was_asked_for() {
        assert_eq!(grace(None), Duration::from_secs(10));
        assert_eq!(grace(Some(0)), Duration::ZERO);
        assert_eq!(grace(Some(-1)), Duration::MAX);
        assert!(matches!(signal_number("SIGNOPE"), Err(Failure::Invalid(_))));
        assert_eq!(signal_number("INT"), Ok(libc::SIGINT));
    }
}
