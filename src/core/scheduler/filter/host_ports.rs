//! The ports the task binds on its node are free there.

use crate::model::Protocol;
use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::{BoundPort, NodeInfo};

fn wanted(demand: &Demand) -> impl Iterator<Item = BoundPort> {
    demand.host_ports().iter().filter_map(BoundPort::of)
}

fn taken(node: &NodeInfo, port: &BoundPort) -> bool {
    node.ports.iter().any(|bound| bound.collides(port))
}

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    !wanted(demand).any(|port| taken(node, &port))
}

pub fn explain(demand: &Demand, rejected: &[&NodeInfo], reasons: &mut Vec<String>) {
    for port in wanted(demand) {
        let count = rejected.iter().filter(|node| taken(node, &port)).count();
        if count > 0 {
            let protocol = match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            reasons.push(format!("{count} have host port {}/{protocol} in use", port.port));
        }
    }
}
