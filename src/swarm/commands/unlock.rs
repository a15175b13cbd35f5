//! `swarm unlock` and `swarm unlock-key`: of managers whose state is locked while they do not run.

use crate::cli::Context;
use crate::client::Client;
use crate::error::{CliError, Result};
use crate::json::{flag, int, text};
use crate::table::write_out;
use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _};

#[derive(Debug, Args)]
pub struct UnlockKeyArgs {
    /// Print the key only
    #[arg(short, long)]
    quiet: bool,
    /// Make a new key; the old one unlocks nothing any more
    #[arg(long)]
    rotate: bool,
}

pub async fn key(context: &Context, args: UnlockKeyArgs) -> Result<()> {
    let client = context.client().await?;
    if args.rotate {
        let swarm = client.get("/swarm").await?;
        if !flag(&swarm, "/Spec/EncryptionConfig/AutoLockManagers") {
            return Err(CliError::usage("cannot rotate because autolock is not turned on"));
        }
        let version = int(&swarm, "/Version/Index").to_string();
        let query = [("version", Some(version.as_str())), ("rotateManagerUnlockKey", Some("true"))];
        client.post("/swarm/update", &query, Some(&swarm["Spec"])).await?;
        if !args.quiet {
            write_out("Successfully rotated manager unlock key.\n\n");
        }
    }
    let key = fetch(&client).await?;
    write_out(&if args.quiet { format!("{key}\n") } else { advice(&key) });
    Ok(())
}

async fn fetch(client: &Client) -> Result<String> {
    let answer = client.get("/swarm/unlockkey").await?;
    match text(&answer, "/UnlockKey") {
        "" => Err(CliError::usage("no unlock key is set")),
        key => Ok(key.to_owned()),
    }
}

/// Prints the key of a cluster whose managers are locked from now on.
pub async fn tell(client: &Client) -> Result<()> {
    write_out(&advice(&fetch(client).await?));
    Ok(())
}

fn advice(key: &str) -> String {
    format!(
        "A manager that restarts is unlocked by \"swarm unlock\" with this key:\n\n    {key}\n\n\
         Keep it where you keep passwords: without it the manager cannot be started again.\n"
    )
}

pub async fn unlock(context: &Context) -> Result<()> {
    let client = context.client().await?;
    let info = client.get("/info").await?;
    match text(&info, "/Swarm/LocalNodeState") {
        "inactive" => return Err(CliError::usage("Error: This node is not part of a swarm")),
        "locked" => {}
        _ => return Err(CliError::usage("Error: swarm is not locked")),
    }
    let key = read_key()?;
    client.post("/swarm/unlock", &[], Some(&json!({ "UnlockKey": key }))).await.map(drop)
}

/// A line of standard input; of a terminal without showing it.
fn read_key() -> Result<String> {
    let input = std::io::stdin();
    let before = if input.is_terminal() { tcgetattr(&input).ok() } else { None };
    if let Some(mut hidden) = before.clone() {
        eprint!("Enter unlock key: ");
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSANOW, &hidden)
            .map_err(|error| CliError::usage(format!("cannot hide what is typed: {error}")))?;
    }
    let mut key = String::new();
    let read = input.lock().read_line(&mut key);
    if let Some(before) = before {
        eprintln!();
        tcsetattr(&input, SetArg::TCSANOW, &before)
            .map_err(|error| CliError::usage(format!("the terminal cannot be set back: {error}")))?;
    }
    read.map_err(|error| CliError::usage(format!("cannot read the key: {error}")))?;
    Ok(key.trim().to_owned())
}
