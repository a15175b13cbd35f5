//! What the daemon and a shim say to each other over `shim.sock`.
//!
//! One connection carries one request: a frame (length, then JSON) each way. `Wait` is answered when the container
//! ends; `Exec` is answered twice (started, ended); `Attach` turns the connection into raw input one way and
//! Docker's eight-byte-header frames the other way. A newer daemon talks to an older shim after an upgrade, so
//! fields are only ever added, with defaults.

use serde::{Deserialize, Serialize};

use super::lease::Lease;
use crate::spec::ProcessSpec;

/// Bytes of one frame: an exec's arguments and environment are at most ARG_MAX (2 MiB) together.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;

/// File of the socket, in the container's run directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// Process id and start time of the shim, in the container's run directory.
pub(crate) const PID_FILE: &str = "shim.pid";
/// The container's specification, in its state directory.
pub(crate) const SPEC_FILE: &str = "spec.json";
/// How the container ended, in its state directory.
pub(crate) const EXIT_FILE: &str = "exit.json";
/// The current log, in the container's state directory; rotated ones carry `.1`, `.2`, ...
pub(crate) const LOG_FILE: &str = "log.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Let the created program run.
    Start,
    /// Answered at once with `State`.
    State,
    /// Send a signal to the first process, to an exec'd one (`pid`), or to every process.
    Signal {
        signal: i32,
        #[serde(default)]
        pid: Option<i32>,
        #[serde(default)]
        all: bool,
    },
    /// Answered with `Exited` when the container has ended.
    Wait,
    /// Run one more process. Without a terminal, three descriptors come with the request: stdin, stdout, stderr.
    /// With one, its master comes with the answer.
    Exec { process: ProcessSpec },
    /// Stream the output from now on, and take input. The end of the client's input is the end of the program's, unless
    /// it is to be kept open for the next client.
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
        #[serde(default)]
        keep_input_open: bool,
    },
    /// The container may run until then: see `lease`. To be given before `Start` to one that needs it.
    Lease {
        #[serde(flatten)]
        lease: Lease,
    },
    /// Size of the first process's terminal.
    Resize { rows: u16, columns: u16 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub(crate) enum Response {
    Done,
    /// `code` is the exit code Docker reports for it (126, 127, 128), 0 when there is none.
    Failed {
        code: i32,
        message: String,
    },
    State {
        pid: i32,
        running: bool,
        /// Milliseconds since 1970; 0 before the start.
        #[serde(default)]
        started_at_ms: u64,
    },
    /// An exec'd process runs.
    Running {
        pid: i32,
    },
    Exited {
        exit: Exit,
    },
}

/// How a container or an exec'd process ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// As Docker gives it: the program's own, or 128 + signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Milliseconds since 1970.
    pub finished_at_ms: u64,
    /// Why it never ran, or why nothing is known about its end.
    pub error: Option<String>,
}

impl Exit {
    /// From a wait(2) status.
    pub(crate) fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            Self { code: 128 + signal, signal: Some(signal), ..Self::default() }
        } else {
            Self { code: libc::WEXITSTATUS(status), ..Self::default() }
        }
    }
}

/// A frame: little-endian length, then JSON.
pub(crate) fn encode<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let mut out = Vec::with_capacity(body.len() + 4);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    Ok(out)
}

/// The body of the first whole frame and its full length; `Ok(None)` when more bytes are needed.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, FrameTooLong> {
    let Some(header) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameTooLong(length));
    }
    Ok(bytes.get(4..4 + length).map(|body| (body, 4 + length)))
}

/// The peer announced a frame beyond the limit.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
pub(crate) struct FrameTooLong(pub usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_wire() {
        let bytes = encode(&Request::Signal { signal: 15, pid: None, all: false }).expect("json");
        assert!(decode(&bytes[..bytes.len() - 1]).expect("short").is_none());
        let (body, length) = decode(&bytes).expect("whole").expect("whole");
        assert_eq!(length, bytes.len());
        assert!(matches!(serde_json::from_slice(body), Ok(Request::Signal { signal: 15, .. })));
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let lease = Lease { until_boot_ms: u64::MAX, signal: 15, grace_ms: 10_000 };
        let bytes = encode(&Request::Lease { lease }).expect("json");
        let (body, _) = decode(&bytes).expect("whole").expect("whole");
        let Ok(Request::Lease { lease: read }) = serde_json::from_slice(body) else { panic!("{body:?}") };
        assert_eq!(read, lease);
    }

    #[test]
    fn an_endless_frame_is_refused_at_its_header() {
        assert!(decode(&u32::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn a_killed_process_has_docker_s_code() {
        assert_eq!(Exit::from_status(libc::SIGKILL).code, 137);
        assert_eq!(Exit::from_status(3 << 8).code, 3);
    }
}
