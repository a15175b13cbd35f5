//! The ports the task binds on its node are free there.

use crate::model::Protocol;
use crate::scheduler::demand::Demand;
use crate::scheduler::nodes::{BoundPort, NodeInfo};

fn wanted(demand: &Demand) -> impl Iterator<Item = BoundPort> {
    demand.host_ports().iter().filter_map(BoundPort::of)
}

fn is_taken(node: &NodeInfo, port: &BoundPort) -> bool {
    node.ports.iter().any(|bound| bound.collides(port))
}

pub fn accepts(demand: &Demand, node: &NodeInfo) -> bool {
    !wanted(demand).any(|port| is_taken(node, &port))
}

/// Those of the ports that are in use on the node.
pub fn taken(demand: &Demand, node: &NodeInfo) -> impl Iterator<Item = usize> {
    wanted(demand).enumerate().filter(|(_, port)| is_taken(node, port)).map(|(at, _)| at)
}

pub fn words(demand: &Demand, at: usize) -> String {
    let Some(port) = wanted(demand).nth(at) else { return String::new() };
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("have host port {}/{protocol} in use", port.port)
}
