//! The node has what the task reserves.

use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::NodeInfo;
use crate::scheduler::tally::LeftOut;

const NANO_PER_CPU: f64 = 1e9;

/// What of the demand a node lacks first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    Cpu,
    Memory,
    Generic(String),
}

pub fn lack(demand: &Demand, node: &NodeInfo) -> Option<Lack> {
    let wants = demand.reservations();
    // A task that reserves nothing fits on a node that is overcommitted because it shrank.
    if wants.nano_cpus > 0 && wants.nano_cpus > node.free_nano_cpus() {
        return Some(Lack::Cpu);
    }
    if wants.memory_bytes > 0 && wants.memory_bytes > node.free_memory_bytes() {
        return Some(Lack::Memory);
    }
    let short = |(kind, amount): &(&String, &i64)| **amount > 0 && **amount > node.free_generic(kind);
    wants.generic.iter().find(short).map(|(kind, _)| Lack::Generic(kind.clone()))
}

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    lack(demand, node).is_none()
}

/// What the node has of what it lacks; nothing where it is overcommitted.
pub fn free(lack: &Lack, node: &NodeInfo) -> i64 {
    let free = match lack {
        Lack::Cpu => node.free_nano_cpus(),
        Lack::Memory => node.free_memory_bytes(),
        Lack::Generic(kind) => node.free_generic(kind),
    };
    free.max(0)
}

pub fn words(demand: &Demand, lack: &Lack, left_out: &LeftOut) -> String {
    let wants = demand.reservations();
    let (name, words) = match lack {
        Lack::Cpu => ("CPUs", want_and_free(wants.nano_cpus, left_out, NANO_PER_CPU, 3, "")),
        Lack::Memory => {
            let (unit, bytes) = unit(wants.memory_bytes);
            ("memory", want_and_free(wants.memory_bytes, left_out, bytes, 1, unit))
        }
        Lack::Generic(kind) => {
            let want = wants.generic.get(kind).copied().unwrap_or(0);
            (kind.as_str(), want_and_free(want, left_out, 1.0, 0, ""))
        }
    };
    format!("lack {name} ({words})")
}

/// `want 2 GiB, free 0.4, 0.9`: what is wanted and what the nodes have, in the unit of what is wanted, the most last.
/// Rounded down, so that no node seems to have enough.
fn want_and_free(want: i64, left_out: &LeftOut, unit: f64, decimals: i32, name: &str) -> String {
    let scale = 10f64.powi(decimals);
    let want = (want as f64 / unit * scale).ceil() / scale;
    let mut told: Vec<i64> = left_out.told().collect();
    let less = if left_out.nodes > told.len() { " and less" } else { "" };
    told.reverse();
    let list: Vec<String> =
        told.iter().map(|free| ((*free as f64 / unit * scale).floor() / scale).to_string()).collect();
    let space = if name.is_empty() { "" } else { " " };
    format!("want {want}{space}{name}, free {}{less}", list.join(", "))
}

/// The largest binary unit of which there is at least one, and its bytes.
fn unit(bytes: i64) -> (&'static str, f64) {
    let mut size = 1024f64.powi(4);
    for unit in ["TiB", "GiB", "MiB", "KiB"] {
        if bytes as f64 >= size {
            return (unit, size);
        }
        size /= 1024.0;
    }
    ("B", 1.0)
}
