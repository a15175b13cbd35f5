//! Files that hold keys: written whole or not at all, readable by root only.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Mode of files that hold private keys: owner reads and writes, nobody else anything.
pub const IDENTITY_FILE_MODE: u32 = 0o600;

/// Replaces `path` by `contents`: a crash leaves the old or the new file, never a part.
///
/// Writes a temporary file beside it (`<name>.new`, mode 0600 from its first moment), syncs it,
/// renames it and syncs the directory.
pub fn write_private_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = replace(path, contents, File::sync_all)?;
    File::open(directory)?.sync_all()
}

/// As [`write_private_file`], without waiting for the disk: after a crash of the machine (not of the process) the
/// file may be damaged or missing. For what can be had again.
pub fn write_private_file_soon(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(path, contents, |_| Ok(())).map(drop)
}

/// Returns the folder of the file.
fn replace<'p>(path: &'p Path, contents: &[u8], sync: fn(&File) -> io::Result<()>) -> io::Result<&'p Path> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    let mut temporary_name = name.to_owned();
    temporary_name.push(".new");
    let temporary = directory.join(temporary_name);
    match std::fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(IDENTITY_FILE_MODE).open(&temporary)?;
    file.write_all(contents)?;
    sync(&file)?;
    drop(file);
    std::fs::rename(&temporary, path)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_replaced_whole_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        std::fs::write(directory.path().join("identity.pem.new"), "left by a crash").unwrap();
        for contents in ["one", "two"] {
            write_private_file(&path, contents.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, IDENTITY_FILE_MODE);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
