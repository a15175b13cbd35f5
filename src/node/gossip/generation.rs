//! The generation of this process's life in the membership: higher than any before.
//!
//! It is the wall clock in milliseconds, so that it survives a lost file; and the file makes it
//! survive a clock that was set back.

use std::io;
use std::path::{Path, PathBuf};

use swarm_core::WallTime;

use crate::trust::write_private_file;

/// Generations set aside for renewals during this life. A node renews when it was wrongly believed
/// dead or its addresses change: rarely a thousand times between two starts, and more often than that
/// the others tell it what it had reached. As milliseconds it is less than a start takes, so that many
/// starts do not lead ahead of the clock, where others would not believe it.
const RESERVED: u64 = 1_000;

/// The file of generations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// Reading or writing it failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} does not hold a number (delete the file: the clock takes its place)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// A generation above all that earlier lives of this node used, noted in the file `path`.
pub fn next_generation(path: &Path, now: WallTime) -> Result<u64, GenerationError> {
    let stored = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| GenerationError::Damaged { path: path.to_owned() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => {
            return Err(GenerationError::File { action: "read", path: path.to_owned(), source });
        }
    };
    let generation = stored.max(u64::try_from(now.0).unwrap_or(0)).max(1);
    let reserved = generation.saturating_add(RESERVED);
    write_private_file(path, format!("{reserved}\n").as_bytes()).map_err(|source| GenerationError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })?;
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_whatever_the_clock_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generation");
        let mut last = 0;
        for now in [1_800_000_000_000, 1_800_000_001_000, 5, -1, 1_900_000_000_000] {
            let generation = next_generation(&path, WallTime(now)).unwrap();
            assert!(generation > last, "{generation} after {last}");
            last = generation;
        }
    }

    #[test]
    fn a_lost_file_is_replaced_by_the_clock_and_a_damaged_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generation");
        assert_eq!(next_generation(&path, WallTime(77)).unwrap(), 77);
        std::fs::write(&path, "?").unwrap();
        let error = next_generation(&path, WallTime(77)).unwrap_err();
        assert!(error.to_string().contains("does not hold a number"), "{error}");
    }
}
