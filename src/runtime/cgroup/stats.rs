//! Figures of a running container, read from its cgroup.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Cgroup, Hierarchy, field};

/// Usage at one moment. A figure that the host does not keep is zero, a limit that is not set is `None`.
/// Docker API: `GET /containers/{id}/stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub cpu_total_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// Bytes, page cache included.
    pub memory_usage: u64,
    pub memory_max_usage: u64,
    pub memory_limit: Option<u64>,
    /// All counters of `memory.stat`, under the kernel's names.
    pub memory_stat: BTreeMap<String, u64>,
    pub oom_kills: u64,
    pub pids_current: u64,
    pub pids_limit: Option<u64>,
    /// What each device read and wrote, by major and minor number.
    pub blocks: BTreeMap<(u32, u32), BlockFigures>,
    /// CPU time on each CPU; empty on v2, which does not keep it.
    pub percpu_ns: Vec<u64>,
    /// Times the memory limit was hit.
    pub memory_failures: u64,
}

/// What was read from and written to one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockFigures {
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// What those look at who look often and at many: three small files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub cpu_total_ns: u64,
    /// Without page cache that the kernel gives back first.
    pub memory_bytes: u64,
}

/// v1 shows "no limit" as the largest multiple of a page.
const V1_UNLIMITED: u64 = i64::MAX as u64 & !0xffff;

impl Cgroup {
    /// Reads every figure; none of them fails the others.
    pub fn stats(&self) -> Stats {
        let mut stats = match &self.hierarchy {
            Hierarchy::V1 { .. } => self.stats_v1(),
            Hierarchy::V2 { root } => stats_v2(&root.join(&self.path)),
        };
        stats.oom_kills = self.oom_kills();
        stats
    }

    /// CPU time and memory; `None` when the host does not keep them, or the cgroup is gone.
    pub fn usage(&self) -> Option<Usage> {
        let number = |dir: &Path, file: &str| text(dir, file).trim().parse::<u64>().ok();
        let (cpu_total_ns, memory, usage, cache) = match &self.hierarchy {
            Hierarchy::V1 { .. } => {
                let cpu = number(&self.v1("cpuacct")?, "cpuacct.usage")?;
                (cpu, self.v1("memory")?, "memory.usage_in_bytes", "total_inactive_file")
            }
            Hierarchy::V2 { root } => {
                let dir = root.join(&self.path);
                let cpu = field(&text(&dir, "cpu.stat"), "usage_usec")?.saturating_mul(1_000);
                (cpu, dir, "memory.current", "inactive_file")
            }
        };
        let cache = field(&text(&memory, "memory.stat"), cache).unwrap_or(0);
        Some(Usage { cpu_total_ns, memory_bytes: number(&memory, usage)?.saturating_sub(cache) })
    }

    fn stats_v1(&self) -> Stats {
        let text = |controller: &str, file: &str| self.v1(controller).map(|dir| text(&dir, file)).unwrap_or_default();
        let number = |controller: &str, file: &str| text(controller, file).trim().parse::<u64>().unwrap_or(0);
        let cpu = text("cpu", "cpu.stat");
        let bytes = text("blkio", "blkio.throttle.io_service_bytes");
        let operations = text("blkio", "blkio.throttle.io_serviced");
        let percpu = text("cpuacct", "cpuacct.usage_percpu");
        let limit = number("memory", "memory.limit_in_bytes");
        Stats {
            cpu_total_ns: number("cpuacct", "cpuacct.usage"),
            cpu_user_ns: number("cpuacct", "cpuacct.usage_user"),
            cpu_system_ns: number("cpuacct", "cpuacct.usage_sys"),
            periods: field(&cpu, "nr_periods").unwrap_or(0),
            throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
            throttled_ns: field(&cpu, "throttled_time").unwrap_or(0),
            memory_usage: number("memory", "memory.usage_in_bytes"),
            memory_max_usage: number("memory", "memory.max_usage_in_bytes"),
            memory_limit: (limit > 0 && limit < V1_UNLIMITED).then_some(limit),
            memory_stat: table(&text("memory", "memory.stat")),
            oom_kills: 0,
            pids_current: number("pids", "pids.current"),
            pids_limit: text("pids", "pids.max").trim().parse().ok(),
            blocks: v1_blocks(&bytes, &operations),
            percpu_ns: percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            memory_failures: number("memory", "memory.failcnt"),
        }
    }
}

fn stats_v2(dir: &Path) -> Stats {
    let number = |file: &str| text(dir, file).trim().parse::<u64>().ok();
    let cpu = text(dir, "cpu.stat");
    let micros = |key: &str| field(&cpu, key).unwrap_or(0).saturating_mul(1_000);
    Stats {
        cpu_total_ns: micros("usage_usec"),
        cpu_user_ns: micros("user_usec"),
        cpu_system_ns: micros("system_usec"),
        periods: field(&cpu, "nr_periods").unwrap_or(0),
        throttled_periods: field(&cpu, "nr_throttled").unwrap_or(0),
        throttled_ns: micros("throttled_usec"),
        memory_usage: number("memory.current").unwrap_or(0),
        memory_max_usage: number("memory.peak").unwrap_or(0),
        memory_limit: number("memory.max"),
        memory_stat: table(&text(dir, "memory.stat")),
        oom_kills: 0,
        pids_current: number("pids.current").unwrap_or(0),
        pids_limit: number("pids.max"),
        blocks: v2_blocks(&text(dir, "io.stat")),
        percpu_ns: Vec::new(),
        memory_failures: field(&text(dir, "memory.events"), "max").unwrap_or(0),
    }
}

