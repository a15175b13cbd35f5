//! Filling an empty volume with what the image has at its place in the container.
//!
//! The volume's directory stays the one it is: a container that mounts it already would keep a directory that is gone.
//! So the copy is made beside it and, when complete, its entries are moved in one by one. A crash leaves either an
//! empty volume or a complete copy, whose name says that the moving was cut short.

use super::{DATA, copy};
use std::fs;
use std::io;
use std::path::Path;

/// A copy that is being made.
const COPY: &str = "_copy";
/// A complete copy whose entries are being moved.
const COPIED: &str = "_copied";

/// Fills `_data` of the volume at `dir` from `target` in `rootfs`, with owners, modes and attributes, unless it has
/// content, is `in_use`, or the image has no directory there.
pub(super) fn fill(dir: &Path, rootfs: &Path, target: &Path, in_use: impl FnOnce(&Path) -> bool) -> io::Result<()> {
    let (data, copied) = (dir.join(DATA), dir.join(COPIED));
    if !copied.try_exists()? {
        if fs::read_dir(&data)?.next().is_some() {
            return Ok(());
        }
        let Some(source) = copy::source(rootfs, target)? else { return Ok(()) };
        if in_use(&data) {
            return Ok(());
        }
        let copy = dir.join(COPY);
        match fs::remove_dir_all(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        copy::tree(&source, &copy)?;
        fs::rename(&copy, &copied)?;
    } else if in_use(&data) {
        return Ok(());
    }
    move_in(&copied, &data)
}

/// What is there already stays: somebody used the volume after a move that was cut short.
fn move_in(copied: &Path, data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(copied)? {
        let entry = entry?;
        let place = data.join(entry.file_name());
        if fs::symlink_metadata(&place).is_err() {
            fs::rename(entry.path(), place)?;
        }
    }
    copy::attributes(copied, data, &fs::symlink_metadata(copied)?)?;
    fs::remove_dir_all(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    const TARGET: &str = "/srv/data";

    /// A volume's directory, a root file system with a file at the target, and what removes both.
    fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("temp dir");
        let (volume, rootfs) = (dir.path().join("volume"), dir.path().join("rootfs"));
        fs::create_dir_all(volume.join(DATA)).expect("mkdir");
        fs::create_dir_all(rootfs.join("srv/data/sub")).expect("mkdir");
        fs::write(rootfs.join("srv/data/sub/file"), "image").expect("write");
        fs::write(rootfs.join("srv/data/other"), "image").expect("write");
        fs::set_permissions(rootfs.join("srv/data"), fs::Permissions::from_mode(0o2750)).expect("chmod");
        (dir, volume, rootfs)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("read").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn who_mounts_the_empty_volume_keeps_it() {
        let (_dir, volume, rootfs) = places();
        // As a mount does, an open directory stays the same whatever its path comes to name.
        let mounted = fs::File::open(volume.join(DATA)).expect("open");
        fill(&volume, &rootfs, Path::new(TARGET), |_| false).expect("fill");
        assert!(mounted.metadata().expect("metadata").nlink() > 0, "the directory was removed under its user");
        assert_eq!(names(&volume.join(DATA)), ["other", "sub"]);
        assert_eq!(mounted.metadata().expect("metadata").mode() & 0o7777, 0o2750);
        assert_eq!(names(&volume), [DATA]);
    }

    #[test]
    fn an_empty_directory_of_the_image_gives_its_owner_and_mode_only() {
        let (_dir, volume, rootfs) = places();
        let empty = rootfs.join("empty");
        fs::create_dir(&empty).expect("mkdir");
        std::os::unix::fs::chown(&empty, Some(1000), Some(1001)).expect("chown");
        let mounted = fs::File::open(volume.join(DATA)).expect("open");
        fill(&volume, &rootfs, Path::new("/empty"), |_| false).expect("fill");
        let meta = mounted.metadata().expect("metadata");
        assert_eq!((meta.uid(), meta.gid()), (1000, 1001));
        assert!(meta.nlink() > 0);
    }

    #[test]
    fn a_volume_in_use_is_left_alone() {
        let (_dir, volume, rootfs) = places();
        fill(&volume, &rootfs, Path::new(TARGET), |path| path == volume.join(DATA)).expect("fill");
        assert_eq!(names(&volume.join(DATA)), [""; 0]);
    }

    #[test]
    fn a_move_cut_short_is_finished_and_a_copy_cut_short_made_anew() {
        let (_dir, volume, rootfs) = places();
        fs::create_dir(volume.join(COPY)).expect("mkdir");
        fs::write(volume.join(COPY).join("half"), "").expect("write");
        fill(&volume, &rootfs, Path::new(TARGET), |_| false).expect("fill");
        assert_eq!(names(&volume.join(DATA)), ["other", "sub"]);
        // As if the crash came after the first of two; the other was then made by a user of the volume.
        fs::create_dir(volume.join(COPIED)).expect("mkdir");
        fs::rename(volume.join(DATA).join("sub"), volume.join(COPIED).join("sub")).expect("rename");
        fs::write(volume.join(COPIED).join("other"), "late").expect("write");
        fill(&volume, &rootfs, Path::new(TARGET), |_| false).expect("fill");
        assert_eq!(names(&volume.join(DATA)), ["other", "sub"]);
        assert_eq!(fs::read_to_string(volume.join(DATA).join("other")).expect("read"), "image");
        assert_eq!(names(&volume), [DATA]);
    }
}
