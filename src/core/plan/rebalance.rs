//! Evening out: tasks move from the fullest nodes to the emptiest ones, as after a node joined or came back.
//!
//! Only tasks that can be there twice meanwhile (see `moves`), and only where the spread becomes better by at least
//! two: over the values of a label the service is spread over, over nodes for the service, or over nodes for all tasks
//! without making one of the former worse, and not from nodes that are less loaded by what is reserved. Each move lowers the unevenness, so there is an end to it. The budget is
//! read from the tasks that were made to move, so that a new leader keeps to it.

use super::moves::{mover, starts_first, stays_until_moved};
use super::restart::ground;
use super::slots::{Ground, SlotKey, slots};
use super::task::create;
use super::update::is_under_way;
use super::version::is_current;
use crate::model::{Node, Placement, Service, Task, TaskOrigin};
use crate::scheduler::{self, Board, NodeInfo};
use crate::store::{Change, ObjectRef, Precondition, Txn, View};
use crate::{NodeId, ServiceId, TaskId, WallTime};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Moves of one round, as `swarm rebalance` makes one: few enough to be looked at before.
pub const ROUND_MOVES_MAX: usize = 16;
/// The budget is of moves within this time.
pub const BUDGET_TIME: Duration = Duration::from_secs(60);
/// Nodes looked at for one move: the fullest to take from, and the emptiest to give to.
const FROM_NODES_MAX: usize = 64;
const TO_NODES_MAX: usize = 8;
/// Labels that services are spread over, and values of one, whose emptiest nodes are looked at besides: more are rare,
/// and each pair of nodes costs a look at the tasks of the first.
const TO_KEYS_MAX: usize = 4;
const TO_BRANCHES_MAX: usize = 16;

/// A task that is to move, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub task: TaskId,
    pub from: NodeId,
    pub to: NodeId,
    pub why: String,
}

/// What the budget of the cluster leaves.
#[derive(Debug, Default)]
pub struct Budget {
    /// Moves that may be made now.
    left: usize,
    /// When a move may be made again: any, or one that was in vain.
    pub wake_at: Option<WallTime>,
}

impl Budget {
    /// `moves` are the tasks that were made to move within [`BUDGET_TIME`] before and after `now`, and may be more.
    pub fn of<'a>(view: &View, moves: impl Iterator<Item = &'a Arc<Task>>, now: WallTime) -> Self {
        let per_minute = view.cluster().map_or(0, |cluster| cluster.spec.rebalance_moves_per_minute) as usize;
        let recent: Vec<&Arc<Task>> = moves.filter(|task| is_recent(task, now)).collect();
        let left = per_minute.saturating_sub(recent.len()).min(ROUND_MOVES_MAX);
        let holding = recent.iter().filter(|task| left == 0 || was_vain(task, now));
        let oldest = holding.map(|task| task.meta.created.wall).min();
        Self { left, wake_at: oldest.filter(|_| per_minute > 0).map(|oldest| oldest + BUDGET_TIME) }
    }

    /// Nothing may be moved now.
    pub fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

/// The moves the budget leaves now. Looks at every task.
pub fn even_out<R: RngCore>(view: &View, board: &Board, budget: &Budget, now: WallTime, rng: &mut R) -> Vec<Change> {
    shift(view, &rebalance(view, board, now, budget.left), rng)
}

/// One round that a user asks for, whatever the budget: what moves, and the write that moves it. Refused when one of
/// the tasks was written in between. `seed` is for ids only.
pub fn rebalance_round(view: &View, now: WallTime, seed: u64) -> (Vec<Shift>, Txn) {
    let shifts = rebalance(view, &Board::of(view), now, ROUND_MOVES_MAX);
    let moved = shifts.iter().filter_map(|shift| view.task(shift.task));
    let preconditions = moved.map(|task| Precondition::Version(ObjectRef::Task(task.id), task.meta.version)).collect();
    let changes = shift(view, &shifts, &mut StdRng::seed_from_u64(seed));
    (shifts, Txn { wall: now, preconditions, changes, ..Txn::default() })
}