fn text(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_default()
}

fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 Read 4096` lines, of bytes and of operations.
fn v1_blocks(bytes: &str, operations: &str) -> BTreeMap<(u32, u32), BlockFigures> {
    let mut out: BTreeMap<(u32, u32), BlockFigures> = BTreeMap::new();
    for (text, of_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut parts = line.split(' ');
            let (Some(device), Some(word)) = (parts.next().and_then(device), parts.next()) else { continue };
            let Some(value) = parts.next().and_then(|value| value.parse().ok()) else { continue };
            let figures = out.entry(device).or_default();
            match (word, of_bytes) {
                ("Read", true) => figures.read_bytes = value,
                ("Write", true) => figures.write_bytes = value,
                ("Read", false) => figures.reads = value,
                ("Write", false) => figures.writes = value,
                // Sums, and the same by another division.
                _ => {}
            }
        }
    }
    out
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 ...` lines.
fn v2_blocks(text: &str) -> BTreeMap<(u32, u32), BlockFigures> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let value = |key: &str| rest.split(' ').find_map(|part| part.strip_prefix(key)?.parse().ok()).unwrap_or(0);
        let (read_bytes, write_bytes) = (value("rbytes="), value("wbytes="));
        Some((device(name)?, BlockFigures { read_bytes, write_bytes, reads: value("rios="), writes: value("wios=") }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_v2_tree_are_in_nanoseconds_and_bytes() {
        let root = tempfile::tempdir().expect("temp dir");
        let dir = root.path().join("a");
        std::fs::create_dir(&dir).expect("mkdir");
        for (file, text) in [
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 9\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 2\n"),
            ("memory.events", "max 4\noom_kill 1\n"),
            ("pids.current", "3\n"),
            ("pids.max", "10\n"),
            ("io.stat", "8:0 rbytes=100 wbytes=50 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n"),
        ] {
            std::fs::write(dir.join(file), text).expect("write");
        }
        let stats = Cgroup::new(Hierarchy::V2 { root: root.path().into() }, "/a").expect("path").stats();
        assert_eq!((stats.cpu_total_ns, stats.throttled_ns), (7_000, 9_000));
        assert_eq!((stats.memory_usage, stats.memory_limit, stats.oom_kills), (4096, None, 1));
        assert_eq!((stats.pids_current, stats.pids_limit), (3, Some(10)));
        assert_eq!(stats.memory_failures, 4);
        let figures = BlockFigures { read_bytes: 100, write_bytes: 50, reads: 1, writes: 0 };
        assert_eq!((stats.blocks.len(), stats.blocks[&(8, 0)]), (2, figures));
        assert_eq!(stats.memory_stat["inactive_file"], 2);
        let usage = Cgroup::new(Hierarchy::V2 { root: root.path().into() }, "/a").expect("path").usage();
        assert_eq!(usage, Some(Usage { cpu_total_ns: 7_000, memory_bytes: 4094 }));
        let gone = Cgroup::new(Hierarchy::V2 { root: root.path().into() }, "/gone").expect("path").usage();
        assert_eq!(gone, None);
    }

    #[test]
    fn usage_of_a_v1_tree_is_read_from_two_controllers() {
        let root = tempfile::tempdir().expect("temp dir");
        let mount = |name: &str, files: &[(&str, &str)]| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.join("a")).expect("mkdir");
            files.iter().for_each(|(file, text)| std::fs::write(path.join("a").join(file), text).expect("write"));
            super::super::Mount { controllers: vec![name.to_owned()], name: name.to_owned(), path }
        };
        let mounts = vec![
            mount("cpuacct", &[("cpuacct.usage", "7000\n")]),
            mount("memory", &[("memory.usage_in_bytes", "4096\n"), ("memory.stat", "total_inactive_file 96\n")]),
        ];
        let hierarchy = Hierarchy::V1 { mounts, others: Vec::new() };
        let usage = Cgroup::new(hierarchy, "/a").expect("path").usage();
        assert_eq!(usage, Some(Usage { cpu_total_ns: 7000, memory_bytes: 4000 }));
    }

    #[test]
    fn v1_block_figures_are_told_by_device() {
        let bytes = "8:0 Read 10\n8:0 Write 5\n8:0 Total 15\n8:16 Read 1\nTotal 16\n";
        let blocks = v1_blocks(bytes, "8:0 Read 2\n8:0 Write 3\n");
        assert_eq!(blocks[&(8, 0)], BlockFigures { read_bytes: 10, write_bytes: 5, reads: 2, writes: 3 });
        assert_eq!(blocks[&(8, 16)].read_bytes, 1);
    }
}
