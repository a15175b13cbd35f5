//! The shim's loop: the container's output, its end, and the connections on `shim.sock`.
//!
//! Everything is one `poll`; no call in here blocks, except writes to the log file. Bounded: clients, exec'd
//! processes, bytes per client, bytes of pending input.

mod requests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::clock::boot_ms;
use crate::shim::client::{Client, Role, retry};
use crate::shim::executor::RUNTIME_FAILED;
use crate::shim::lease::{Due, Kept};
use crate::shim::log::{LogWriter, Output, now_ns};
use crate::shim::poll::{poll, poll_fd};
use crate::shim::protocol::{EXIT_FILE, Exit, PID_FILE, Response, SOCKET};
use crate::shim::reports::Reports;
use crate::shim::{Arguments, setup};
use crate::spec::ContainerSpec;
use requests::{finish, refuse};

/// Connections at a time: a daemon keeps a few per container; health checks and attached terminals come on top.
const CLIENTS_MAX: usize = 128;
/// Bytes of input that wait for the program to read them.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Longest time from an exec to its program, in milliseconds: it takes 10, and the daemon waits for 30 seconds.
const STARTING_MS_MAX: u128 = 20_000;
/// Why a container ended whose lease was not renewed.
const LEASE_PASSED: &str =
    "no manager was heard of for as long as it may run without: it may run elsewhere (at-most-one)";
/// Ends of processes remembered until their helper has told their number.
const ORPHANS_MAX: usize = 1_024;
/// Longest time given to clients to take the last output after the end, in milliseconds.
const FAREWELL_MS_MAX: u64 = 2_000;
/// Bytes read of the output after the program's end. Everything it wrote fits into its pipes (1 MiB at most each).
const DRAIN_BYTES_MAX: usize = 4 << 20;

/// The shim's ends of the first process's streams.
#[derive(Default)]
pub(super) struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// Of the terminal, in place of the three.
    pub master: Option<OwnedFd>,
}

/// An exec whose program does not run yet.
struct Starting {
    client: u64,
    /// Kill it when its client has gone.
    bound: bool,
    /// Until it has been reaped.
    helper: Option<i32>,
    since: Instant,
    reports: Reports,
    file: String,
}

pub(super) struct Shim {
    arguments: Arguments,
    spec: ContainerSpec,
    cgroup: Cgroup,
    pid: i32,
    /// Until the program runs.
    reports: Option<Reports>,
    started: bool,
    started_at_ms: u64,
    error: Option<String>,
    streams: Streams,
    /// Input that the program has not taken, and whether its end follows.
    input: Vec<u8>,
    log: LogWriter,
    listener: UnixListener,
    signals: OwnedFd,
    clients: Vec<Client>,
    next_client: u64,
    starting: Vec<Starting>,
    next_exec: u64,
    /// Exec'd process -> its client.
    execs: HashMap<i32, u64>,
    orphans: HashMap<i32, i32>,
    exit: Option<Exit>,
    lease: Kept,
}

/// What a poll slot belongs to.
enum Slot {
    Listener,
    Signals,
    Stream(Output),
    Master,
    Input,
    Reports,
    /// By its client.
    Starting(u64),
    Client(u64),
}