/// Made to move within the time of the budget. What lies in the future by more was made before the clock was set back.
fn is_recent(task: &Task, now: WallTime) -> bool {
    let made = task.meta.created.wall;
    task.origin == TaskOrigin::Move && now.since(made) < BUDGET_TIME && made.since(now) <= BUDGET_TIME
}

/// It was to take over lately and never came up: it would not now.
fn was_vain(task: &Task, now: WallTime) -> bool {
    !task.is_wanted() && task.up_since.is_none() && is_recent(task, now)
}

/// Makes the tasks that take over on the nodes they are to move to.
fn shift<R: RngCore>(view: &View, shifts: &[Shift], rng: &mut R) -> Vec<Change> {
    let moved = shifts.iter().filter_map(|shift| {
        let old = view.task(shift.task)?;
        let new = mover(view, view.service(old.service)?, SlotKey::Number(old.slot), old, rng);
        Some(create(Task { node: Some(shift.to), ..new }))
    });
    moved.collect()
}

/// At most `limit` moves that even out what runs, the best first. None where the cluster packs its nodes on purpose.
pub fn rebalance(view: &View, board: &Board, now: WallTime, limit: usize) -> Vec<Shift> {
    if view.cluster().is_some_and(|cluster| cluster.spec.binpack) {
        return Vec::new();
    }
    let mut census = Census::of(view, board, now);
    let mut shifts = Vec::new();
    while shifts.len() < limit
        && let Some((task, from, to)) = census.best(board, now)
    {
        shifts.push(census.carry_out(view, board, &task, from, to));
    }
    shifts
}

/// What runs where once everything has moved that is moving or was decided to.
struct Census<'a> {
    totals: BTreeMap<NodeId, u64>,
    of_service: BTreeMap<(ServiceId, NodeId), u64>,
    /// Tasks of the movable services that are spread over labels, by the values of the first of them.
    of_branch: BTreeMap<ServiceId, BTreeMap<Vec<String>, u64>>,
    /// The nodes' values of the labels of each way of spreading.
    paths: BTreeMap<&'a [String], Paths>,
    /// Tasks that may be moved, by node; each as its follower will be.
    movable: BTreeMap<NodeId, Vec<Arc<Task>>>,
    services: BTreeMap<ServiceId, Movable<'a>>,
    /// Nodes that get something, with it.
    filled: BTreeMap<NodeId, NodeInfo>,
}

type Paths = BTreeMap<NodeId, Vec<String>>;

/// A service whose tasks may be moved.
struct Movable<'a> {
    placement: &'a Placement,
    /// How many more at once.
    budget: u64,
}

/// `task` with what its service asks of a node now: it may be of an older spec, with another placement.
fn follower(service: &Service, task: &Arc<Task>) -> Arc<Task> {
    if task.spec.placement == service.spec.task.placement {
        return Arc::clone(task);
    }
    let mut spec = (*task.spec).clone();
    spec.placement.clone_from(&service.spec.task.placement);
    Arc::new(Task { spec: Arc::new(spec), ..(**task).clone() })
}

impl<'a> Census<'a> {
    fn of(view: &'a View, board: &Board, now: WallTime) -> Self {
        let mut census = Self {
            totals: board.nodes().all().map(|info| (info.id(), 0)).collect(),
            of_service: BTreeMap::new(),
            of_branch: BTreeMap::new(),
            paths: BTreeMap::new(),
            movable: BTreeMap::new(),
            services: BTreeMap::new(),
            filled: BTreeMap::new(),
        };
        for service in view.services() {
            if starts_first(service) && !is_under_way(service) && !service.removing {
                census.add_movable(view, board, service, now);
            } else {
                for task in view.tasks_of_service(service.id).filter(|task| task.is_wanted()) {
                    census.count(task);
                }
            }
        }
        census
    }

    fn count(&mut self, task: &Task) {
        if let Some(node) = task.node {
            *self.totals.entry(node).or_default() += 1;
            *self.of_service.entry((task.service, node)).or_default() += 1;
        }
    }

