//! From a fresh process to a shim with a created container.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::create::{self, Job, Stdio};
use super::executor::{DEFAULT_PATH, Plan, RUNTIME_FAILED};
use super::log::LogWriter;
use super::protocol::{PID_FILE, Response, SOCKET, SPEC_FILE};
use super::reports::Reports;
use super::server::{Shim, Streams};
use super::user::User;
use super::{Arguments, oci, user, within};
use crate::caps::CapSet;
use crate::cgroup::{Cgroup, Hierarchy};
use crate::seccomp::Filter;
use crate::spec::{ContainerSpec, MountKind, ProcessSpec, Propagation, Seccomp};

/// Protects a shim from the kernel's memory killer: without it, nobody knows how its container ends.
const SHIM_OOM_SCORE: &str = "-999";
/// Longest creation of a container, in milliseconds: it takes 10 to 30, and a loaded host a hundred times that.
const CREATE_MS_MAX: i32 = 60_000;
/// Bytes of a specification file; a spec with a full environment has less than ARG_MAX (2 MiB).
const SPEC_BYTES_MAX: u64 = 16 << 20;

/// Why there is no container. The code is the one Docker gives for it.
pub(super) struct Failure {
    pub code: i32,
    pub message: String,
}

fn failed(action: &str, error: impl std::fmt::Display) -> Failure {
    Failure { code: RUNTIME_FAILED, message: format!("cannot {action}: {error}") }
}

/// Leaves the daemon's session, streams, directory and signals. Returns where the first answer goes.
pub(super) fn detach(arguments: &Arguments) -> io::Result<File> {
    // SAFETY: plain numbers; a process that already leads a session keeps it, which is as good.
    unsafe {
        libc::setsid();
        libc::umask(0o022);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"swarm-shim".as_ptr(), 0, 0, 0);
    }
    // SAFETY: duplicates standard output, close-on-exec, as a descriptor of our own.
    let ready = unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    let ready = unsafe { File::from_raw_fd(ready) };
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..3 {
        // SAFETY: both descriptors are open; the standard streams are nobody's in this process.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // A signal meant for the daemon's group or a shutdown must not leave the container without its record.
    for signal in
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE, libc::SIGUSR1, libc::SIGUSR2]
    {
        // SAFETY: SIG_IGN installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Not allowed without CAP_SYS_RESOURCE, and not vital.
    let _ = std::fs::write("/proc/self/oom_score_adj", SHIM_OOM_SCORE);
    std::env::set_current_dir(&arguments.run_dir)?;
    // SAFETY: the process has one thread. LISTEN_FDS would make libcontainer keep descriptors open.
    unsafe {
        std::env::remove_var("LISTEN_FDS");
        std::env::remove_var("LISTEN_PID");
    }
    Ok(ready)
}

pub(super) fn answer(ready: &mut File, response: &Response) {
    if let Ok(mut line) = serde_json::to_vec(response) {
        line.push(b'\n');
        // A daemon that is gone finds the shim by its socket.
        let _ = ready.write_all(&line);
    }
}

/// Makes the container and everything to serve it. What was made is undone on failure.
pub(super) fn create(arguments: &Arguments) -> Result<Shim, Failure> {
    let spec = load_spec(&arguments.state_dir)?;
    let hierarchy = Hierarchy::known().map_err(|error| failed("find the cgroups", error))?;
    let path = format!("{}/{}", arguments.cgroup_parent, arguments.id);
    let cgroup = Cgroup::new(hierarchy.clone(), &path).map_err(|error| failed("name the cgroup", error))?;
    // Out of the daemon's cgroup, so that stopping the daemon's service leaves shims alone. All shims share one.
    if let Ok(shims) = Cgroup::new(hierarchy, &format!("{}/shims", arguments.cgroup_parent)) {
        let _ = shims.join(std::process::id() as i32);
    }
    let result = create_in(arguments, spec, &cgroup, &path);
    if result.is_err() {
        let _ = cgroup.remove();
    }
    result
}

