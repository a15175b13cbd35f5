//! The containers of this host, bound to the API's port.

mod exec;
mod figures;
mod files;
mod record;
mod waiting;

use super::images::reader;
use super::{BoundLocal, blocking, internal, usage};
use api::ports::{
    Answer, Archive, ArchiveTarget, AttachRequest, AttachSession, ContainerEnd, ContainerRecord, ContainerSizes,
    ContainerStats, Containers, ExecRequest, ExecSession, Failure, FileChange, LogOptions, LogRecord, LogRecords,
    LogStream, PathStat, ProcessRecord, Upload, WaitFor,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use node::engine::Notes;
use runtime::container::{Error, LogOptions as RuntimeLogOptions, Status, WriteOptions};
use runtime::image::RootParts;
use runtime::shim::Output;
use std::time::Duration;

/// Time a container has to stop when nobody says (as Docker).
const GRACE: Duration = Duration::from_secs(10);

impl Containers for BoundLocal {
    fn containers(&self) -> Answer<'_, Vec<ContainerRecord>> {
        Box::pin(async {
            let ids = self.engine.containers.list().map_err(|error| internal(&error))?;
            let mut records = Vec::with_capacity(ids.len());
            for id in ids {
                // One that goes meanwhile is left out.
                records.extend(record::record(&self.engine, id).await);
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
            let containers = &self.engine.containers;
            containers.signal(id, number).await.map_err(failure)?;
            // What stands still could not even end.
            if number == libc::SIGKILL && matches!(containers.status(id).await, Ok(Status::Paused { .. })) {
                containers.resume(id).await.map_err(failure)?;
            }
            self.engine.tell("kill", id, &[("signal", number.to_string())]);
            Ok(())
        })
    }

    fn stop<'a>(&'a self, id: &'a str, signal: &'a str, timeout_s: Option<i64>) -> Answer<'a, ()> {
        Box::pin(async move {
            let spec = self.engine.containers.spec(id).map_err(failure)?;
            let signal = match signal {
                "" => runtime::signals::signal_number(&spec.stop_signal).unwrap_or(libc::SIGTERM),
                name => signal_number(name)?,
            };
            let grace = grace(timeout_s.or(Notes::of(&spec).stop_grace_s));
            self.engine.tell("kill", id, &[("signal", signal.to_string())]);
            self.engine.containers.stop(id, signal, grace).await.map(drop).map_err(failure)
        })
    }

    fn exec<'a>(&'a self, id: &'a str, request: ExecRequest) -> Answer<'a, ExecSession> {
        Box::pin(exec::start(&self.engine.containers, id, request))
    }

    fn resize<'a>(&'a self, id: &'a str, rows: u16, columns: u16) -> Answer<'a, ()> {
        Box::pin(async move { self.engine.containers.resize(id, rows, columns).await.map_err(failure) })
    }

    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.engine.containers.pause(id).await.map_err(failure) })
    }

    fn unpause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.engine.containers.resume(id).await.map_err(failure) })
    }

    fn wait(&self, id: String, until: WaitFor) -> BoxFuture<'static, Result<ContainerEnd, Failure>> {
        let events = self.engine.events.listen();
        Box::pin(waiting::wait(self.engine.containers.clone(), events, id, until))
    }

    fn processes<'a>(&'a self, id: &'a str) -> Answer<'a, Vec<ProcessRecord>> {
        Box::pin(async move {
            let processes = self.engine.containers.top(id).await.map_err(failure)?;
            Ok(processes.into_iter().map(figures::process).collect())
        })
    }

    fn stats<'a>(&'a self, id: &'a str) -> Answer<'a, ContainerStats> {
        Box::pin(async move {
            let read = self.engine.containers.figures(id).await.map_err(failure)?;
            Ok(figures::stats(read, node::engine::now_ns()))
        })
    }

    fn attach<'a>(&'a self, id: &'a str, request: AttachRequest) -> Answer<'a, AttachSession> {
        Box::pin(exec::attach(&self.engine.containers, id, request))
    }

    fn path_stat<'a>(&'a self, id: &'a str, path: &'a str) -> Answer<'a, PathStat> {
        Box::pin(async move {
            let stat = self.engine.containers.stat_path(id, path).await;
            stat.map(files::path_stat).map_err(files::failure)
        })
    }

    fn read_archive<'a>(&'a self, id: &'a str, path: &'a str) -> Answer<'a, (PathStat, Archive)> {
        Box::pin(async move {
            let (stat, archive) = self.engine.containers.read_files(id, path).await.map_err(files::failure)?;
            Ok((files::path_stat(stat), archive))
        })
    }

    fn write_archive<'a>(&'a self, id: &'a str, target: ArchiveTarget, archive: Upload) -> Answer<'a, ()> {
        Box::pin(async move {
            let ArchiveTarget { path, no_overwrite_dir_non_dir, as_container_user } = target;
            let options = WriteOptions { no_overwrite_dir_non_dir, as_container_user };
            let written = self.engine.containers.write_files(id, &path, reader(archive), options).await;
            written.map_err(files::failure)
        })
    }

    fn export<'a>(&'a self, id: &'a str) -> Answer<'a, Archive> {
        Box::pin(async move { self.engine.containers.export(id).await.map_err(files::failure) })
    }

    fn changes<'a>(&'a self, id: &'a str) -> Answer<'a, Vec<FileChange>> {
        Box::pin(async move {
            let parts = self.parts(id)?;
            let changes = self.engine.containers.changes(id, parts.lower, parts.upper).await;
            Ok(changes.map_err(files::failure)?.into_iter().map(files::change).collect())
        })
    }

    fn sizes<'a>(&'a self, id: &'a str) -> Answer<'a, ContainerSizes> {
        Box::pin(async move {
            let (parts, images) = (self.parts(id)?, self.engine.images.clone());
            let image = Notes::of(&self.engine.containers.spec(id).map_err(failure)?).image_id;
            blocking(move || {
                let written_bytes = usage::bytes(&parts.upper);
                // An image that is gone counts nothing.
                let image_bytes =
                    images.inspect(&image).map_or(0, |image| i64::try_from(image.size).unwrap_or(i64::MAX));
                Ok(ContainerSizes { written_bytes, root_bytes: image_bytes.saturating_add(written_bytes) })
            })
            .await
        })
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.engine.remove_container(id).await.map_err(Failure::Internal) })
    }

    fn tell(&self, id: &str, action: &str, attributes: &[(&str, String)]) {
        self.engine.tell(action, id, attributes);
    }
}

impl BoundLocal {
    fn parts(&self, id: &str) -> Result<RootParts, Failure> {
        self.engine.images.parts(id).ok_or_else(|| Failure::NotFound(format!("container {id} has no files of its own")))
    }
}

/// The API's answer to a failed operation on a container.
fn failure(error: Error) -> Failure {
    match &error {
        Error::NotFound(id) => Failure::NotFound(format!("No such container: {id}")),
        // It does not run, is paused, has no terminal, is full.
        Error::Refused { .. } | Error::Running(_) | Error::Exists(_) => Failure::Conflict(error.to_string()),
        Error::InvalidId(_) => Failure::Invalid(error.to_string()),
        Error::Create { .. }
        | Error::Start { .. }
        | Error::Exec { .. }
        | Error::Timeout(_)
        | Error::Io { .. }
        | Error::Cgroup(_) => internal(&error),
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
