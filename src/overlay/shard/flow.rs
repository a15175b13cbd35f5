//! Which peer a flow from outside came through, so that its replies go back the same way.
//!
//! A published port keeps the client's address: the task's node cannot see from a reply where it must
//! go, so the data path remembers. Each packet of a client renews the memory; after a restart of the
//! daemon a flow is known again with the client's next packet.

use super::packet::{FlowKey, Fragment, Inner};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

/// Flows per generation; two generations live, so 64 Ki to 128 Ki flows are remembered, about 5 MiB
/// when full. As many as conntrack holds by default on a host with 1 GiB of memory.
const FLOWS_PER_GENERATION: usize = 65_536;
/// Datagrams in fragments per generation: they live for milliseconds.
const FRAGMENTED_PER_GENERATION: usize = 512;

/// A bounded map that forgets what was not used for the longest time, roughly: when the young
/// generation is full it becomes the old one, and the old one is dropped.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Eq + Hash, V: Copy> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit }
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(*value);
        }
        let value = *self.old.get(&key)?;
        self.put(key, value);
        Some(value)
    }
}

/// The memory of one network: flow to peer slot.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Generations<FlowKey, u32>,
    fragmented: Generations<(Ipv4Addr, Ipv4Addr, u16), u32>,
}

impl Flows {
    pub fn new() -> Self {
        Self { flows: Generations::new(FLOWS_PER_GENERATION), fragmented: Generations::new(FRAGMENTED_PER_GENERATION) }
    }

    /// A client's packet came from the peer in `slot`.
    pub fn learn(&mut self, packet: &Inner<'_>, slot: u32) {
        if let Some(key) = packet.request() {
            self.flows.put(key, slot);
        }
    }

    /// Where a task's packet to a client must go.
    pub fn find(&mut self, packet: &Inner<'_>) -> Option<u32> {
        match packet.fragment {
            Fragment::Whole => self.flows.get(packet.reply()?),
            Fragment::First(id) => {
                let slot = self.flows.get(packet.reply()?)?;
                self.fragmented.put((packet.src, packet.dst, id), slot);
                Some(slot)
            }
            Fragment::Later(id) => self.fragmented.get((packet.src, packet.dst, id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), fragment: u16) -> Vec<u8> {
        let mut p = vec![0x45, 0, 0, 28, 0, 9, 0, 0, 64, 17, 0, 0];
        p[6..8].copy_from_slice(&fragment.to_be_bytes());
        p.extend(src);
        p.extend(dst);
        p.extend(ports.0.to_be_bytes());
        p.extend(ports.1.to_be_bytes());
        p.extend([0, 8, 0, 0]);
        p
    }

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const TASK: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn a_reply_finds_the_peer_of_the_request_and_nothing_else_does() {
        let mut flows = Flows::new();
        flows.learn(&Inner::parse(&udp(CLIENT, TASK, (5000, 80), 0)).expect("IPv4"), 7);
        let reply = udp(TASK, CLIENT, (80, 5000), 0);
        assert_eq!(flows.find(&Inner::parse(&reply).expect("IPv4")), Some(7));
        let other = udp(TASK, CLIENT, (80, 5001), 0);
        assert_eq!(flows.find(&Inner::parse(&other).expect("IPv4")), None);
    }

    #[test]
    fn every_fragment_of_a_reply_takes_the_way_of_the_first() {
        let mut flows = Flows::new();
        flows.learn(&Inner::parse(&udp(CLIENT, TASK, (5000, 80), 0)).expect("IPv4"), 7);
        let later = udp(TASK, CLIENT, (0xdead, 0xbeef), 185);
        assert_eq!(flows.find(&Inner::parse(&later).expect("IPv4")), None);
        let first = udp(TASK, CLIENT, (80, 5000), 0x2000);
        assert_eq!(flows.find(&Inner::parse(&first).expect("IPv4")), Some(7));
        assert_eq!(flows.find(&Inner::parse(&later).expect("IPv4")), Some(7));
    }

    #[test]
    fn a_full_memory_forgets_the_unused_and_stays_bounded() {
        let mut map = Generations::new(4);
        for key in 0..4 {
            map.put(key, key);
        }
        map.put(4, 4);
        assert_eq!(map.get(0), Some(0));
        for key in 5..9 {
            map.put(key, key);
        }
        assert_eq!(map.get(1), None);
        assert_eq!(map.get(0), Some(0));
        assert!(map.young.len() + map.old.len() <= 8);
    }
}
