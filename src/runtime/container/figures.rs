//! What a container uses, with the figures of the host they are compared to (`docker stats`).

use std::collections::BTreeMap;

use super::{Containers, Error, Result, Status, blocking};
use crate::cgroup::Stats;
use crate::spec::Network;

/// Figures of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub container: Stats,
    /// By device in the container's network namespace; without the loopback, and empty in the host's namespace.
    pub networks: BTreeMap<String, NetworkFigures>,
    /// CPU time of the whole host.
    pub host_cpu_ns: u64,
    pub host_cpus: u32,
    pub host_memory_bytes: u64,
}

/// What went through one network device, seen from the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkFigures {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Containers {
    /// Figures of a running container, read now.
    pub async fn figures(&self, id: &str) -> Result<Figures> {
        let pid = match self.status(id).await? {
            Status::Created { pid } | Status::Running { pid, .. } | Status::Paused { pid, .. } => pid,
            Status::Exited(_) => {
                return Err(Error::Refused { id: id.to_owned(), message: "it is not running".to_owned() });
            }
        };
        let own_network = self.spec(id)?.network != Network::Host;
        let cgroup = self.cgroup(id)?;
        blocking(move || {
            let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let networks = own_network.then(|| networks(&text(&format!("/proc/{pid}/net/dev"))));
            let (host_cpu_ns, host_cpus) = host_cpu(&text("/proc/stat"));
            Figures {
                container: cgroup.stats(),
                networks: networks.unwrap_or_default(),
                host_cpu_ns,
                host_cpus,
                host_memory_bytes: host_memory(&text("/proc/meminfo")),
            }
        })
        .await
    }
}

/// proc_pid_net(5), dev: eight figures received, eight sent.
fn networks(text: &str) -> BTreeMap<String, NetworkFigures> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> = figures.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let at = |index: usize| figures.get(index).copied().unwrap_or(0);
        let device = NetworkFigures {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), device)).filter(|(name, _)| name != "lo")
    };
    text.lines().filter_map(line).collect()
}

/// proc_stat(5): time in user, nice, system, idle, iowait, irq, softirq and steal, without that of guests, which is in
/// user time already; and how many CPUs there are.
fn host_cpu(text: &str) -> (u64, u32) {
    // SAFETY: sysconf(3) takes a plain number and gives one.
    let ticks = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
    let mut cpus = 0;
    let mut total: u64 = 0;
    for line in text.lines().filter(|line| line.starts_with("cpu")) {
        match line.strip_prefix("cpu ") {
            Some(figures) => total = figures.split_whitespace().take(8).filter_map(|w| w.parse::<u64>().ok()).sum(),
            None => cpus += 1,
        }
    }
    (total.saturating_mul(1_000_000_000 / ticks), cpus)
}

fn host_memory(text: &str) -> u64 {
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_left_out_of_the_networks() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs |bytes\n\
                    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = networks(text);
        let eth0 = NetworkFigures {
            rx_bytes: 10,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 50,
            tx_packets: 6,
            tx_errors: 7,
            tx_dropped: 8,
        };
        assert_eq!(found.get("eth0"), Some(&eth0));
        assert!(!found.contains_key("lo"));
    }

    #[test]
    fn the_host_s_time_is_that_of_all_cpus_without_guests() {
        let text = "cpu  1 2 3 4 5 6 7 8 90 91\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 1\n";
        // 100 ticks a second on every Linux that there is.
        assert_eq!(host_cpu(text), (360_000_000, 2));
        assert_eq!(host_memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16 << 10);
    }
}
