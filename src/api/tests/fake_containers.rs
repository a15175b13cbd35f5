//! Containers kept in memory: what is done to them is noted, what is asked of them made up.

use super::fake::FakeLocal;
use crate::ports::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

impl Containers for FakeLocal {
    fn containers(&self) -> Answer<'_, Vec<ContainerRecord>> {
        let containers = self.containers.lock().unwrap().clone();
        Box::pin(async { Ok(containers) })
    }

    fn stop<'a>(&'a self, _: &'a str, signal: &'a str, timeout_s: Option<i64>) -> Answer<'a, ()> {
        self.stopped_with.lock().unwrap().push((signal.to_owned(), timeout_s));
        Box::pin(async { Ok(()) })
    }

    fn exec<'a>(&'a self, _: &'a str, request: ExecRequest) -> Answer<'a, ExecSession> {
        let (input, received) = mpsc::channel(8);
        let echoed = stream::unfold(received, |mut received| async move { Some((received.recv().await?, received)) });
        let echoed = echoed.map(|bytes| Ok((LogStream::Stdout, bytes)));
        let last = stream::iter([Ok((LogStream::Stderr, Bytes::from_static(b"bye")))]);
        let input = request.attach_stdin.then_some(input);
        let output = if input.is_some() { echoed.chain(last).boxed() } else { last.boxed() };
        let session = ExecSession { pid: 42, output, input, exit: Box::pin(async { Ok(3) }), resize: None };
        Box::pin(async { Ok(session) })
    }

    fn container_logs<'a>(&'a self, _: &'a str, options: LogOptions) -> Answer<'a, LogRecords> {
        let records = stream::iter(self.log.lock().unwrap().clone()).map(Ok);
        let records = if options.follow { records.chain(stream::pending()).boxed() } else { records.boxed() };
        Box::pin(async { Ok(records) })
    }

    fn kill<'a>(&'a self, _: &'a str, signal: &'a str) -> Answer<'a, ()> {
        self.note(&format!("kill {signal}"))
    }

    fn resize<'a>(&'a self, _: &'a str, rows: u16, columns: u16) -> Answer<'a, ()> {
        self.note(&format!("resize {rows}x{columns}"))
    }

    fn pause<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        self.set_state(ContainerState::Paused)
    }

    fn unpause<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        self.set_state(ContainerState::Running)
    }

    fn wait(&self, _: String, until: WaitFor) -> BoxFuture<'static, Result<ContainerEnd, Failure>> {
        let (end, ended) = tokio::sync::oneshot::channel();
        self.ends.lock().unwrap().push(end);
        self.done.lock().unwrap().push(format!("wait {until:?}"));
        Box::pin(async { ended.await.map_err(|_| Failure::Unavailable("the daemon is shutting down".into())) })
    }

    fn processes<'a>(&'a self, _: &'a str) -> Answer<'a, Vec<ProcessRecord>> {
        let processes = self.processes.lock().unwrap().clone();
        Box::pin(async { Ok(processes) })
    }

    /// Uses one second of the CPU from one look to the next, in which the host's two CPUs passed four.
    fn stats<'a>(&'a self, id: &'a str) -> Answer<'a, ContainerStats> {
        let runs = match self.containers.lock().unwrap().iter().find(|container| container.id == id) {
            None => Err(Failure::NotFound(format!("No such container: {id}"))),
            Some(container) if container.state == ContainerState::Running => Ok(()),
            Some(_) => Err(Failure::Conflict("it is not running".into())),
        };
        let mut stats = self.stats.lock().unwrap();
        stats.read_ns += 1_000_000_000;
        stats.cpu_total_ns += 1_000_000_000;
        stats.host_cpu_ns += 4_000_000_000;
        stats.host_cpus = 2;
        let read = runs.map(|()| stats.clone());
        Box::pin(async { read })
    }

    /// Gives input back, and the program ends with its input. Without, it never says a word.
    fn attach<'a>(&'a self, _: &'a str, request: AttachRequest) -> Answer<'a, AttachSession> {
        if !request.stdin {
            let left = Left(self.left.clone());
            let output = stream::unfold(left, |left| async move {
                std::future::pending::<()>().await;
                Some((Ok((LogStream::Stdout, Bytes::new())), left))
            })
            .boxed();
            return Box::pin(async { Ok(AttachSession { output, input: None }) });
        }
        let (input, received) = mpsc::channel::<Bytes>(8);
        let echoed = stream::unfold(received, |mut received| async move { Some((received.recv().await?, received)) });
        let output = echoed.map(|bytes| Ok((LogStream::Stdout, bytes))).boxed();
        Box::pin(async { Ok(AttachSession { output, input: Some(input) }) })
    }

    fn path_stat<'a>(&'a self, _: &'a str, path: &'a str) -> Answer<'a, PathStat> {
        Box::pin(async move { found(path) })
    }

    fn read_archive<'a>(&'a self, _: &'a str, path: &'a str) -> Answer<'a, (PathStat, Archive)> {
        let pieces = stream::iter([Ok(Bytes::from_static(b"ta")), Ok(Bytes::from_static(b"r"))]).boxed();
        Box::pin(async move { Ok((found(path)?, pieces as Archive)) })
    }

    fn write_archive<'a>(&'a self, _: &'a str, target: ArchiveTarget, archive: Upload) -> Answer<'a, ()> {
        Box::pin(async move {
            let chunks: Vec<Bytes> = archive.try_collect().await.map_err(|e| Failure::Internal(e.to_string()))?;
            found(&target.path)?;
            *self.unpacked.lock().unwrap() = Some((target, chunks.concat()));
            Ok(())
        })
    }

    fn export<'a>(&'a self, _: &'a str) -> Answer<'a, Archive> {
        Box::pin(async { Ok(stream::iter([Ok(Bytes::from_static(b"root"))]).boxed() as Archive) })
    }

    fn changes<'a>(&'a self, _: &'a str) -> Answer<'a, Vec<FileChange>> {
        let kinds = [("/etc", ChangeKind::Modified), ("/new", ChangeKind::Added), ("/old", ChangeKind::Deleted)];
        let changes = kinds.map(|(path, kind)| FileChange { path: path.into(), kind });
        Box::pin(async { Ok(changes.into()) })
    }

    fn sizes<'a>(&'a self, _: &'a str) -> Answer<'a, ContainerSizes> {
        Box::pin(async { Ok(ContainerSizes { written_bytes: 10, root_bytes: 110 }) })
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.containers.lock().unwrap().retain(|container| container.id != id);
        self.note("remove")
    }

    fn tell(&self, _: &str, action: &str, _: &[(&str, String)]) {
        self.done.lock().unwrap().push(format!("told {action}"));
    }
}

/// Tells when it is dropped.
struct Left(Arc<watch::Sender<bool>>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl FakeLocal {
    fn note(&self, what: &str) -> Answer<'static, ()> {
        self.done.lock().unwrap().push(what.to_owned());
        Box::pin(async { Ok(()) })
    }

    fn set_state(&self, state: ContainerState) -> Answer<'static, ()> {
        self.containers.lock().unwrap().iter_mut().for_each(|container| container.state = state);
        Box::pin(async { Ok(()) })
    }
}

/// The only file of containers here is a link, `/etc/link`; the only directory `/srv`.
fn found(path: &str) -> Result<PathStat, Failure> {
    match path {
        "/etc/link" => Ok(PathStat {
            name: "link".into(),
            size: 4,
            mode: 0o120_777,
            modified_ns: 1_500_000_000,
            link_target: "/srv/file".into(),
        }),
        "/srv" => Ok(PathStat { name: "srv".into(), mode: 0o040_755, ..PathStat::default() }),
        "/fixed" => Err(Failure::Forbidden("/fixed is on a file system that is read-only".into())),
        _ => Err(Failure::NotFound(path.to_owned())),
    }
}
