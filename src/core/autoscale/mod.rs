//! The autoscaler: from what tasks use to how many there should be.
//!
//! Owned by a task of the leader for one term. It keeps the latest figures of each task of an autoscaled service in
//! memory only: a new leader starts without any, decides nothing about a service before it has looked at it for a whole
//! window, and never wants fewer before it has done so for the whole scale-down delay. What it wants is written as
//! `Service::scaled`, which the orchestrator follows; it never makes or stops a task, and never changes a spec.
//!
//! Call order: `Look` first and then every [`LOOK_EVERY`], `Loads` whenever a node tells; what `Effects` say is written
//! under the term's fence before the next `Look`.

mod advice;
mod series;

use advice::Figures;

use crate::model::{AUTOSCALE_WINDOW_MIN, Autoscale, NodeState, PublishMode, Scaled, Service, Task, TaskState};
use crate::store::{Change, View};
use crate::{Mono, NodeId, ServiceId, TaskId, WallTime};
use advice::{Advice, Standing, Verdict, advise, settle};
use series::Series;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Between two decisions about a service.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two readings of a task's counters by its node.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// After a step up, before the next one: its tasks must have been seen by the orchestrator.
const STEP_EVERY: Duration = Duration::from_secs(15);
/// A reason without a change of the replicas is written this often at most: each write goes through the log.
const WORDS_EVERY: Duration = Duration::from_secs(60);

/// What one task used on average in the time `over` before it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLoad {
    pub task: TaskId,
    pub over: Duration,
    /// Billionths of a core.
    pub nano_cpus: u64,
    /// Without page cache that can be given back at once.
    pub memory_bytes: u64,
}

/// New connections to published ports of a service that came in by one node within `over`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLoad {
    pub service: ServiceId,
    pub over: Duration,
    pub connections: u64,
}

/// What a node tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    pub tasks: Vec<TaskLoad>,
    pub services: Vec<ServiceLoad>,
}

/// Of which services nodes are to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// What their tasks use.
    pub services: BTreeSet<ServiceId>,
    /// And of these how many connections come in.
    pub counted: BTreeSet<ServiceId>,
}

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// A node told.
    Loads { node: NodeId, loads: Loads },
    /// Time to decide, on the newest state.
    Look(View),
}

/// What follows.
#[derive(Debug, Default)]
pub struct Effects {
    pub changes: Vec<Change>,
    /// Other services than before are to be told of.
    pub sampling: Option<Arc<Sampling>>,
    /// A line for the log: name of the service, and why it is scaled.
    pub decided: Vec<(String, String)>,
}

/// What is known of one service.
#[derive(Debug)]
struct Watched {
    /// Log index of the spec it is about: with another one, everything begins anew.
    written: u64,
    window: Duration,
    since: Mono,
    tasks: BTreeMap<TaskId, Series>,
    /// Since when its tasks were seen to have come up: what is stored of that is by the clock of an earlier leader.
    up: BTreeMap<TaskId, Mono>,
    connections: BTreeMap<NodeId, Series>,
    /// What was advised, of which only what nothing later outdid is kept: falling, and the first is the highest.
    peaks: VecDeque<(Mono, u64)>,
    stepped: Option<Mono>,
    /// What was written last, and when.
    told: Option<(Mono, Standing)>,
}

/// The autoscaler of one term.
#[derive(Debug, Default)]
pub struct Autoscaler {
    view: View,
    services: BTreeMap<ServiceId, Watched>,
    sampling: Arc<Sampling>,
}

impl Autoscaler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input.
    pub fn input(&mut self, now: Mono, wall: WallTime, input: Input, out: &mut Effects) {
        match input {
            Input::Loads { node, loads } => self.hear(now, node, loads),
            Input::Look(view) => self.look(now, wall, view, out),
        }
    }

    /// A node speaks for its own tasks, and for itself.
    fn hear(&mut self, now: Mono, node: NodeId, loads: Loads) {
        for load in loads.tasks.into_iter().filter(|load| !load.over.is_zero()) {
            let Some(task) = self.view.task(load.task).filter(|task| task.node == Some(node)) else { continue };
            let Some(watched) = self.services.get_mut(&task.service) else { continue };
            let series = watched.tasks.entry(load.task).or_default();
            series.add(now, watched.window, load.over, [load.nano_cpus, load.memory_bytes]);
        }
        if self.view.node(node).is_none() {
            return;
        }
        for load in loads.services.into_iter().filter(|load| !load.over.is_zero()) {
            let Some(watched) = self.services.get_mut(&load.service) else { continue };
            let over_ms = load.over.as_millis().max(1);
            let in_1000_s = u128::from(load.connections) * 1_000_000 / over_ms;
            let figure = u64::try_from(in_1000_s).unwrap_or(u64::MAX);
            watched.connections.entry(node).or_default().add(now, watched.window, load.over, [figure, 0]);
        }
    }

    fn look(&mut self, now: Mono, wall: WallTime, view: View, out: &mut Effects) {
        self.view = view;
        let view = self.view.clone();
        let mut sampling = Sampling::default();
        for (service, autoscale) in view.services().filter_map(scales) {
            sampling.services.insert(service.id);
            if autoscale.requests_per_second > 0 {
                sampling.counted.insert(service.id);
            }
            let watched = self.services.entry(service.id).or_insert_with(|| Watched::new(now, service, autoscale));
            if watched.written != service.spec_written.index {
                *watched = Watched::new(now, service, autoscale);
            }
            watched.keep_to(now, &view, service);
            watched.decide(now, wall, &view, service, autoscale, out);
        }
        self.services.retain(|id, _| sampling.services.contains(id));
        if *self.sampling != sampling {
            self.sampling = Arc::new(sampling);
            out.sampling = Some(Arc::clone(&self.sampling));
        }
    }
}

