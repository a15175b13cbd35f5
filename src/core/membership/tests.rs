//! Members on a network in memory: one event queue, a millisecond of delay, cuts at will.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::random::Sequence;
use super::*;
use crate::model::NodeRole;
use crate::{Mono, NodeId, TaskId, WallTime};

/// Key of a member that has another member's address.
const NEWCOMER: u128 = 77;
/// One way between any two members.
const DELAY: Duration = Duration::from_millis(1);
/// "Known to all in well under three seconds", for up to a few dozen members.
const DEATH_KNOWN: Duration = Duration::from_millis(2_800);

/// By the clock of all, at first.
const WALL: WallTime = WallTime(1_800_000_000_000);

fn address(node: u128) -> SocketAddr {
    SocketAddr::from(([10, 0, (node >> 8) as u8, node as u8], 7946))
}

fn info(node: u128) -> MemberInfo {
    MemberInfo {
        gossip: address(node),
        control_port: 2377,
        overlay: SocketAddr::new(address(node).ip(), 4789),
        wireguard_key: [node as u8; 32],
        role: NodeRole::Worker,
        name: format!("host{node}"),
    }
}

struct Net {
    now: Mono,
    wall: WallTime,
    members: BTreeMap<u128, Membership>,
    /// When each member wants to be woken.
    wakes: BTreeSet<(Mono, u128)>,
    wake_of: BTreeMap<u128, Mono>,
    /// Packets by time of arrival and number.
    flying: BTreeMap<(Mono, u64), (SocketAddr, SocketAddr, Bytes)>,
    sent: u64,
    /// Notices so far.
    told: usize,
    /// Members on different sides do not hear each other.
    side: BTreeMap<SocketAddr, u8>,
    /// Of 256 packets, how many are lost.
    loss: u64,
    random: Sequence,
    notices: BTreeMap<u128, Vec<Notice>>,
}

impl Net {
    fn new(seed: u64) -> Self {
        Self {
            now: Mono(1_000),
            wall: WALL,
            members: BTreeMap::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            told: 0,
            side: BTreeMap::new(),
            loss: 0,
            random: Sequence::new(seed),
            notices: BTreeMap::new(),
        }
    }

    /// `count` members that know the first one's address.
    fn with(count: u128, seed: u64) -> Self {
        let mut net = Self::new(seed);
        for node in 1..=count {
            net.start(node, 1);
        }
        net
    }

    fn start(&mut self, node: u128, generation: u64) {
        let seed = self.random.next();
        let member = Membership::new(NodeId(node), generation, info(node), seed, self.now).unwrap();
        self.place(node, member);
    }

    fn input(&mut self, node: u128, input: Input) {
        let Some(member) = self.members.get_mut(&node) else { return };
        let mut out = Effects::default();
        member.input(self.now, self.wall, input, &mut out);
        for (to, data) in out.sends {
            self.sent += 1;
            let from = member.identity().info.gossip;
            self.flying.insert((self.now + DELAY, self.sent), (from, to, data));
        }
        let wake = member.wake_at();
        self.told += out.notices.len();
        self.notices.entry(node).or_default().append(&mut out.notices);
        self.wake(node, wake);
    }

    fn wake(&mut self, node: u128, at: Option<Mono>) {
        if let Some(old) = self.wake_of.remove(&node) {
            self.wakes.remove(&(old, node));
        }
        if let Some(at) = at {
            self.wake_of.insert(node, at);
            self.wakes.insert((at, node));
        }
    }

    /// Puts a member of any address on the network.
    fn place(&mut self, key: u128, member: Membership) {
        self.members.insert(key, member);
        self.input(key, Input::Join { seeds: vec![address(1), address(2)] });
    }

