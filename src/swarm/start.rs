//! Starting the node of this host, for `init` and `join` where none runs.

use crate::client::{Client, Host};
use crate::error::{CliError, Result};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers: it opens its store and finds its containers first.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at the socket.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Part of the log that is searched for the reason when the daemon ends, in bytes.
const LOG_TAIL_BYTES: u64 = 8 << 10;

/// A client of the daemon; starts the daemon when nobody listens at a socket of this host.
pub async fn connect_or_start(host: Host) -> Result<Client> {
    let refused = match Client::connect(host.clone()).await {
        Err(CliError::Connect { cause, .. })
            if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                && host.socket().is_some() =>
        {
            cause
        }
        other => return other,
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(CliError::Connect { host: host.to_string(), cause: refused });
    }
    let log = run_dir().join("daemon.log");
    let mut child = spawn(&host, &log)?;
    eprintln!("No node runs here: started one (swarm daemon, process {}, log in {})", child.id(), log.display());
    let began = Instant::now();
    loop {
        match Client::connect(host.clone()).await {
            Err(CliError::Connect { .. }) => {}
            other => return other,
        }
        let ended = child.try_wait().map_err(|error| CliError::usage(format!("cannot watch the daemon: {error}")))?;
        if let Some(status) = ended {
            return Err(failed(&format!("the node did not start ({status})"), &log));
        }
        if began.elapsed() > START_TIME_MAX {
            return Err(failed(&format!("the node does not answer after {} s", START_TIME_MAX.as_secs()), &log));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// As the daemon's own default.
fn run_dir() -> PathBuf {
    std::env::var_os("SWARM_RUN_DIR").map_or_else(|| PathBuf::from("/run/swarm"), PathBuf::from)
}

fn spawn(host: &Host, log: &Path) -> Result<Child> {
    let dir = run_dir();
    std::fs::create_dir_all(&dir).map_err(|error| CliError::file("make", &dir, &error))?;
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(|error| CliError::file("open", log, &error))?;
    let again = file.try_clone().map_err(|error| CliError::file("open", log, &error))?;
    let exe = std::env::current_exe().map_err(|error| CliError::usage(format!("cannot find this program: {error}")))?;
    let mut command = Command::new(exe);
    command.args(["daemon", "-H", &host.to_string()]).current_dir("/");
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    command.spawn().map_err(|error| CliError::usage(format!("cannot start the node: {error}")))
}

fn failed(what: &str, log: &Path) -> CliError {
    let last = last_line(log).unwrap_or_default();
    let message = if last.is_empty() { what.to_owned() } else { format!("{what}: {last}") };
    CliError::hinted(message, format!("its log is in {}", log.display()))
}

fn last_line(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").to_owned())
}
