//! Everything libcontainer does, each time in a process of its own forked from the shim.
//!
//! The library allocates, changes directory and may hang on a frozen or starved cgroup; a helper keeps all of that
//! out of the shim, whose memory stays small and whose loop keeps serving. The process the helper makes outlives it
//! and becomes a child of the shim, which is its subreaper.
//! What a helper has to say comes as `Report` lines over a socket pair; its end is closed when the program runs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use super::executor::{Plan, RUNTIME_FAILED, Report, report, reset_signals};
use super::notes::Notes;
use super::within::{self, Held};

/// The library's name for the container; each has a state directory of its own.
const NAME: &str = "c";
/// Directory of the library's state, below the run directory.
pub(crate) const ROOT: &str = "rt";

/// Standard streams of a process. `None` is the terminal, for all three.
pub(crate) type Stdio = Option<[OwnedFd; 3]>;

/// What to make.
pub(crate) enum Job {
    /// The container of the bundle in the run directory, once what it mounts is in its place.
    Container { held: Vec<Held> },
    /// A process in it, described by this file, and in this group below the container's.
    Exec { process: std::path::PathBuf, number: u64, below: Option<String> },
}

/// A helper at work.
pub(crate) struct Helper {
    pub pid: i32,
    /// The shim's end of the report.
    pub report: OwnedFd,
}

/// Forks a helper that does the job. The caller reads the report until its end.
pub(crate) fn spawn(run_dir: &Path, job: Job, mut plan: Plan, stdio: Stdio, tty: bool) -> io::Result<Helper> {
    let (ours, theirs) = socket_pair()?;
    plan.report = theirs.as_raw_fd();
    // SAFETY: the shim has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            reset_signals();
            let fd = theirs.as_raw_fd();
            Notes::install(fd);
            let result = work(run_dir, &job, plan, stdio, tty);
            match result {
                Ok((pid, master)) => send_pid(fd, pid, master.as_ref().map(AsRawFd::as_raw_fd)),
                Err(message) => report(fd, &Report::Failed { code: RUNTIME_FAILED, message }),
            }
            // SAFETY: ends the helper without the exit handlers of the shim it was forked from.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Helper { pid, report: ours }),
    }
}

fn work(run_dir: &Path, job: &Job, plan: Plan, stdio: Stdio, tty: bool) -> Result<(i32, Option<OwnedFd>), String> {
    let number = match job {
        Job::Container { .. } => 0,
        Job::Exec { number, .. } => *number,
    };
    let console = tty.then(|| Console::listen(run_dir, number)).transpose().map_err(|error| error.to_string())?;
    let mut builder = ContainerBuilder::new(NAME.to_owned(), SyscallType::default())
        .with_executor(plan)
        .with_root_path(run_dir.join(ROOT))
        .map_err(|error| error.to_string())?
        .with_console_socket(console.as_ref().map(|console| console.path.clone()));
    if let Some([stdin, stdout, stderr]) = stdio {
        builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
    }
    let pid = match job {
        Job::Container { held } => {
            within::place(held).map_err(|error| format!("cannot mount what is within a volume: {error}"))?;
            let mut container = builder
                .as_init(run_dir)
                .with_systemd(false)
                .with_detach(true)
                .build()
                .map_err(|error| chain(&error))?;
            // Starting is the shim's own doing. The library is told here, once: execs at the same time would write
            // over each other, and the shim lets none begin before the start.
            container.set_status(ContainerStatus::Running).save().map_err(|error| chain(&error))?;
            container.pid().ok_or("the container has no process")?
        }
        Job::Exec { process, below, .. } => builder
            .as_tenant()
            .with_process(Some(process))
            .with_sub_cgroup(below.clone())
            .with_detach(true)
            .build()
            .map_err(|error| chain(&error))?,
    };
    let master = console.map(|console| console.master()).transpose().map_err(|error| error.to_string())?;
    Ok((pid.as_raw(), master))
}

/// Lets the created program run: what the library's own `start` sends.
pub(crate) fn start(run_dir: &Path) -> io::Result<()> {
    use std::io::Write;
    // The working directory of the shim is the run directory, which keeps the address short (unix(7), 108 bytes).
    let _ = run_dir;
    let path = Path::new(ROOT).join(NAME).join("notify.sock");
    std::os::unix::net::UnixStream::connect(path)?.write_all(b"start container")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The socket over which the library hands out the terminal it made inside the container.
struct Console {
    listener: std::os::unix::net::UnixListener,
    path: std::path::PathBuf,
}

impl Console {
    fn listen(run_dir: &Path, number: u64) -> io::Result<Self> {
        let name = format!("console-{number}.sock");
        let _ = std::fs::remove_file(&name);
        // Relative for the length's sake; the library links to the absolute one.
        let listener = std::os::unix::net::UnixListener::bind(&name)?;
        Ok(Self { listener, path: run_dir.join(name) })
    }

    fn master(self) -> io::Result<OwnedFd> {
        let _ = std::fs::remove_file(&self.path);
        let (stream, _) = self.listener.accept()?;
        let mut byte = [0u8; 64];
        let (_, mut fds) = receive(stream.as_raw_fd(), &mut byte)?;
        fds.pop().ok_or_else(|| io::Error::other("no terminal came over the console socket"))
    }
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors and outlives the call.
    let result =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned these new descriptors to us alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

fn send_pid(fd: RawFd, pid: i32, master: Option<RawFd>) {
    let Ok(mut bytes) = serde_json::to_vec(&Report::Pid(pid)) else { return };
    bytes.push(b'\n');
    if send(fd, &bytes, master.as_slice()).is_err() {
        report(fd, &Report::Failed { code: RUNTIME_FAILED, message: "cannot hand over the terminal".into() });
    }
}

/// Descriptors that come with one message at most.
pub(crate) const FDS_MAX: usize = 4;

/// Sends bytes with descriptors (unix(7), SCM_RIGHTS). Returns how many bytes went out.
pub(crate) fn send(fd: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let slices = [io::IoSlice::new(bytes)];
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    Ok(sendmsg::<()>(fd, &slices, control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives bytes and the descriptors that came with them, close-on-exec. Zero bytes is the end.
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut slices = [io::IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel made these descriptors for us with this message; nobody else owns them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, fds))
}
