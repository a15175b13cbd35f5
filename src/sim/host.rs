//! Hosts and their daemons: what each keeps over a crash, and what it does not.
//!
//! A crash of the daemon leaves the containers, their shims and everything handed to the kernel. A crash of the host
//! leaves what was synced: the log, and of the agent's records whatever made it to the disk.

use crate::agent::Agent;
use crate::disk::{Disk, Fate};
use crate::engine::Engine;
use crate::gossip::Gossip;
use crate::manager::{Manager, ManagerWake};
use crate::mutate::Mutation;
use crate::net::HostId;
use crate::record::Records;
use crate::role::Role;
use crate::settings::{Asks, MS, SECOND};
use crate::table::Source;
use crate::world::{Event, Wake, World};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use swarm_core::consensus::bootstrap;
use swarm_core::model::*;
use swarm_core::store::{Change, Object, Store, Txn};
use swarm_core::{ClusterId, NetworkId, NodeId, Sensitive, control};

/// Where the managers are, as a node knows: `node::managers`.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub managers: BTreeSet<NodeId>,
    pub leader: Option<NodeId>,
    lost: Option<NodeId>,
}

impl Book {
    /// Managers to ask, the leader first, the one last lost at the end.
    pub fn in_order(&self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = self.managers.iter().copied().collect();
        all.sort_by_key(|node| (Some(*node) != self.leader, Some(*node) == self.lost));
        all
    }

    pub fn set_leader(&mut self, leader: NodeId) {
        self.leader = Some(leader);
        self.managers.insert(leader);
    }

    pub fn leads(&mut self, leader: NodeId) {
        (self.leader, self.lost) = (Some(leader), None);
    }

    pub fn forget_leader(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.lost = Some(leader);
        }
    }
}

/// A running daemon.
pub struct Daemon {
    pub life: u64,
    pub began: u64,
    pub book: Book,
    pub role: Role,
    pub manager: Option<Manager>,
    pub agent: Agent,
    pub gossip: Gossip,
}

/// A host.
pub struct Host {
    pub node: NodeId,
    /// Grows when its power was off.
    pub boot: u64,
    pub daemon: Option<Daemon>,
    pub powered: bool,
    pub paused_until: u64,
    pub skew_ms: i64,
    /// By how many millionths its other clock is fast.
    pub clock_rate_ppm: i64,
    /// When its clock was set last.
    pub clock_set_at: u64,
    /// The log of its manager, and under which id it is a member; on disk.
    pub disk: Disk,
    pub raft_id: Option<u64>,
    /// It was let into the group with that id.
    pub joined: bool,
    /// The role in its certificate, the managers it knew, and its generation in gossip; on disk.
    pub certificate: NodeRole,
    pub known: BTreeSet<NodeId>,
    pub generation: u64,
    pub records: Records,
    pub engine: Engine,
    /// A sync takes this long, microseconds.
    pub sync_us: (u64, u64),
    pub disk_fails: bool,
    /// The next promise is the last of its daemon (see `faults`).
    pub brittle: bool,
    /// It is not started again.
    pub stays_down: bool,
}

pub fn address(host: HostId) -> IpAddr {
    let [_, _, high, low] = u32::try_from(host + 1).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(192, 168, high, low).into()
}

/// What a node says of itself.
pub fn description(asks: Asks, host: HostId) -> NodeDescription {
    let (generic, named) = if asks.generic { generic(host) } else { Default::default() };
    NodeDescription {
        hostname: format!("host{host}"),
        platform: Platform {
            os: "linux".into(),
            architecture: if host % 7 == 6 { "aarch64" } else { "x86_64" }.into(),
        },
        resources: Resources {
            nano_cpus: 2_000_000_000 + 2_000_000_000 * (host as i64 % 3),
            memory_bytes: (4 + 4 * (host as i64 % 2)) << 30,
            generic,
            named,
        },
        engine_version: "sim".into(),
        engine_labels: Labels::from([("disk".into(), if host.is_multiple_of(2) { "ssd" } else { "hdd" }.into())]),
        wireguard_key: [u8::try_from(host % 250).unwrap_or(0) + 1; 32],
        wireguard_port: 4789,
    }
}

