//! Where the contents of secrets are while tasks use them: in memory, never on a disk.
//!
//! A folder of the run directory, with one for each task. Where the run directory is a tmpfs that is all; elsewhere a
//! small one of our own is mounted there with the first task that has secrets, and unmounted with the last. It outlives
//! the daemon, as the containers do. Blocking file work; files are small.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Of our tmpfs. A secret has 500 kB at most and a few hundred bytes as a rule: enough for hundreds of tasks, and little
/// enough that a node does not miss it.
const OPTIONS: &str = "mode=0700,size=64m,nr_inodes=16k";
/// What `mount` and `df` show.
const SOURCE: &str = "swarm-secrets";
/// linux/magic.h `RAMFS_MAGIC`.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Handle; clones are the same.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    dir: PathBuf,
    /// One at a time: the last task's end must not unmount what the first has just mounted.
    changing: Arc<Mutex<()>>,
}

impl SecretFiles {
    /// Names the folder; makes nothing.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, changing: Arc::default() }
    }

    /// A folder in memory for the secrets of one container, closed to all but root.
    pub fn folder(&self, container: &str) -> io::Result<PathBuf> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        private(&self.dir)?;
        if !in_memory(&self.dir)? {
            mount_memory(&self.dir)?;
        }
        let folder = self.dir.join(container);
        private(&folder)?;
        Ok(folder)
    }

    /// Removes the container's secrets, and all else of ours when they were the last. None is success.
    pub fn remove(&self, container: &str) -> io::Result<()> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        found(fs::remove_dir_all(self.dir.join(container)))?;
        self.remove_unused()
    }

    /// Removes what is ours unless a container has secrets.
    pub fn close(&self) -> io::Result<()> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_unused()
    }

    fn remove_unused(&self) -> io::Result<()> {
        let Some(mut others) = found(fs::read_dir(&self.dir))? else { return Ok(()) };
        if others.next().is_some() {
            return Ok(());
        }
        drop(others);
        if is_mounted(&self.dir)? {
            umount2(&self.dir, MntFlags::UMOUNT_NOFOLLOW)?;
        }
        found(fs::remove_dir(&self.dir)).map(drop)
    }
}

/// What is not there is nothing to remove.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(dir)
}

fn in_memory(dir: &Path) -> io::Result<bool> {
    let kind = statfs(dir)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// Another file system than the folder it is in.
fn is_mounted(dir: &Path) -> io::Result<bool> {
    let above = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::metadata(dir)?.dev() != fs::metadata(above)?.dev())
}

/// Without swap where the kernel can (Linux 6.4, tmpfs(5)): a swapped page would be on a disk after all.
fn mount_memory(dir: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let attempt = |options: &str| mount(Some(SOURCE), dir, Some("tmpfs"), flags, Some(options));
    attempt(&format!("{OPTIONS},noswap")).or_else(|_| attempt(OPTIONS))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::os::unix::fs::PermissionsExt;

    /// On a thread with mounts of its own, which go with it; on a disk.
    fn alone(test: impl FnOnce(&Path) + Send + 'static) {
        let run = move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("this test mounts: run it as root");
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
            let dir = tempfile::tempdir_in("/var/tmp").expect("temp dir");
            test(dir.path());
        };
        std::thread::spawn(run).join().expect("the test");
    }

    #[test]
    fn secrets_are_in_memory_though_the_run_directory_is_on_a_disk() {
        alone(|run| {
            let secrets = SecretFiles::new(run.join("secrets"));
            secrets.remove("none").expect("nothing is there");
            let one = secrets.folder("one").expect("folder");
            fs::write(one.join("secret-0"), "x").expect("write");
            assert!(in_memory(&one).expect("statfs"));
            assert_eq!(fs::metadata(run.join("secrets")).expect("metadata").permissions().mode() & 0o777, 0o700);
            let blocks = statfs(&one).expect("statfs");
            assert!(blocks.blocks() * blocks.block_size() as u64 <= 64 << 20, "its size is bounded");
            // Another daemon, later.
            let again = SecretFiles::new(run.join("secrets"));
            again.folder("two").expect("folder");
            assert_eq!(fs::read_to_string(one.join("secret-0")).expect("it is still there"), "x");
            again.remove("one").expect("remove");
            assert!(run.join("secrets/two").exists());
            again.remove("two").expect("remove");
            assert!(!run.join("secrets").exists(), "unmounted and removed with the last");
        });
    }

    #[test]
    fn a_run_directory_in_memory_needs_no_mount() {
        alone(|run| {
            mount_memory(run).expect("mount");
            let secrets = SecretFiles::new(run.join("secrets"));
            secrets.folder("one").expect("folder");
            assert!(!is_mounted(&run.join("secrets")).expect("metadata"));
            secrets.remove("one").expect("remove");
            assert!(!run.join("secrets").exists());
            umount2(run, MntFlags::empty()).expect("unmount");
        });
    }
}
