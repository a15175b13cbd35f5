//! Logs as ports give them.

use super::Failure;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use swarm_core::{NodeId, ServiceId, TaskId};

/// Which tasks' logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSelector {
    /// Every task of the service, also those made while it is followed.
    Service(ServiceId),
    Task(TaskId),
}

/// Which part of a log. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
    /// The newest records of each task; `None` is all.
    pub tail: Option<u64>,
}

/// Where a container wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// Whose log a record is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSource {
    pub node: NodeId,
    pub service: ServiceId,
    pub task: TaskId,
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub stream: LogStream,
    /// `None` for a container that belongs to no task.
    pub source: Option<LogSource>,
    /// As written, its newline included where it had one.
    pub line: Bytes,
}

/// Records in the order they come. An error ends the log of one node, not the stream.
pub type LogRecords = BoxStream<'static, Result<LogRecord, Failure>>;
