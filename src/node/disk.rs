//! Where a node keeps what must survive: one folder, one owner.
//!
//! ```text
//! lock            held by the daemon that owns the folder
//! node/identity   key, certificate, CA (0600)
//! node/state      addresses, managers, gossip keys (0600)
//! node/generation above all generations this node had in gossip
//! manager/log     the managers' log, sealed
//! manager/keys    the keys that open the log and the CA's key (0600)
//! agent/          records of tasks and of the network
//! images/ containers/ volumes/ network/   of the runtime and the overlay
//! ```

use crate::trust::{random_bytes, write_private_file};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use swarm_core::model::GossipKey;
use swarm_core::{NodeId, Sensitive};

/// A daemon that ends hands over leadership and closes its log first: seconds at most.
const LOCK_WAIT: Duration = Duration::from_secs(8);
const LOCK_LOOK: Duration = Duration::from_millis(100);

/// What goes wrong with the folder.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Nothing was changed.
    #[error("another swarm daemon uses {} (stop it, or choose another --data-dir and --run-dir)", path.display())]
    Locked { path: PathBuf },
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Left as it is.
    #[error("{} is damaged: {detail} (restore it, or move the data directory away and join again)", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("the system gives no random bytes")]
    Random,
}

/// The folder of one node.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// Held while the daemon lives.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "the lock is the open file")] Flock<File>);

impl DirLock {
    fn take(path: PathBuf) -> Result<Self, DiskError> {
        let file = File::create(&path).map_err(|source| DiskError::Io { verb: "open", path: path.clone(), source })?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => DiskError::Locked { path },
            other => DiskError::Io { verb: "lock", path, source: other.into() },
        })?;
        Ok(Self(lock))
    }

    /// Of a folder with the running state of a node, which another daemon would take for its own leftovers.
    pub async fn of_run_dir(dir: &Path) -> Result<Self, DiskError> {
        soon(|| Self::take(dir.join("run.lock"))).await
    }
}

/// Waits for a daemon that is just ending.
async fn soon<T>(open: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let deadline = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        match open() {
            Err(DiskError::Locked { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCK_LOOK).await;
            }
            result => return result,
        }
    }
}

/// What a member remembers beside its identity.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct MemberState {
    /// Where the daemon listens for other nodes (QUIC).
    pub listen: SocketAddr,
    /// Where others reach it.
    pub advertise: IpAddr,
    /// Where others reach its overlay.
    pub data_path: IpAddr,
    pub managers: Vec<(NodeId, SocketAddr)>,
    pub gossip_keys: Vec<GossipKey>,
}

/// Keys of a manager.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManagerKeys {
    /// Opens this manager's log; of this node alone.
    pub data: Sensitive<[u8; 32]>,
    /// Opens the CA's key in the store; the same on all managers.
    pub sealing: Sensitive<[u8; 32]>,
}

impl DataDir {
    /// The folder at `root`, made if it is not there, and locked.
    pub fn open(root: &Path) -> Result<(Self, DirLock), DiskError> {
        for part in ["node", "manager", "agent"] {
            let path = root.join(part);
            std::fs::create_dir_all(&path).map_err(|source| DiskError::Io { verb: "make", path, source })?;
        }
        private(root)?;
        let lock = DirLock::take(root.join("lock"))?;
        Ok((Self { root: root.to_owned() }, lock))
    }

    /// The same, waiting for a daemon that is just ending.
    pub async fn open_soon(root: &Path) -> Result<(Self, DirLock), DiskError> {
        soon(|| Self::open(root)).await
    }

    pub fn identity(&self) -> PathBuf {
        self.root.join("node/identity")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("manager/log")
    }

    pub fn generation(&self) -> PathBuf {
        self.root.join("node/generation")
    }

    pub fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    fn state(&self) -> PathBuf {
        self.root.join("node/state")
    }

    fn keys(&self) -> PathBuf {
        self.root.join("manager/keys")
    }

    /// What the member remembers; `None`: not a member.
    pub fn load_state(&self) -> Result<Option<MemberState>, DiskError> {
        load(self.state())
    }

    pub fn save_state(&self, state: &MemberState) -> Result<(), DiskError> {
        save(self.state(), state)
    }

    /// Keys of a manager; `None`: this node is none.
    pub fn load_keys(&self) -> Result<Option<ManagerKeys>, DiskError> {
        load(self.keys())
    }

    pub fn save_keys(&self, keys: &ManagerKeys) -> Result<(), DiskError> {
        save(self.keys(), keys)
    }

    /// Forgets that this node was a manager.
    pub fn forget_manager(&self) -> Result<(), DiskError> {
        remove(&self.keys())?;
        remove(&self.log())
    }

    /// Forgets the cluster.
    pub fn forget_cluster(&self) -> Result<(), DiskError> {
        self.forget_manager()?;
        remove(&self.agent().join("fabric"))?;
        // The identity goes last: with it the node still knows that it has to leave.
        remove(&self.state())?;
        remove(&self.identity())
    }
}

/// 32 random bytes.
pub fn random_key() -> Result<Sensitive<[u8; 32]>, DiskError> {
    random_bytes().map(Sensitive::new).map_err(|_| DiskError::Random)
}

/// Volumes and images hold what users other than root may open, even set-user-id programs, but must not find from
/// outside of a container. A container passes none of the folders above what is mounted into it.
fn private(root: &Path) -> Result<(), DiskError> {
    use std::os::unix::fs::PermissionsExt;
    let only_owner = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(root, only_owner).map_err(|source| DiskError::Io {
        verb: "set the mode of",
        path: root.to_owned(),
        source,
    })
}

fn load<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<Option<T>, DiskError> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DiskError::Io { verb: "read", path, source }),
    };
    // The text may hold keys: the error says where, not what.
    let damaged = |error: serde_json::Error| DiskError::Damaged {
        path: path.clone(),
        detail: format!("line {} column {}", error.line(), error.column()),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

fn save<T: Serialize>(path: PathBuf, value: &T) -> Result<(), DiskError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| DiskError::Damaged { path: path.clone(), detail: error.to_string() })?;
    write_private_file(&path, &text).map_err(|source| DiskError::Io { verb: "write", path, source })
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::Io { verb: "remove", path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_passes_into_the_data_directory() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        drop(DataDir::open(&root).unwrap());
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn one_daemon_at_a_time_has_a_data_and_a_run_directory() {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = (DataDir::open(data.path()).unwrap(), DirLock::of_run_dir(run.path()).await.unwrap());
        assert!(matches!(DataDir::open(data.path()), Err(DiskError::Locked { .. })));
        assert!(matches!(DirLock::take(run.path().join("run.lock")), Err(DiskError::Locked { .. })));
        // One folder may be both.
        DirLock::of_run_dir(data.path()).await.unwrap();
        drop(first);
        DataDir::open(data.path()).unwrap();
        DirLock::of_run_dir(run.path()).await.unwrap();
    }
}