/// A service that is scaled by its load now.
fn scales(service: &Arc<Service>) -> Option<(&Arc<Service>, &Autoscale)> {
    let autoscale = service.spec.autoscale.as_ref().filter(|_| !service.removing)?;
    (service.wanted_replicas()? > 0).then_some((service, autoscale))
}

impl Watched {
    fn new(now: Mono, service: &Service, autoscale: &Autoscale) -> Self {
        Self {
            written: service.spec_written.index,
            window: autoscale.window.max(AUTOSCALE_WINDOW_MIN),
            since: now,
            tasks: BTreeMap::new(),
            up: BTreeMap::new(),
            connections: BTreeMap::new(),
            peaks: VecDeque::new(),
            stepped: None,
            told: None,
        }
    }

    /// Notes what came up, and forgets what is gone.
    fn keep_to(&mut self, now: Mono, view: &View, service: &Service) {
        let wanted = |id: &TaskId| view.task(*id).is_some_and(|task| task.is_wanted() && task.service == service.id);
        self.tasks.retain(|id, _| wanted(id));
        self.up.retain(|id, _| wanted(id));
        for task in view.tasks_of_service(service.id).filter(|task| task.is_wanted() && task.up_since.is_some()) {
            self.up.entry(task.id).or_insert(now);
        }
        self.connections.retain(|id, _| view.node(*id).is_some());
    }

    fn decide(
        &mut self,
        now: Mono,
        wall: WallTime,
        view: &View,
        service: &Service,
        autoscale: &Autoscale,
        out: &mut Effects,
    ) {
        let watched_for = now.since(self.since);
        let Some(current) = service.wanted_replicas().filter(|_| watched_for >= self.window) else { return };
        let figures = self.figures(now, view, service, autoscale);
        let advice = advise(&service.spec, autoscale, current, &figures);
        // A step down moves load to the tasks that stay, which is seen in full only after a window.
        let quiet = autoscale.scale_down_delay.max(self.window);
        let lowest = self.peak(now, &advice, quiet);
        let may_step = self.stepped.is_none_or(|at| now.since(at) >= STEP_EVERY);
        let lowest = lowest.filter(|_| watched_for >= quiet);
        let verdict = settle(autoscale, current, &advice, lowest, quiet, may_step);
        // There is nothing to say before the first task has been up for a window.
        if verdict.standing == Standing::Blind && figures.silent == 0 && figures.deaf_nodes == 0 {
            return;
        }
        self.tell(now, wall, service, current, verdict, out);
    }

    /// Remembers what is advised now; the most that was within `quiet`.
    fn peak(&mut self, now: Mono, advice: &Advice, quiet: Duration) -> Option<u64> {
        while self.peaks.front().is_some_and(|(at, _)| now.since(*at) >= quiet) {
            self.peaks.pop_front();
        }
        while self.peaks.back().is_some_and(|(_, wanted)| *wanted <= advice.wanted) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, advice.wanted));
        self.peaks.front().map(|(_, wanted)| *wanted)
    }

    fn tell(
        &mut self,
        now: Mono,
        wall: WallTime,
        service: &Service,
        current: u64,
        verdict: Verdict,
        out: &mut Effects,
    ) {
        let Verdict { replicas, standing, reason } = verdict;
        let news = match self.told {
            None => true,
            Some((at, before)) => before != standing && now.since(at) >= WORDS_EVERY,
        };
        if replicas == current && !news {
            return;
        }
        if replicas > current {
            self.stepped = Some(now);
        }
        self.told = Some((now, standing));
        if replicas != current {
            out.decided.push((service.spec.name.clone(), reason.clone()));
        }
        let scaled = Scaled { replicas, at: wall, reason };
        out.changes.push(Change::ServiceScaled { service: service.id, spec_written: self.written, scaled });
    }

    fn figures(&self, now: Mono, view: &View, service: &Service, autoscale: &Autoscale) -> Figures {
        let mut figures = Figures::default();
        for task in view.tasks_of_service(service.id).filter(|task| carries(task)) {
            let old = self.up.get(&task.id).is_some_and(|since| now.since(*since) >= self.window);
            match self.tasks.get(&task.id).and_then(|series| series.means(now, self.window)) {
                _ if !old || !task.is_up() => figures.fresh += 1,
                None => figures.silent += 1,
                Some([nano_cpus, memory_bytes]) => {
                    figures.measured += 1;
                    figures.nano_cpus = figures.nano_cpus.saturating_add(nano_cpus);
                    figures.memory_bytes = figures.memory_bytes.saturating_add(memory_bytes);
                }
            }
        }
        let published = service.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress);
        if autoscale.requests_per_second > 0 {
            // Nobody counts before the ports are published.
            figures.deaf_nodes = u64::from(!published);
            for node in view.nodes().filter(|node| node.status.state == NodeState::Ready) {
                match self.connections.get(&node.id).and_then(|series| series.means(now, self.window)) {
                    Some([connections, _]) => figures.connections = figures.connections.saturating_add(connections),
                    None => figures.deaf_nodes += 1,
                }
            }
        }
        figures
    }
}

/// Has load, or may have some soon. A task without a node has none.
fn carries(task: &Task) -> bool {
    task.is_wanted() && task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

#[cfg(test)]
mod tests;
