//! A leadership: the loops that only a leader runs (`node::manager::leader`, `orchestrate`), begun and ended as one.

use crate::manager::{ManagerWake, Waiter, Written};
use crate::members::Members;
use crate::mutate::Mutation;
use crate::net::HostId;
use crate::scaling::Scaling;
use crate::sessions::Sessions;
use crate::settings::{MS, SECOND};
use crate::table::{Entry, Source};
use crate::world::World;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::sync::Arc;
use swarm_core::leader::{Clock, Ledger, Scope, Step, step};
use swarm_core::model::UpdateConfig;
use swarm_core::store::{Change, Object, Store, Txn, View};
use swarm_core::{TaskId, WallTime};

/// As the daemon's: after a write that did not come through.
const RETRY_US: u64 = 200 * MS;
/// As the daemon's: longest sleep without a look.
const LOOK_US: u64 = 5 * SECOND;
/// After its clock was set, the ledger looks at the times it waits for again, and at a part of the rest at a time.
const CLOCK_NOTICED_US: u64 = 60 * SECOND;
/// As the daemon's: refusals in a row that writes of others explain.
const REFUSALS: u32 = 8;

/// What wakes a leader's loops.
#[derive(Debug)]
pub enum TermWake {
    /// Something was committed.
    Views,
    /// The orchestration was to look again.
    Orchestrate {
        token: u64,
    },
    /// The dispatch asked for a tick.
    Dispatch {
        token: u64,
    },
    Members,
    /// The autoscaler is to look.
    Scale,
}

/// Where the orchestration stands.
#[derive(Debug)]
enum Orchestration {
    /// Waits for what its predecessor left on the way.
    Barrier,
    /// Writes what it decided, one after the other.
    Writing(VecDeque<Txn>),
    /// Looks again when something changes, or when its time has come.
    Idle,
    /// Looks again when its time has come.
    Pausing,
}

/// A leadership of one manager.
pub struct Term {
    pub number: u64,
    orchestration: Orchestration,
    token: u64,
    behind: bool,
    refused: u32,
    told: bool,
    ledger: Ledger,
    clock: Clock,
    looked: u64,
    pub sessions: Sessions,
    pub members: Members,
    pub scaling: Scaling,
}

impl World {
    /// The term of a host, if it is the one meant.
    pub fn term(&mut self, host: HostId, number: u64) -> Option<&mut Term> {
        self.manager(host)?.term.as_mut().filter(|term| term.number == number)
    }

    /// What time it is for a leader; that of its host for others.
    pub fn leader_wall(&mut self, host: HostId) -> WallTime {
        let (now, wall) = (self.mono(host), self.wall(host));
        let term = self.manager(host).and_then(|manager| manager.term.as_mut());
        term.map_or(wall, |term| term.clock.now(now, wall))
    }

    pub fn begin_term(&mut self, host: HostId, number: u64) {
        let (now, wall) = (self.mono(host), self.wall(host));
        let Some((view, mut clock)) = self.manager(host).map(|manager| (manager.store.view(), manager.clock)) else {
            return;
        };
        clock.begin(now, wall, &view);
        let term = Term {
            number,
            orchestration: Orchestration::Pausing,
            token: 0,
            behind: true,
            refused: 0,
            told: false,
            ledger: Ledger::default(),
            clock,
            looked: 0,
            sessions: Sessions::new(now, view),
            members: Members::default(),
            scaling: Scaling::default(),
        };
        if let Some(manager) = self.manager(host) {
            manager.term = Some(term);
        }
        self.orchestrate_after(host, number, 10);
        self.sessions_begin(host, number);
        self.scaling_begins(host, number);
        self.wake_manager(host, 20, ManagerWake::Term { term: number, wake: TermWake::Members });
    }

    pub fn end_term(&mut self, host: HostId) {
        let Some(term) = self.manager(host).and_then(|manager| manager.term.take()) else { return };
        // Dropping the streams ends them for the nodes.
        for stream in term.sessions.streams() {
            self.stream_close(stream, crate::stream::Side::Leader);
        }
    }

