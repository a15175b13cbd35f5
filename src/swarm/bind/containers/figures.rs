//! What a container uses, and what runs in it, as the API shows it.

use api::ports::{BlockStats, ContainerStats, NetworkStats, ProcessRecord};
use runtime::container::{Figures, NetworkFigures, Process};

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub fn process(process: Process) -> ProcessRecord {
    ProcessRecord {
        pid: process.pid.into(),
        parent: process.parent.into(),
        group: process.group.into(),
        session: process.session.into(),
        uid: process.uid.into(),
        user: process.user,
        state: process.state.to_string(),
        terminal: process.terminal,
        name: process.name,
        arguments: process.arguments,
        cpu_ms: signed(process.cpu_ms),
        started_ms: signed(process.started_ms),
        priority: process.priority,
        nice: process.nice,
        threads: signed(process.threads),
        virtual_bytes: signed(process.virtual_bytes),
        resident_bytes: signed(process.resident_bytes),
    }
}

/// `read_ns`: nanoseconds since 1970.
pub fn stats(read: Figures, read_ns: i64) -> ContainerStats {
    let own = read.container;
    let blocks = own.blocks.into_iter().map(|((major, minor), figures)| BlockStats {
        major,
        minor,
        read_bytes: figures.read_bytes,
        write_bytes: figures.write_bytes,
        reads: figures.reads,
        writes: figures.writes,
    });
    ContainerStats {
        read_ns,
        cpu_total_ns: own.cpu_total_ns,
        cpu_user_ns: own.cpu_user_ns,
        cpu_system_ns: own.cpu_system_ns,
        cpu_each_ns: own.percpu_ns,
        periods: own.periods,
        throttled_periods: own.throttled_periods,
        throttled_ns: own.throttled_ns,
        host_cpu_ns: read.host_cpu_ns,
        host_cpus: read.host_cpus,
        memory_bytes: own.memory_usage,
        memory_max_bytes: own.memory_max_usage,
        memory_limit_bytes: own.memory_limit.unwrap_or(read.host_memory_bytes),
        memory_failures: own.memory_failures,
        memory_counters: own.memory_stat,
        pids: own.pids_current,
        pids_limit: own.pids_limit,
        blocks: blocks.collect(),
        networks: read.networks.into_iter().map(|(name, one)| (name, network(one))).collect(),
    }
}

fn network(figures: NetworkFigures) -> NetworkStats {
    let NetworkFigures { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped } =
        figures;
    NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
}