    /// Tasks of a movable service on a node, more or fewer by `change`, for the branches the node is in.
    fn count_branches(&mut self, id: ServiceId, node: NodeId, change: i64) {
        let Some(spread) = self.services.get(&id).map(|movable| movable.placement.spread.as_slice()) else { return };
        let Some(path) = self.paths.get(spread).and_then(|paths| paths.get(&node)) else { return };
        let counts = self.of_branch.entry(id).or_default();
        for depth in 1..=path.len() {
            let count = counts.entry(path[..depth].to_vec()).or_default();
            *count = count.saturating_add_signed(change);
        }
    }

    /// Of a slot that moves only the task counts that takes over.
    fn add_movable(&mut self, view: &'a View, board: &Board, service: &'a Service, now: WallTime) {
        let placement = &service.spec.task.placement;
        if !placement.spread.is_empty() {
            let path = |node: &Node| scheduler::spread_path(placement, node);
            let paths = || board.nodes().all().map(|info| (info.id(), path(&info.node))).collect();
            self.paths.entry(&placement.spread).or_insert_with(paths);
        }
        self.services.insert(service.id, Movable { placement, budget: 0 });
        let parallelism = service.spec.update.as_ref().map_or(1, |update| update.parallelism);
        let mut moving = 0;
        for slot in slots(view, service).into_values() {
            let wanted: Vec<TaskId> = slot.wanted().map(|task| task.id).collect();
            let Some(task) = wanted.last().and_then(|id| view.task(*id)) else { continue };
            self.count(task);
            task.node.into_iter().for_each(|node| self.count_branches(service.id, node, 1));
            if wanted.len() > 1 {
                moving += 1;
                continue;
            }
            let stays = ground(view, service, task) == Ground::Firm;
            if let Some(node) = task.node
                && stays
                && task.is_up()
                && stays_until_moved(view, service, task)
                && is_current(view, service, task)
                && !slot.tasks.iter().any(|task| was_vain(task, now))
            {
                self.movable.entry(node).or_default().push(follower(service, task));
            }
        }
        let budget = if parallelism == 0 { u64::MAX } else { parallelism.saturating_sub(moving) };
        self.services.insert(service.id, Movable { placement, budget });
    }

    /// The node's values of the labels the service is spread over.
    fn path(&self, movable: &Movable, node: NodeId) -> &[String] {
        let paths = self.paths.get(movable.placement.spread.as_slice());
        paths.and_then(|paths| paths.get(&node)).map_or(&[], Vec::as_slice)
    }

    /// The best move there is.
    fn best(&self, board: &Board, now: WallTime) -> Option<(Arc<Task>, NodeId, NodeId)> {
        let mut from: Vec<(NodeId, u64)> = self.movable.keys().map(|id| (*id, self.fullness(board, *id))).collect();
        from.sort_by_key(|(id, total)| (Reverse(*total), *id));
        let open = board.nodes().all().filter(|info| scheduler::takes_tasks(info));
        let mut to: Vec<(NodeId, u64)> = open.map(|info| (info.id(), self.fullness(board, info.id()))).collect();
        to.sort_by_key(|(id, total)| (*total, *id));
        let to = self.targets(&to);
        for (from, _) in from.into_iter().take(FROM_NODES_MAX) {
            for (to, _) in to.iter().filter(|(to, _)| *to != from) {
                let tasks = self.movable.get(&from).into_iter().flatten();
                let gains = tasks.filter_map(|task| Some((self.gain(board, task.service, from, *to)?, task)));
                let mut gains: Vec<_> = gains.collect();
                gains.sort_by_key(|(gain, task)| (Reverse(*gain), task.service, Reverse(task.slot)));
                let takes = |task: &Task| {
                    let info = self.filled.get(to).or_else(|| board.nodes().get(*to));
                    let avoided = || board.nodes().avoided(task.service, now).contains(to);
                    info.is_some_and(|info| scheduler::takes(info, task)) && !avoided()
                };
                if let Some((_, task)) = gains.into_iter().find(|(_, task)| takes(task)) {
                    return Some((Arc::clone(task), from, *to));
                }
            }
        }
        None
    }