    /// Loops that watch the state are told, once for all that changed meanwhile.
    pub fn views_changed(&mut self, host: HostId) {
        let lag = self.settings.lag_us;
        let Some(term) = self.manager(host).and_then(|manager| manager.term.as_mut()) else { return };
        if std::mem::replace(&mut term.told, true) {
            return;
        }
        let number = term.number;
        let after = self.draw(10, lag);
        self.wake_manager(host, after, ManagerWake::Term { term: number, wake: TermWake::Views });
    }

    pub fn term_wakes(&mut self, host: HostId, number: u64, wake: TermWake) {
        let Some(term) = self.term(host, number) else { return };
        match wake {
            TermWake::Views => {
                term.told = false;
                let idle = matches!(term.orchestration, Orchestration::Idle);
                self.sessions_committed(host, number);
                if idle {
                    self.orchestrate(host, number);
                }
            }
            TermWake::Orchestrate { token } => {
                if term.token == token {
                    self.orchestrate(host, number);
                }
            }
            TermWake::Dispatch { token } => self.sessions_tick(host, number, token),
            TermWake::Scale => self.scale(host, number),
            TermWake::Members => self.look_at_members(host, number),
        }
    }

    fn orchestrate_after(&mut self, host: HostId, number: u64, after: u64) {
        let Some(term) = self.term(host, number) else { return };
        term.token += 1;
        let wake = TermWake::Orchestrate { token: term.token };
        self.wake_manager(host, after, ManagerWake::Term { term: number, wake });
    }

    /// Proposes at this manager, as its leader in this term.
    pub fn propose_in_term(&mut self, host: HostId, number: u64, mut txn: Txn, source: Source, waiter: Waiter) {
        let unfenced = self.settings.mutation == Some(Mutation::SkipFence);
        txn.term = if unfenced { None } else { Some(number) };
        let fence = txn.term;
        let entry = Box::new(Entry { txn, source, decided: Some(number) });
        let lag = self.command_lag();
        self.wake_manager(host, lag, ManagerWake::Propose { entry, fence, waiter });
    }

    /// One round of the loop: what is on the way first, then a decision, then its writes.
    fn orchestrate(&mut self, host: HostId, number: u64) {
        let wall = self.leader_wall(host);
        let Some(view) = self.manager(host).map(|manager| manager.store.view()) else { return };
        let Some(term) = self.term(host, number) else { return };
        term.token += 1;
        if term.behind {
            term.orchestration = Orchestration::Barrier;
            let txn = Txn { wall, ..Txn::default() };
            self.propose_in_term(host, number, txn, Source::Barrier, Waiter::Barrier { term: number });
            return;
        }
        let decided = self.decide(host, number, &view, wall);
        let due = decided
            .wake_at
            .map_or(LOOK_US, |at| u64::try_from(at.since(wall).as_micros()).unwrap_or(LOOK_US).clamp(MS, LOOK_US));
        let Some(term) = self.term(host, number) else { return };
        if decided.txns.is_empty() {
            term.orchestration = Orchestration::Idle;
            self.orchestrate_after(host, number, due);
            return;
        }
        term.orchestration = Orchestration::Writing(decided.txns.into());
        self.write_next(host, number);
    }

    fn decide(&mut self, host: HostId, number: u64, view: &View, wall: WallTime) -> Step {
        let (now, clock_set_at) = (self.now, self.hosts[host].clock_set_at);
        let mut rng = self.rng.clone();
        let Some(term) = self.term(host, number) else { return Step::default() };
        if now >= term.looked + LOOK_US {
            term.looked = now;
            term.ledger.look();
        }
        let mut decided = term.ledger.step(view, wall, &mut rng);
        let rests = decided.txns.is_empty() && now > clock_set_at + CLOCK_NOTICED_US;
        let anew = rests.then(|| term.ledger.anew(view));
        self.rng = rng;
        if self.settings.mutation == Some(Mutation::IgnoreParallelism) {
            decided = step(&without_parallelism(view), wall, &Scope::All, &mut self.rng);
        } else if let Some(mut anew) = anew {
            // On its own generator: a look for the check must not change the run.
            let rng = &mut <StdRng as rand::SeedableRng>::seed_from_u64(1);
            let missed = anew.step(view, wall, rng);
            let missed = missed.txns.iter().map(|txn| txn.changes.len()).sum();
            self.check.looked(view, missed, decided.wake_at.is_some());
        }
        match self.settings.mutation {
            Some(Mutation::ReuseAddress) => reuse_addresses(view, &mut decided.txns),
            Some(Mutation::ForgetRestarts) => forget_restarts(&mut decided.txns),
            Some(_) | None => {}
        }
        self.check.decided(view, &decided.txns);
        decided
    }

