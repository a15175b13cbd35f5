//! Files of containers as the API shows them.

use crate::bind::internal;
use api::ports::{ChangeKind, Failure, FileChange, PathStat};
use runtime::container::{Change, ChangeKind as RuntimeKind, FilesError, PathStat as RuntimeStat};

/// The API's answer to files that were not read or written.
pub fn failure(error: FilesError) -> Failure {
    match error {
        FilesError::NotFound(path) => Failure::NotFound(path),
        FilesError::NotADirectory(path) => Failure::Invalid(format!("extraction point is not a directory: {path}")),
        FilesError::ReadOnly(_) => Failure::Forbidden(error.to_string()),
        FilesError::Invalid(words) => Failure::Invalid(words),
        FilesError::Busy => Failure::Unavailable(error.to_string()),
        FilesError::Io { .. } => internal(&error),
        FilesError::Container(error) => super::failure(error),
    }
}

pub fn path_stat(stat: RuntimeStat) -> PathStat {
    PathStat {
        name: stat.name,
        size: stat.size,
        mode: stat.mode,
        modified_ns: stat.mtime_s.saturating_mul(1_000_000_000).saturating_add(stat.mtime_ns),
        link_target: stat.link_target,
    }
}

pub fn change(change: Change) -> FileChange {
    let kind = match change.kind {
        RuntimeKind::Modified => ChangeKind::Modified,
        RuntimeKind::Added => ChangeKind::Added,
        RuntimeKind::Deleted => ChangeKind::Deleted,
    };
    FileChange { path: change.path, kind }
}
