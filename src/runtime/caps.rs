//! Linux capabilities as sets of bits: names as Docker writes them, and giving them up.
//!
//! Source: capabilities(7), linux/capability.h. Called by the spec translation and, inside the container just
//! before the program runs, by the executor.

use std::io;

/// Names in the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSet(pub u64);

/// A name that is no capability.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown capability \"{0}\": see capabilities(7), or use ALL")]
pub struct UnknownCapability(pub String);

impl CapSet {
    /// Every capability the kernel knows.
    pub fn all() -> Self {
        Self((0..known()).map(|number| 1 << number).sum())
    }

    /// Docker's default set with `add` and `drop` applied (Docker API `CapAdd`, `CapDrop`; `ALL`, and names with or
    /// without `CAP_`, in any case). What the kernel lacks is left out.
    pub fn resolve(add: &[String], drop: &[String], privileged: bool) -> Result<Self, UnknownCapability> {
        if privileged {
            return Ok(Self::all());
        }
        let is_all = |names: &[String]| names.iter().any(|name| bare(name) == "ALL");
        let mut set = match (is_all(add), is_all(drop)) {
            (true, _) => Self::all().0,
            (false, true) => 0,
            (false, false) => DEFAULT.iter().filter_map(|name| bit(name)).sum(),
        };
        for name in drop.iter().filter(|name| bare(name) != "ALL") {
            set &= !number(name)?;
        }
        for name in add.iter().filter(|name| bare(name) != "ALL") {
            set |= number(name)?;
        }
        Ok(Self(set & Self::all().0))
    }

    /// Whether the capability is in the set; `name` without `CAP_`.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names with `CAP_`, in the order of their numbers.
    pub fn names(self) -> Vec<String> {
        NAMES.iter().filter(|name| self.has(name)).map(|name| format!("CAP_{name}")).collect()
    }

    /// Takes everything outside the set out of the bounding set. Needs CAP_SETPCAP, so it comes before `apply`.
    pub fn limit_bounding(self) -> io::Result<()> {
        for number in (0..known()).filter(|number| self.0 & (1 << number) == 0) {
            // SAFETY: prctl(2) with plain numbers.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Makes the set this thread's effective and permitted capabilities, with nothing inheritable or ambient.
    /// What the thread itself lacks is left out: a daemon with fewer capabilities cannot give more.
    /// At exec a program of another user than root then loses them, as with Docker.
    pub fn apply(self) -> io::Result<()> {
        // SAFETY: prctl(2) with plain numbers.
        let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        if cleared != 0 {
            return Err(io::Error::last_os_error());
        }
        const VERSION_3: u32 = 0x2008_0522;
        let mut header: [u32; 2] = [VERSION_3, 0];
        // Effective, permitted, inheritable; then the same for the high halves.
        let mut data: [u32; 6] = [0; 6];
        // SAFETY: header and data are the two arrays that capget(2) version 3 fills, and outlive the call.
        if unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let (low, high) = (self.0 as u32 & data[1], (self.0 >> 32) as u32 & data[4]);
        let data: [u32; 6] = [low, low, 0, high, high, 0];
        // SAFETY: header and data are the two arrays that capset(2) version 3 reads, and outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
        if result != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn bare(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

fn number(name: &str) -> Result<u64, UnknownCapability> {
    bit(&bare(name)).ok_or_else(|| UnknownCapability(name.to_owned()))
}

/// How many capabilities the running kernel has. Asked of the kernel itself, as a container may have put files of its
/// own where `/proc` would tell.
fn known() -> u32 {
    // SAFETY: prctl(2) with plain numbers, which changes nothing; it fails for numbers above the newest.
    let is_known =
        |number: &u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*number), 0, 0, 0) } >= 0;
    (0..u64::BITS).take_while(is_known).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_default_is_docker_s_set() {
        assert_eq!(CapSet::resolve(&[], &[], false), Ok(CapSet(0xa804_25fb)));
    }

    #[test]
    fn the_kernel_knows_as_many_as_it_says() {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("read");
        assert_eq!(known(), last.trim().parse::<u32>().expect("a number") + 1);
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_one() {
        let set = CapSet::resolve(&names(&["cap_net_admin"]), &names(&["ALL"]), false).expect("known names");
        assert_eq!(set.names(), ["CAP_NET_ADMIN"]);
    }

    #[test]
    fn adding_all_and_dropping_one_leaves_the_others() {
        let set = CapSet::resolve(&names(&["all"]), &names(&["SYS_ADMIN"]), false).expect("known names");
        assert!(!set.has("SYS_ADMIN") && set.has("SYS_BOOT"));
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = CapSet::resolve(&names(&["NET_ADMN"]), &[], false).expect_err("unknown");
        assert!(error.to_string().contains("NET_ADMN"));
    }
}
