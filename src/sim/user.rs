//! What users do: wishes through `core::control` at a random manager, repeated as a person repeats them.

use crate::contents;
use crate::net::HostId;
use crate::settings::{Asks, SECOND};
use crate::spec;
use crate::submit::{For, LEADER_WAIT_US, WriteError};
use crate::table::Source;
use crate::world::{Event, World};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::control::{self, Refusal};
use swarm_core::model::*;
use swarm_core::store::{Txn, View};
use swarm_core::{ConfigId, NetworkId, NodeId, SecretId, Sensitive, ServiceId, WallTime};

/// Attempts at one wish: a person who is told that somebody was faster looks again.
const TRIES: u32 = 4;

/// Everything a user may do, and how often: the one list to extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Scale,
    Force,
    Rollback,
    RollbackTo,
    PromoteCanary,
    Remove,
    Availability,
    Label,
    Promote,
    Demote,
    RemoveNode,
    CreateSecret,
    RemoveSecret,
    CreateConfig,
    RemoveConfig,
    CreateNetwork,
    RemoveNetwork,
    ClusterSettings,
    ChangeSecret,
    ChangeConfig,
    /// Not asked of a manager: those who use a service come and go.
    Load,
}

/// The usual ones, with the weight of each.
const ACTIONS: [(Action, u32); 20] = [
    (Action::Create, 22),
    (Action::Update, 18),
    (Action::Scale, 14),
    (Action::Force, 4),
    (Action::Rollback, 6),
    (Action::RollbackTo, 3),
    (Action::PromoteCanary, 4),
    (Action::Remove, 5),
    (Action::Availability, 12),
    (Action::Label, 4),
    (Action::Promote, 4),
    (Action::Demote, 4),
    (Action::RemoveNode, 1),
    (Action::CreateSecret, 4),
    (Action::RemoveSecret, 2),
    (Action::CreateConfig, 3),
    (Action::RemoveConfig, 2),
    (Action::CreateNetwork, 4),
    (Action::RemoveNetwork, 3),
    (Action::ClusterSettings, 2),
];

/// What is done besides where a run asks for it.
fn actions(asks: Asks) -> Vec<(Action, u32)> {
    let contents = [(Action::ChangeSecret, 8), (Action::ChangeConfig, 8)];
    let more = contents.into_iter().filter(|_| asks.contents);
    let more = more.chain([(Action::Load, 10)].into_iter().filter(|_| asks.autoscale));
    ACTIONS.into_iter().chain(more).collect()
}

/// A wish that is not granted yet.
#[derive(Clone, Copy, Debug)]
struct Wish {
    host: HostId,
    action: Action,
    tries: u32,
}

/// Wishes under way, and how the others ended.
#[derive(Debug, Default)]
pub struct Users {
    wishes: BTreeMap<u64, Wish>,
    pub granted: u64,
    pub refused: u64,
    pub failed: u64,
}

impl Users {
    /// At which manager a wish was made.
    pub fn at(&self, wish: u64) -> Option<HostId> {
        self.wishes.get(&wish).map(|wish| wish.host)
    }
}

impl World {
    pub fn begin_users(&mut self) {
        self.push(3 * SECOND, Event::Wish);
    }

    /// The next wish of some user.
    pub fn wish(&mut self) {
        if self.calm {
            return;
        }
        let every = self.settings.wish_every_us;
        let next = self.draw(every / 4, every * 2);
        self.push(next, Event::Wish);
        let actions = actions(self.settings.asks);
        let chosen = actions.choose_weighted(&mut self.rng, |(_, weight)| *weight);
        let action = chosen.map_or(Action::Create, |(action, _)| *action);
        match action {
            Action::Load => self.load_changes(),
            asked => self.ask_for(asked, 1),
        }
    }

    /// Asks some manager that answers.
    pub fn ask_for(&mut self, action: Action, tries: u32) {
        let answers = |host: &HostId| self.hosts[*host].daemon.as_ref().is_some_and(|daemon| daemon.manager.is_some());
        let Some(host) = (0..self.hosts.len()).filter(answers).choose(&mut self.rng) else { return };
        let id = self.number();
        self.users.wishes.insert(id, Wish { host, action, tries });
        self.note(&format!("h{host} user {id} wants {action:?}"));
        self.read(host, id);
    }

