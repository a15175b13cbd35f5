//! Every command there is: ours under the names of docker's, at the top and in docker's groups.

use crate::cli::Context;
use crate::commands::cluster::{self, SwarmCommand};
use crate::commands::containers::{self, ContainerCommand, TopContainerCommand};
use crate::commands::contexts::{self, ContextCommand};
use crate::commands::image::{self, ImageCommand, TopImageCommand};
use crate::commands::system::{self, SystemCommand};
use crate::commands::unserved::Unserved;
use crate::commands::{content, events, info, inspect, network, node, service, stack, task, version, volume};
use crate::error::Result;
use crate::{daemon, dev};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Cluster(SwarmCommand),
    /// The same, by docker's name for the group
    #[command(subcommand, hide = true)]
    Swarm(SwarmCommand),
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
    Image(ImageCommand),
    /// Manage containers of this host
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Look at this host and its cluster
    #[command(subcommand)]
    System(SystemCommand),
    /// Manage contexts: names of daemons
    #[command(subcommand, hide = true)]
    Context(ContextCommand),
    /// List the containers of this host
    Ps(containers::list::PsArgs),
    #[command(flatten)]
    TopContainer(TopContainerCommand),
    /// List the images of this host
    Images(image::list::LsArgs),
    /// Remove images of this host
    Rmi(image::RemoveArgs),
    #[command(flatten)]
    TopImage(TopImageCommand),
    /// Print what is known of anything, by its name
    Inspect(inspect::InspectAnyArgs),
    /// Print what happens, as it happens
    Events(events::EventsArgs),
    /// Print what this host and its cluster are
    Info(info::InfoArgs),
    /// Print the versions of this program and of the daemon
    Version(version::VersionArgs),
    #[command(flatten)]
    Elsewhere(Elsewhere),
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

/// What docker has at the top and this program has not.
#[derive(Debug, Subcommand)]
pub enum Elsewhere {
    Builder(Unserved),
    Buildx(Unserved),
    Checkpoint(Unserved),
    Compose(Unserved),
    Login(Unserved),
    Logout(Unserved),
    Manifest(Unserved),
    Plugin(Unserved),
    Search(Unserved),
    Trust(Unserved),
}

pub async fn dispatch(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Cluster(command) | Command::Swarm(command) => cluster::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Service(command) => service::run(context, command).await,
        Command::Stack(command) => stack::run(context, command).await,
        Command::Task(command) => task::run(context, command).await,
        Command::Network(command) => network::run(context, command).await,
        Command::Secret(command) => content::secret(context, command).await,
        Command::Config(command) => content::config(context, command).await,
        Command::Volume(command) => volume::run(context, command).await,
        Command::Image(command) => image::run(context, command).await,
        Command::Container(command) => containers::run(context, command).await,
        Command::System(command) => system::run(context, command).await,
        Command::Context(command) => contexts::run(context, command),
        Command::Ps(args) => containers::list::ps(context, args).await,
        Command::TopContainer(command) => containers::run_top(context, command).await,
        Command::Images(args) => image::run(context, ImageCommand::Ls(args)).await,
        Command::Rmi(args) => image::run(context, ImageCommand::Rm(args)).await,
        Command::TopImage(command) => image::run(context, ImageCommand::Top(command)).await,
        Command::Inspect(args) => inspect::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Info(args) => info::run(context, args).await,
        Command::Version(args) => version::run(context, args).await,
        Command::Elsewhere(command) => elsewhere(context, command),
        Command::Daemon(_) | Command::Dev(_) | Command::Completion { .. } => Ok(()),
    }
}

fn elsewhere(context: &Context, command: Elsewhere) -> Result<()> {
    match command {
        Elsewhere::Builder(args)
        | Elsewhere::Buildx(args)
        | Elsewhere::Checkpoint(args)
        | Elsewhere::Compose(args)
        | Elsewhere::Login(args)
        | Elsewhere::Logout(args)
        | Elsewhere::Manifest(args)
        | Elsewhere::Plugin(args)
        | Elsewhere::Search(args)
        | Elsewhere::Trust(args) => args.answer(context),
    }
}
