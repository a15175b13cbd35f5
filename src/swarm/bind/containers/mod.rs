//! The containers of this host, bound to the API's port.

mod exec;
mod record;

use super::{BoundLocal, internal};
use api::ports::{
    Answer, ContainerRecord, Containers, ExecRequest, ExecSession, Failure, LogOptions, LogRecord, LogRecords,
    LogStream,
};
use futures_util::StreamExt;
use runtime::container::LogOptions as RuntimeLogOptions;
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
