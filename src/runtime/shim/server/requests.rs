//! What clients ask of a shim.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::{Shim, Starting};
use crate::clock::boot_ms;
use crate::shim::client::{Client, Role};
use crate::shim::create::{self, Job};
use crate::shim::executor::RUNTIME_FAILED;
use crate::shim::protocol::{Request, Response, decode};
use crate::shim::reports::Reports;
use crate::shim::{oci, setup, user};
use crate::spec::ProcessSpec;

/// Exec'd processes that may be starting at a time; each is a helper with a few megabytes for some milliseconds.
const STARTING_MAX: usize = 16;
/// Exec'd processes, and attached clients. Together well below the connections there may be: those left are for whoever
/// stops the container or waits for its end.
const EXECS_MAX: usize = 96;
const ATTACHED_MAX: usize = 8;

impl Shim {
    pub(super) fn client(&mut self, number: u64, events: i16) {
        let Some(index) = self.clients.iter().position(|client| client.number == number) else { return };
        let client = &mut self.clients[index];
        if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) == 0 {
            return;
        }
        client.read();
        // Both directions closed: nobody is there any more. (Half closed, only the input is over.)
        client.ended |= events & libc::POLLERR != 0 || (events & libc::POLLHUP != 0 && client.input_over);
        match client.role {
            Role::Asking => self.request(index),
            Role::Attached { stdin, keep_input_open, .. } => self.attached_input(index, stdin, keep_input_open),
            Role::Starting | Role::Waiting | Role::Executing { .. } | Role::Answered => {}
        }
    }

    fn attached_input(&mut self, index: usize, stdin: bool, keep_open: bool) {
        let client = &mut self.clients[index];
        let bytes = std::mem::take(&mut client.input);
        if !stdin {
            return;
        }
        if client.input_over {
            if keep_open {
                return;
            }
            // The end of the program's input.
            while !self.input.is_empty() {
                let before = self.input.len();
                self.feed();
                if self.input.len() == before {
                    break; // The program reads no more; what it does not want is dropped with the pipe.
                }
            }
            self.streams.stdin = None;
        } else {
            self.input.extend(bytes);
            self.feed();
        }
    }

    fn request(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let request: Request = match decode(&client.input) {
            Ok(None) => return,
            Ok(Some((body, length))) => {
                let parsed = serde_json::from_slice(body);
                client.input.drain(..length);
                match parsed {
                    Ok(request) => request,
                    Err(error) => return refuse(client, 0, &format!("this shim does not know the request: {error}")),
                }
            }
            Err(error) => return refuse(client, 0, &error.to_string()),
        };
        match request {
            Request::Start => self.start(index),
            Request::State => {
                let started_at_ms = self.started_at_ms;
                let response = Response::State { pid: self.pid, running: self.started, started_at_ms };
                finish(&mut self.clients[index], &response);
            }
            Request::Wait => self.clients[index].role = Role::Waiting,
            Request::Signal { signal, pid, all } => self.signal(index, signal, pid, all),
            Request::Exec { process } => self.exec(index, &process),
            Request::Attach { stdin, stdout, stderr, keep_input_open } => {
                let attached =
                    self.clients.iter().filter(|client| matches!(client.role, Role::Attached { .. })).count();
                let client = &mut self.clients[index];
                if attached >= ATTACHED_MAX {
                    return refuse(client, 0, &format!("{ATTACHED_MAX} clients are attached already"));
                }
                client.answer(&Response::Done);
                client.role = Role::Attached { stdin, stdout, stderr, keep_input_open };
            }
            Request::Lease { lease } => {
                let renewed = self.lease.renew(boot_ms(), lease);
                match renewed {
                    true => finish(&mut self.clients[index], &Response::Done),
                    false => refuse(&mut self.clients[index], 0, "its lease has passed already"),
                }
            }
            Request::Resize { rows, columns } => self.resize(index, rows, columns),
        }
    }

    fn start(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if self.started || self.reports.is_none() {
            return refuse(client, 0, "the container has been started already");
        }
        if self.lease.has_passed(boot_ms()) {
            return refuse(client, RUNTIME_FAILED, "its lease has passed before it was started");
        }
        if let Err(error) = create::start(&self.arguments.run_dir) {
            return refuse(client, RUNTIME_FAILED, &format!("cannot start the created process: {error}"));
        }
        client.role = Role::Starting;
    }

    fn signal(&mut self, index: usize, signal: i32, pid: Option<i32>, all: bool) {
        let client = &mut self.clients[index];
        if all {
            return match self.cgroup.kill() {
                Ok(()) => finish(client, &Response::Done),
                Err(error) => refuse(client, 0, &setup::chain(&error)),
            };
        }
        let target = match pid {
            None => self.pid,
            // Only a process that has not been reaped; another one may have its number otherwise.
            Some(pid) if self.execs.contains_key(&pid) => pid,
            Some(_) => return refuse(client, 0, "no such process"),
        };
        if pid.is_none() && self.lease.has_sent(signal) {
            return finish(client, &Response::Done); // A second one makes many programs give up at once.
        }
        // SAFETY: plain numbers; the target is an unreaped child of this process.
        let result = unsafe { libc::kill(target, signal) };
        if result == 0 {
            finish(client, &Response::Done);
        } else {
            refuse(client, 0, &format!("cannot send signal {signal}: {}", io::Error::last_os_error()));
        }
    }

    fn resize(&mut self, index: usize, rows: u16, columns: u16) {
        let client = &mut self.clients[index];
        let Some(master) = &self.streams.master else { return refuse(client, 0, "the container has no terminal") };
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        finish(client, &Response::Done);
    }

    fn exec(&mut self, index: usize, process: &ProcessSpec) {
        let client = &mut self.clients[index];
        if !self.started {
            return refuse(client, 0, "the container is not running");
        }
        if self.cgroup.is_frozen() {
            return refuse(client, 0, "the container is paused: unpause it first");
        }
        if self.execs.len() + self.starting.len() >= EXECS_MAX {
            return refuse(client, 0, &format!("{EXECS_MAX} processes were started in it by exec and run still"));
        }
        if self.starting.len() >= STARTING_MAX {
            return refuse(client, 0, &format!("{STARTING_MAX} processes are being started already: try again"));
        }
        let stdio = if process.tty {
            None
        } else {
            match <[OwnedFd; 3]>::try_from(std::mem::take(&mut client.fds)) {
                Ok(fds) => Some(fds),
                Err(_) => return refuse(client, 0, "exec needs three streams"),
            }
        };
        match self.spawn_exec(process, stdio) {
            Ok(mut starting) => {
                let client = &mut self.clients[index];
                starting.client = client.number;
                client.role = Role::Executing { pid: None, bound: process.ends_with_caller };
                self.starting.push(starting);
            }
            Err(message) => refuse(&mut self.clients[index], RUNTIME_FAILED, &message),
        }
    }

    fn spawn_exec(&mut self, process: &ProcessSpec, stdio: create::Stdio) -> Result<Starting, String> {
        self.next_exec += 1;
        let number = self.next_exec;
        let user = user::resolve(&self.spec.rootfs, &process.user, &process.additional_groups)
            .map_err(|error| error.to_string())?;
        let config = oci::process(process, &user, &self.spec.ulimits).map_err(|error| error.to_string())?;
        let plan = setup::plan(&self.spec, process, &user).map_err(|error| error.to_string())?;
        let file = format!("exec-{number}.json");
        std::fs::write(&file, config.to_string()).map_err(|error| format!("cannot write {file}: {error}"))?;
        let process_file = self.arguments.run_dir.join(&file);
        let job = Job::Exec { process: process_file, number, below: self.cgroup.below(self.pid) };
        let helper = create::spawn(&self.arguments.run_dir, job, plan, stdio, process.tty)
            .map_err(|error| format!("cannot fork: {error}"))?;
        Ok(Starting {
            client: 0,
            bound: process.ends_with_caller,
            helper: Some(helper.pid),
            since: Instant::now(),
            reports: Reports::new(helper.report),
            file,
        })
    }
}

pub(super) fn finish(client: &mut Client, response: &Response) {
    client.answer(response);
    client.role = Role::Answered;
}

pub(super) fn refuse(client: &mut Client, code: i32, message: &str) {
    finish(client, &Response::Failed { code, message: message.to_owned() });
}
