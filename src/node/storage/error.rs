//! What can go wrong with the database, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// No variant leaves a half-written batch behind: a batch is in the database whole or not at all.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Open: nothing was changed.
    #[error("there is no raft database at {}", path.display())]
    Missing { path: PathBuf },
    /// Create: nothing was changed.
    #[error("there is a raft database at {} already", path.display())]
    Exists { path: PathBuf },
    #[error("the raft database {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} is not a raft database of this program", path.display())]
    Foreign { path: PathBuf },
    #[error("the raft database {} has format {found:?}; this version reads {known:?}", path.display())]
    Format { path: PathBuf, found: String, known: &'static str },
    #[error("the raft database {} was sealed with another key", path.display())]
    WrongKey { path: PathBuf },
    /// A value was changed or lost after it was written.
    #[error("the raft database {} is damaged ({what}); remove this manager and add it again", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The batch was not written.
    #[error("the disk that holds {} is full; free some space there", path.display())]
    DiskFull { path: PathBuf },
    /// The batch was not written, or may not have reached the disk.
    #[error("the raft database {} cannot be {action}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// The batch was not written.
    #[error("the raft database {} cannot be {action}", path.display())]
    Database {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: Box<redb::Error>,
    },
    /// The random source or the cipher of the system failed; nothing was written.
    #[error("a value could not be sealed: the system's random source or cipher failed")]
    Seal,
}

impl StorageError {
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::NotFound if action == "opened" => Self::Missing { path },
            _ => Self::Io { path, action, source },
        }
    }

    pub(super) fn redb(path: &Path, action: &'static str, source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::Io(source) => Self::io(path, action, source),
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            redb::Error::Corrupted(what) => Self::Damaged { path: path.to_owned(), what },
            source => Self::Database { path: path.to_owned(), action, source: Box::new(source) },
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}