    /// Carries out the next event, unless it lies beyond `until`.
    fn step(&mut self, until: Mono) -> bool {
        let wake = self.wakes.first().copied();
        let arrival = self.flying.first_key_value().map(|(key, _)| *key);
        match (arrival, wake) {
            (Some(key), wake) if wake.is_none_or(|(at, _)| key.0 <= at) => {
                if key.0 > until {
                    return false;
                }
                self.now = key.0;
                if let Some((from, to, data)) = self.flying.remove(&key) {
                    self.deliver(from, to, data);
                }
            }
            (_, Some((at, node))) if at <= until => {
                self.now = self.now.max(at);
                self.input(node, Input::Tick);
            }
            _ => return false,
        }
        true
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, data: Bytes) {
        let lost = self.random.next() % 256 < self.loss;
        if lost || self.side.get(&from) != self.side.get(&to) {
            return;
        }
        // A member's key is its address, except for a newcomer on another's.
        let SocketAddr::V4(to_v4) = to else { return };
        let octets = to_v4.ip().octets();
        let usual = u128::from(octets[2]) << 8 | u128::from(octets[3]);
        let here = |node: &u128| self.members.get(node).is_some_and(|member| member.identity().info.gossip == to);
        if let Some(node) = [usual, NEWCOMER].into_iter().find(here) {
            self.input(node, Input::Packet { from, data });
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until `done`; how long that took. Fails after `within`.
    fn until(&mut self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let mut checked = usize::MAX;
        loop {
            // Asking is expensive and worth it only when somebody changed its mind, or in between.
            if (checked != self.told || self.sent.is_multiple_of(1024)) && done(self) {
                return self.now.since(start);
            }
            checked = self.told;
            let more = self.step(start + within);
            assert!(more || done(self), "not within {within:?}: {what}");
        }
    }

    fn sees(&self, observer: u128, node: u128) -> Option<MemberState> {
        Some(self.members[&observer].members().get(&NodeId(node))?.state)
    }

    fn all_see_all_alive(&self) -> bool {
        let nodes: Vec<u128> = self.members.keys().copied().collect();
        nodes.iter().all(|observer| {
            nodes
                .iter()
                .filter(|node| *node != observer)
                .all(|node| self.sees(*observer, *node) == Some(MemberState::Alive))
        })
    }

    fn all_see_down(&self, node: u128) -> bool {
        self.members
            .keys()
            .filter(|observer| **observer != node)
            .all(|observer| self.sees(*observer, node) == Some(MemberState::Down))
    }

    fn kill(&mut self, node: u128) {
        self.wake(node, None);
        self.members.remove(&node);
    }
}

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(20);

#[test]
fn five_members_find_each_other_from_one_address() {
    let mut net = Net::with(5, 1);
    let took = net.until("all meet", SOON, Net::all_see_all_alive);
    assert!(took < Duration::from_secs(2), "{took:?}");
    for node in 1..=5u128 {
        assert!(net.members[&node].connected());
        for (id, member) in net.members[&node].members() {
            assert_eq!(member.identity.info, info(id.0));
        }
    }
}

#[test]
fn a_dead_member_is_known_to_all_within_three_seconds_and_its_record_stays() {
    for (count, seed) in [(2, 1), (3, 2), (3, 3), (5, 4), (30, 5)] {
        let mut net = Net::with(count, seed);
        net.until("all meet", LATER, Net::all_see_all_alive);
        net.run(Duration::from_millis(seed * 137));
        net.kill(count);
        let took = net.until("death known", LATER, |net| net.all_see_down(count));
        assert!(took < DEATH_KNOWN, "{count} members: {took:?}");
        assert!(net.notices[&1].contains(&Notice::Down(NodeId(count))));
        net.run(if count <= 5 { Duration::from_secs(600) } else { SOON });
        assert!(net.all_see_down(count), "the record is kept");
    }
}

#[test]
fn a_hundred_members_meet_and_notice_a_death_within_three_seconds() {
    large_cluster(100, Duration::from_secs(3));
}

#[test]
#[ignore = "minutes long in a debug build: cargo test --release -p core -- --ignored hundreds"]
fn hundreds_of_members_meet_and_notice_a_death_in_time() {
    large_cluster(300, Duration::from_millis(3_200));
    large_cluster(1000, Duration::from_secs(4));
}

fn large_cluster(count: u128, noticed_within: Duration) {
    let mut net = Net::with(count, 7);
    let met = net.until("all meet", Duration::from_secs(60), Net::all_see_all_alive);
    net.kill(count);
    let took = net.until("death known", LATER, |net| net.all_see_down(count));
    assert!(took < noticed_within, "{count} members: {took:?}, met in {met:?}");
}

#[test]
fn a_restarted_member_is_back_at_once_as_a_new_generation() {
    let mut net = Net::with(5, 11);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.kill(3);
    net.start(3, 2);
    net.notices.clear();
    let generation = |net: &Net, observer: u128| {
        net.members[&observer].members().get(&NodeId(3)).map(|member| member.identity.generation)
    };
    net.until("the new life is known", SOON, |net| {
        [1, 2, 4, 5].iter().all(|node| generation(net, *node) == Some(2)) && net.all_see_all_alive()
    });
    net.run(SOON);
    for node in [1, 2, 4, 5] {
        let notices = &net.notices[&node];
        assert!(!notices.contains(&Notice::Down(NodeId(3))), "node {node}: {notices:?}");
        assert!(notices.contains(&Notice::Changed(NodeId(3))), "node {node}: {notices:?}");
    }
}

#[test]
fn a_member_that_comes_back_after_its_death_was_known_is_up_again() {
    let mut net = Net::with(3, 12);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.kill(3);
    net.until("death known", SOON, |net| net.all_see_down(3));
    net.start(3, 2);
    net.until("it is back", SOON, Net::all_see_all_alive);
    assert_eq!(net.notices[&1].last(), Some(&Notice::Up(NodeId(3))));
}

#[test]
fn a_restart_with_a_generation_that_was_used_before_still_gets_in() {
    let mut net = Net::with(3, 13);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.kill(3);
    net.start(3, 900);
    net.until("it is back", SOON, Net::all_see_all_alive);
    net.kill(3);
    net.until("death known", SOON, |net| net.all_see_down(3));
    net.start(3, 2);
    net.until("it is back", SOON, Net::all_see_all_alive);
    assert!(net.members[&3].identity().generation > 900);
}

#[test]
fn a_host_on_a_dead_members_address_evicts_nobody() {
    let mut net = Net::with(3, 14);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.kill(3);
    let newcomer = Membership::new(NodeId(NEWCOMER), 1, info(3), 5, net.now).unwrap();
    net.place(NEWCOMER, newcomer);
    net.until("the newcomer is up and the dead one down", SOON, |net| {
        [1, 2].iter().all(|observer| {
            net.sees(*observer, NEWCOMER) == Some(MemberState::Alive)
                && net.sees(*observer, 3) == Some(MemberState::Down)
        })
    });
}

#[test]
fn a_life_far_in_the_future_takes_nobodys_place() {
    let mut net = Net::with(3, 15);
    net.until("all meet", SOON, Net::all_see_all_alive);
    let forged = MemberIdentity { node: NodeId(3), generation: u64::MAX, info: info(99) };
    for state in [foca::State::Alive, foca::State::Down] {
        for data in super::codec::encode_members([foca::Member::new(forged.clone(), 0, state)].iter()) {
            for node in 1..=3 {
                net.input(node, Input::Packet { from: address(99), data: data.clone() });
            }
        }
    }
    net.run(SOON);
    assert!(net.all_see_all_alive());
    assert_eq!(net.members[&1].members()[&NodeId(3)].identity.info, info(3));
}

#[test]
fn a_clock_that_is_set_back_by_days_costs_a_moment() {
    let mut net = Net::new(16);
    for node in 1..=3 {
        net.start(node, WALL.0 as u64);
    }
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.wall.0 -= 10 * 24 * 3_600_000;
    net.until("the old lives are over", LATER, |net| net.all_see_down(1) || !net.all_see_all_alive());
    net.until("all meet again", LATER, Net::all_see_all_alive);
    assert!(net.members.values().all(|member| member.identity().generation < WALL.0 as u64));
}

#[test]
fn a_healed_partition_finds_itself_again() {
    let mut net = Net::with(5, 21);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.side = (4..=5).map(|node| (address(node), 1)).collect();
    net.until("each side gives up the other", LATER, |net| {
        let down = |observer, node| net.sees(observer, node) == Some(MemberState::Down);
        (1..=3).all(|a| (4..=5).all(|b| down(a, b) && down(b, a)))
    });
    net.run(Duration::from_secs(600));
    net.side.clear();
    let took = net.until("all see all", LATER, Net::all_see_all_alive);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn a_member_that_was_cut_off_alone_comes_back() {
    for count in [2, 3] {
        let mut net = Net::with(count, 22);
        net.until("all meet", SOON, Net::all_see_all_alive);
        net.side = BTreeMap::from([(address(2), 1)]);
        net.until("it is given up", LATER, |net| net.all_see_down(2));
        net.run(Duration::from_secs(60));
        net.side.clear();
        let took = net.until("it is back", LATER, Net::all_see_all_alive);
        assert!(took < SOON, "{count} members: {took:?}");
    }
}

#[test]
fn lost_packets_make_no_member_down() {
    let mut net = Net::with(8, 31);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.notices.clear();
    net.loss = 13; // five percent
    net.run(Duration::from_secs(120));
    for (node, notices) in &net.notices {
        let down: Vec<_> = notices.iter().filter(|n| matches!(n, Notice::Down(_))).collect();
        assert!(down.is_empty(), "node {node}: {down:?}");
    }
}

#[test]
fn a_member_that_leaves_is_down_without_suspicion() {
    let mut net = Net::with(5, 41);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.notices.clear();
    net.input(2, Input::Leave);
    let took = net.until("its leave is known", SOON, |net| net.all_see_down(2));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(net.notices.values().flatten().all(|n| *n != Notice::Suspected(NodeId(2))));
    assert_eq!(net.members[&2].wake_at(), None);
}

#[test]
fn changed_information_reaches_all_without_a_death() {
    let mut net = Net::with(5, 51);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.notices.clear();
    let changed = MemberInfo { wireguard_key: [99; 32], role: NodeRole::Manager, ..info(2) };
    net.input(2, Input::UpdateSelf(changed.clone()));
    net.until("the change is known", SOON, |net| {
        [1, 3, 4, 5].iter().all(|observer| net.members[observer].members()[&NodeId(2)].identity.info == changed)
    });
    net.run(SOON);
    assert!(net.all_see_all_alive());
    assert!(net.members[&2].connected());
    let flat = || net.notices.values().flatten();
    assert!(flat().all(|notice| *notice != Notice::Down(NodeId(2))));
    assert!(flat().any(|notice| *notice == Notice::Changed(NodeId(2))));
}

#[test]
fn a_change_told_to_nobody_because_of_loss_is_told_later() {
    let mut net = Net::with(3, 52);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.side = BTreeMap::from([(address(2), 1)]);
    let changed = MemberInfo { wireguard_key: [98; 32], ..info(2) };
    net.input(2, Input::UpdateSelf(changed.clone()));
    net.run(Duration::from_millis(300));
    net.side.clear();
    net.until("the change is known", SOON, |net| {
        [1, 3].iter().all(|observer| net.members[observer].members()[&NodeId(2)].identity.info == changed)
            && net.all_see_all_alive()
    });
}

#[test]
fn hints_reach_all_once_and_the_latest_wins() {
    let mut net = Net::with(6, 61);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.notices.clear();
    for reachable in [false, true, false] {
        net.input(4, Input::Hint { task: TaskId(5), reachable });
    }
    net.run(SOON);
    for node in [1, 2, 3, 5, 6] {
        let hints: Vec<bool> = net.notices[&node]
            .iter()
            .filter_map(|notice| {
                let Notice::Hint(hint) = notice else { return None };
                assert_eq!((hint.origin, hint.task), (NodeId(4), TaskId(5)));
                Some(hint.reachable)
            })
            .collect();
        assert_eq!(hints.last(), Some(&false), "node {node}");
        assert!(hints.len() <= 3, "node {node}: {hints:?}");
    }
}

#[test]
fn a_forgotten_member_is_gone_only_once_it_is_down() {
    let mut net = Net::with(3, 71);
    net.until("all meet", SOON, Net::all_see_all_alive);
    net.input(1, Input::Forget(NodeId(3)));
    assert_eq!(net.sees(1, 3), Some(MemberState::Alive));
    net.kill(3);
    net.until("death known", SOON, |net| net.all_see_down(3));
    net.input(1, Input::Forget(NodeId(3)));
    assert_eq!(net.sees(1, 3), None);
    net.run(SOON);
    assert_eq!(net.sees(1, 3), None);
}

#[test]
fn two_hosts_with_one_node_id_are_noticed() {
    let mut net = Net::with(3, 81);
    net.until("all meet", SOON, Net::all_see_all_alive);
    let copy = Membership::new(NodeId(2), 1, info(9), 3, net.now).unwrap();
    net.place(9, copy);
    net.until("the contest is noticed", LATER, |net| {
        net.notices.values().flatten().any(|notice| *notice == Notice::Contested)
    });
}

#[test]
fn a_process_that_was_stopped_does_not_declare_others_dead() {
    let mut net = Net::with(3, 91);
    net.until("all meet", SOON, Net::all_see_all_alive);
    // Node 1 sleeps for ten seconds: the others go on, its own timers wait.
    let sleeper = net.members.remove(&1).unwrap();
    let wake = sleeper.wake_at();
    net.wake(1, None);
    net.until("it is given up", SOON, |net| net.all_see_down(1));
    net.run(Duration::from_secs(10));
    net.members.insert(1, sleeper);
    net.wake(1, wake);
    net.notices.clear();
    net.until("it is back", LATER, Net::all_see_all_alive);
    let notices = &net.notices[&1];
    assert!(!notices.iter().any(|n| matches!(n, Notice::Down(_))), "{notices:?}");
}

#[test]
fn equal_seeds_make_equal_runs() {
    let history = || {
        let mut net = Net::with(5, 99);
        net.loss = 20;
        net.run(Duration::from_secs(10));
        net.kill(2);
        net.run(Duration::from_secs(10));
        (net.sent, format!("{:?}", net.notices))
    };
    assert_eq!(history(), history());
}

#[test]
fn information_that_cannot_be_gossiped_is_refused() {
    let long = MemberInfo { name: "x".repeat(64), ..info(1) };
    assert!(matches!(long.check(), Err(MemberInfoError::NameTooLong { .. })));
    let nowhere = MemberInfo { gossip: "0.0.0.0:7946".parse().unwrap(), ..info(1) };
    let error = nowhere.check().unwrap_err();
    assert!(error.to_string().contains("--advertise-addr"), "{error}");
}
