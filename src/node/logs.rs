//! Logs of tasks from whatever node runs them: every node serves its own, managers ask.

pub mod merge;

use crate::agent::engine::{Engine, LogLine, LogQuery};
use crate::transport::{Endpoint, Expect, LOGS, Peer, ServeGuard, Stream};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::{NodeId, TaskId};
use tokio::sync::mpsc;
use wire::pb::logs::{LogRecord, LogStream, LogsEnd, LogsReply, LogsRequest, logs_reply::Reply};
use wire::{Message, Wire};

/// Tasks in one request: all of one service on one node.
const TASKS_MAX: usize = 10_000;
/// To reach the node.
const DIAL: Duration = Duration::from_secs(3);
/// Records read ahead of a slow reader.
const AHEAD: usize = 256;

/// A line and whose it is.
pub type TaskLine = (TaskId, LogLine);

/// Lines of several tasks of one node; an error ends it.
pub type TaskLines = BoxStream<'static, Result<TaskLine, String>>;

/// Serves the logs of this node's tasks to managers.
pub fn serve(endpoint: &Endpoint, engine: Arc<dyn Engine>) -> ServeGuard {
    endpoint.serve(&LOGS, move |_peer: Peer, stream: Stream| answer(engine.clone(), stream))
}

async fn answer(engine: Arc<dyn Engine>, stream: Stream) {
    let (mut sender, mut receiver) = stream.split();
    let Ok(Some(frame)) = receiver.receive().await else { return };
    let mut lines = match gather(&*engine, &frame).await {
        Ok(lines) => lines,
        Err(words) => {
            let _ = sender.send(reply(Reply::Failure(words))).await;
            sender.finish();
            return;
        }
    };
    loop {
        let next = tokio::select! {
            line = lines.next() => line,
            // The reader went away: a followed log would otherwise be read for ever.
            _ = receiver.receive() => return,
        };
        let message = match next {
            Some(Ok((task, line))) => record(task, line),
            Some(Err(words)) => Reply::Failure(words),
            None => break,
        };
        if sender.send(reply(message)).await.is_err() {
            return;
        }
    }
    if sender.send(reply(Reply::End(LogsEnd {}))).await.is_ok() {
        sender.finish();
        sender.delivered().await;
    }
}

async fn gather(engine: &dyn Engine, frame: &[u8]) -> Result<TaskLines, String> {
    let request = LogsRequest::decode(frame).map_err(|error| error.to_string())?;
    if request.tasks.len() > TASKS_MAX {
        return Err(format!(
            "logs of {} tasks at once were asked for, at most {TASKS_MAX} are given",
            request.tasks.len()
        ));
    }
    let query = LogQuery {
        follow: request.follow,
        stdout: request.stdout,
        stderr: request.stderr,
        tail: request.tail,
        since_ns: request.since,
        until_ns: request.until,
    };
    let mut all = Vec::new();
    for task in request.tasks {
        let task = TaskId::from_wire(task).map_err(|error| error.to_string())?;
        // A task that never had a container has no log: that is an empty one.
        if let Ok(lines) = engine.logs(task, query.clone()).await {
            let lines = lines.map(move |line| line.map(|line| (task, line)).map_err(|error| error.0));
            all.push(Box::pin(lines) as TaskLines);
        }
    }
    // What is followed has no end, and a silent task would hold up the others.
    if query.follow {
        return Ok(Box::pin(select_all(all)));
    }
    Ok(merge::by_time(all, |line| line.as_ref().ok().map(|(_, line)| line.time_ns)))
}

fn record(task: TaskId, line: LogLine) -> Reply {
    let stream = if line.stderr { LogStream::Stderr } else { LogStream::Stdout };
    Reply::Record(LogRecord { task: task.to_wire(), stream: stream as i32, timestamp: line.time_ns, data: line.data })
}

fn reply(reply: Reply) -> Vec<u8> {
    LogsReply { reply: Some(reply) }.encode_to_vec()
}

/// Reads the logs of `tasks` from the node that has them, at the first of its addresses where it is.
pub async fn fetch(
    endpoint: &Endpoint,
    node: NodeId,
    addresses: &[SocketAddr],
    tasks: &[TaskId],
    query: &LogQuery,
) -> Result<TaskLines, String> {
    let mut failure = None;
    for address in addresses {
        match endpoint.open(*address, Expect::Node(node), &LOGS, DIAL).await {
            Ok((_, stream)) => return ask(stream, tasks, query).await,
            Err(error) => failure = failure.or_else(|| Some(crate::error::chain(&error))),
        }
    }
    Err(failure.unwrap_or_else(|| "no address of it is known".to_owned()))
}

async fn ask(mut stream: Stream, tasks: &[TaskId], query: &LogQuery) -> Result<TaskLines, String> {
    let request = LogsRequest {
        tasks: tasks.iter().map(Wire::to_wire).collect(),
        follow: query.follow,
        stdout: query.stdout,
        stderr: query.stderr,
        tail: query.tail,
        since: query.since_ns,
        until: query.until_ns,
    };
    stream.send(request.encode_to_vec()).await.map_err(|error| crate::error::chain(&error))?;
    let (lines, received) = mpsc::channel(AHEAD);
    tokio::spawn(read(stream, lines));
    Ok(Box::pin(futures_util::stream::unfold(received, |mut received| async {
        received.recv().await.map(|line| (line, received))
    })))
}

/// Reads until the end, or until nobody listens any more.
async fn read(stream: Stream, lines: mpsc::Sender<Result<TaskLine, String>>) {
    // The sending half stays open while somebody reads: its end tells the node to stop.
    let (_sender, mut receiver) = stream.split();
    loop {
        let frame = tokio::select! {
            frame = receiver.receive() => frame,
            () = lines.closed() => return,
        };
        let line = match frame {
            Ok(Some(frame)) => match LogsReply::decode(frame).ok().and_then(|reply| reply.reply) {
                Some(Reply::Record(record)) => line(record),
                Some(Reply::Failure(words)) => Err(words),
                Some(Reply::End(_)) => return,
                None => Err("the node answered in words this version does not understand".to_owned()),
            },
            Ok(None) => return,
            Err(error) => Err(crate::error::chain(&error)),
        };
        let over = line.is_err();
        if lines.send(line).await.is_err() || over {
            return;
        }
    }
}

fn line(record: LogRecord) -> Result<TaskLine, String> {
    let stderr = record.stream() == LogStream::Stderr;
    let task = TaskId::from_wire(record.task).map_err(|error| error.to_string())?;
    Ok((task, LogLine { stderr, time_ns: record.timestamp, data: record.data }))
}
