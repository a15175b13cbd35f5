//! The last steps inside the container before its program runs: the hardening layer.
//!
//! libcontainer calls `exec` in the new process, for the first one and for every exec, after namespaces, mounts and
//! user are set and while all capabilities are still held. Everything libcontainer leaves open is closed here, in
//! an order that fails closed: any error ends the process, nothing is ever executed without the whole layer.
//! Reports over its own descriptor, because libcontainer loses what happens this late.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use serde::{Deserialize, Serialize};

use crate::caps::CapSet;
use crate::seccomp::Filter;
use crate::shim::init;

/// What a shell searches when the container has no PATH.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's exit codes for a program that could not be run.
pub(crate) const CANNOT_RUN: i32 = 126;
pub(crate) const NOT_FOUND: i32 = 127;
/// A failure of the runtime itself.
pub(crate) const RUNTIME_FAILED: i32 = 128;

/// Everything a process gets before its program runs.
#[derive(Clone)]
pub(crate) struct Plan {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    /// The first process: a missing working directory is made, as Docker does, and `/dev` finished.
    pub first: bool,
    pub uid: u32,
    pub tty_size: Option<(u16, u16)>,
    pub filter: Option<Filter>,
    pub caps: CapSet,
    pub no_new_privileges: bool,
    pub oom_score_adj: i32,
    /// Mounts that must not receive the host's later mounts, when others do.
    pub private_mounts: Vec<PathBuf>,
    pub init: bool,
    /// Where to report; closed by a successful execve.
    pub report: i32,
}

/// One line over the report descriptor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The process exists (written by the helper).
    Pid(i32),
    /// The executor has begun; if nothing follows, the program runs.
    Begun,
    /// It does not run.
    Failed { code: i32, message: String },
    /// What a library said about a failure.
    Note(String),
}

/// Writes a report; a peer that is gone needs none.
pub(crate) fn report(fd: i32, line: &Report) {
    let Ok(mut bytes) = serde_json::to_vec(line) else { return };
    bytes.push(b'\n');
    // SAFETY: the buffer outlives the call and its true length is given.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
}

struct Failure {
    code: i32,
    message: String,
}

fn runtime(action: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { code: RUNTIME_FAILED, message: format!("cannot {action}: {error}") }
}

impl Executor for Plan {
    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        report(self.report, &Report::Begun);
        let failure = self.run();
        report(self.report, &Report::Failed { code: failure.code, message: failure.message });
        // SAFETY: ends this process at once; the libraries' exit handlers belong to the shim it was forked from.
        unsafe { libc::_exit(failure.code) }
    }

    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The environment is handed to execve as the caller ordered it; the shim's own never reaches the program.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

impl Plan {
    /// Returns only when the program does not run.
    fn run(&self) -> Failure {
        match self.harden() {
            Ok((args, env)) => self.execute(&args, &env),
            Err(failure) => failure,
        }
    }

    fn harden(&self) -> Result<(Vec<CString>, Vec<CString>), Failure> {
        let strings = |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>();
        let invalid = |_| Failure { code: CANNOT_RUN, message: "an argument or variable holds a NUL byte".into() };
        let args: Vec<CString> = strings(&self.args).map_err(invalid)?;
        let env: Vec<CString> = strings(&self.env).map_err(invalid)?;
        reset_signals();
        // SAFETY: umask(2) takes a plain number.
        unsafe { libc::umask(0o022) };
        new_keyring().map_err(runtime("make a session keyring"))?;
        self.cut_propagation().map_err(runtime("make the mounts private"))?;
        self.own_stdio();
        self.name_core();
        match std::fs::write("/proc/self/oom_score_adj", self.oom_score_adj.to_string()) {
            // Nobody asked for the default, and a daemon without CAP_SYS_RESOURCE may not reach it.
            Err(error) if self.oom_score_adj != 0 => return Err(runtime("set oom_score_adj")(error)),
            Ok(()) | Err(_) => {}
        }
        self.enter_cwd()?;
        self.caps.limit_bounding().map_err(runtime("limit the capability bounding set"))?;
        if self.no_new_privileges {
            // SAFETY: prctl(2) with plain numbers.
            let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            if result != 0 {
                return Err(runtime("set no_new_privs")(io::Error::last_os_error()));
            }
        }
        if let Some(filter) = &self.filter {
            filter.load().map_err(runtime("load the system call filter"))?;
        }
        self.caps.apply().map_err(runtime("set the capabilities"))?;
        if self.init {
            init::split().map_err(runtime("start the init process"))?;
        }
        Ok((args, env))
    }

