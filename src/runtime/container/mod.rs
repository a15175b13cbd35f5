//! The containers of this host, as the daemon sees them.
//!
//! A thin, stateless client: the truth is in the shims and on disk. Each container has a directory below
//! `state_dir` (specification, log, exit) that survives a reboot, and one below `run_dir` (socket, process id) that
//! does not. Any number of daemons may come and go; none of them is needed for a container to run.
//! Called by the agent. Must never call libcontainer, which is unsafe in a threaded process.

mod exec;
mod figures;
mod files;
mod link;
mod logs;
mod recover;
mod spawner;
mod top;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use crate::shim::{Exit, Output};
pub use exec::{AttachOptions, Attached, AttachedInput, AttachedOutput, ExecHandle, ExecStreams, FdStream};
pub use figures::{Figures, NetworkFigures};
pub use files::{Archive, Change, ChangeKind, FilesError, PathStat, WriteOptions};
pub use logs::{LogLine, LogOptions, LogStream};
pub use recover::{Found, Recovered};
pub use top::Process;

use crate::cgroup::{Cgroup, CgroupError, Hierarchy, Usage};
use crate::shim::Arguments;
use crate::shim::lease::Lease;
use crate::shim::protocol::{EXIT_FILE, LOG_FILE, Request, Response, SPEC_FILE};
use crate::spec::ContainerSpec;
use link::Link;
use spawner::Spawner;
use watch::Watches;

/// Longest creation, in milliseconds: a little more than the shim itself allows.
const CREATE_MS_MAX: u64 = 65_000;
/// Longest wait for shims to end after their containers, in milliseconds: a little more than they give to clients that
/// still read.
const SHIMS_END_MS_MAX: u64 = 3_000;
/// Between two looks for that, in milliseconds: the kernel announces an emptied v1 cgroup to nobody.
const SHIMS_LOOK_MS: u64 = 10;
/// Longest wait for a shim to say that it has killed, in milliseconds, before it is done without it.
const KILL_ANSWER_MS_MAX: u64 = 2_000;
/// Longest wait for the end of a killed container, in milliseconds; only a process stuck in the kernel takes longer.
const KILL_MS_MAX: u64 = 10_000;

/// What went wrong with a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was changed.
    #[error("invalid container id {0:?}: use 1 to 128 of a-z, A-Z, 0-9, \"_\", \".\" and \"-\"")]
    InvalidId(String),
    /// Nothing was changed.
    #[error("container {0} exists already")]
    Exists(String),
    /// There is no such container, or its shim is gone.
    #[error("no such container: {0}")]
    NotFound(String),
    /// The container was not made; nothing is left of it.
    #[error("cannot create container {id}: {message}")]
    Create { id: String, message: String },
    /// The program does not run. `code` is 126, 127 or 128 as in Docker; the container ends with it.
    #[error("cannot start container {id}: {message}")]
    Start { id: String, code: i32, message: String },
    /// The process does not run in the container, which goes on.
    #[error("cannot run a process in container {id}: {message}")]
    Exec { id: String, code: i32, message: String },
    /// The shim refused, and nothing was changed.
    #[error("container {id}: {message}")]
    Refused { id: String, message: String },
    /// The container runs and must not.
    #[error("container {0} is running: stop it first")]
    Running(String),
    /// The shim did not answer in time.
    #[error("the shim of container {0} does not answer")]
    Timeout(String),
    /// A file or socket failed.
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the cgroup of the container")]
    Cgroup(#[from] CgroupError),
}

pub type Result<T> = std::result::Result<T, Error>;

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Where containers live.
#[derive(Debug, Clone)]
pub struct ContainersOptions {
    /// Kept for ever: specification, log, exit.
    pub state_dir: PathBuf,
    /// Kept until reboot: sockets and process ids.
    pub run_dir: PathBuf,
    /// The command that runs [`crate::shim::main`], such as `/proc/self/exe shim`.
    pub shim_command: Vec<OsString>,
    /// Absolute, such as `/swarm`; each container has a cgroup of its own below.
    pub cgroup_parent: String,
}