    fn again(&mut self, wish: Wish) {
        if wish.tries < TRIES && !self.calm {
            self.ask_for(wish.action, wish.tries + 1);
        } else {
            self.users.failed += 1;
        }
    }

    /// The view a wish is decided on, or that there is none.
    pub fn wish_read(&mut self, id: u64, view: Option<View>) {
        let Some(wish) = self.users.wishes.get(&id).copied() else { return };
        let Some(view) = view else {
            self.users.wishes.remove(&id);
            self.again(wish);
            return;
        };
        match self.word(wish.host, &view, wish.action) {
            Some(Ok(txn)) => self.submit(wish.host, txn, Source::User, For::Wish(id), LEADER_WAIT_US),
            Some(Err(refusal)) => {
                self.users.wishes.remove(&id);
                self.users.refused += 1;
                self.note(&format!("user {id} is refused: {refusal}"));
            }
            None => drop(self.users.wishes.remove(&id)),
        }
    }

    pub fn wish_written(&mut self, id: u64, result: Result<u64, WriteError>) {
        let Some(wish) = self.users.wishes.remove(&id) else { return };
        match result {
            Ok(index) => {
                self.users.granted += 1;
                self.note(&format!("user {id} has it at {index}"));
            }
            Err(WriteError::Refused(conflict)) => {
                self.note(&format!("user {id} was too late: {conflict}"));
                self.again(wish);
            }
            // Whoever does not know looks before asking again: with fresh eyes, so it is another wish.
            Err(WriteError::NoLeader | WriteError::Uncertain) => self.users.failed += 1,
        }
    }

    /// The transaction of a wish; `None` when there is nothing it could be about.
    fn word(&mut self, host: HostId, view: &View, action: Action) -> Option<Result<Txn, Refusal>> {
        let now = self.wall(host);
        let asks = self.settings.asks;
        let rng = &mut self.rng;
        let services = || view.services().filter(|service| !service.removing);
        match action {
            Action::Create => {
                let most = 3 + self.hosts.len() / 3;
                if services().count() >= most {
                    return None;
                }
                let spec = spec::service(rng, asks, view, self.hosts.len());
                let id = ServiceId::random(rng);
                Some(control::create_service(view, spec, id, now))
            }
            Action::Update | Action::Scale | Action::Force => {
                let service = services().choose(rng)?;
                let mut new = (*service.spec).clone();
                match action {
                    Action::Scale => spec::scale(rng, &mut new, self.hosts.len()),
                    Action::Force => new.task.force_update += 1,
                    _other => spec::update(rng, asks, view, &mut new, self.hosts.len()),
                }
                Some(control::update_service(view, service.id, service.meta.version, new, now))
            }
            Action::Rollback => {
                let service = services().filter(|service| service.previous_spec.is_some()).choose(rng)?;
                Some(control::rollback_service(view, service.id, service.meta.version, now))
            }
            Action::RollbackTo => {
                let service = services().filter(|service| !service.history.is_empty()).choose(rng)?;
                let revision = service.history.iter().choose(rng)?.revision;
                Some(control::rollback_service_to(view, service.id, service.meta.version, revision, now))
            }
            Action::PromoteCanary => {
                let service = services().filter(|service| service.canaries().is_some()).choose(rng)?;
                Some(control::promote_service(view, service.id, now))
            }
            Action::Load => None,
            Action::Remove => Some(control::remove_service(view, services().choose(rng)?.id, now)),
            Action::Availability | Action::Label | Action::Promote | Action::Demote => {
                self.word_node(host, view, action)
            }
            Action::RemoveNode => {
                let node = view.nodes().filter(|node| node.spec.role == NodeRole::Worker).choose(rng)?;
                let left = view.nodes().count() > 4;
                let key = Sensitive::new([rng.random(); 32]);
                let force = rng.random_bool(0.3);
                left.then(|| control::remove_node(view, node.id, force, key, now))
            }
            Action::CreateSecret
            | Action::RemoveSecret
            | Action::CreateConfig
            | Action::RemoveConfig
            | Action::ChangeSecret
            | Action::ChangeConfig
            | Action::CreateNetwork
            | Action::RemoveNetwork => self.word_content(host, view, action),
            Action::ClusterSettings => word_cluster(rng, view, now),
        }
    }