    /// The emptiest of all, and of each value of a label that some service is spread over first: a branch may lack its
    /// share though its nodes are the fuller ones.
    fn targets(&self, open: &[(NodeId, u64)]) -> Vec<(NodeId, u64)> {
        let mut targets: Vec<(NodeId, u64)> = open.iter().take(TO_NODES_MAX).copied().collect();
        let mut keys = BTreeSet::new();
        for movable in self.services.values().filter(|movable| movable.budget > 0) {
            let Some(key) = movable.placement.spread.first().filter(|_| keys.len() < TO_KEYS_MAX) else { continue };
            if !keys.insert(key) {
                continue;
            }
            let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
            for (id, total) in open {
                let value = self.path(movable, *id).first().map_or("", String::as_str);
                let is_known = taken.contains_key(value);
                if !is_known && taken.len() >= TO_BRANCHES_MAX {
                    continue;
                }
                let count = taken.entry(value).or_default();
                if *count < TO_NODES_MAX {
                    *count += 1;
                    targets.push((*id, *total));
                }
            }
        }
        targets.sort_by_key(|(id, total)| (*total, *id));
        targets.dedup();
        targets
    }

    fn total(&self, node: NodeId) -> u64 {
        self.totals.get(&node).copied().unwrap_or(0)
    }

    /// The share of the node that is in use, in tenths.
    fn load_step(&self, board: &Board, node: NodeId) -> u32 {
        self.filled.get(&node).or_else(|| board.nodes().get(node)).map_or(0, scheduler::load_step)
    }

    /// As the scheduler goes: by the share in use, then by the tasks.
    fn fullness(&self, board: &Board, node: NodeId) -> u64 {
        (u64::from(self.load_step(board, node)) << 32) + self.total(node)
    }

    fn on(&self, service: ServiceId, node: NodeId) -> u64 {
        self.of_service.get(&(service, node)).copied().unwrap_or(0)
    }

    /// By how much a move makes the spread better: over labels, then of the service, then of everything; at least two
    /// in one of them, and none before it made worse.
    fn gain(&self, board: &Board, id: ServiceId, from: NodeId, to: NodeId) -> Option<(u64, u64, u64)> {
        let movable = self.services.get(&id).filter(|movable| movable.budget > 0)?;
        let (here, there) = (self.path(movable, from), self.path(movable, to));
        let differs = (0..here.len()).find(|depth| here.get(*depth) != there.get(*depth)).unwrap_or(here.len());
        // All from there on: what is even for zones may still be uneven for their racks, or become so.
        for depth in differs..here.len() {
            let counts = self.of_branch.get(&id);
            let count = |path: &[String]| -> u64 {
                path.get(..=depth).and_then(|branch| counts?.get(branch)).copied().unwrap_or(0)
            };
            match count(here).checked_sub(count(there))? {
                0 => return None,
                1 => {}
                more => return Some((more, 0, 0)),
            }
        }
        let (service, total) = (self.on(id, from).checked_sub(self.on(id, to))?, self.total(from));
        match (service, total.saturating_sub(self.total(to))) {
            (0, _) | (1, 0 | 1) => None,
            (1, _) if self.load_step(board, from) < self.load_step(board, to) => None,
            (1, total) => Some((0, 0, total)),
            (service, total) => Some((0, service, total)),
        }
    }

    fn carry_out(&mut self, view: &View, board: &Board, task: &Task, from: NodeId, to: NodeId) -> Shift {
        let service = task.service;
        let name = |id: NodeId| view.node(id).map_or_else(|| id.to_string(), |node| node.display_name());
        let load = |id: NodeId| format!("{} has {} tasks ({} of it)", name(id), self.total(id), self.on(service, id));
        let why = format!("{}, {}", load(from), load(to));
        if let Some(tasks) = self.movable.get_mut(&from) {
            tasks.retain(|other| other.id != task.id);
        }
        for (node, change) in [(from, -1), (to, 1)] {
            let total = self.totals.entry(node).or_default();
            *total = total.saturating_add_signed(change);
            let count = self.of_service.entry((service, node)).or_default();
            *count = count.saturating_add_signed(change);
            self.count_branches(service, node, change);
        }
        if let Some(movable) = self.services.get_mut(&service) {
            movable.budget = movable.budget.saturating_sub(1);
        }
        if let Some(mut info) = self.filled.remove(&to).or_else(|| board.nodes().get(to).cloned()) {
            info.hold(task);
            self.filled.insert(to, info);
        }
        Shift { task: task.id, from, to, why }
    }
}