/// Counted and named resources: most nodes have some, one kind is not on all of them.
fn generic(host: HostId) -> (BTreeMap<String, i64>, BTreeMap<String, ResourceNames>) {
    let names = (0..1 + host % 3).map(|number| format!("gpu-{host}-{number}")).collect();
    let named = (host % 4 != 3).then(|| ("gpu".to_owned(), ResourceNames { names }));
    (BTreeMap::from([("disk".to_owned(), 2 + (host % 2) as i64)]), named.into_iter().collect())
}

fn cluster() -> Cluster {
    let secret = || JoinSecret { secret: Sensitive::new("secret".to_owned()), expires: None };
    Cluster {
        id: ClusterId(1),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        ca: ClusterCa { certificate_der: vec![1], sealed_key: Sensitive::new(vec![1]) },
        worker_secret: secret(),
        manager_secret: secret(),
        gossip_keys: vec![GossipKey { id: 1, key: Sensitive::new([1; 32]) }],
    }
}

impl World {
    /// The first manager with a store that has all nodes; the other managers ask to be let in as they start.
    pub fn found(&mut self) {
        let managers = self.settings.managers;
        for host in 0..self.settings.hosts() {
            let node = NodeId::random(&mut self.rng);
            self.nodes.insert(node, host);
            self.check.knows(node, host);
            let skew = self.settings.skew_ms;
            let skew_ms = if skew > 0 { self.rng.random_range(-skew..=skew) } else { 0 };
            let clock_rate_ppm = self.settings.clock_rate_ppm(&mut self.rng);
            let certificate = if host < managers { NodeRole::Manager } else { NodeRole::Worker };
            self.hosts.push(Host {
                node,
                boot: 1,
                daemon: None,
                powered: true,
                paused_until: 0,
                skew_ms,
                clock_rate_ppm,
                clock_set_at: 0,
                disk: Disk::default(),
                raft_id: None,
                joined: false,
                certificate,
                known: BTreeSet::new(),
                generation: 1,
                records: Records::default(),
                engine: Engine::default(),
                sync_us: (MS, 8 * MS),
                disk_fails: false,
                brittle: false,
                stays_down: false,
            });
        }
        let first = self.hosts[0].node;
        for host in &mut self.hosts {
            host.known = BTreeSet::from([first]);
            host.disk.lies = self.settings.mutation == Some(Mutation::SkipFsync);
        }
        let state = self.first_state();
        let raft_id = self.number();
        let host = &mut self.hosts[0];
        (host.raft_id, host.joined) = (Some(raft_id), true);
        let lies = host.disk.lies;
        host.disk = Disk::holding(bootstrap(raft_id, first, state));
        host.disk.lies = lies;
        for host in 0..self.hosts.len() {
            self.start_daemon(host);
        }
    }

    fn first_state(&mut self) -> bytes::Bytes {
        let mut changes = vec![Change::Create(Object::Cluster(Arc::new(cluster())))];
        let ids = [0; 3].map(|_| NetworkId::random(&mut self.rng));
        let networks = control::predefined_networks(ids);
        changes.extend(networks.into_iter().map(|network| Change::Create(Object::Network(Arc::new(network)))));
        let wall = self.wall(0);
        for (host, here) in self.hosts.iter().enumerate() {
            let zone = ["a", "b", "c"][host % 3].to_owned();
            let node = Node {
                id: here.node,
                meta: Meta::default(),
                spec: NodeSpec {
                    role: here.certificate,
                    labels: Labels::from([("zone".to_owned(), zone)]),
                    ..NodeSpec::default()
                },
                description: None,
                status: NodeStatus { addr: Some(address(host)), since: wall, ..NodeStatus::default() },
                raft: None,
                certificate_role: here.certificate,
            };
            changes.push(Change::Create(node.into()));
        }
        let mut store = Store::new();
        let applied = store.apply(1, 1, &Txn { wall, changes, ..Txn::default() });
        assert!(applied.is_ok(), "the first state: {applied:?}");
        self.check.restored(1, crate::manager::state_hash(&store), &store.view());
        self.tables.pack(&store)
    }