    /// With rslave mounts the whole tree was made slave; all others become private here.
    fn cut_propagation(&self) -> io::Result<()> {
        for path in &self.private_mounts {
            let path = CString::new(path.as_os_str().as_encoded_bytes())?;
            let flags = libc::MS_PRIVATE | if path.as_bytes() == b"/" { 0 } else { libc::MS_REC };
            // SAFETY: the path outlives the call; a change of propagation reads no other pointer.
            let result =
                unsafe { libc::mount(std::ptr::null(), path.as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// `/dev/core`, which libcontainer makes under another name.
    fn name_core(&self) {
        if self.first && std::fs::read_link("/dev/kcore").is_ok_and(|target| target.as_os_str() == "/proc/kcore") {
            let _ = std::fs::rename("/dev/kcore", "/dev/core");
        }
    }

    /// Gives the standard streams to the user, so that opening `/dev/stdout` works, and sizes the terminal.
    fn own_stdio(&self) {
        let null = std::fs::metadata("/dev/null").ok().map(|data| std::os::unix::fs::MetadataExt::rdev(&data));
        for fd in 0..3 {
            // SAFETY: `data` is plain numbers and outlives the call.
            let mut data: libc::stat = unsafe { std::mem::zeroed() };
            // SAFETY: as above; fd is one of the standard streams.
            if unsafe { libc::fstat(fd, &raw mut data) } != 0 || Some(data.st_rdev) == null {
                continue;
            }
            // SAFETY: plain numbers. A file system that refuses keeps its owner, which the program then sees.
            unsafe { libc::fchown(fd, self.uid, data.st_gid) };
        }
        if let Some((rows, columns)) = self.tty_size.filter(|(rows, columns)| *rows > 0 && *columns > 0) {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
            unsafe { libc::ioctl(0, libc::TIOCSWINSZ, &raw const size) };
        }
    }

    fn enter_cwd(&self) -> Result<(), Failure> {
        let cwd = if self.cwd.is_empty() { "/" } else { &self.cwd };
        if self.first && !std::path::Path::new(cwd).exists() {
            std::fs::create_dir_all(cwd).map_err(|error| Failure {
                code: NOT_FOUND,
                message: format!("cannot make the working directory {cwd}: {error}"),
            })?;
        }
        std::env::set_current_dir(cwd).map_err(|error| Failure {
            code: if error.kind() == io::ErrorKind::PermissionDenied { CANNOT_RUN } else { NOT_FOUND },
            message: format!("cannot change to the working directory {cwd}: {error}"),
        })?;
        // A directory reached through a descriptor of the host has no path below this root (getcwd(2)).
        let inside = std::env::current_dir().is_ok_and(|path| path.is_absolute());
        if inside {
            Ok(())
        } else {
            Err(Failure { code: RUNTIME_FAILED, message: "the working directory is outside of the container".into() })
        }
    }

    /// execvp(3) with the container's PATH, telling "not found" from "cannot be run".
    fn execute(&self, args: &[CString], env: &[CString]) -> Failure {
        let Some(program) = args.first() else {
            return Failure { code: NOT_FOUND, message: "no command".into() };
        };
        let shown = program.to_string_lossy().into_owned();
        if program.as_bytes().contains(&b'/') {
            return refused(&shown, execve(program, args, env));
        }
        let path = self.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let mut found = None;
        for directory in path.split(':').filter(|directory| !directory.is_empty()) {
            let Ok(candidate) = CString::new(format!("{directory}/{shown}")) else { continue };
            let error = execve(&candidate, args, env);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                _ => found = Some(error),
            }
        }
        match found {
            Some(error) => refused(&shown, error),
            None => {
                Failure { code: NOT_FOUND, message: format!("exec: \"{shown}\": executable file not found in $PATH") }
            }
        }
    }
}

fn refused(program: &str, error: io::Error) -> Failure {
    let (code, reason) = match error.raw_os_error() {
        Some(libc::ENOENT) => (NOT_FOUND, "no such file or directory".to_owned()),
        Some(libc::ENOTDIR) => (NOT_FOUND, "not a directory".to_owned()),
        Some(libc::EACCES) => (CANNOT_RUN, "permission denied".to_owned()),
        Some(libc::ENOEXEC) => (CANNOT_RUN, "exec format error".to_owned()),
        _ => (CANNOT_RUN, error.to_string()),
    };
    Failure { code, message: format!("exec: \"{program}\": {reason}") }
}

/// Returns only on failure.
fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers =
        |list: &[CString]| list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and, with the strings they point to, outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Every signal to its default, none blocked: Rust ignores SIGPIPE and the shim ignores more.
pub(crate) fn reset_signals() {
    // The kernel's own call, because the C library keeps 32 and 33 to itself, which a parent may have left ignored.
    // Four words: handler (default), flags, restorer, mask; what cannot be set (KILL, STOP) is refused.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure outlives the call and no old one is asked for; the mask has eight bytes.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8) };
    }
    // SAFETY: the set is initialised by sigemptyset before use and outlives the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A session keyring of its own; without it the container would share the daemon's (keyctl(2)).
fn new_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // A kernel without keyrings shares none.
    if error.raw_os_error() == Some(libc::ENOSYS) { Ok(()) } else { Err(error) }
}
