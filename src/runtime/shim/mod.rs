//! The shim: one process per container that outlives the daemon.
//!
//! Our own binary, run again as `swarm shim ...` before any thread exists. It makes the container, keeps its log,
//! answers on `shim.sock`, records how it ended and goes. It has one thread and one poll loop; libcontainer runs
//! only in helpers forked from it. It must never need the daemon: a daemon that is killed leaves it undisturbed.

mod client;
mod create;
mod executor;
mod init;
pub(crate) mod lease;
pub(crate) mod log;
mod notes;
pub(crate) mod oci;
pub(crate) mod open;
mod poll;
pub(crate) mod protocol;
mod reports;
mod server;
mod setup;
pub(crate) mod spawner;
mod targets;
pub(crate) mod user;
mod within;

pub use log::Output;
pub use protocol::Exit;

pub(crate) use create::{receive, send};
pub(crate) use setup::start_time;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use protocol::Response;

/// What the daemon tells a shim on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub id: String,
    /// The container's own directory with its specification, log and exit.
    pub state_dir: PathBuf,
    /// The container's own directory with its socket; gone after a reboot.
    pub run_dir: PathBuf,
    /// Such as `/swarm`.
    pub cgroup_parent: String,
}

impl Arguments {
    pub(crate) fn to_command_line(&self) -> Vec<OsString> {
        vec![
            self.id.clone().into(),
            self.state_dir.clone().into(),
            self.run_dir.clone().into(),
            self.cgroup_parent.clone().into(),
        ]
    }

    fn parse(args: Vec<OsString>) -> Option<Self> {
        let [id, state_dir, run_dir, cgroup_parent] = <[OsString; 4]>::try_from(args).ok()?;
        Some(Self {
            id: id.into_string().ok()?,
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            cgroup_parent: cgroup_parent.into_string().ok()?,
        })
    }
}

/// The entry of the hidden `shim` subcommand; `args` are those after that word.
///
/// Must be called from the first thread, before any other thread or runtime exists. With the one argument `spawner`
/// it forks shims until the daemon goes (see `spawner`); with a container's it is that container's shim: it answers
/// one line on standard output when the container is created or cannot be, and returns when the container has ended.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    // One more than any form has: nothing but what the daemon says is accepted.
    let mut args: Vec<OsString> = args.take(5).collect();
    if args.len() == 1 && args[0] == spawner::COMMAND {
        let _ = spawner::seal(); // Returns only when it cannot, and then goes on as it is.
    }
    if args.len() == 1 && (args[0] == spawner::COMMAND || args[0] == spawner::SEALED) {
        args = match spawner::serve() {
            Ok(Some(args)) => args,
            Ok(None) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE, // Nobody listens; the daemon sees the closed socket.
        };
    }
    let Some(arguments) = Arguments::parse(args) else {
        eprintln!("usage: shim ID STATE-DIR RUN-DIR CGROUP-PARENT, or shim spawner (started by the daemon only)");
        return ExitCode::from(2);
    };
    run(&arguments)
}

fn run(arguments: &Arguments) -> ExitCode {
    let mut ready = match setup::detach(arguments) {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("shim of {}: {error}", arguments.id);
            return ExitCode::FAILURE;
        }
    };
    match setup::create(arguments) {
        Ok(shim) => {
            setup::answer(&mut ready, &Response::State { pid: shim.pid(), running: false, started_at_ms: 0 });
            drop(ready);
            shim.serve();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            setup::answer(&mut ready, &Response::Failed { code: failure.code, message: failure.message });
            ExitCode::FAILURE
        }
    }
}