    /// A daemon begins on a host that has none.
    pub fn start_daemon(&mut self, host: HostId) {
        if self.hosts[host].daemon.is_some() || !self.hosts[host].powered {
            return;
        }
        let life = self.number();
        let here = &self.hosts[host];
        let book = Book { managers: here.known.clone(), ..Book::default() };
        let gossip = self.new_gossip(host);
        let began = self.now;
        let role = Role::new(self.hosts[host].certificate);
        self.hosts[host].daemon =
            Some(Daemon { life, began, book, role, manager: None, agent: Agent::default(), gossip });
        self.note(&format!("h{host} daemon starts"));
        if self.settings.mutation == Some(Mutation::ForgetRecords) {
            self.hosts[host].records = Records::default();
        }
        if self.hosts[host].joined {
            self.start_manager(host);
        }
        self.gossip_begins(host);
        self.recover_agent(host);
        self.wake(host, 5 * MS, Wake::SessionTry);
        self.wake(host, 10 * MS, Wake::Follow);
    }

    /// The daemon is killed. What its operations had begun goes on or not.
    pub fn crash_daemon(&mut self, host: HostId) {
        if self.hosts[host].daemon.is_none() {
            return;
        }
        let fate = if self.chance(50) { Fate::Kept } else { Fate::Lost };
        self.note(&format!("h{host} daemon dies"));
        self.engine_abandoned(host);
        self.end_daemon(host, fate, false);
    }

    /// The power goes.
    pub fn crash_host(&mut self, host: HostId) {
        if !self.hosts[host].powered {
            return;
        }
        let fate = [Fate::Kept, Fate::Lost, Fate::Torn][self.rng.random_range(0..3)];
        self.note(&format!("h{host} loses power ({fate:?})"));
        self.end_daemon(host, fate, true);
        let here = &mut self.hosts[host];
        here.powered = false;
        here.boot += 1;
        here.engine.lose_power();
        here.records.lose_power(&mut self.rng, self.now);
        self.check.host_crashed(host);
    }

    fn end_daemon(&mut self, host: HostId, fate: Fate, power: bool) {
        let now = self.now;
        let here = &mut self.hosts[host];
        here.disk.crash(fate, power);
        if let Some(daemon) = here.daemon.take() {
            here.known = daemon.book.managers;
        }
        here.paused_until = now;
        if self.settings.mutation == Some(Mutation::VoteTwice) {
            self.hosts[host].disk.forget_vote();
        }
    }

    /// Power comes back, and the daemon with it.
    pub fn start_host(&mut self, host: HostId) {
        self.hosts[host].powered = true;
        self.start_daemon(host);
    }

    /// To the manager part of a host's process, if it is still the same.
    pub fn wake_manager(&mut self, host: HostId, after: u64, wake: ManagerWake) {
        let manager = self.hosts[host].daemon.as_ref().and_then(|daemon| daemon.manager.as_ref());
        if let Some(epoch) = manager.map(|manager| manager.epoch) {
            self.push(after, Event::Manager { host, epoch, wake });
        }
    }

    pub fn manager(&mut self, host: HostId) -> Option<&mut Manager> {
        self.hosts[host].daemon.as_mut()?.manager.as_mut()
    }

    /// The daemon of a host, if it runs.
    pub fn daemon(&mut self, host: HostId) -> Option<&mut Daemon> {
        self.hosts[host].daemon.as_mut()
    }

    /// A node's certificate was renewed: the store learns of its role.
    pub fn certify(&mut self, answering: HostId, node: NodeId, role: NodeRole) {
        let changes = vec![Change::NodeCertificate { node, role }];
        let txn = Txn { wall: self.wall(answering), changes, ..Txn::default() };
        self.submit(answering, txn, Source::Certificate, crate::submit::For::Nobody, 6 * SECOND);
    }
}
