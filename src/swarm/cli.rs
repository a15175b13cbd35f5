//! The command line: which daemon is asked, how flags are read, and how a command ends. The commands themselves are in
//! [`crate::tree`].

use crate::client::{Client, Host};
use crate::error::{CliError, EXIT_USAGE, Result};
use crate::table::write_out;
use crate::tree::{self, Command};
use crate::{daemon, dev};
use clap::builder::{TypedValueParser as _, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches as _, Parser};
use std::ffi::OsString;
use std::process::ExitCode;

const DEFAULT_HOST: &str = "unix:///run/swarm/swarm.sock";

#[derive(Debug, Parser)]
#[command(name = "swarm", version, about = "A container cluster: the hosts are one machine", max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_version_flag = true)]
struct Cli {
    /// Daemon to talk to [env: SWARM_HOST, DOCKER_HOST] [default: unix:///run/swarm/swarm.sock]
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    host: Option<String>,
    /// Print version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

/// What commands get to work with.
#[derive(Clone, Debug)]
pub struct Context {
    pub host: Host,
    /// The command as it was typed, without its flags: `swarm container exec`.
    pub command: String,
}

impl Context {
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.host.clone()).await
    }
}

/// Runs the program. The hidden subcommand `shim` is not handled here: see `main.rs`.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let read = read(&words).and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, typed(&matches))));
    let (cli, command) = match read {
        Ok(read) => read,
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
            let mut shown = as_docker_reads(Cli::command(), |arg| arg);
            clap_complete::generate(shell, &mut shown, "swarm", &mut script);
            write_out(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        asked => report(host(cli.host).and_then(|host| block_on(asked, Context { host, command }))),
    }
}

/// Reads a command line as docker does.
///
/// In help and completions a truth is a flag without a value; what is read may have one (`--quiet=false`). Words about
/// what is wrong are those of the former.
fn read(words: &[OsString]) -> clap::error::Result<ArgMatches> {
    as_docker_reads(Cli::command(), with_value).try_get_matches_from(words).map_err(|error| {
        let shown = as_docker_reads(Cli::command(), |arg| arg).try_get_matches_from(words);
        shown.err().unwrap_or(error)
    })
}

/// Docker's ways, for every command: what follows a flag that takes a value is its value (`--replicas -1` is a wrong
/// number, not an unknown flag), and of a flag given twice the last one counts.
fn as_docker_reads(command: clap::Command, truth: fn(Arg) -> Arg) -> clap::Command {
    let command = command.args_override_self(true).mut_args(|arg| {
        let takes_one = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let arg = match arg.get_action() {
            ArgAction::SetTrue => truth(arg),
            _ if is_truth(&arg) => arg.value_parser(truth_parser()),
            _ => arg,
        };
        let flag = !arg.is_positional() && takes_one && !arg.is_require_equals_set();
        if flag { arg.allow_hyphen_values(true) } else { arg }
    });
    command.mut_subcommands(|command| as_docker_reads(command, truth).disable_help_subcommand(true))
}

/// A truth that may say which: `--quiet`, `--quiet=true`, `--quiet=0`.
fn with_value(arg: Arg) -> Arg {
    let arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true);
    arg.default_value("false").default_missing_value("true").value_parser(truth_parser())
}

fn is_truth(arg: &Arg) -> bool {
    let values = arg.get_possible_values();
    matches!(values.as_slice(), [yes, no] if yes.get_name() == "true" && no.get_name() == "false")
}

/// The words of Go's `strconv.ParseBool`.
fn truth_parser() -> ValueParser {
    let parse = |word: String| match word.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".to_owned()),
    };
    ValueParser::new(clap::builder::StringValueParser::new().try_map(parse))
}

/// The names of the commands that were given, one in the other.
fn typed(matches: &ArgMatches) -> String {
    let mut out = "swarm".to_owned();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        out.push(' ');
        out.push_str(name);
        at = below;
    }
    out
}

fn host(given: Option<String>) -> Result<Host> {
    let env = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let text = given.or_else(|| env("SWARM_HOST")).or_else(|| env("DOCKER_HOST"));
    Host::parse(text.as_deref().unwrap_or(DEFAULT_HOST))
}

fn block_on(command: Command, context: Context) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::usage(format!("cannot start: {error}")))?;
    let result = runtime.block_on(tree::dispatch(command, &context));
    // A read of the terminal cannot be cancelled; nothing waits for it.
    runtime.shutdown_background();
    result
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
    ExitCode::from(error.code())
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

    fn read_line(line: &str) -> std::result::Result<Command, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let matches = read(&words).map_err(|error| error.to_string())?;
        Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        as_docker_reads(Cli::command(), with_value).debug_assert();
        as_docker_reads(Cli::command(), |arg| arg).debug_assert();
    }

    #[test]
    fn the_word_after_a_flag_is_its_value_even_when_it_begins_with_a_dash() {
        for words in ["--replicas -1 image", "--limit-memory -5m image", "--restart-delay -5s image"] {
            let error = read_line(&format!("swarm service create {words}")).unwrap_err();
            assert!(error.contains("invalid value '-"), "{error}");
        }
        assert!(read_line("swarm service create --replicas 2 --detach=false image cmd -x --replicas").is_ok());
        assert!(read_line("swarm service create --nonsense image").unwrap_err().contains("'--nonsense'"));
    }

    #[test]
    fn a_flag_without_a_value_may_say_true_or_false() {
        let quiet = |flag: &str| match read_line(&format!("swarm node ls {flag}")) {
            Ok(Command::Node(crate::commands::node::NodeCommand::Ls(args))) => Ok(args.quiet),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        for (flag, value) in [("--quiet", true), ("-q", true), ("--quiet=true", true), ("-q=1", true)] {
            assert_eq!(quiet(flag), Ok(value), "{flag}");
        }
        for flag in ["--quiet=false", "--quiet=F", "--quiet=0", "-q --quiet=false"] {
            assert_eq!(quiet(flag), Ok(false), "{flag}");
        }
        assert!(quiet("--quiet=maybe").unwrap_err().contains("--quiet"));
        assert!(read_line("swarm service create -td image").is_ok(), "short ones stand together");
    }

    #[test]
    fn of_a_flag_given_twice_the_last_one_counts() {
        let Ok(Command::Node(crate::commands::node::NodeCommand::Ls(args))) =
            read_line("swarm node ls --format a --format b -f name=x -f name=y")
        else {
            panic!("it is understood")
        };
        assert_eq!(args.format.as_deref(), Some("b"));
        assert_eq!(args.filters, ["name=x", "name=y"], "those that may be repeated are kept");
    }

    #[test]
    fn the_groups_of_docker_are_there_under_their_names() {
        for line in [
            "swarm swarm init",
            "swarm swarm join-token worker",
            "swarm system info",
            "swarm system events",
            "swarm container ls",
            "swarm container ps",
            "swarm container logs x",
            "swarm images",
            "swarm rmi x",
            "swarm pull x",
            "swarm tag a b",
            "swarm load",
            "swarm image list",
        ] {
            assert!(read_line(line).is_ok(), "{line}: {:?}", read_line(line));
        }
    }
}
