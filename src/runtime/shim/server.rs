//! The shim's loop: the container's output, its end, and the connections on `shim.sock`.
//!
//! Everything is one `poll`; no call in here blocks, except writes to the log file. Bounded: clients, exec'd
//! processes, bytes per client, bytes of pending input.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::client::{Client, Role, retry};
use super::create::{self, Job, receive};
use super::executor::{RUNTIME_FAILED, Report};
use super::log::{LogWriter, Output, now_ns};
use super::protocol::{EXIT_FILE, Exit, PID_FILE, Request, Response, SOCKET, decode};
use super::{Arguments, oci, setup, user};
use crate::cgroup::Cgroup;
use crate::spec::{ContainerSpec, ProcessSpec};

/// Connections at a time: a daemon keeps a few per container; health checks and attached terminals come on top.
const CLIENTS_MAX: usize = 128;
/// Exec'd processes that may be starting at a time; each is a helper with a few megabytes for some milliseconds.
const STARTING_MAX: usize = 16;
/// Bytes of input that wait for the program to read them.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Ends of processes remembered until their helper has told their number.
const ORPHANS_MAX: usize = 1_024;
/// Bytes of reports and notes kept of one helper.
const REPORT_BYTES_MAX: usize = 64 << 10;
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

/// Reads what a helper and the executor report, up to the moment the program runs.
pub(super) struct Reports {
    fd: OwnedFd,
    buffer: Vec<u8>,
    pid: Option<i32>,
    master: Option<OwnedFd>,
    begun: bool,
    failed: Option<(i32, String)>,
    notes: Vec<String>,
    ended: bool,
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
    fn read(&mut self) {
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
                Ok(Report::Note(note)) => self.notes.push(note),
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
    fn outcome(&self) -> Result<(), (i32, String)> {
        match self.failure() {
            Some(failure) => Err(failure),
            None if self.begun => Ok(()),
            None => Err((RUNTIME_FAILED, "the process ended before its program ran".to_owned())),
        }
    }
}

/// An exec whose program does not run yet.
struct Starting {
    client: u64,
    /// Kill it when its client has gone.
    bound: bool,
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
        let slow = self.clients.iter().any(Client::is_slow);
        let timeout = if slow { 1_000 } else { timeout_ms };
        poll(&mut fds, timeout);
        for (fd, slot) in fds.iter().zip(slots) {
            if fd.revents != 0 {
                self.ready(slot, fd.revents);
            }
        }
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
        if self.clients.len() < CLIENTS_MAX && self.exit.is_none() {
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
            && let Ok(client) = Client::new(stream, self.next_client)
        {
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

    fn client(&mut self, number: u64, events: i16) {
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
            Role::Attached { stdin, .. } => self.attached_input(index, stdin),
            Role::Starting | Role::Waiting | Role::Executing { .. } | Role::Answered => {}
        }
    }

    fn attached_input(&mut self, index: usize, stdin: bool) {
        let client = &mut self.clients[index];
        let bytes = std::mem::take(&mut client.input);
        if !stdin {
            return;
        }
        if client.input_over {
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
                let response = Response::State { pid: self.pid, running: self.started };
                finish(&mut self.clients[index], &response);
            }
            Request::Wait => self.clients[index].role = Role::Waiting,
            Request::Signal { signal, pid, all } => self.signal(index, signal, pid, all),
            Request::Exec { process } => self.exec(index, &process),
            Request::Attach { stdin, stdout, stderr } => {
                let client = &mut self.clients[index];
                client.answer(&Response::Done);
                client.role = Role::Attached { stdin, stdout, stderr };
            }
            Request::Resize { rows, columns } => self.resize(index, rows, columns),
        }
    }

    fn start(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if self.started || self.reports.is_none() {
            return refuse(client, 0, "the container has been started already");
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
        let job = Job::Exec { process: self.arguments.run_dir.join(&file), number };
        let helper = create::spawn(&self.arguments.run_dir, job, plan, stdio, process.tty)
            .map_err(|error| format!("cannot fork: {error}"))?;
        Ok(Starting { client: 0, bound: process.ends_with_caller, reports: Reports::new(helper.report), file })
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

fn finish(client: &mut Client, response: &Response) {
    client.answer(response);
    client.role = Role::Answered;
}

fn refuse(client: &mut Client, code: i32, message: &str) {
    finish(client, &Response::Failed { code, message: message.to_owned() });
}

fn finished(mut exit: Exit) -> Exit {
    exit.finished_at_ms = now_ns() / 1_000_000;
    exit
}

fn poll_fd(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// How many are ready; 0 after the timeout and when a signal came.
fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> i32 {
    // SAFETY: the slice outlives the call and its true length is given.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if ready < 0 {
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
    ready.max(0)
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