fn create_in(arguments: &Arguments, spec: ContainerSpec, cgroup: &Cgroup, path: &str) -> Result<Shim, Failure> {
    let invalid = |error: &dyn std::error::Error| Failure { code: RUNTIME_FAILED, message: error.to_string() };
    let devices = oci::devices(&spec).map_err(|error| invalid(&error))?;
    let user = user::resolve(&spec.rootfs, &spec.process.user, &spec.process.additional_groups)
        .map_err(|error| invalid(&error))?;
    let mut inside = spec.clone();
    let held = within::hold(&mut inside.mounts, &arguments.run_dir).map_err(|error| invalid(&error))?;
    let config = oci::container(&inside, &user, cgroup, path, &devices).map_err(|error| invalid(&error))?;
    std::fs::write("config.json", config.to_string()).map_err(|error| failed("write config.json", error))?;
    cgroup
        .create(&spec.resources, &oci::device_rules(&spec, &devices))
        .map_err(|error| failed("set the limits", chain(&error)))?;
    let plan = plan(&spec, &spec.process, &user).map_err(|error| invalid(&error))?;
    let (stdio, streams) = stdio(spec.process.tty, spec.open_stdin).map_err(|error| failed("make pipes", error))?;
    let helper = create::spawn(&arguments.run_dir, Job::Container { held }, plan, stdio, spec.process.tty)
        .map_err(|error| failed("fork", error))?;
    let mut reports = Reports::new(helper.report);
    let (pid, master) = reports.wait_for_pid(CREATE_MS_MAX).map_err(|message| Failure {
        code: RUNTIME_FAILED,
        message: format!("cannot create the container: {message}"),
    })?;
    let kill = |failure: Failure| {
        // SAFETY: plain numbers; the process is our own unreaped child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        failure
    };
    cgroup.adopt(pid).map_err(|error| kill(failed("move the process into its cgroup", chain(&error))))?;
    let log =
        LogWriter::open(arguments.state_dir.clone(), spec.log).map_err(|error| kill(failed("open the log", error)))?;
    let listener = listen().map_err(|error| kill(failed("open shim.sock", error)))?;
    write_pid_file().map_err(|error| kill(failed("write shim.pid", error)))?;
    let streams = Streams { master, ..streams };
    Shim::new(arguments.clone(), spec, cgroup.clone(), pid, reports, streams, log, listener)
        .map_err(|error| kill(failed("watch the container", error)))
}

fn load_spec(state_dir: &Path) -> Result<ContainerSpec, Failure> {
    let mut text = Vec::new();
    File::open(state_dir.join(SPEC_FILE))
        .and_then(|file| file.take(SPEC_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| failed("read spec.json", error))?;
    serde_json::from_slice(&text).map_err(|error| failed("understand spec.json", error))
}

/// What the executor does for a process of this container.
pub(super) fn plan(
    spec: &ContainerSpec,
    process: &ProcessSpec,
    user: &User,
) -> Result<Plan, crate::caps::UnknownCapability> {
    let privileged = spec.privileged || process.privileged;
    let caps = CapSet::resolve(&spec.cap_add, &spec.cap_drop, privileged)?;
    let filtered = !privileged && spec.seccomp == Seccomp::Default;
    let tty_size = process.tty.then_some((process.tty_rows, process.tty_columns));
    Ok(Plan {
        args: process.args.clone(),
        env: environment(process, user, &spec.hostname),
        cwd: process.cwd.clone(),
        first: std::ptr::eq(process, &raw const spec.process),
        uid: user.uid,
        tty_size,
        filter: filtered.then(|| Filter::docker_default(caps)),
        caps,
        no_new_privileges: spec.no_new_privileges,
        oom_score_adj: spec.oom_score_adj,
        private_mounts: private_mounts(spec),
        init: spec.init && std::ptr::eq(process, &raw const spec.process),
        report: -1,
    })
}

/// The root and every bind that did not ask for the host's later mounts; empty when none did.
fn private_mounts(spec: &ContainerSpec) -> Vec<std::path::PathBuf> {
    if !oci::has_slave(spec) {
        return Vec::new();
    }
    let private = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { propagation: Propagation::Rprivate, .. } | MountKind::Within { .. } => {
            Some(mount.target.clone())
        }
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => None,
    });
    std::iter::once("/".into()).chain(private).collect()
}

/// Docker's additions: PATH, HOSTNAME and HOME when missing, TERM for a terminal.
fn environment(process: &ProcessSpec, user: &User, hostname: &str) -> Vec<String> {
    let mut env: Vec<String> = Vec::new();
    let has = |name: &str| process.env.iter().any(|entry| entry.split('=').next() == Some(name));
    if !has("PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has("HOSTNAME") && !hostname.is_empty() {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if process.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(process.env.iter().cloned());
    if !has("HOME") {
        env.push(format!("HOME={}", user.home));
    }
    env
}

/// The container's ends and ours. With a terminal the library makes it, inside.
fn stdio(tty: bool, open_stdin: bool) -> io::Result<(Stdio, Streams)> {
    let mut streams = Streams::default();
    if tty {
        return Ok((None, streams));
    }
    let stdin = if open_stdin {
        let (read, write) = pipe()?;
        nonblocking(&write)?;
        streams.stdin = Some(write);
        read
    } else {
        OwnedFd::from(File::open("/dev/null")?)
    };
    let (stdout, theirs_out) = pipe()?;
    let (stderr, theirs_err) = pipe()?;
    nonblocking(&stdout)?;
    nonblocking(&stderr)?;
    streams.stdout = Some(stdout);
    streams.stderr = Some(stderr);
    Ok((Some([stdin, theirs_out, theirs_err]), streams))
}

/// (read end, write end), close-on-exec.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    Ok((read.into(), write.into()))
}

pub(super) fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: fcntl(2) with plain numbers on an open descriptor.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In the working directory, which is the run directory.
fn listen() -> io::Result<UnixListener> {
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Process id and start time, which together name a process for ever.
fn write_pid_file() -> io::Result<()> {
    let pid = std::process::id() as i32;
    let start = start_time(pid).unwrap_or(0);
    std::fs::write(PID_FILE, format!("{pid} {start}\n"))
}

/// Field 22 of proc_pid_stat(5); the name in field 2 may hold anything, so counting starts behind it.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
