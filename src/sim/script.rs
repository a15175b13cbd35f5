//! A run by a script: nobody wishes and nothing breaks but by its steps, and each waits for what it needs to have
//! happened. So it shows what it was written for whatever else of the simulator or of the draws changes.

use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::submit::{For, LEADER_WAIT_US, WriteError};
use crate::table::Source;
use crate::world::{Event, World};
use rand::rngs::StdRng;
use std::collections::VecDeque;
use swarm_core::control::{self, JoinRotation, Refusal};
use swarm_core::model::*;
use swarm_core::store::{Txn, View};
use swarm_core::{NetworkId, NodeId, ServiceId, WallTime};

pub const SCRIPT_GOES_ON: &str = "what a script waits for comes";

/// Between looks at whether the present step is done: shorter than what a task needs for any of its states.
const LOOK_US: u64 = 5 * MS;
/// For one step: longer than any timeout of the product.
const STEP_US: u64 = 120 * SECOND;
/// Of a wish whose manager died with it nobody hears: it is made again.
const ANSWER_US: u64 = 2 * LEADER_WAIT_US;

/// Whoever words a wish: what the state is, the time, and where ids come from.
pub struct Asked<'a> {
    pub view: &'a View,
    pub now: WallTime,
    pub rng: &'a mut StdRng,
}

type Word = Box<dyn Fn(Asked<'_>) -> Result<Txn, Refusal>>;
type Holds = Box<dyn Fn(&View) -> bool>;
type Which = Box<dyn Fn(&View) -> Option<NodeId>>;

enum Act {
    Wish(Word),
    Until(Holds),
    Pass(u64),
    Lose(Which),
    Return,
}

/// One thing that happens, in words for the log.
pub struct Step {
    words: String,
    act: Act,
}

/// A user's wish, repeated until it is written.
pub fn wish(words: impl Into<String>, word: impl Fn(Asked<'_>) -> Result<Txn, Refusal> + 'static) -> Step {
    Step { words: words.into(), act: Act::Wish(Box::new(word)) }
}

pub fn create(spec: ServiceSpec) -> Step {
    wish(format!("create service {}", spec.name), move |asked| {
        control::create_service(asked.view, spec.clone(), ServiceId::random(asked.rng), asked.now)
    })
}

pub fn create_network(spec: NetworkSpec) -> Step {
    wish(format!("create network {}", spec.name), move |asked| {
        control::create_network(asked.view, spec.clone(), NetworkId::random(asked.rng), asked.now)
    })
}

pub fn update(words: &str, change: impl Fn(&mut ServiceSpec) + 'static) -> Step {
    wish(format!("update the service: {words}"), move |asked| {
        let service = the_service(asked.view).ok_or_else(|| Refusal::NotFound("the service".to_owned()))?;
        let mut spec = (*service.spec).clone();
        change(&mut spec);
        control::update_service(asked.view, service.id, service.meta.version, spec, asked.now)
    })
}

pub fn set_cluster(change: impl Fn(&mut ClusterSpec) + 'static) -> Step {
    wish("change the cluster's settings", move |asked| {
        let cluster = asked.view.cluster().ok_or_else(|| Refusal::NotFound("the cluster".to_owned()))?;
        let mut spec = cluster.spec.clone();
        change(&mut spec);
        control::update_cluster(asked.view, cluster.meta.version, spec, JoinRotation::default(), asked.now)
    })
}

/// A change of the node that is found.
pub fn set_node(
    words: &'static str,
    which: impl Fn(&View) -> Option<NodeId> + 'static,
    change: impl Fn(&mut NodeSpec) + 'static,
) -> Step {
    wish(format!("change {words}"), move |asked| {
        let node = which(asked.view).and_then(|id| asked.view.node(id));
        let node = node.ok_or_else(|| Refusal::NotFound(words.to_owned()))?;
        let mut spec = node.spec.clone();
        change(&mut spec);
        control::update_node(asked.view, node.id, node.meta.version, spec, asked.now)
    })
}

/// Goes on once the newest state is so.
pub fn until(words: impl Into<String>, holds: impl Fn(&View) -> bool + 'static) -> Step {
    Step { words: format!("until {}", words.into()), act: Act::Until(Box::new(holds)) }
}

/// Whatever happens meanwhile.
pub fn pass(seconds: u64) -> Step {
    Step { words: format!("{seconds} s pass"), act: Act::Pass(seconds * SECOND) }
}

/// The power of the host of the node that is found goes.
pub fn lose(words: &'static str, which: impl Fn(&View) -> Option<NodeId> + 'static) -> Step {
    Step { words: format!("lose {words}"), act: Act::Lose(Box::new(which)) }
}

/// What was lost comes back.
pub fn give_back() -> Step {
    Step { words: "what was lost is back".to_owned(), act: Act::Return }
}

/// Named `web`: every script has one service.
pub fn web(mode: ServiceMode, image: &str) -> ServiceSpec {
    let container = ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() };
    ServiceSpec::new("web", mode, container)
}

/// The node of the host with this number.
pub fn host(number: usize) -> impl Fn(&View) -> Option<NodeId> {
    let name = format!("host{number}");
    move |view| view.nodes().find(|node| node.display_name() == name).map(|node| node.id)
}

pub fn the_service(view: &View) -> Option<&Service> {
    view.services().map(|service| &**service).next()
}

/// The wanted tasks of the service, by slot.
pub fn tasks(view: &View) -> impl Iterator<Item = &Task> {
    view.tasks().map(|task| &**task).filter(|task| task.is_wanted())
}

fn runs(task: &Task, image: &str) -> bool {
    task.status.state == TaskState::Running && task.spec.container.image == image
}

/// So many tasks of each image run, and no others are wanted.
pub fn all_run(images: &'static [(&'static str, usize)]) -> Step {
    let words: Vec<String> = images.iter().map(|(image, count)| format!("{count} {image} run")).collect();
    until(words.join(" and "), move |view| {
        let of = |image: &str| tasks(view).filter(|task| runs(task, image)).count();
        let total: usize = images.iter().map(|(_, count)| count).sum();
        tasks(view).count() == total && images.iter().all(|(image, count)| of(image) == *count)
    })
}

