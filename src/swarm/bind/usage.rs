//! Bytes that a directory takes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of a file counted by st_blocks (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// What the files below `dir` take on the disk, a file with several links counted once. Links are not followed and
/// other file systems are left out; what cannot be read counts nothing.
pub fn bytes(dir: &Path) -> i64 {
    let Ok(top) = std::fs::symlink_metadata(dir) else { return 0 };
    let (device, mut total, mut seen) = (top.dev(), 0u64, BTreeSet::new());
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != device || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            total = total.saturating_add(meta.blocks().saturating_mul(BLOCK_BYTES));
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    i64::try_from(total).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once_and_a_missing_directory_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("sub/file");
        std::fs::create_dir(dir.path().join("sub")).expect("mkdir");
        std::fs::write(&file, vec![1u8; 1 << 20]).expect("write");
        let once = bytes(dir.path());
        assert!(once >= 1 << 20, "{once}");
        std::fs::hard_link(&file, dir.path().join("again")).expect("link");
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).expect("symlink");
        assert!(bytes(dir.path()) < once + (64 << 10));
        assert_eq!(bytes(&dir.path().join("none")), 0);
    }
}
