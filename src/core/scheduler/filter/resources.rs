//! The node has what the task reserves.

use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::NodeInfo;

const NANO_PER_CPU: f64 = 1e9;

/// What of the demand a node lacks first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    Cpu,
    Memory,
    Generic(String),
}

fn lack(demand: &Demand, node: &NodeInfo) -> Option<Lack> {
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

pub fn explain(demand: &Demand, rejected: &[&NodeInfo], all: usize, reasons: &mut Vec<String>) {
    let mut lacks: Vec<Lack> = rejected.iter().filter_map(|node| lack(demand, node)).collect();
    lacks.sort();
    let mut kinds = lacks.clone();
    kinds.dedup();
    for kind in kinds {
        let those: Vec<&&NodeInfo> = rejected.iter().filter(|n| lack(demand, n).as_ref() == Some(&kind)).collect();
        let most = |amount: &dyn Fn(&NodeInfo) -> i64| those.iter().map(|n| amount(n)).max().unwrap_or(0).max(0);
        let wants = demand.reservations();
        let (name, want, free) = match &kind {
            Lack::Cpu => ("CPUs", cpus(wants.nano_cpus), cpus(most(&|n| n.free_nano_cpus()))),
            Lack::Memory => ("memory", size(wants.memory_bytes), size(most(&|n| n.free_memory_bytes()))),
            Lack::Generic(kind) => {
                let amount = |n: &NodeInfo| n.free_generic(kind);
                let want = wants.generic.get(kind).copied().unwrap_or(0);
                (kind.as_str(), want.to_string(), most(&amount).to_string())
            }
        };
        reasons.push(format!("{} of {all} lack {name}: want {want}, most free {free}", those.len()));
    }
}

fn cpus(nano: i64) -> String {
    format!("{}", (nano as f64 / NANO_PER_CPU * 1000.0).round() / 1000.0)
}

/// Bytes in the largest binary unit that leaves a number of at least one, with one decimal.
fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{} {unit}", (value * 10.0).round() / 10.0);
        }
        value /= 1024.0;
    }
    format!("{} TiB", (value * 10.0).round() / 10.0)
}
