//! Resource limits: what the user asked, as the values of cgroup files.
//!
//! Values are computed first and written second, so that both versions are tested on plain directories.
//! Sources: Docker API `HostConfig` (NanoCpus, CpuShares, Memory, MemorySwap, MemoryReservation, PidsLimit),
//! cgroup-v1/memory.rst, cgroup-v2.rst.

use std::path::PathBuf;

use super::{Cgroup, CgroupError, Hierarchy, Result, write};
use crate::spec::Resources;

/// Scheduler period of a CPU limit, in microseconds: Docker's.
const CPU_PERIOD_US: u64 = 100_000;
/// Least quota the kernel takes, in microseconds.
const CPU_QUOTA_US_MIN: u64 = 1_000;

/// A file of one controller and what to write into it.
type Setting = (&'static str, &'static str, String);

impl Cgroup {
    pub(super) fn set_limits(&self, resources: &Resources) -> Result<()> {
        let settings = match &self.hierarchy {
            Hierarchy::V1 { .. } => v1(resources),
            Hierarchy::V2 { .. } => v2(resources),
        };
        for (controller, file, value) in settings {
            let dir: Option<PathBuf> = match &self.hierarchy {
                Hierarchy::V1 { .. } => self.v1(controller),
                Hierarchy::V2 { root } => Some(root.join(&self.path)),
            };
            let path = dir.ok_or(CgroupError::Controller(controller))?.join(file);
            // Hosts without swap accounting have no such file, and nothing to limit.
            let optional = file == "memory.memsw.limit_in_bytes" || file == "memory.swap.max";
            if !path.exists() {
                if optional {
                    continue;
                }
                return Err(CgroupError::Controller(controller));
            }
            write(&path, &value)?;
        }
        Ok(())
    }
}

fn quota_us(nano_cpus: u64) -> u64 {
    (nano_cpus / 1_000 * CPU_PERIOD_US / 1_000_000).max(CPU_QUOTA_US_MIN)
}

/// Memory and swap together, in bytes; `None` is unlimited. Docker: unset means as much swap as memory.
fn memory_and_swap(resources: &Resources) -> Option<u64> {
    match (resources.memory, resources.memory_swap) {
        (0, _) | (_, -1) => None,
        (memory, swap) if swap <= 0 => Some(memory.saturating_mul(2)),
        (_, swap) => Some(swap.unsigned_abs()),
    }
}

fn v1(resources: &Resources) -> Vec<Setting> {
    let mut out: Vec<Setting> = Vec::new();
    if resources.nano_cpus > 0 {
        out.push(("cpu", "cpu.cfs_period_us", CPU_PERIOD_US.to_string()));
        out.push(("cpu", "cpu.cfs_quota_us", quota_us(resources.nano_cpus).to_string()));
    }
    if resources.cpu_shares > 0 {
        out.push(("cpu", "cpu.shares", resources.cpu_shares.to_string()));
    }
    if resources.memory > 0 {
        out.push(("memory", "memory.limit_in_bytes", resources.memory.to_string()));
        let total = memory_and_swap(resources).map_or("-1".to_owned(), |total| total.to_string());
        out.push(("memory", "memory.memsw.limit_in_bytes", total));
    }
    if resources.memory_reservation > 0 {
        out.push(("memory", "memory.soft_limit_in_bytes", resources.memory_reservation.to_string()));
    }
    if resources.pids_limit > 0 {
        out.push(("pids", "pids.max", resources.pids_limit.to_string()));
    }
    out
}

fn v2(resources: &Resources) -> Vec<Setting> {
    let mut out: Vec<Setting> = Vec::new();
    if resources.nano_cpus > 0 {
        out.push(("cpu", "cpu.max", format!("{} {CPU_PERIOD_US}", quota_us(resources.nano_cpus))));
    }
    if resources.cpu_shares > 0 {
        // The conversion every OCI runtime uses: shares 2..262144 onto weight 1..10000.
        let shares = resources.cpu_shares.clamp(2, 262_144);
        out.push(("cpu", "cpu.weight", (1 + (shares - 2) * 9_999 / 262_142).to_string()));
    }
    if resources.memory > 0 {
        out.push(("memory", "memory.max", resources.memory.to_string()));
        // Written even when it is zero: left alone it stays "max".
        let swap = memory_and_swap(resources)
            .map_or("max".to_owned(), |total| total.saturating_sub(resources.memory).to_string());
        out.push(("memory", "memory.swap.max", swap));
    }
    if resources.memory_reservation > 0 {
        out.push(("memory", "memory.low", resources.memory_reservation.to_string()));
    }
    if resources.pids_limit > 0 {
        out.push(("pids", "pids.max", resources.pids_limit.to_string()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn value<'a>(settings: &'a [Setting], file: &str) -> Option<&'a str> {
        settings.iter().find(|(_, name, _)| *name == file).map(|(_, _, value)| value.as_str())
    }

    #[test]
    fn half_a_cpu_is_half_a_period() {
        let resources = Resources { nano_cpus: 500_000_000, ..Resources::default() };
        assert_eq!(value(&v1(&resources), "cpu.cfs_quota_us"), Some("50000"));
        assert_eq!(value(&v2(&resources), "cpu.max"), Some("50000 100000"));
    }

    #[test]
    fn equal_memory_and_swap_forbids_swap() {
        let resources = Resources { memory: 64 * MIB, memory_swap: 64 * MIB as i64, ..Resources::default() };
        assert_eq!(value(&v2(&resources), "memory.swap.max"), Some("0"));
        assert_eq!(value(&v1(&resources), "memory.memsw.limit_in_bytes"), Some("67108864"));
    }

    #[test]
    fn unset_swap_is_as_much_as_memory_and_minus_one_is_unlimited() {
        let mut resources = Resources { memory: 64 * MIB, ..Resources::default() };
        assert_eq!(value(&v2(&resources), "memory.swap.max"), Some("67108864"));
        assert_eq!(value(&v1(&resources), "memory.memsw.limit_in_bytes"), Some("134217728"));
        resources.memory_swap = -1;
        assert_eq!(value(&v2(&resources), "memory.swap.max"), Some("max"));
        assert_eq!(value(&v1(&resources), "memory.memsw.limit_in_bytes"), Some("-1"));
    }

    #[test]
    fn docker_s_default_shares_become_the_usual_weight() {
        let resources = Resources { cpu_shares: 1024, ..Resources::default() };
        assert_eq!(value(&v2(&resources), "cpu.weight"), Some("39"));
    }

    #[test]
    fn no_limit_writes_nothing() {
        assert!(v1(&Resources::default()).is_empty());
        assert!(v2(&Resources::default()).is_empty());
    }

    #[test]
    fn limits_land_in_the_files_of_a_v2_tree() {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = root.path().join("swarm/a");
        std::fs::create_dir_all(&dir).expect("mkdir");
        for file in ["memory.max", "memory.swap.max", "pids.max"] {
            std::fs::write(dir.join(file), "max").expect("write");
        }
        let cgroup = Cgroup::new(Hierarchy::V2 { root: root.path().into() }, "/swarm/a").expect("path");
        let limits = Resources { memory: 4096, memory_swap: 4096, pids_limit: 7, ..Resources::default() };
        cgroup.set_limits(&limits).expect("limits");
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).expect("read");
        assert_eq!((read("memory.swap.max").as_str(), read("pids.max").as_str()), ("0ax", "7ax"));
        let cpu = Resources { nano_cpus: 1, ..Resources::default() };
        assert!(matches!(cgroup.set_limits(&cpu), Err(CgroupError::Controller("cpu"))));
    }
}
