//! Gossip: who is there, as each node sees it.
//!
//! Small clusters run `core::membership` itself over the simulated network. In larger ones its packets would cost more
//! than everything else, so its verdicts are modelled there, for managers only (nobody else uses them): a node is down
//! when for [`DOWN_AFTER_US`] neither this one nor a third could reach it, and up again as soon as it can be reached;
//! that is the machine's time from the first missed probe to the end of the suspicion.

use crate::call::Packet;
use crate::host::address;
use crate::net::HostId;
use crate::settings::{MS, REAL_GOSSIP_NODES_MAX, SECOND};
use crate::world::{Wake, World};
use bytes::Bytes;
use rand::Rng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use swarm_core::membership::{Effects, Input, MemberInfo, MemberState, Membership, Notice};
use swarm_core::model::NodeRole;
use swarm_core::{Mono, NodeId};

/// Of the model: probe, indirect probes and suspicion.
const DOWN_AFTER_US: u64 = 2 * SECOND;
/// Of the model: between looks.
const LOOK_US: u64 = 400 * MS;
/// Of the model: hosts that are tried as a way around a closed link.
const THIRDS: usize = 6;
const PORT: u16 = 7946;
/// As the daemon's: generations set aside for renewals during one life.
const GENERATIONS_RESERVED: u64 = 1_000;

/// What a daemon has of gossip.
pub enum Gossip {
    Real {
        membership: Box<Membership>,
        due: Option<u64>,
    },
    /// When each node was reachable last.
    Modelled {
        reached: BTreeMap<HostId, u64>,
    },
}

fn socket(host: HostId) -> SocketAddr {
    SocketAddr::new(address(host), PORT)
}

fn info(host: HostId, role: NodeRole) -> MemberInfo {
    MemberInfo {
        gossip: socket(host),
        control_port: 2377,
        overlay: SocketAddr::new(address(host), 4789),
        wireguard_key: [1; 32],
        role,
        name: format!("host{host}"),
    }
}

impl World {
    pub fn new_gossip(&mut self, host: HostId) -> Gossip {
        if self.settings.hosts() > REAL_GOSSIP_NODES_MAX {
            return Gossip::Modelled { reached: BTreeMap::new() };
        }
        // As the daemon does: by the clock, and above what was there before.
        let wall = u64::try_from(self.wall(host).0).unwrap_or(0);
        let here = &mut self.hosts[host];
        let generation = here.generation.max(wall).max(1);
        here.generation = generation + GENERATIONS_RESERVED;
        let (node, role) = (here.node, here.certificate);
        let seed = self.rng.random();
        match Membership::new(node, generation, info(host, role), seed, Mono(1_000)) {
            Ok(membership) => Gossip::Real { membership: Box::new(membership), due: None },
            Err(error) => panic!("the member's own account is refused: {error}"),
        }
    }

    pub fn gossip_begins(&mut self, host: HostId) {
        let Some(daemon) = self.daemon(host) else { return };
        let managers = daemon.book.managers.clone();
        match &daemon.gossip {
            Gossip::Real { .. } => {
                let seeds = managers.iter().filter_map(|node| self.nodes.get(node)).map(|host| socket(*host)).collect();
                self.gossip_input(host, Input::Join { seeds });
            }
            Gossip::Modelled { .. } => self.wake(host, LOOK_US, Wake::Gossip),
        }
    }

    fn gossip_input(&mut self, host: HostId, input: Input) {
        let (mono, wall, now) = (self.mono(host), self.wall(host), self.now);
        let Some(Gossip::Real { membership, .. }) = self.daemon(host).map(|daemon| &mut daemon.gossip) else { return };
        let revision = membership.revision();
        let mut out = Effects::default();
        membership.input(mono, wall, input, &mut out);
        let changed = membership.revision() != revision;
        let wake_at = membership.wake_at();
        let wake = wake_at.map(|at| now + self.until(host, at).max(MS));
        let Some(Gossip::Real { due, .. }) = self.daemon(host).map(|daemon| &mut daemon.gossip) else { return };
        if let Some(at) = wake.filter(|at| due.is_none_or(|due| *at < due || due <= now)) {
            *due = Some(at);
            self.wake(host, at - now, Wake::Gossip);
        }
        for (to, data) in out.sends {
            let to = (0..self.hosts.len()).find(|other| socket(*other) == to);
            if let Some(to) = to {
                self.send_packet(host, to, &Packet::Gossip { from: socket(host), data });
            }
        }
        for notice in out.notices {
            if let Notice::Rejoined { .. } = notice {
                self.note(&format!("h{host} gossip believed it dead"));
            }
        }
        if changed {
            self.gossip_to_leader(host);
        }
    }

    pub fn gossip_arrives(&mut self, host: HostId, from: SocketAddr, data: Bytes) {
        self.gossip_input(host, Input::Packet { from, data });
    }

    /// Its role is told with its name and addresses.
    pub fn gossip_role(&mut self, host: HostId) {
        let manages = self.manager(host).is_some();
        let role = if manages { NodeRole::Manager } else { NodeRole::Worker };
        self.gossip_input(host, Input::UpdateSelf(info(host, role)));
    }

    pub fn gossip_tick(&mut self, host: HostId) {
        let now = self.now;
        let Some(daemon) = self.daemon(host) else { return };
        match &mut daemon.gossip {
            Gossip::Real { due, .. } => {
                if due.is_some_and(|due| due <= now) {
                    *due = None;
                }
                self.gossip_input(host, Input::Tick);
            }
            Gossip::Modelled { .. } => {
                self.wake(host, LOOK_US, Wake::Gossip);
                self.model_reach(host);
                self.gossip_to_leader(host);
            }
        }
    }

    fn model_reach(&mut self, host: HostId) {
        if self.manager(host).is_none() {
            return;
        }
        let now = self.now;
        let lives = |other: &HostId| self.hosts[*other].daemon.is_some() && self.hosts[*other].paused_until <= now;
        let thirds: Vec<HostId> = (0..self.hosts.len()).filter(lives).take(THIRDS).collect();
        let linked = |a: HostId, b: HostId| self.net.is_linked(a, b);
        let around = |other: HostId| thirds.iter().any(|third| linked(host, *third) && linked(*third, other));
        let reached: Vec<HostId> =
            (0..self.hosts.len()).filter(lives).filter(|other| linked(host, *other) || around(*other)).collect();
        if let Some(Gossip::Modelled { reached: known }) = self.daemon(host).map(|daemon| &mut daemon.gossip) {
            known.extend(reached.into_iter().map(|other| (other, now)));
        }
    }

    /// The dispatch of this host, if it leads, hears what gossip thinks.
    pub fn gossip_to_leader(&mut self, host: HostId) {
        let now = self.now;
        if self.manager(host).is_none_or(|manager| manager.term.is_none()) {
            return;
        }
        let nodes: Vec<NodeId> = self.hosts.iter().map(|host| host.node).collect();
        let Some(daemon) = self.daemon(host) else { return };
        let alive: BTreeMap<NodeId, bool> = match &daemon.gossip {
            Gossip::Real { membership, .. } => {
                membership.members().iter().map(|(node, member)| (*node, member.state != MemberState::Down)).collect()
            }
            Gossip::Modelled { reached } => {
                reached.iter().map(|(other, at)| (nodes[*other], now < at + DOWN_AFTER_US)).collect()
            }
        };
        self.sessions_gossip(host, &alive);
    }
}
