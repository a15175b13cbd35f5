//! What a helper and the executor report while a process is being made, up to the moment its program runs.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::client::retry;
use super::create::receive;
use super::executor::{RUNTIME_FAILED, Report};
use super::poll::{poll, poll_fd};

/// Bytes of reports kept of one helper.
const REPORT_BYTES_MAX: usize = 64 << 10;
/// Notes kept of one helper: the first says why, the others repeat it on the way up.
const NOTES_MAX: usize = 4;

/// Reads what a helper and the executor report, up to the moment the program runs.
pub(super) struct Reports {
    pub fd: OwnedFd,
    buffer: Vec<u8>,
    pub pid: Option<i32>,
    pub master: Option<OwnedFd>,
    begun: bool,
    failed: Option<(i32, String)>,
    notes: Vec<String>,
    pub ended: bool,
}

impl Reports {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            buffer: Vec::new(),
            pid: None,
            master: None,
            begun: false,
            failed: None,
            notes: Vec::new(),
            ended: false,
        }
    }

    /// Takes one message; call when there is something to read.
    pub(super) fn read(&mut self) {
        let mut buffer = [0u8; 4096];
        match receive(self.fd.as_raw_fd(), &mut buffer) {
            Ok((0, _)) => self.ended = true,
            Ok((count, mut fds)) => {
                if self.buffer.len() < REPORT_BYTES_MAX {
                    self.buffer.extend_from_slice(&buffer[..count]);
                }
                self.master = fds.pop().or(self.master.take());
            }
            Err(error) if retry(&error) => {}
            Err(_) => self.ended = true,
        }
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Pid(pid)) => self.pid = Some(pid),
                Ok(Report::Begun) => self.begun = true,
                Ok(Report::Failed { code, message }) => {
                    // The first report is the executor's own; the library's echo of it says less.
                    self.failed.get_or_insert((code, message));
                }
                Ok(Report::Note(note)) if self.notes.len() < NOTES_MAX => self.notes.push(note),
                Ok(Report::Note(_)) => {}
                Err(_) => {}
            }
        }
    }

    /// Blocks until the helper has made the process. Only while nothing is served yet.
    pub(super) fn wait_for_pid(&mut self, timeout_ms: i32) -> Result<(i32, Option<OwnedFd>), String> {
        let give_up = Instant::now() + Duration::from_millis(timeout_ms as u64);
        loop {
            if let Some(message) = self.failure() {
                return Err(message.1);
            }
            if let Some(pid) = self.pid {
                return Ok((pid, self.master.take()));
            }
            if self.ended {
                return Err("the helper ended without a word".to_owned());
            }
            let left = give_up.saturating_duration_since(Instant::now()).as_millis() as i32;
            let mut fds = [poll_fd(self.fd.as_raw_fd(), libc::POLLIN)];
            if left == 0 || poll(&mut fds, left) == 0 {
                return Err(format!("it took longer than {timeout_ms} ms"));
            }
            self.read();
        }
    }

    fn failure(&self) -> Option<(i32, String)> {
        self.failed.clone().map(|(code, message)| match self.notes.first() {
            Some(note) if code == RUNTIME_FAILED => (code, format!("{message} ({note})")),
            _ => (code, message),
        })
    }

    /// Once ended: whether the program runs.
    pub(super) fn outcome(&self) -> Result<(), (i32, String)> {
        match self.failure() {
            Some(failure) => Err(failure),
            None if self.begun => Ok(()),
            None => Err((RUNTIME_FAILED, "the process ended before its program ran".to_owned())),
        }
    }
}
