//! `swarm dev`: a cluster of several hosts on one machine.
//!
//! Owns: the hosts. A host is a network namespace with an address and a host name of its own, a data
//! directory, a socket and one daemon; everything else of the machine (processes, file system, cgroups) is shared
//! between the hosts. Called by the command line only. What happens *in* the cluster is asked of the
//! daemons through the same commands a user types.
//!
//! Must never: run a program other than our own binary to set the network up, change a setting or a
//! rule of the machine's own network namespace, or leave anything behind after `down`.
//!
//! How the hosts are joined (see [`fabric`]): a namespace of its own holds a bridge, the *switch*, with
//! a veth to each host and one to the machine. Frames between hosts cross no rule of the machine: a
//! FORWARD chain that drops (as Docker sets it) and bridge netfilter act per namespace, and the
//! switch's namespace has none. The machine has an address on the switch, so that a browser on it
//! reaches every host, and the hosts have no way out to other networks.

mod down;
mod fabric;
mod host;
mod ls;
mod netns;
mod process;
mod state;
#[cfg(test)]
mod tests;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand, ValueEnum};

use state::{Cluster, ClusterName, Lock, State};

/// More hosts than this on one machine measure the machine, not the cluster.
const NODES_MAX: u8 = 50;

/// Arguments of `swarm dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    command: DevCommand,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Bring up hosts on this machine and join them to one cluster
    Up(UpArgs),
    /// List the hosts
    Ls(LsArgs),
    /// Take the hosts down and remove all that was theirs
    Down(NameArg),
    /// Run a command in the network of a host, with DOCKER_HOST set to its socket
    Exec(ExecArgs),
    /// Kill the daemon of a host (SIGKILL); its containers go on
    Kill(HostArgs),
    /// Start the daemon of a host again
    Start(StartArgs),
    /// Cut a host off from the others
    Partition(HostArgs),
    /// Mend every cut
    Heal(NameArg),
}

#[derive(Debug, Args)]
struct NameArg {
    /// Name of the cluster
    #[arg(long, default_value = "dev")]
    name: ClusterName,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    name: NameArg,
    /// How many hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// Addresses of the hosts, for example 10.240.7.0/24 [default: a free one]
    #[arg(long)]
    subnet: Option<ipnet::Ipv4Net>,
    /// Where the hosts keep their data
    #[arg(long, default_value = state::DATA_ROOT)]
    data_root: PathBuf,
    /// Start the daemons, and leave the joining to be done by hand
    #[arg(long)]
    no_join: bool,
    /// The swarm binary that the hosts run [default: this one]
    #[arg(long, hide = true)]
    swarm: Option<PathBuf>,
    /// Options of every host's daemon, for example --node-generic-resource gpu=2
    #[arg(last = true, value_name = "DAEMON-OPTION")]
    daemon: Vec<String>,
}