    fn write_next(&mut self, host: HostId, number: u64) {
        let wall = self.leader_wall(host);
        let Some(term) = self.term(host, number) else { return };
        let Orchestration::Writing(rest) = &mut term.orchestration else { return };
        match rest.pop_front() {
            Some(txn) => {
                let txn = Txn { wall, ..txn };
                self.propose_in_term(host, number, txn, Source::Decision, Waiter::Decision { term: number });
            }
            None => self.round_again(host, number),
        }
    }

    fn round_again(&mut self, host: HostId, number: u64) {
        let Some(term) = self.term(host, number) else { return };
        term.orchestration = Orchestration::Pausing;
        let after = if term.refused > REFUSALS { RETRY_US } else { 20 };
        self.orchestrate_after(host, number, after);
    }

    pub fn decision_written(&mut self, host: HostId, number: u64, written: &Written) {
        let Some(term) = self.term(host, number) else { return };
        match written {
            Written::Done(_, Ok(())) => {
                term.refused = 0;
                self.write_next(host, number);
            }
            // Someone wrote in between: decided anew on what is there now.
            Written::Done(_, Err(_)) => {
                term.refused = term.refused.saturating_add(1);
                self.round_again(host, number);
            }
            Written::NotDone | Written::Uncertain => {
                term.behind = true;
                self.round_again(host, number);
            }
        }
    }

    pub fn barrier_written(&mut self, host: HostId, number: u64, written: &Written) {
        let Some(term) = self.term(host, number) else { return };
        term.orchestration = Orchestration::Pausing;
        let after = match written {
            Written::Done(_, Ok(())) => {
                term.behind = false;
                20
            }
            Written::Done(_, Err(_)) | Written::NotDone | Written::Uncertain => RETRY_US,
        };
        self.orchestrate_after(host, number, after);
    }
}

/// The view as it would be if no update had to spare anything.
fn without_parallelism(view: &View) -> View {
    let wide =
        |config: &Option<UpdateConfig>| Some(UpdateConfig { parallelism: 0, ..config.clone().unwrap_or_default() });
    let objects = Store::from_view(view.clone()).objects().into_iter().map(|object| match object {
        Object::Service(service) => {
            let mut service = (*service).clone();
            let spec = Arc::make_mut(&mut service.spec);
            (spec.update, spec.rollback) = (wide(&spec.update), wide(&spec.rollback));
            Object::Service(Arc::new(service))
        }
        other => other,
    });
    Store::restore(view.index(), objects).view()
}

/// Every task gets the address of another one on its network, if there is another.
fn reuse_addresses(view: &View, txns: &mut [Txn]) {
    let taken = |not: TaskId, network| {
        let others = view.tasks().filter(|task| task.id != not && !task.status.state.is_terminal());
        others.flat_map(|task| &task.attachments).find(|a| a.network == network).map(|a| a.addr)
    };
    for change in txns.iter_mut().flat_map(|txn| &mut txn.changes) {
        if let Change::TaskAllocated { task, attachments: Some(attachments), .. } = change {
            for attachment in attachments {
                attachment.addr = taken(*task, attachment.network).unwrap_or(attachment.addr);
            }
        }
    }
}

fn forget_restarts(txns: &mut [Txn]) {
    for change in txns.iter_mut().flat_map(|txn| &mut txn.changes) {
        if let Change::Create(Object::Task(task)) = change {
            Arc::make_mut(task).restarts = Default::default();
        }
    }
}
