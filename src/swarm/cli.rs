//! The command line: which command was asked for, on which daemon, and how it ends.

use crate::client::{Client, Host};
use crate::commands::{
    cluster, container, content, events, image, network, node, rebalance, service, settings, stack, system, task,
    volume,
};
use crate::error::{CliError, Result};
use crate::table::write_out;
use crate::{daemon, dev};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

const DEFAULT_HOST: &str = "unix:///run/swarm/swarm.sock";
/// Exit code of wrong flags (docker's).
const EXIT_USAGE: u8 = 125;

#[derive(Debug, Parser)]
#[command(name = "swarm", version, about = "A container cluster: the hosts are one machine", max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    /// Daemon to talk to [env: SWARM_HOST, DOCKER_HOST] [default: unix:///run/swarm/swarm.sock]
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    host: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a cluster with this host as its first manager
    Init(cluster::InitArgs),
    /// Join this host to a cluster
    Join(cluster::JoinArgs),
    /// Leave the cluster
    ///
    /// The tasks that run here are started on other nodes once it has left. To move them without a gap, drain it first
    /// ("swarm node update --availability drain NODE").
    Leave(cluster::LeaveArgs),
    /// Change the settings of the cluster
    Update(settings::UpdateArgs),
    /// Print or rotate a join token
    JoinToken(cluster::JoinTokenArgs),
    /// Even out what runs where, once
    Rebalance(rebalance::RebalanceArgs),
    /// Manage nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Manage services
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Manage stacks
    #[command(subcommand)]
    Stack(stack::StackCommand),
    /// Look at tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Manage networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Manage secrets
    #[command(subcommand)]
    Secret(content::SecretCommand),
    /// Manage configs
    #[command(subcommand)]
    Config(content::ConfigCommand),
    /// Manage volumes of this host
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Manage images of this host
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// List the containers of this host
    Ps(container::PsArgs),
    /// Print the log of a container of this host
    Logs(container::LogsArgs),
    /// Print what happens, as it happens
    Events(events::EventsArgs),
    /// Print what this host and its cluster are
    Info(system::InfoArgs),
    /// Print the versions of this program and of the daemon
    Version(system::VersionArgs),
    /// Run the node of this host
    Daemon(daemon::DaemonArgs),
    /// A cluster of several hosts on this machine
    Dev(dev::DevArgs),
    /// Print the completions of a shell
    Completion {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What commands get to work with.
#[derive(Clone, Debug)]
pub struct Context {
    pub host: Host,
}

impl Context {
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.host.clone()).await
    }
}

/// Runs the program. The hidden subcommand `shim` is not handled here: see `main.rs`.
pub fn run() -> ExitCode {
    let matches = values_as_given(Cli::command()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Daemon(args) => daemon::run(args),
        Command::Dev(args) => match dev::run(args) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("swarm dev: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Completion { shell } => {
            // Through memory: the generator takes a reader that goes away for a fault of its own.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "swarm", &mut script);
            write_out(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        command => report(host(cli.host).and_then(|host| block_on(command, Context { host }))),
    }
}

/// What follows a flag that takes a value is its value, as for docker: `--replicas -1` is a wrong number, not an
/// unknown flag.
fn values_as_given(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let takes_one = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let flag = !arg.is_positional() && takes_one && !arg.is_require_equals_set();
        if flag { arg.allow_hyphen_values(true) } else { arg }
    });
    command.mut_subcommands(values_as_given)
}

fn host(given: Option<String>) -> Result<Host> {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let text = given.or_else(|| env("SWARM_HOST")).or_else(|| env("DOCKER_HOST"));
    Host::parse(text.as_deref().unwrap_or(DEFAULT_HOST))
}

fn block_on(command: Command, context: Context) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::usage(format!("cannot start: {error}")))?;
    let result = runtime.block_on(dispatch(command, &context));
    // A read of the terminal cannot be cancelled; nothing waits for it.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Init(args) => cluster::init(context, args).await,
        Command::Join(args) => cluster::join(context, args).await,
        Command::Leave(args) => cluster::leave(context, args).await,
        Command::Update(args) => settings::update(context, args).await,
        Command::JoinToken(args) => cluster::join_token(context, args).await,
        Command::Rebalance(args) => rebalance::run(context, args).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Service(command) => service::run(context, command).await,
        Command::Stack(command) => stack::run(context, command).await,
        Command::Task(command) => task::run(context, command).await,
        Command::Network(command) => network::run(context, command).await,
        Command::Secret(command) => content::secret(context, command).await,
        Command::Config(command) => content::config(context, command).await,
        Command::Volume(command) => volume::run(context, command).await,
        Command::Image(command) => image::run(context, command).await,
        Command::Ps(args) => container::ps(context, args).await,
        Command::Logs(args) => container::logs(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Info(args) => system::info(context, args).await,
        Command::Version(args) => system::version(context, args).await,
        Command::Daemon(_) | Command::Dev(_) | Command::Completion { .. } => Ok(()),
    }
}

fn report(result: Result<()>) -> ExitCode {
    let error = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CliError::Exit(code)) => return ExitCode::from(code),
        Err(error) => error,
    };
    eprintln!("{error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::FAILURE
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to say when the terminal itself is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        ErrorKind::InvalidSubcommand
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::FAILURE,
        ErrorKind::UnknownArgument if !is_flag(error) => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

/// Whether the argument that is not known is a flag, not a word too many.
fn is_flag(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.starts_with('-'),
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        values_as_given(Cli::command()).debug_assert();
    }

    #[test]
    fn the_word_after_a_flag_is_its_value_even_when_it_begins_with_a_dash() {
        let said = |words: &str| {
            let words = words.split(' ');
            values_as_given(Cli::command()).try_get_matches_from(words).map(drop).map_err(|error| error.to_string())
        };
        for words in ["--replicas -1 image", "--limit-memory -5m image", "--restart-delay -5s image"] {
            let error = said(&format!("swarm service create {words}")).unwrap_err();
            assert!(error.contains("invalid value '-"), "{error}");
        }
        assert_eq!(said("swarm service create --replicas 2 --detach=false image cmd -x --replicas"), Ok(()));
        assert!(said("swarm service create --nonsense image").unwrap_err().contains("'--nonsense'"));
    }
}
