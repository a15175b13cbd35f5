//! The program: the shim before anything else, for it must have one thread; then the command line.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "swarm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node of this host
    Daemon(swarm_cli::daemon::DaemonArgs),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|word| word == "shim") {
        return runtime::shim::main(args);
    }
    match Cli::parse().command {
        Command::Daemon(args) => swarm_cli::daemon::run(args),
    }
}
