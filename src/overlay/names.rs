//! Names of everything the fabric makes in the kernel: unique per instance, found again after a restart.
//!
//! Several daemons may share a host and its network namespace. What lives in that namespace (links,
//! nftables tables) carries a tag made from the instance's name; what lives in namespaces of our own
//! needs none.

use std::path::{Path, PathBuf};

/// The tunnel device inside a network's namespace.
pub const TUN: &str = "ovl0";
/// The end of the uplink inside a network's namespace.
pub const UPLINK: &str = "up0";
/// The nftables table inside a network's namespace.
pub const NETWORK_TABLE: &str = "overlay";
/// The nftables table inside a container's namespace.
pub const CONTAINER_TABLE: &str = "swarm_resolver";

/// FNV-1a, 64 bits: stable over versions of the compiler, unlike the standard library's hasher.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `digits` digits of base 36, the lowest ones of `value`.
fn base36(mut value: u64, digits: usize) -> String {
    let mut out = vec![b'0'; digits];
    for place in out.iter_mut().rev() {
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize];
        value /= 36;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Names of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    tag: String,
    run_dir: PathBuf,
}

impl Names {
    pub fn new(instance: &str, run_dir: &Path) -> Self {
        // 36^5 = 60 million tags: two instances of one host meet with no practical probability.
        Self { tag: base36(fnv(instance.as_bytes()), 5), run_dir: run_dir.to_path_buf() }
    }

    /// What tells this instance from others on the host.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Start of the name of every link in the host's namespace. IFNAMSIZ leaves 15 characters.
    pub fn link_prefix(&self) -> String {
        format!("sw{}-", self.tag)
    }

    /// The host's end of a network's uplink. Overlay ids are below 2^24 < 36^5.
    pub fn uplink(&self, overlay_id: u32) -> String {
        format!("{}{}", self.link_prefix(), base36(u64::from(overlay_id), 5))
    }

    /// The nftables table in the host's namespace.
    pub fn host_table(&self) -> String {
        format!("swarm_{}", self.tag)
    }

    /// Directory of the bind-mounted namespaces.
    pub fn netns_dir(&self) -> PathBuf {
        self.run_dir.join("netns")
    }

    /// Directory of the records of attachments.
    pub fn record_dir(&self) -> PathBuf {
        self.run_dir.join("attachments")
    }

    /// Which links the host had when forwarding was turned on for ours.
    pub fn forwarding(&self) -> PathBuf {
        self.run_dir.join("forwarding")
    }

    pub fn network_netns(&self, overlay_id: u32) -> PathBuf {
        self.netns_dir().join(format!("net-{overlay_id}"))
    }

    pub fn task_netns(&self, id: &str) -> PathBuf {
        self.netns_dir().join(format!("task-{id}"))
    }

    pub fn record(&self, id: &str) -> PathBuf {
        self.record_dir().join(format!("{id}.json"))
    }
}

/// The network's end of a container's link: 60 bits of hash over the id and the place.
pub(crate) fn container_link(id: &str, index: usize) -> String {
    format!("c{}", base36(fnv(format!("{id}/{index}").as_bytes()), 12))
}

/// Whether `name` is one of those.
pub(crate) fn is_container_link(name: &str) -> bool {
    name.len() == 13 && name.starts_with('c')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_name_fits_the_kernel_and_differs_by_instance() {
        let a = Names::new("a", Path::new("/run/a"));
        let b = Names::new("b", Path::new("/run/b"));
        assert!(a.uplink((1 << 24) - 1).len() <= 15);
        assert!(container_link("x", 0).len() <= 15);
        assert!(is_container_link(&container_link("x", 0)));
        assert!(!is_container_link(UPLINK) && !is_container_link(TUN));
        assert_ne!(a.uplink(1), b.uplink(1));
        assert_ne!(a.uplink(1), a.uplink(2));
        assert_ne!(container_link("x", 0), container_link("x", 1));
    }
}
