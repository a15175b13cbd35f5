//! Errors as a person at the terminal sees them: one line, and a hint where there is one.

use std::path::Path;

/// Exit code of wrong flags (docker's).
pub const EXIT_USAGE: u8 = 125;

/// Exit code of a format of events, info and version that is no template (docker's).
pub const EXIT_TEMPLATE: u8 = 64;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon refused; nothing was changed by this request.
    #[error("Error response from daemon: {message}")]
    Daemon { status: u16, message: String },
    /// Nobody answers at the socket; nothing was changed.
    #[error("Cannot connect to the swarm daemon at {host}. Is the swarm daemon running?")]
    Connect {
        host: String,
        #[source]
        cause: std::io::Error,
    },
    /// The connection broke; whether the daemon carried the request out is not known.
    #[error("the connection to the daemon at {host} broke: {cause}")]
    Broken { host: String, cause: String },
    /// What the user gave is not understood; nothing was changed.
    #[error("{0}")]
    Usage(String),
    /// As above, with advice.
    #[error("{message}")]
    Hinted { message: String, hint: String },
    /// What the user gave is not understood; the exit code says how, as docker's does.
    #[error("{message}")]
    Coded { message: String, code: u8 },
    /// All is said, and the exit code says it too.
    #[error("exit code {0}")]
    Exit(u8),
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Hinted { message: message.into(), hint: hint.into() }
    }

    pub fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Usage(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// A wrong value of a flag.
    pub fn flag(message: impl Into<String>) -> Self {
        Self::Coded { message: message.into(), code: EXIT_USAGE }
    }

    /// The exit code of the command.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exit(code) | Self::Coded { code, .. } => *code,
            Self::Daemon { .. } | Self::Connect { .. } | Self::Broken { .. } | Self::Usage(_) | Self::Hinted { .. } => {
                1
            }
        }
    }

    /// Whether the daemon says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Daemon { status: 404, .. })
    }

    /// What the user can do, where it is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Hinted { hint, .. } => Some(hint.clone()),
            Self::Connect { cause, .. } => Some(match cause.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "run it as root, or as a member of the group that owns the socket".to_owned()
                }
                _ => "start one with \"swarm init\", \"swarm join\" or \"swarm daemon\", or name another with -H"
                    .to_owned(),
            }),
            Self::Daemon { message, .. } => daemon_hint(message).map(str::to_owned),
            Self::Broken { .. } | Self::Usage(_) | Self::Coded { .. } | Self::Exit(_) => None,
        }
    }
}

fn daemon_hint(message: &str) -> Option<&'static str> {
    if message.contains("Worker nodes can't be used") {
        return Some("run the command on a manager (\"swarm node ls\" there lists them)");
    }
    if message.starts_with("This node is not a swarm manager") {
        return Some("\"swarm init\" makes a cluster, \"swarm join\" joins one");
    }
    if message.starts_with("This node is already part of a swarm") {
        return Some("\"swarm leave\" first, to join another one");
    }
    if message.contains("does not have a leader") {
        return Some("start the managers that are down; running containers go on meanwhile");
    }
    if message.contains("update out of sequence") {
        return Some("somebody else changed it at the same time: run the command again");
    }
    None
}