#[derive(Debug, Args)]
struct LsArgs {
    #[command(flatten)]
    name: NameArg,
    /// Form of the list; json gives one object a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
struct HostArgs {
    #[command(flatten)]
    name: NameArg,
    /// Index of the host, from 1
    #[arg(value_name = "HOST")]
    index: u8,
}

#[derive(Debug, Args)]
struct StartArgs {
    #[command(flatten)]
    host: HostArgs,
    /// Options of its daemon from now on, instead of those it had
    #[arg(last = true, value_name = "DAEMON-OPTION")]
    daemon: Vec<String>,
}

#[derive(Debug, Args)]
struct ExecArgs {
    #[command(flatten)]
    host: HostArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Why a `swarm dev` command failed. Whether something was left is said by `dev ls`.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Namespaces and mounts are root's.
    #[error("swarm dev makes network namespaces, which takes root: run it with sudo")]
    NotRoot,
    /// A name that cannot be part of a path, a namespace and an interface. Nothing was changed.
    #[error("cluster name '{0}': use 1 to {max} of a-z, 0-9 and '-', starting with a letter or digit", max = state::NAME_BYTES_MAX)]
    Name(String),
    /// Nothing was changed.
    #[error("no cluster '{0}' on this machine; bring it up with: swarm dev up --name {0}")]
    NoCluster(String),
    /// Nothing was changed.
    #[error("cluster '{name}' is {how}; take it down first: swarm dev down --name {name}")]
    Exists { name: String, how: &'static str },
    /// Nothing was changed.
    #[error("cluster '{name}' has no host {index}; it has 1 to {count}")]
    NoHost { name: String, index: u8, count: usize },
    /// Nothing was changed.
    #[error("host {0}: its daemon runs already (process {1})")]
    Running(u8, i32),
    /// Nothing was changed.
    #[error("host {0}: its daemon does not run; start it with: swarm dev start {0} --name {1}")]
    NotRunning(u8, String),
    /// Nothing was changed.
    #[error("subnet {subnet}: {why}")]
    Subnet { subnet: ipnet::Ipv4Net, why: String },
    /// Nothing was changed.
    #[error("no free subnet in 10.240.0.0/13 is left; name one with --subnet")]
    NoSubnet,
    /// A system call or a file operation on `what` failed; the cluster may be half made.
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused a change of the network; the cluster may be half made.
    #[error("network: {what}")]
    Netlink {
        what: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// The record of a cluster cannot be read. `down` works without it.
    #[error("{path}: not a record of a cluster; remove what is left with: swarm dev down --name {name}")]
    BadState {
        path: PathBuf,
        name: String,
        #[source]
        source: serde_json::Error,
    },
    /// A daemon did not answer in time or ended; it is left as it is.
    #[error("host {index}: {what}; its log is {log}")]
    Daemon { index: u8, what: String, log: String },
    /// One of our own commands failed on a host; the cluster is left as it is.
    #[error("host {index}: `swarm {command}` failed: {stderr}")]
    Command { index: u8, command: String, stderr: String },
    /// What `down` could not remove.
    #[error("cluster '{name}' is not wholly removed, run down again; left: {left}")]
    Left { name: String, left: String },
}

impl DevError {
    /// Wraps an I/O error: `what` names the operation and the place.
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same for a system call made through nix.
    fn sys(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        move |e| Self::Io { what, source: e.into() }
    }
}

/// Runs a `swarm dev` command to its end. Messages go to stderr, data to stdout.
///
/// Blocks; starts threads of its own to enter namespaces, so it may be called from any thread.
///
/// # Errors
/// See [`DevError`]; each variant says whether something was changed.
pub fn run(args: DevArgs) -> Result<ExitCode, DevError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(DevError::NotRoot);
    }
    match args.command {
        DevCommand::Up(a) => {
            let cluster = up::up(&a)?;
            ls::print(&cluster.state, Format::Table);
        }
        DevCommand::Ls(a) => ls::print(&Cluster::load(&a.name.name)?.state, a.format),
        DevCommand::Down(a) => down::down(&a)?,
        DevCommand::Exec(a) => return exec(&a),
        DevCommand::Kill(a) => {
            let (_lock, cluster) = locked(&a.name.name)?;
            host::kill(cluster.host(a.index)?, cluster.state.name.as_str())?;
        }
        DevCommand::Start(a) => {
            let (_lock, mut cluster) = locked(&a.host.name.name)?;
            host::start_ready(&mut cluster, a.host.index, Some(a.daemon).filter(|options| !options.is_empty()))?;
        }
        DevCommand::Partition(a) => {
            let (_lock, mut cluster) = locked(&a.name.name)?;
            fabric::set_cut(&mut cluster, a.index, true)?;
        }
        DevCommand::Heal(a) => {
            let (_lock, mut cluster) = locked(&a.name)?;
            for index in cluster.state.hosts.iter().map(|h| h.index).collect::<Vec<_>>() {
                fabric::set_cut(&mut cluster, index, false)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn locked(name: &ClusterName) -> Result<(Lock, Cluster), DevError> {
    let lock = Lock::take()?;
    Ok((lock, Cluster::load(name)?))
}

/// Becomes the command, in the network of the host: its exit code is ours.
fn exec(a: &ExecArgs) -> Result<ExitCode, DevError> {
    let cluster = Cluster::load(&a.host.name.name)?;
    let host = cluster.host(a.host.index)?;
    let State { name, .. } = &cluster.state;
    netns::enter(&netns::path(&host.namespace))?;
    let socket = format!("unix://{}", host.socket.display());
    let program = a.command.first().map_or_else(OsString::new, Clone::clone);
    let error = Command::new(&program)
        .args(a.command.iter().skip(1))
        .env("DOCKER_HOST", &socket)
        .env("SWARM_HOST", &socket)
        .env(process::MARK, name.mark())
        .exec();
    Err(DevError::Io { what: format!("host {}: cannot run {}", host.index, program.to_string_lossy()), source: error })
}