/// A clonable handle to all containers below one pair of directories.
#[derive(Debug, Clone)]
pub struct Containers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ContainersOptions,
    hierarchy: Hierarchy,
    spawner: Spawner,
    watches: Watches,
    /// Copies to and from containers that are under way.
    files: Arc<Semaphore>,
}

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Created {
        pid: i32,
    },
    /// `started_at_ms`: milliseconds since 1970.
    Running {
        pid: i32,
        started_at_ms: u64,
    },
    Paused {
        pid: i32,
        started_at_ms: u64,
    },
    Exited(Exit),
}

impl Containers {
    /// Makes the directories and finds the cgroups. Starts nothing and looks for nothing; see [`Self::recover`].
    pub async fn open(options: ContainersOptions) -> Result<Self> {
        let hierarchy = Hierarchy::detect()?;
        Cgroup::new(hierarchy.clone(), &options.cgroup_parent)?;
        let options = ContainersOptions {
            state_dir: own_dir(&options.state_dir)?,
            run_dir: own_dir(&options.run_dir)?,
            ..options
        };
        let spawner = Spawner::new(options.shim_command.clone());
        let files = Arc::new(Semaphore::new(files::FILES_AT_ONCE_MAX));
        Ok(Self { inner: Arc::new(Inner { options, hierarchy, spawner, watches: Watches::default(), files }) })
    }

