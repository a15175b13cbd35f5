//! The membership state machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tracing::debug;

use super::codec::{
    Codec, HelloReply, Packet, decode_packet, encode_digest, encode_hello, encode_hello_reply, encode_members,
};
use super::driver::{Collected, Event, Timed};
use super::hints::{EndpointHint, HintHandler, encode_hint};
use super::identity::{Horizon, MemberIdentity, MemberInfo, MemberInfoError};
use super::random::Sequence;
use super::sync::{Answers, digest};
use super::timing::{LATE, LocalHealth, PROBE_PERIOD, SEEK_PERIOD, SYNC_PERIOD, settings};
use super::view::{Member, MemberState, Members, Notice};
use crate::{Mono, NodeId, TaskId, WallTime};

/// Addresses asked at once by a member without active peers.
const SEEK_TARGETS_MAX: usize = 8;
/// Seeds kept; more than the managers of any cluster.
const SEEDS_MAX: usize = 32;
/// Removed nodes remembered; forgetting one can at worst show it once more, as down.
const FORGOTTEN_MAX: usize = 1024;
/// Rejoins within [`CONTEST_WINDOW`] from which on somebody else must be using our node id.
const CONTEST_REJOINS: usize = 5;
const CONTEST_WINDOW: Duration = Duration::from_secs(30);

/// What can happen.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed; wanted at [`Membership::wake_at`].
    Tick,
    /// A packet arrived and was opened.
    Packet {
        /// Whence.
        from: SocketAddr,
        /// At most [`super::PACKET_BYTES_MAX`] bytes.
        data: Bytes,
    },
    /// Look for members at these gossip addresses until one is found, and again whenever alone.
    Join {
        /// Usually the managers'.
        seeds: Vec<SocketAddr>,
    },
    /// This node's addresses, key, role or name changed.
    UpdateSelf(MemberInfo),
    /// Tell all nodes whether a task of this node takes connections.
    Hint {
        /// The task.
        task: TaskId,
        /// Whether it does.
        reachable: bool,
    },
    /// The node was removed from the cluster: forget what is known of it, once it is down.
    Forget(NodeId),
    /// Say goodbye. Nothing is done afterwards.
    Leave,
}

/// What the shell is to do.
#[derive(Debug, Default)]
pub struct Effects {
    /// Packets to seal and send, at most [`super::PACKET_BYTES_MAX`] bytes each.
    pub sends: Vec<(SocketAddr, Bytes)>,
    /// Changes to tell.
    pub notices: Vec<Notice>,
}

/// What was dropped since the start, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were malformed or of another version.
    pub packets_refused: u64,
    /// Inputs that foca refused: mostly packets meant for an earlier life.
    pub inputs_refused: u64,
}

type Foca = foca::Foca<MemberIdentity, Codec, Sequence, HintHandler>;