/// The update came to its end.
pub fn completed() -> Step {
    until("the update is completed", |view| {
        let status = the_service(view).and_then(|service| service.update_status.as_ref());
        status.is_some_and(|status| status.state == UpdateState::Completed)
    })
}

/// A script under way.
pub struct Script {
    steps: VecDeque<Step>,
    /// When the present step began, and when its wish was made.
    since: u64,
    asked: Option<u64>,
    lost: Vec<HostId>,
}

impl World {
    pub fn begin_script(&mut self, steps: Vec<Step>) {
        let ready = until("all nodes are ready and the managers vote", |view| {
            view.nodes().all(|node| {
                let votes = node.raft.is_some_and(|raft| raft.voter);
                node.status.state == NodeState::Ready && (node.spec.role == NodeRole::Worker || votes)
            })
        });
        let steps = [ready].into_iter().chain(steps).collect();
        self.script = Some(Script { steps, since: self.now, asked: None, lost: Vec::new() });
        self.push(LOOK_US, Event::Script);
    }

    /// Looks at the present step.
    pub fn script_goes_on(&mut self) {
        let Some(mut script) = self.script.take() else { return };
        let Some(step) = script.steps.front() else {
            self.heal();
            return;
        };
        let waited = self.now - script.since;
        let done = match &step.act {
            // Done when it is written.
            Act::Wish(word) => {
                if script.asked.is_none_or(|at| self.now > at + ANSWER_US) {
                    script.asked = self.make_wish(&step.words, word).then_some(self.now);
                }
                false
            }
            Act::Until(holds) => holds(self.check.newest()),
            Act::Pass(time) => waited >= *time,
            Act::Lose(which) => match which(self.check.newest()).and_then(|node| self.nodes.get(&node).copied()) {
                Some(host) => {
                    script.lost.push(host);
                    self.crash_host(host);
                    true
                }
                None => false,
            },
            Act::Return => {
                std::mem::take(&mut script.lost).into_iter().for_each(|host| self.start_host(host));
                true
            }
        };
        if !done && waited > STEP_US {
            self.check.fail(SCRIPT_GOES_ON, step.words.clone());
        }
        self.script = Some(script);
        if done {
            self.next_step();
        }
        self.push(LOOK_US, Event::Script);
    }

    fn next_step(&mut self) {
        let now = self.now;
        let Some(script) = &mut self.script else { return };
        script.steps.pop_front();
        (script.since, script.asked) = (now, None);
        let words = script.steps.front().map_or("the end", |step| &step.words);
        let note = format!("script: {words}");
        self.note(&note);
    }

    /// At the leader. False when there is none yet.
    fn make_wish(&mut self, words: &str, word: &Word) -> bool {
        let Some(leader) = self.leader() else { return false };
        let now = self.wall(leader);
        let Some(view) = self.manager(leader).map(|manager| manager.store.view()) else { return false };
        match word(Asked { view: &view, now, rng: &mut self.rng }) {
            Ok(txn) => self.submit(leader, txn, Source::User, For::Script, LEADER_WAIT_US),
            Err(refusal) => self.check.fail(SCRIPT_GOES_ON, format!("{words}: {refusal}")),
        }
        true
    }

    /// The wish of the present step is written, or is to be made again.
    pub fn script_written(&mut self, result: &Result<u64, WriteError>) {
        match (result, &mut self.script) {
            (Ok(_), _) => self.next_step(),
            (Err(_), Some(script)) => script.asked = None,
            (Err(_), None) => {}
        }
    }
}