impl Shim {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        arguments: Arguments,
        spec: ContainerSpec,
        cgroup: Cgroup,
        pid: i32,
        reports: Reports,
        streams: Streams,
        log: LogWriter,
        listener: UnixListener,
    ) -> io::Result<Self> {
        if let Some(master) = &streams.master {
            setup::nonblocking(master)?;
        }
        let shim = Self {
            arguments,
            spec,
            cgroup,
            pid,
            reports: Some(reports),
            started: false,
            started_at_ms: 0,
            error: None,
            streams,
            input: Vec::new(),
            log,
            listener,
            signals: signals()?,
            clients: Vec::new(),
            next_client: 0,
            starting: Vec::new(),
            next_exec: 0,
            execs: HashMap::new(),
            orphans: HashMap::new(),
            exit: None,
            lease: Kept::default(),
        };
        // SAFETY: gives free heap pages back; creation used more than serving does.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0)
        };
        Ok(shim)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Serves until the container has ended and its end is known.
    pub(super) fn serve(mut self) {
        self.reap();
        while self.exit.is_none() {
            self.turn(-1);
        }
        self.farewell();
    }

    fn turn(&mut self, timeout_ms: i32) {
        let (mut fds, slots) = self.slots();
        // With something that may be late, it is looked for every second.
        let watched = self.lease.is_some() || !self.starting.is_empty() || self.clients.iter().any(Client::is_slow);
        let timeout = if watched && timeout_ms < 0 { 1_000 } else { timeout_ms };
        poll(&mut fds, timeout);
        for (fd, slot) in fds.iter().zip(slots) {
            if fd.revents != 0 {
                self.ready(slot, fd.revents);
            }
        }
        self.give_up_late();
        self.keep_lease();
        for client in &mut self.clients {
            client.write();
            client.ended |= client.is_stalled();
        }
        for client in self.clients.iter().filter(|client| client.ended) {
            if let Role::Executing { pid: Some(pid), bound: true } = client.role {
                kill_group(pid);
            }
        }
        self.clients.retain(|client| !client.is_finished());
    }

    fn slots(&self) -> (Vec<libc::pollfd>, Vec<Slot>) {
        let mut fds = Vec::with_capacity(8 + self.clients.len());
        let mut slots = Vec::with_capacity(8 + self.clients.len());
        let mut add = |fd: RawFd, events: i16, slot: Slot| {
            fds.push(poll_fd(fd, events));
            slots.push(slot);
        };
        if self.exit.is_none() {
            add(self.listener.as_raw_fd(), libc::POLLIN, Slot::Listener);
        }
        add(self.signals.as_raw_fd(), libc::POLLIN, Slot::Signals);
        if !self.clients.iter().any(Client::is_slow) {
            for (stream, output) in [(&self.streams.stdout, Output::Stdout), (&self.streams.stderr, Output::Stderr)] {
                if let Some(stream) = stream {
                    add(stream.as_raw_fd(), libc::POLLIN, Slot::Stream(output));
                }
            }
            if let Some(master) = &self.streams.master {
                add(master.as_raw_fd(), libc::POLLIN, Slot::Master);
            }
        }
        let sink = self.streams.master.as_ref().or(self.streams.stdin.as_ref());
        if let Some(sink) = sink.filter(|_| !self.input.is_empty()) {
            add(sink.as_raw_fd(), libc::POLLOUT, Slot::Input);
        }
        if let Some(reports) = &self.reports {
            add(reports.fd.as_raw_fd(), libc::POLLIN, Slot::Reports);
        }
        for starting in &self.starting {
            add(starting.reports.fd.as_raw_fd(), libc::POLLIN, Slot::Starting(starting.client));
        }
        let full = self.input.len() >= INPUT_BYTES_MAX;
        for client in &self.clients {
            let mut events = if client.has_output() { libc::POLLOUT } else { 0 };
            let waits = full && matches!(client.role, Role::Attached { .. });
            if !client.input_over && !waits {
                events |= libc::POLLIN;
            }
            add(client.fd(), events, Slot::Client(client.number));
        }
        (fds, slots)
    }

    fn ready(&mut self, slot: Slot, events: i16) {
        match slot {
            Slot::Listener => self.accept(),
            Slot::Signals => self.reap(),
            Slot::Stream(output) => _ = self.pump(output),
            Slot::Master => _ = self.pump(Output::Stdout),
            Slot::Input => self.feed(),
            Slot::Reports => self.report(),
            Slot::Starting(client) => self.exec_report(client),
            Slot::Client(number) => self.client(number, events),
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(mut client) = Client::new(stream, self.next_client)
        {
            if self.clients.len() >= CLIENTS_MAX {
                // Told rather than kept waiting: a daemon that hears nothing takes the shim for dead.
                refuse(&mut client, 0, &format!("{CLIENTS_MAX} connections are open already: try again"));
                return client.write();
            }
            self.next_client += 1;
            self.clients.push(client);
        }
    }

    /// Moves one piece of output into the log and to the attached. Returns its size; 0 when there is none.
    fn pump(&mut self, output: Output) -> usize {
        let source = match output {
            Output::Stdout if self.streams.master.is_some() => &mut self.streams.master,
            Output::Stdout => &mut self.streams.stdout,
            Output::Stderr => &mut self.streams.stderr,
        };
        let Some(fd) = source.as_ref().map(AsRawFd::as_raw_fd) else { return 0 };
        let mut buffer = [0u8; 16 << 10];
        // SAFETY: the buffer outlives the call and its true length is given.
        let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => {
                self.log.write(output, &buffer[..count]);
                for client in &mut self.clients {
                    let wanted = match client.role {
                        Role::Attached { stdout, stderr, .. } => match output {
                            Output::Stdout => stdout,
                            Output::Stderr => stderr,
                        },
                        Role::Asking | Role::Starting | Role::Waiting | Role::Executing { .. } | Role::Answered => {
                            false
                        }
                    };
                    if wanted {
                        client.stream(output.number(), &buffer[..count]);
                    }
                }
                count
            }
            Ok(_) => {
                *source = None;
                0
            }
            Err(_) => {
                // A terminal without a process gives EIO: its end.
                if !retry(&io::Error::last_os_error()) {
                    *source = None;
                }
                0
            }
        }
    }

    /// Gives the program input that it can take now.
    fn feed(&mut self) {
        let sink = self.streams.master.as_ref().or(self.streams.stdin.as_ref());
        let Some(fd) = sink.map(AsRawFd::as_raw_fd) else {
            self.input.clear();
            return;
        };
        // SAFETY: the buffer outlives the call and its true length is given. SIGPIPE is ignored here.
        let count = unsafe { libc::write(fd, self.input.as_ptr().cast(), self.input.len()) };
        match usize::try_from(count) {
            Ok(count) => {
                self.input.drain(..count);
            }
            Err(_) if retry(&io::Error::last_os_error()) => {}
            Err(_) => {
                self.streams.stdin = None;
                self.input.clear();
            }
        }
    }

    /// News of the first process's executor.
    fn report(&mut self) {
        let Some(reports) = &mut self.reports else { return };
        reports.read();
        if !reports.ended {
            return;
        }
        let outcome = reports.outcome();
        self.reports = None;
        let response = match outcome {
            Ok(()) => {
                self.started = true;
                self.started_at_ms = now_ns() / 1_000_000;
                Response::Done
            }
            Err((code, message)) => {
                self.error = Some(message.clone());
                Response::Failed { code, message }
            }
        };
        for client in self.clients.iter_mut().filter(|client| client.role == Role::Starting) {
            client.answer(&response);
            client.role = Role::Answered;
        }
    }

    /// News of an exec'd process.
    fn exec_report(&mut self, client: u64) {
        let Some(index) = self.starting.iter().position(|starting| starting.client == client) else { return };
        let starting = &mut self.starting[index];
        starting.reports.read();
        if !starting.reports.ended {
            return;
        }
        let mut starting = self.starting.remove(index);
        let _ = std::fs::remove_file(&starting.file);
        let outcome = starting.reports.outcome();
        let pid = starting.reports.pid;
        let ended = pid.and_then(|pid| self.orphans.remove(&pid));
        if self.starting.is_empty() {
            self.orphans.clear();
        }
        let Some(client) = self.clients.iter_mut().find(|client| client.number == starting.client) else {
            if let Some(pid) = pid.filter(|_| starting.bound && ended.is_none()) {
                kill_group(pid);
            }
            return;
        };
        match (outcome, pid) {
            (Ok(()), Some(pid)) => {
                client.answer_with(&Response::Running { pid }, starting.reports.master.take());
                match ended {
                    Some(status) => {
                        client.answer(&Response::Exited { exit: finished(Exit::from_status(status)) });
                        client.role = Role::Answered;
                    }
                    None => {
                        client.role = Role::Executing { pid: Some(pid), bound: starting.bound };
                        self.execs.insert(pid, client.number);
                    }
                }
            }
            (Ok(()), None) => refuse(client, RUNTIME_FAILED, "the process has no number"),
            (Err((code, message)), _) => refuse(client, code, &message),
        }
    }

    /// Ends the container when its lease has passed. One that is paused is woken: it could not even die (v1).
    fn keep_lease(&mut self) {
        let due = if self.exit.is_none() { self.lease.due(boot_ms()) } else { Due::Nothing };
        if due == Due::Nothing {
            return;
        }
        self.error.get_or_insert_with(|| LEASE_PASSED.to_owned());
        match due {
            Due::Nothing => {}
            // SAFETY: plain numbers; the first process is an unreaped child of this one, so its id is its own.
            Due::Signal(signal) => _ = unsafe { libc::kill(self.pid, signal) },
            // What fails is tried again with the next turn.
            Due::Kill => _ = self.cgroup.kill(),
        }
        if self.cgroup.is_frozen() {
            let _ = self.cgroup.freeze(false);
        }
    }

    /// Ends what takes too long to begin, as in a container whose memory is used up.
    fn give_up_late(&mut self) {
        let late = |starting: &Starting| starting.since.elapsed().as_millis() > STARTING_MS_MAX;
        let Some(index) = self.starting.iter().position(late) else { return };
        let starting = self.starting.remove(index);
        let _ = std::fs::remove_file(&starting.file);
        if let Some(helper) = starting.helper {
            // SAFETY: plain numbers; the helper is an unreaped child, so its id is its own.
            unsafe { libc::kill(helper, libc::SIGKILL) };
        }
        if let Some(pid) = starting.reports.pid.filter(|pid| !self.orphans.contains_key(pid)) {
            kill_group(pid);
        }
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == starting.client) {
            refuse(client, RUNTIME_FAILED, &format!("the process did not begin within {STARTING_MS_MAX} ms"));
        }
    }

    /// Collects every child that has ended.
    fn reap(&mut self) {
        let mut info = [0u8; 1_024];
        // SAFETY: drains the signal descriptor, which never blocks, into a buffer of the given length.
        while unsafe { libc::read(self.signals.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) } > 0 {}
        loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            if pid == self.pid {
                self.ended(status);
            } else if let Some(number) = self.execs.remove(&pid) {
                let exit = finished(Exit::from_status(status));
                if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
                    finish(client, &Response::Exited { exit });
                }
            } else if let Some(starting) = self.starting.iter_mut().find(|starting| starting.helper == Some(pid)) {
                starting.helper = None;
            } else if !self.starting.is_empty() && self.orphans.len() < ORPHANS_MAX {
                self.orphans.insert(pid, status);
            }
        }
    }

    /// The first process is gone, and with it every process of its pid namespace.
    fn ended(&mut self, status: i32) {
        if let Some(reports) = &mut self.reports {
            // What the executor said last is in the socket already.
            while !reports.ended {
                let mut fds = [poll_fd(reports.fd.as_raw_fd(), libc::POLLIN)];
                if poll(&mut fds, 0) == 0 {
                    break;
                }
                reports.read();
            }
            reports.ended = true;
            self.report();
        }
        let mut drained = 0;
        for output in [Output::Stdout, Output::Stderr] {
            loop {
                let count = self.pump(output);
                drained += count;
                if count == 0 || drained > DRAIN_BYTES_MAX {
                    break;
                }
            }
        }
        self.log.finish();
        let mut exit = finished(Exit::from_status(status));
        exit.oom_killed = self.cgroup.oom_kills() > 0;
        exit.started_at_ms = self.started_at_ms;
        exit.error = self.error.take();
        self.record(&exit);
        for client in &mut self.clients {
            match client.role {
                Role::Waiting => finish(client, &Response::Exited { exit: exit.clone() }),
                Role::Attached { .. } | Role::Answered => client.role = Role::Answered,
                Role::Starting | Role::Executing { .. } => refuse(client, 0, "the container has ended"),
                // Closed without an answer: the daemon then reads the record, which says more.
                Role::Asking => client.ended = true,
            }
        }
        self.exit = Some(exit);
    }

    /// exit.json appears whole or not at all.
    fn record(&self, exit: &Exit) {
        let path = self.arguments.state_dir.join(EXIT_FILE);
        let partial = path.with_extension("tmp");
        if let Ok(text) = serde_json::to_vec(exit)
            && std::fs::write(&partial, text).is_ok()
        {
            let _ = std::fs::rename(partial, path);
        }
    }

    /// Lets clients take the rest, makes the record durable, and leaves nothing behind but it and the log.
    fn farewell(&mut self) {
        let _ = std::fs::remove_file(SOCKET);
        let give_up = Instant::now() + Duration::from_millis(FAREWELL_MS_MAX);
        while self.clients.iter().any(|client| client.has_output() && !client.ended) {
            let left = give_up.saturating_duration_since(Instant::now()).as_millis() as i32;
            if left == 0 {
                break;
            }
            self.turn(left);
        }
        self.clients.clear();
        let _ = self.cgroup.remove();
        if let Ok(file) = File::open(self.arguments.state_dir.join(EXIT_FILE)) {
            let _ = file.sync_all();
        }
        let _ = std::fs::remove_file(PID_FILE);
    }
}

/// An exec'd process leads a session, and so a group, of its own.
fn kill_group(pid: i32) {
    // SAFETY: plain numbers; the process is an unreaped child of this one, so its id is its own.
    unsafe {
        libc::kill(-pid, libc::SIGKILL);
        libc::kill(pid, libc::SIGKILL);
    }
}

fn finished(mut exit: Exit) -> Exit {
    exit.finished_at_ms = now_ns() / 1_000_000;
    exit
}

/// SIGCHLD as a descriptor. Blocked only now: a mask set earlier would be inherited by the container.
fn signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use and outlives the calls; the descriptor returned is new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