/// Membership of one node. Give it every packet and a [`Input::Tick`] at [`Membership::wake_at`];
/// packets that have already arrived go first, because they may answer what a timer would judge.
pub struct Membership {
    foca: Foca,
    /// Grows whenever foca takes in news of a member.
    news: Arc<AtomicU64>,
    news_seen: u64,
    hints: mpsc::Receiver<EndpointHint>,
    hint_count: u64,
    members: Members,
    /// Grows with every change of `members`.
    revision: u64,
    /// Lives that ended with the removal of their node: echoes of them are not shown again.
    forgotten: BTreeMap<NodeId, u64>,
    timers: BinaryHeap<Reverse<Timed>>,
    timer_count: u64,
    /// Members whose suspicion this node itself raised.
    suspected: BTreeSet<NodeId>,
    seeds: Vec<SocketAddr>,
    random: Sequence,
    health: LocalHealth,
    sync_answers: Answers,
    horizon: Horizon,
    /// Active members, ourselves included, rounded up to a power of two.
    size_class: usize,
    /// Whether some member knows our present life.
    connected: bool,
    left: bool,
    rejoins: VecDeque<Mono>,
    counters: Counters,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("identity", self.foca.identity())
            .field("members", &self.members.len())
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// A node's membership before it has met anyone. `generation` must be higher than in any
    /// earlier life of this node; `seed` makes its random choices repeatable.
    pub fn new(node: NodeId, generation: u64, info: MemberInfo, seed: u64, now: Mono) -> Result<Self, MemberInfoError> {
        info.check()?;
        let identity = MemberIdentity { node, generation, info };
        let mut random = Sequence::new(seed);
        let horizon = Horizon::default();
        let (handler, hints) = HintHandler::new(horizon.clone());
        let rng = Sequence::new(random.next());
        let codec = Codec::new(horizon.clone());
        let news = codec.members_encoded();
        let foca = foca::Foca::with_custom_broadcast(identity, settings(1), rng, codec, handler);
        let mut membership = Self {
            foca,
            news,
            news_seen: 0,
            hints,
            hint_count: 0,
            members: Members::new(),
            revision: 0,
            forgotten: BTreeMap::new(),
            timers: BinaryHeap::new(),
            timer_count: 0,
            suspected: BTreeSet::new(),
            seeds: Vec::new(),
            random,
            health: LocalHealth::default(),
            sync_answers: Answers::default(),
            horizon,
            size_class: 1,
            connected: false,
            left: false,
            rejoins: VecDeque::new(),
            counters: Counters::default(),
        };
        membership.schedule(now + SEEK_PERIOD, Event::Seek);
        membership.schedule(now + SYNC_PERIOD, Event::Sync);
        Ok(membership)
    }

    /// This node's present life.
    #[must_use]
    pub fn identity(&self) -> &MemberIdentity {
        self.foca.identity()
    }

    /// All others ever heard of.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Grows whenever [`Membership::members`] changes.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether some member knows this node.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// What was dropped.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When [`Input::Tick`] is wanted next.
    #[must_use]
    pub fn wake_at(&self) -> Option<Mono> {
        self.timers.peek().map(|Reverse(timed)| timed.due)
    }

