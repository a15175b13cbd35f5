//! Wakes readers of logs when something in a directory changes (inotify(7)).
//!
//! One kernel instance for all readers: a user may have 128 of them (`fs.inotify.max_user_instances`), while a node
//! may have hundreds of containers whose logs are followed.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Bytes of events read at a time: about 200 of them.
const EVENT_BYTES: usize = 16 << 10;
/// Bytes of an event before its name: watch, mask, cookie, length of the name (`struct inotify_event`).
const HEADER_BYTES: usize = 16;

/// All watched directories; clonable.
#[derive(Debug, Clone, Default)]
pub(super) struct Watches {
    shared: Arc<Mutex<Option<Arc<Shared>>>>,
}

#[derive(Debug)]
struct Shared {
    fd: AsyncFd<OwnedFd>,
    /// By the kernel's number. The same directory has the same number, so readers of one share it.
    directories: Mutex<HashMap<i32, watch::Sender<()>>>,
}

/// One reader's watch; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    number: i32,
    /// Taken out only when this is dropped.
    receiver: Option<watch::Receiver<()>>,
}

impl Watches {
    /// Watches a directory from now on.
    pub(super) fn add(&self, dir: &Path) -> io::Result<Watch> {
        let shared = self.shared()?;
        let path = CString::new(dir.as_os_str().as_encoded_bytes())?;
        let events = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_DELETE | libc::IN_DELETE_SELF;
        let mut directories = lock(&shared.directories);
        // SAFETY: the path outlives the call.
        let number = unsafe { libc::inotify_add_watch(shared.fd.as_raw_fd(), path.as_ptr(), events) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let sender = directories.entry(number).or_insert_with(|| watch::Sender::new(()));
        let receiver = Some(sender.subscribe());
        drop(directories);
        Ok(Watch { shared, number, receiver })
    }

    /// The kernel's instance, and the task that reads it; made at the first use.
    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut current = lock(&self.shared);
        if let Some(shared) = current.as_ref() {
            return Ok(shared.clone());
        }
        // SAFETY: the descriptor returned is new and ours.
        let fd = unsafe {
            let fd = libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: the descriptor is owned by what is registered, so it stays open for as long.
        let fd = unsafe { AsyncFd::register(fd) }?;
        let shared = Arc::new(Shared { fd, directories: Mutex::default() });
        tokio::spawn(read(shared.clone(), self.shared.clone()));
        *current = Some(shared.clone());
        Ok(shared)
    }
}

impl Watch {
    /// Returns when something has changed since the last call, or since the watch began.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        match &mut self.receiver {
            Some(receiver) => {
                receiver.changed().await.map_err(|_| io::Error::other("the directory is watched no more"))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.receiver = None;
        let mut directories = lock(&self.shared.directories);
        if directories.get(&self.number).is_some_and(|sender| sender.receiver_count() == 0) {
            directories.remove(&self.number);
            // SAFETY: plain numbers; a directory that is gone has lost its watch already.
            unsafe { libc::inotify_rm_watch(self.shared.fd.as_raw_fd(), self.number) };
        }
    }
}

/// Hands out the events for as long as the runtime lives: an idle instance costs one descriptor.
async fn read(shared: Arc<Shared>, owner: Arc<Mutex<Option<Arc<Shared>>>>) {
    loop {
        let mut buffer = [0u8; EVENT_BYTES];
        let count = shared
            .fd
            .async_io(tokio::io::Interest::READABLE, |fd| {
                // SAFETY: the buffer outlives the call and its true length is given; the descriptor never blocks.
                let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
                usize::try_from(count).map_err(|_| io::Error::last_os_error())
            })
            .await;
        match count {
            Ok(count) => wake(&shared, &buffer[..count]),
            Err(error) => {
                tracing::error!(%error, "log directories are watched no more; the next reader begins anew");
                *lock(&owner) = None;
                lock(&shared.directories).clear(); // Their readers are told.
                return;
            }
        }
    }
}

fn wake(shared: &Shared, mut events: &[u8]) {
    let directories = lock(&shared.directories);
    while let Some(header) = events.first_chunk::<HEADER_BYTES>() {
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (number, mask, name_bytes) = (word(0) as i32, word(4), word(12) as usize);
        if mask & libc::IN_Q_OVERFLOW != 0 {
            directories.values().for_each(|sender| sender.send_replace(()));
        } else if let Some(sender) = directories.get(&number) {
            sender.send_replace(());
        }
        events = events.get(HEADER_BYTES + name_bytes..).unwrap_or_default();
    }
}

/// Nothing panics while holding these locks, and what they guard is valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn each_reader_is_woken_by_its_own_directory() {
        let (one, two) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
        let watches = Watches::default();
        let mut first = watches.add(one.path()).expect("watch");
        let mut same = watches.add(one.path()).expect("watch");
        let mut other = watches.add(two.path()).expect("watch");
        std::fs::write(one.path().join("file"), "x").expect("write");
        first.changed().await.expect("changed");
        same.changed().await.expect("changed");
        drop(first);
        std::fs::write(one.path().join("more"), "x").expect("write");
        same.changed().await.expect("another reader's end is nothing to it");
        assert!(tokio::time::timeout(Duration::from_millis(50), other.changed()).await.is_err());
        drop(one);
        same.changed().await.expect("a removed directory is a change");
    }

    #[tokio::test]
    async fn hundreds_of_readers_need_one_instance() {
        let watches = Watches::default();
        let dirs: Vec<_> = (0..300).map(|_| tempfile::tempdir().expect("temp dir")).collect();
        let readers: Vec<_> = dirs.iter().map(|dir| watches.add(dir.path()).expect("watch")).collect();
        assert!(readers.iter().all(|reader| Arc::ptr_eq(&reader.shared, &readers[0].shared)));
        drop(readers);
        let shared = watches.shared().expect("shared");
        assert!(lock(&shared.directories).is_empty());
    }
}