    /// Makes a container; its program waits for [`Self::start`].
    pub async fn create(&self, id: &str, spec: &ContainerSpec) -> Result<()> {
        check_id(id)?;
        let (state_dir, run_dir) = (self.state_dir(id), self.run_dir(id));
        match builder().create(&state_dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists(id.to_owned())),
            Err(error) => return Err(io_error("create", &state_dir)(error)),
        }
        let result = self.create_in(id, spec, &state_dir, &run_dir).await;
        if result.is_err() {
            if let Ok(cgroup) = self.cgroup(id) {
                let _ = blocking(move || cgroup.remove()).await; // Nothing, unless the shim itself died halfway.
            }
            let _ = std::fs::remove_dir_all(&run_dir);
            let _ = std::fs::remove_dir_all(&state_dir);
        }
        result
    }

    async fn create_in(&self, id: &str, spec: &ContainerSpec, state_dir: &Path, run_dir: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(run_dir);
        builder().create(run_dir).map_err(io_error("create", run_dir))?;
        let file = state_dir.join(SPEC_FILE);
        let text = serde_json::to_vec(spec).map_err(|error| io_error("write", &file)(error.into()))?;
        write_private(&file, &text).map_err(io_error("write", &file))?;
        match self.spawn_shim(id, state_dir, run_dir).await? {
            Response::State { .. } => Ok(()),
            Response::Failed { message, .. } => Err(Error::Create { id: id.to_owned(), message }),
            Response::Done | Response::Running { .. } | Response::Exited { .. } => {
                Err(Error::Create { id: id.to_owned(), message: "the shim gave a strange answer".to_owned() })
            }
        }
    }

    /// Makes a shim and reads its one line.
    async fn spawn_shim(&self, id: &str, state_dir: &Path, run_dir: &Path) -> Result<Response> {
        let failed = |message: String| Error::Create { id: id.to_owned(), message };
        let arguments = Arguments {
            id: id.to_owned(),
            state_dir: state_dir.to_owned(),
            run_dir: run_dir.to_owned(),
            cgroup_parent: self.inner.options.cgroup_parent.clone(),
        };
        let command = &self.inner.options.shim_command;
        let spawning = self.inner.spawner.spawn(arguments.to_command_line());
        let line = match timeout(Duration::from_millis(CREATE_MS_MAX), spawning).await {
            Ok(Ok(line)) => line,
            Ok(Err(source)) => {
                return Err(Error::Io {
                    action: "run the shim command",
                    path: command.join(" ".as_ref()).into(),
                    source,
                });
            }
            Err(_) => return Err(Error::Timeout(id.to_owned())),
        };
        if line.is_empty() {
            return Err(failed(format!("the shim ended without an answer: is {command:?} the right command?")));
        }
        serde_json::from_str(&line).map_err(|error| failed(format!("the shim gave a strange answer: {error}")))
    }

    /// Lets the program run. Returns when it does, or why it does not.
    pub async fn start(&self, id: &str) -> Result<()> {
        match self.ask(id, &Request::Start).await? {
            Response::Failed { code: 0, message } => Err(Error::Refused { id: id.to_owned(), message }),
            Response::Failed { code, message } => Err(Error::Start { id: id.to_owned(), code, message }),
            Response::Done | Response::State { .. } | Response::Running { .. } | Response::Exited { .. } => Ok(()),
        }
    }

    /// Sends a signal to the first process.
    pub async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        self.demand(id, &Request::Signal { signal, pid: None, all: false }).await
    }

    /// Lets it run until `until_boot_ms` (see [`crate::clock::boot_ms`]): then its shim sends `signal`, and SIGKILL after
    /// `grace`, whether there is a daemon or not. Given before the start to a container that needs it, and again to
    /// prolong it. Refused once it has passed.
    pub async fn lease(&self, id: &str, until_boot_ms: u64, signal: i32, grace: Duration) -> Result<()> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.demand(id, &Request::Lease { lease: Lease { until_boot_ms, signal, grace_ms } }).await
    }

    /// Sends a signal to an exec'd process that still runs.
    pub async fn signal_exec(&self, id: &str, pid: i32, signal: i32) -> Result<()> {
        self.demand(id, &Request::Signal { signal, pid: Some(pid), all: false }).await
    }

    /// Sends `signal`, and SIGKILL to everything when the container has not ended after `grace`. Returns how it
    /// ended. A container that has ended already is success.
    pub async fn stop(&self, id: &str, signal: i32, grace: Duration) -> Result<Exit> {
        if let Some(exit) = self.exit(id)? {
            return Ok(exit);
        }
        let mut waiting = std::pin::pin!(self.wait(id));
        if !grace.is_zero() {
            match self.signal(id, signal).await {
                Ok(()) => {}
                // Refused, such as a signal there is not.
                Err(error @ Error::Refused { .. }) => return Err(error),
                Err(_) => return self.kill(id).await,
            }
            if self.cgroup(id)?.is_frozen() {
                self.cgroup(id)?.freeze(false)?;
            }
            if let Ok(Ok(exit)) = timeout(grace, &mut waiting).await {
                return Ok(exit);
            }
        }
        self.kill(id).await
    }

    /// SIGKILL to every process of the container, also without its shim. Returns how it ended; one that has ended
    /// already is success.
    pub async fn kill(&self, id: &str) -> Result<Exit> {
        let cgroup = self.cgroup(id)?;
        if !self.state_dir(id).is_dir() {
            return Err(Error::NotFound(id.to_owned()));
        }
        let request = Request::Signal { signal: libc::SIGKILL, pid: None, all: false };
        let asked = timeout(Duration::from_millis(KILL_ANSWER_MS_MAX), self.demand(id, &request)).await;
        if !matches!(asked, Ok(Ok(()))) {
            return self.put_down(id).await;
        }
        if cgroup.is_frozen() {
            cgroup.freeze(false)?; // On v1 a frozen process does not even die.
        }
        match timeout(Duration::from_millis(KILL_MS_MAX), self.wait(id)).await {
            Ok(Ok(exit)) => Ok(exit),
            Ok(Err(_)) => self.put_down(id).await,
            Err(_) => Err(Error::Timeout(id.to_owned())),
        }
    }

    /// Waits for the end. At once for a container that has ended. On an error it may still run; with
    /// [`Error::NotFound`] its shim is gone, and nobody else will see to it: see [`Self::put_down`].
    pub async fn wait(&self, id: &str) -> Result<Exit> {
        if let Some(exit) = self.exit(id)? {
            return Ok(exit);
        }
        let answer = match Link::connect(&self.run_dir(id)).await {
            Ok(mut link) => link.converse(&Request::Wait).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(Response::Exited { exit }) => Ok(exit),
            Ok(Response::Failed { message, .. }) => Err(Error::Refused { id: id.to_owned(), message }),
            Ok(Response::Done | Response::State { .. } | Response::Running { .. }) => {
                Err(Error::Refused { id: id.to_owned(), message: "the shim gave a strange answer".to_owned() })
            }
            // The shim went between the two looks, having left its record; or it was killed and left none. Or it was
            // not even asked, for want of descriptors here, which says nothing of it.
            Err(error) => self.exit(id)?.ok_or_else(|| self.link_error(id, error)),
        }
    }

    /// What is known about a container. Fails with [`Error::NotFound`] also when its shim was killed; such a
    /// container is cleaned up by [`Self::recover`].
    pub async fn status(&self, id: &str) -> Result<Status> {
        check_id(id)?;
        if let Some(exit) = self.exit(id)? {
            return Ok(Status::Exited(exit));
        }
        match self.ask(id, &Request::State).await {
            Ok(Response::State { pid, running: false, .. }) => Ok(Status::Created { pid }),
            Ok(Response::State { pid, running: true, started_at_ms }) => Ok(match self.cgroup(id)?.is_frozen() {
                true => Status::Paused { pid, started_at_ms },
                false => Status::Running { pid, started_at_ms },
            }),
            Ok(Response::Failed { message, .. }) => Err(Error::Refused { id: id.to_owned(), message }),
            Ok(_) => Err(Error::Refused { id: id.to_owned(), message: "the shim gave a strange answer".to_owned() }),
            Err(error) => self.exit(id)?.map(Status::Exited).ok_or(error),
        }
    }

    /// The specification it was made from.
    pub fn spec(&self, id: &str) -> Result<ContainerSpec> {
        check_id(id)?;
        let path = self.state_dir(id).join(SPEC_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound(id.to_owned())),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        serde_json::from_slice(&text).map_err(|error| io_error("understand", &path)(error.into()))
    }

    /// When it was made, in milliseconds since 1970; 0 when the file system does not tell.
    pub fn created_at_ms(&self, id: &str) -> Result<u64> {
        check_id(id)?;
        let path = self.state_dir(id).join(SPEC_FILE);
        // Written once, when the container is made.
        let written = std::fs::metadata(&path).and_then(|meta| meta.modified()).map_err(io_error("look at", &path))?;
        let since_1970 = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }

    /// How it ended; `None` while it has not, and when the host went down before the record was on disk.
    pub fn exit(&self, id: &str) -> Result<Option<Exit>> {
        check_id(id)?;
        let path = self.state_dir(id).join(EXIT_FILE);
        match std::fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Stops every process of the container where it stands.
    pub async fn pause(&self, id: &str) -> Result<()> {
        self.freeze(id, true).await
    }

    /// Lets them go on.
    pub async fn resume(&self, id: &str) -> Result<()> {
        self.freeze(id, false).await
    }

    /// Whether its processes stand still, without asking its shim. A container that is gone does not.
    pub fn is_paused(&self, id: &str) -> bool {
        self.cgroup(id).is_ok_and(|cgroup| cgroup.is_frozen())
    }

    async fn freeze(&self, id: &str, frozen: bool) -> Result<()> {
        let refused = |message: &str| Error::Refused { id: id.to_owned(), message: message.to_owned() };
        match (self.status(id).await?, frozen) {
            (Status::Running { .. }, true) | (Status::Paused { .. }, false) => {}
            (Status::Paused { .. }, true) => return Err(refused("it is paused already")),
            (Status::Running { .. }, false) => return Err(refused("it is not paused")),
            (Status::Created { .. } | Status::Exited(_), _) => return Err(refused("it is not running")),
        }
        let cgroup = self.cgroup(id)?;
        blocking(move || cgroup.freeze(frozen)).await?.map_err(Error::from)
    }

    /// CPU time and memory of many running containers at once; what is gone is left out.
    pub async fn usage(&self, ids: Vec<String>) -> Result<BTreeMap<String, Usage>> {
        let cgroups: Vec<(String, Cgroup)> =
            ids.into_iter().map(|id| self.cgroup(&id).map(|cgroup| (id, cgroup))).collect::<Result<_>>()?;
        blocking(move || cgroups.into_iter().filter_map(|(id, cgroup)| Some((id, cgroup.usage()?))).collect()).await
    }

    /// Removes everything of a container that has ended or was never started. Unknown ids are success.
    pub async fn delete(&self, id: &str) -> Result<()> {
        match self.status(id).await {
            Ok(Status::Exited(_)) => {}
            Ok(Status::Created { .. }) => {
                self.stop(id, libc::SIGKILL, Duration::ZERO).await?;
            }
            Ok(Status::Running { .. } | Status::Paused { .. }) => return Err(Error::Running(id.to_owned())),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let cgroup = self.cgroup(id)?;
        blocking(move || cgroup.remove()).await??;
        for dir in [self.run_dir(id), self.state_dir(id)] {
            match std::fs::remove_dir_all(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("remove", &dir)(error)),
            }
        }
        Ok(())
    }

    /// Removes the cgroup that all containers and shims have theirs in; says whether it is gone. For when the last
    /// container was deleted: what still runs is left as it is. The next container makes it anew, and none may be made
    /// meanwhile.
    pub async fn remove_parent_cgroup(&self) -> Result<bool> {
        let parent = Cgroup::new(self.inner.hierarchy.clone(), &self.inner.options.cgroup_parent)?;
        let give_up = tokio::time::Instant::now() + Duration::from_millis(SHIMS_END_MS_MAX);
        loop {
            let cgroup = parent.clone();
            let gone = blocking(move || cgroup.remove_unused()).await??;
            if gone || tokio::time::Instant::now() >= give_up {
                return Ok(gone);
            }
            tokio::time::sleep(Duration::from_millis(SHIMS_LOOK_MS)).await;
        }
    }

    /// The current file of its log, which others come before (Docker API, `LogPath`).
    pub fn log_path(&self, id: &str) -> PathBuf {
        self.state_dir(id).join(LOG_FILE)
    }

    /// Ids of all containers that have a directory, in order.
    pub fn list(&self) -> Result<Vec<String>> {
        let dir = &self.inner.options.state_dir;
        let entries = std::fs::read_dir(dir).map_err(io_error("read", dir))?;
        let mut ids: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| check_id(id).is_ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Containers that mount this path of the host, such as a volume's, whether they run or not.
    pub fn binding(&self, source: &Path) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for id in self.list()? {
            let spec = match self.spec(&id) {
                Ok(spec) => spec,
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            let mut sources = spec.mounts.iter().filter_map(|mount| mount.kind.source());
            let binds = sources.any(|found| found.starts_with(source));
            if binds {
                out.push(id);
            }
        }
        Ok(out)
    }

    /// Sets the size of the first process's terminal.
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        self.demand(id, &Request::Resize { rows, columns }).await
    }

    /// One request, one answer.
    async fn ask(&self, id: &str, request: &Request) -> Result<Response> {
        check_id(id)?;
        let mut link = self.link(id).await?;
        link.ask(request).await.map_err(|error| self.link_error(id, error))
    }

    async fn demand(&self, id: &str, request: &Request) -> Result<()> {
        match self.ask(id, request).await? {
            Response::Failed { message, .. } => Err(Error::Refused { id: id.to_owned(), message }),
            Response::Done | Response::State { .. } | Response::Running { .. } | Response::Exited { .. } => Ok(()),
        }
    }

    async fn link(&self, id: &str) -> Result<Link> {
        check_id(id)?;
        Link::connect(&self.run_dir(id)).await.map_err(|error| self.link_error(id, error))
    }

    fn link_error(&self, id: &str, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Error::NotFound(id.to_owned()),
            io::ErrorKind::TimedOut => Error::Timeout(id.to_owned()),
            _ => io_error("talk to the shim in", &self.run_dir(id))(error),
        }
    }

    fn state_dir(&self, id: &str) -> PathBuf {
        self.inner.options.state_dir.join(id)
    }

    fn run_dir(&self, id: &str) -> PathBuf {
        self.inner.options.run_dir.join(id)
    }

    fn cgroup(&self, id: &str) -> Result<Cgroup> {
        check_id(id)?;
        let path = format!("{}/{id}", self.inner.options.cgroup_parent);
        Ok(Cgroup::new(self.inner.hierarchy.clone(), &path)?)
    }
}

/// Cgroup files may block for milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Io {
        action: "finish work on",
        path: "/sys/fs/cgroup".into(),
        source: error.into(),
    })
}

fn check_id(id: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let valid = (1..=128).contains(&id.len()) && id.bytes().all(plain) && !id.starts_with('.') && id != "shims";
    if valid { Ok(()) } else { Err(Error::InvalidId(id.to_owned())) }
}

fn builder() -> std::fs::DirBuilder {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Made with its parents when missing, readable by root alone; absolute, because shims change their directory.
fn own_dir(path: &Path) -> Result<PathBuf> {
    builder().recursive(true).create(path).map_err(io_error("create", path))?;
    path.canonicalize().map_err(io_error("find", path))
}

/// The specification may hold secrets.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}