    /// Takes in what happened and adds what is to be done to `out`. `wall` tells lives that cannot be true.
    pub fn input(&mut self, now: Mono, wall: WallTime, input: Input, out: &mut Effects) {
        if self.left {
            return;
        }
        self.horizon.set(wall);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Packet { from, data } => self.packet(now, from, data, out),
            Input::Join { mut seeds } => {
                seeds.truncate(SEEDS_MAX);
                self.seeds = seeds;
                self.seek(out);
            }
            Input::UpdateSelf(info) => self.update_self(now, info, out),
            Input::Hint { task, reachable } => self.hint(now, task, reachable, out),
            Input::Forget(node) => self.forget(now, node, out),
            Input::Leave => {
                self.drive(now, out, |foca, runtime| foca.leave_cluster(runtime));
                self.left = true;
                self.timers.clear();
            }
        }
    }

    fn tick(&mut self, now: Mono, out: &mut Effects) {
        self.health.rest(now);
        while let Some(Reverse(timed)) = self.timers.peek() {
            if timed.due > now {
                break;
            }
            let Some(Reverse(timed)) = self.timers.pop() else { break };
            let late = now.since(timed.due) >= LATE;
            if late {
                self.health.trouble(now);
            }
            match timed.event {
                Event::Foca(event @ foca::Timer::ChangeSuspectToDown { .. }) if late && !timed.deferred => {
                    // This process did not run when the suspect may have spoken up.
                    self.push(Timed { due: now + PROBE_PERIOD, event: Event::Foca(event), deferred: true, ..timed });
                }
                Event::Foca(event) => {
                    self.drive(now, out, |foca, runtime| foca.handle_timer(event, runtime));
                }
                Event::Sync => {
                    self.sync(out);
                    self.schedule(now + SYNC_PERIOD, Event::Sync);
                }
                Event::Seek => {
                    self.end_future_lives(now, out);
                    if !self.connected {
                        self.seek(out);
                    }
                    self.schedule(now + SEEK_PERIOD, Event::Seek);
                }
            }
        }
    }

    fn packet(&mut self, now: Mono, from: SocketAddr, data: Bytes, out: &mut Effects) {
        match decode_packet(data, &self.horizon) {
            Ok(Packet::Foca(body)) => {
                self.drive(now, out, |foca, runtime| foca.handle_data(&body, runtime));
            }
            Ok(Packet::Hello(asker)) => {
                if asker.node != self.identity().node {
                    let your_generation = self.members.get(&asker.node).map_or(0, |known| known.identity.generation);
                    let reply = HelloReply { identity: self.identity().clone(), your_generation };
                    out.sends.extend(encode_hello_reply(&reply).map(|packet| (from, packet)));
                }
            }
            Ok(Packet::HelloReply(reply)) => self.hello_reply(now, reply, out),
            Ok(Packet::Digest(theirs)) => self.answer_digest(now, from, theirs, out),
            Ok(Packet::Members(members)) => {
                // News that were not passed on are not counted, so the comparison is forced.
                self.news_seen = u64::MAX;
                self.drive(now, out, |foca, runtime| foca.apply_many(members.into_iter(), false, runtime));
            }
            Err(error) => {
                self.counters.packets_refused += 1;
                debug!(%from, %error, "dropped a gossip packet");
            }
        }
    }

    /// Asks a random active member whether it knows the same members.
    fn sync(&mut self, out: &mut Effects) {
        let active = |member: &&Member| member.state == MemberState::Alive;
        let count = self.members.values().filter(active).count();
        if count == 0 {
            return;
        }
        let chosen = self.random.next() as usize % count;
        let peer = self.members.values().filter(active).nth(chosen);
        let packet = encode_digest(digest(self.identity(), &self.members));
        if let (Some(peer), Some(packet)) = (peer, packet) {
            out.sends.push((peer.identity.info.gossip, packet));
        }
    }

    /// Tells a member that knows something else all active members, itself included.
    fn answer_digest(&mut self, now: Mono, from: SocketAddr, theirs: u64, out: &mut Effects) {
        if theirs == digest(self.identity(), &self.members) || !self.sync_answers.allow(now) {
            return;
        }
        let own = foca::Member::alive(self.identity().clone());
        let packets = encode_members(self.foca.iter_members().chain([&own]));
        out.sends.extend(packets.into_iter().map(|packet| (from, packet)));
    }

    /// Somebody is there. Introduces this node, with a generation that will be accepted.
    fn hello_reply(&mut self, now: Mono, reply: HelloReply, out: &mut Effects) {
        let own = self.identity().clone();
        if reply.identity.node == own.node || self.connected {
            return;
        }
        if reply.your_generation > own.generation
            && let Some(generation) = reply.your_generation.checked_add(1)
        {
            self.become_identity(now, MemberIdentity { generation, ..own }, out);
        }
        self.drive(now, out, |foca, runtime| foca.announce(reply.identity, runtime));
    }

    fn update_self(&mut self, now: Mono, info: MemberInfo, out: &mut Effects) {
        let own = self.identity().clone();
        if own.info == info || info.check().is_err() {
            return;
        }
        if let Some(generation) = own.generation.checked_add(1) {
            self.become_identity(now, MemberIdentity { generation, info, ..own }, out);
        }
    }

    fn become_identity(&mut self, now: Mono, identity: MemberIdentity, out: &mut Effects) {
        self.connected = false;
        self.drive(now, out, |foca, runtime| foca.change_identity(identity, runtime));
    }

    fn hint(&mut self, now: Mono, task: TaskId, reachable: bool, out: &mut Effects) {
        self.hint_count += 1;
        let own = self.identity();
        let hint = EndpointHint { origin: own.node, task, reachable };
        if let Some(data) = encode_hint(&hint, own.generation, self.hint_count) {
            self.drive(now, out, |foca, mut runtime| {
                foca.add_broadcast(&data)?;
                foca.broadcast(&mut runtime)
            });
        }
    }

    fn forget(&mut self, now: Mono, node: NodeId, out: &mut Effects) {
        let Some(known) = self.members.get(&node) else { return };
        if known.state == MemberState::Down {
            let event = foca::Timer::RemoveDown(known.identity.clone());
            if self.forgotten.len() >= FORGOTTEN_MAX {
                self.forgotten.pop_first();
            }
            self.forgotten.insert(node, known.identity.generation);
            self.drive(now, out, |foca, runtime| foca.handle_timer(event, runtime));
            self.members.remove(&node);
            self.revision += 1;
        }
    }

    /// The clock was set back, so that lives told with the old one are not believed any more: this node begins one that
    /// is, and others can.
    fn end_future_lives(&mut self, now: Mono, out: &mut Effects) {
        let own = self.identity().clone();
        if !self.connected && !self.horizon.allows(own.generation) {
            self.become_identity(now, MemberIdentity { generation: self.horizon.generation_now(), ..own }, out);
        }
        let future = |member: &&Member| !self.horizon.allows(member.identity.generation);
        let gone: Vec<NodeId> = self.members.values().filter(future).map(|member| member.identity.node).collect();
        for node in gone {
            self.forget(now, node, out);
        }
    }

    /// Asks seeds and the last known addresses of members who is there.
    fn seek(&mut self, out: &mut Effects) {
        let own = self.identity().info.gossip;
        let mut targets: BTreeSet<SocketAddr> = self.seeds.iter().copied().collect();
        targets.extend(self.members.values().map(|member| member.identity.info.gossip));
        targets.remove(&own);
        let Some(hello) = encode_hello(self.identity()) else { return };
        let mut targets: Vec<SocketAddr> = targets.into_iter().collect();
        for _ in 0..SEEK_TARGETS_MAX.min(targets.len()) {
            let chosen = self.random.next() as usize % targets.len();
            out.sends.push((targets.swap_remove(chosen), hello.clone()));
        }
    }

    /// Runs foca and takes in everything it wants.
    fn drive(
        &mut self,
        now: Mono,
        out: &mut Effects,
        act: impl FnOnce(&mut Foca, &mut Collected) -> Result<(), foca::Error>,
    ) {
        let mut collected = Collected::default();
        if let Err(error) = act(&mut self.foca, &mut collected) {
            self.counters.inputs_refused += 1;
            debug!(%error, "gossip input refused");
        }
        out.sends.append(&mut collected.sends);
        for (event, after) in collected.timers {
            self.schedule_foca(now, event, after);
        }
        let was_connected = self.connected;
        for notification in collected.notifications {
            self.notification(now, notification, out);
        }
        self.compare(now, out);
        if self.connected && !was_connected {
            self.sync(out);
        }
        while let Ok(hint) = self.hints.try_recv() {
            if hint.origin != self.foca.identity().node {
                out.notices.push(Notice::Hint(hint));
            }
        }
        self.resize();
    }

    fn schedule_foca(&mut self, now: Mono, event: foca::Timer<MemberIdentity>, after: Duration) {
        let after = match &event {
            foca::Timer::ChangeSuspectToDown { member_id, .. } => {
                self.suspected.insert(member_id.node);
                after * self.health.factor()
            }
            foca::Timer::ProbeRandomMember(_)
            | foca::Timer::SendIndirectProbe { .. }
            | foca::Timer::PeriodicAnnounce(_)
            | foca::Timer::PeriodicAnnounceDown(_)
            | foca::Timer::PeriodicGossip(_)
            | foca::Timer::RemoveDown(_) => after,
        };
        self.schedule(now + after, Event::Foca(event));
    }

    fn notification(&mut self, now: Mono, notification: foca::OwnedNotification<MemberIdentity>, out: &mut Effects) {
        match notification {
            foca::OwnedNotification::Active => self.connected = true,
            foca::OwnedNotification::Idle | foca::OwnedNotification::Defunct => {
                self.connected = false;
            }
            foca::OwnedNotification::Rejoin(identity) => {
                self.connected = false;
                out.notices.push(Notice::Rejoined { generation: identity.generation });
                self.rejoins.push_back(now);
                while self.rejoins.front().is_some_and(|at| now.since(*at) > CONTEST_WINDOW) {
                    self.rejoins.pop_front();
                }
                if self.rejoins.len() >= CONTEST_REJOINS {
                    self.rejoins.clear();
                    out.notices.push(Notice::Contested);
                }
            }
            // The comparison that follows sees these and more.
            foca::OwnedNotification::MemberUp(_)
            | foca::OwnedNotification::MemberDown(_)
            | foca::OwnedNotification::Rename(_, _) => {}
        }
    }

    /// Brings the members map up to date with foca and tells what changed.
    fn compare(&mut self, now: Mono, out: &mut Effects) {
        let news = self.news.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.news_seen, news) == news {
            return;
        }
        let own = self.foca.identity().node;
        for theirs in self.foca.iter_membership_state() {
            let (identity, state) = (theirs.id(), MemberState::from_foca(theirs.state()));
            if identity.node == own {
                continue; // An earlier life of this node.
            }
            let echo = |generation: &u64| *generation >= identity.generation;
            if state == MemberState::Down && self.forgotten.get(&identity.node).is_some_and(echo) {
                continue;
            }
            let known = self.members.get(&identity.node);
            if known.is_some_and(|known| known.state == state && known.identity == *identity) {
                continue;
            }
            out.notices.extend(notice(known, identity, state));
            let spoke_up =
                known.is_some_and(|known| known.state == MemberState::Suspect) && state == MemberState::Alive;
            if state != MemberState::Suspect && self.suspected.remove(&identity.node) && spoke_up {
                self.health.trouble(now);
            }
            let since = match known {
                Some(known) if known.state == state => known.since,
                Some(_) | None => now,
            };
            let member = Member { identity: identity.clone(), state, since };
            self.members.insert(identity.node, member);
            self.revision += 1;
        }
    }

    /// Adapts foca's settings to the size of the cluster, in steps of two.
    fn resize(&mut self) {
        let size_class = (self.foca.num_members() + 1).next_power_of_two();
        if size_class != self.size_class {
            self.size_class = size_class;
            if let Err(error) = self.foca.set_config(settings(size_class)) {
                debug!(%error, "gossip settings not changed");
            }
        }
    }

    fn schedule(&mut self, due: Mono, event: Event) {
        self.timer_count += 1;
        self.push(Timed { due, count: self.timer_count, event, deferred: false });
    }

    fn push(&mut self, timed: Timed) {
        self.timers.push(Reverse(timed));
    }
}

/// What a change of belief means to others.
fn notice(known: Option<&Member>, identity: &MemberIdentity, state: MemberState) -> Option<Notice> {
    use MemberState::{Alive, Down, Suspect};
    let node = identity.node;
    match (known.map(|known| known.state), state) {
        (None | Some(Down), Alive | Suspect) => Some(Notice::Up(node)),
        (Some(Alive), Suspect) => Some(Notice::Suspected(node)),
        (Some(Suspect), Alive) => Some(Notice::Recovered(node)),
        (Some(Alive | Suspect), Down) => Some(Notice::Down(node)),
        (Some(Alive), Alive) | (Some(Suspect), Suspect) => Some(Notice::Changed(node)),
        (None | Some(Down), Down) => None,
    }
}