    fn word_node(&mut self, host: HostId, view: &View, action: Action) -> Option<Result<Txn, Refusal>> {
        let now = self.wall(host);
        let rng = &mut self.rng;
        let of_role = |role| view.nodes().filter(move |node| node.spec.role == role);
        let node: &Arc<Node> = match action {
            Action::Promote => {
                of_role(NodeRole::Worker).choose(rng).filter(|_| of_role(NodeRole::Manager).count() < 7)?
            }
            Action::Demote => {
                of_role(NodeRole::Manager).choose(rng).filter(|_| of_role(NodeRole::Manager).count() > 3)?
            }
            _other => view.nodes().choose(rng)?,
        };
        let mut spec = node.spec.clone();
        match action {
            Action::Promote => spec.role = NodeRole::Manager,
            Action::Demote => spec.role = NodeRole::Worker,
            Action::Label => {
                let zone = ["a", "b", "c"][rng.random_range(0..3)];
                spec.labels.insert("zone".to_owned(), zone.to_owned());
            }
            _other => {
                let all = [Availability::Active, Availability::Active, Availability::Pause, Availability::Drain];
                spec.availability = all[rng.random_range(0..4)];
            }
        }
        if action == Action::Demote {
            // As the API does: who answers now counts, not what the store says.
            let answers = |other: NodeId| {
                let other = self.nodes.get(&other).copied();
                other.is_some_and(|other| self.hosts[other].daemon.is_some() && self.net.is_linked(host, other))
            };
            if let Err(refusal) = control::check_demotion(view, node, answers) {
                return Some(Err(refusal));
            }
        }
        Some(control::update_node(view, node.id, node.meta.version, spec, now))
    }

    fn word_content(&mut self, host: HostId, view: &View, action: Action) -> Option<Result<Txn, Refusal>> {
        let now = self.wall(host);
        let asks = self.settings.asks;
        let rng = &mut self.rng;
        let number = rng.random_range(0..4);
        let (data, templated) = contents::content(rng, asks.templates);
        match action {
            Action::CreateSecret => {
                let data = Sensitive::new(data);
                let spec = SecretSpec { name: format!("secret{number}"), labels: Labels::new(), data, templated };
                Some(control::create_secret(view, spec, SecretId::random(rng), now))
            }
            Action::RemoveSecret => Some(control::remove_secret(view, view.secrets().choose(rng)?.id, now)),
            Action::CreateConfig => {
                let spec = ConfigSpec { name: format!("config{number}"), labels: Labels::new(), data, templated };
                Some(control::create_config(view, spec, ConfigId::random(rng), now))
            }
            Action::ChangeSecret => {
                let (secret, wish) = (view.secrets().choose(rng)?, content_wish(rng, data, templated));
                Some(control::update_secret(view, secret.id, secret.meta.version, wish, now))
            }
            Action::ChangeConfig => {
                let (config, wish) = (view.configs().choose(rng)?, content_wish(rng, data, templated));
                Some(control::update_config(view, config.id, config.meta.version, wish, now))
            }
            Action::RemoveConfig => Some(control::remove_config(view, view.configs().choose(rng)?.id, now)),
            Action::CreateNetwork => {
                let spec = spec::network(rng, number);
                Some(control::create_network(view, spec, NetworkId::random(rng), now))
            }
            _other => {
                let own = |network: &&Arc<Network>| network.spec.name.starts_with("net") && !network.removing;
                Some(control::remove_network(view, view.networks().filter(own).choose(rng)?.id, now))
            }
        }
    }
}

/// Mostly another content; now and then only labels.
fn content_wish(rng: &mut StdRng, data: Vec<u8>, templated: bool) -> control::ContentWish {
    let labels = Labels::from([("n".to_owned(), rng.random_range(0..9).to_string())]);
    let data = rng.random_bool(0.9).then(|| Sensitive::new(data));
    let templated = data.is_some().then_some(templated);
    control::ContentWish { name: String::new(), labels, data, templated }
}

fn word_cluster(rng: &mut StdRng, view: &View, now: WallTime) -> Option<Result<Txn, Refusal>> {
    let cluster = view.cluster()?;
    let task_history_limit = rng.random_range(0..6);
    let spec = ClusterSpec {
        task_history_limit,
        binpack: rng.random_bool(0.3),
        preemption: rng.random_bool(0.3),
        rebalance_moves_per_minute: [0, 0, 10, 60][rng.random_range(0..4)],
        ..cluster.spec.clone()
    };
    let rotation = control::JoinRotation::default();
    Some(control::update_cluster(view, cluster.meta.version, spec, rotation, now))
}
