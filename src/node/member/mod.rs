//! A node as a member of a cluster: its transport, gossip and agent, and, by its role, its manager.

mod ask;
mod entry;
mod gossip;
mod leaving;
mod removed;

use crate::agent::engine::FabricMember;
use crate::agent::{Agent, AgentParts, ClusterInfo, Introduction, RecordError, Records};
use crate::clock::Clock;
use crate::disk::{DataDir, DiskError, ManagerKeys, MemberState};
use crate::gossip_view::GossipView;
use crate::manager::{Addresses, Manager, ManagerEnd, ManagerParts};
use crate::managers::Managers;
use crate::node::{MemberStatus, NodeOptions};
use crate::raft::RaftError;
use crate::storage::{DataKey, StorageError};
use crate::transport::{Endpoint, ServeGuard, TransportError};
use crate::trust::{NodeIdentity, NodeKey, TrustError};
use ask::{ask_leader, ask_manager, unexpected};
use gossip::Gossip;
use rand::Rng;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use swarm_core::NodeId;
use swarm_core::model::NodeRole;
use swarm_core::trust::{KnownManagers, renewal_time};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::pb::control::{reply::Reply, request::Request};
use wire::{Wire, WireError, pb};

/// After the leader has taken this manager out of the group, until it goes: several heartbeats of the log.
const LINGER: Duration = Duration::from_secs(2);
/// After a change of the cluster could not be followed, before it is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest pause before a manager that failed is started again: a full disk has room again when a person made some.
const MANAGER_RETRY_MAX: Duration = Duration::from_secs(8);
/// For the agent's last operation on the network when the node stops.
const AGENT_END: Duration = Duration::from_secs(5);
/// Longest look ahead for the renewal of a certificate: the clock may be set meanwhile.
const RENEWAL_LOOK: Duration = Duration::from_secs(3600);

/// Why a node did not become, or stay, a member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error(transparent)]
    Token(#[from] swarm_core::trust::TokenError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Log(#[from] RaftError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Gossip(#[from] crate::gossip::GossipError),
    #[error(transparent)]
    GossipKeys(#[from] crate::gossip::KeyRingError),
    #[error(transparent)]
    Generation(#[from] crate::gossip::GenerationError),
    #[error("the network of this node does not start: {0}")]
    Fabric(#[from] crate::agent::engine::EngineError),
    #[error("the manager answered in words this version does not understand: {0}")]
    Wire(#[from] WireError),
    /// By the managers, in their words.
    #[error("{0}")]
    Refused(String),
    #[error("no manager answered within {} s: {last}", waited.as_secs())]
    NoManager { waited: Duration, last: String },
    #[error(
        "the record of this node's membership is incomplete: {0} (leave with: swarm leave --force, then join again)"
    )]
    Incomplete(&'static str),
    /// Not an error for people: the member looks again.
    #[error("the other managers are given time to take this one out of the group")]
    Lingering,
    #[error(
        "You are attempting to leave the swarm on a node that is participating as a manager. Demote it first (swarm node demote), or use --force: {consequence}"
    )]
    IsManager { consequence: String },
}

impl MemberError {
    /// Waiting is no failure.
    pub fn unless_lingering(self) -> Result<(), Self> {
        match self {
            Self::Lingering => Ok(()),
            error => Err(error),
        }
    }
}

/// Something the member has to follow.
#[derive(Debug)]
pub enum Event {
    /// The leader said something of the cluster.
    Cluster(ClusterInfo),
    /// Gossip sees the nodes differently.
    Gossip,
    /// The manager ended by itself.
    ManagerEnded(ManagerEnd),
    /// It is time to look again: a change was not followed, or the certificate gets old.
    Again,
}

/// A running member.
pub struct Member {
    identity: NodeIdentity,
    state: MemberState,
    endpoint: Endpoint,
    gossip: Gossip,
    gossip_view: watch::Sender<GossipView>,
    agent: Agent,
    managers: Managers,
    addresses: Addresses,
    manager: Option<Manager>,
    wanted_role: NodeRole,
    clock: Clock,
    stop: CancellationToken,
    cluster: watch::Receiver<Option<ClusterInfo>>,
    /// Decides when within its window this node renews, so that not all do at once.
    jitter: u8,
    /// When what could not be followed is tried again, and the pause before the time after that.
    retry_at: Option<Instant>,
    retry_pause: Duration,
    unlisted_since: Option<Instant>,
    /// Why the manager does not run, and how long it is left alone when it fails again; empty while it runs.
    manager_failed: String,
    manager_pause: Duration,
    manager_began: Instant,
    /// Ends what keeps removed nodes away.
    removals: Option<DropGuard>,
    /// The session lasts as long as this node says who it is.
    _introduce: watch::Sender<Introduction>,
    _logs: ServeGuard,
    _carried: ServeGuard,
}

impl Member {
    /// Takes up the place recorded on disk.
    pub async fn resume(options: &NodeOptions, dir: &DataDir, state: MemberState) -> Result<Self, MemberError> {
        let identity = NodeIdentity::load(&dir.identity())?;
        let identity = identity.ok_or(MemberError::Incomplete("the certificate is missing"))?;
        let endpoint = entry::bind(state.listen, Some(&identity)).await?;
        let start = Start { options, dir, identity, state, endpoint: endpoint.clone(), resumes: true };
        let started = Self::start(start).await;
        if started.is_err() {
            endpoint.close().await;
        }
        started
    }

    /// Starts all parts. After an error none runs; closing the endpoint is the caller's.
    async fn start(start: Start<'_>) -> Result<Self, MemberError> {
        let stop = CancellationToken::new();
        let mut manager = None;
        let started = Self::start_parts(start, stop.clone(), &mut manager).await;
        if started.is_err() {
            stop.cancel();
            if let Some(manager) = manager {
                manager.stop().await;
            }
        }
        started
    }

    /// The manager is handed out as soon as it runs: it has to be stopped when a later part does not start.
    async fn start_parts(
        start: Start<'_>,
        stop: CancellationToken,
        manager: &mut Option<Manager>,
    ) -> Result<Self, MemberError> {
        let Start { options, dir, identity, state, endpoint, resumes } = start;
        let node = identity.peer().node;
        let managers = Managers::new(state.managers.iter().copied());
        let control = SocketAddr::new(state.advertise, state.listen.port());
        let local = if state.listen.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { state.listen.ip() };
        managers.set_own(node, SocketAddr::new(local, state.listen.port()));
        let role = identity.peer().role;
        let mut gossip = Gossip::start(node, role, &options.description, &state, dir, &options.clock).await?;
        let (gossip_view, gossip_seen) = watch::channel(gossip.view());
        let addresses = Addresses { managers: managers.clone(), gossip: gossip_seen, own: (node, control) };
        let overlay = FabricMember {
            node,
            listen: SocketAddr::new(state.listen.ip(), options.description.wireguard_port),
            advertise: state.advertise,
        };
        options.fabric.open(overlay).await?;
        let keys = dir.load_keys()?.filter(|_| dir.log().exists());
        let mut manager_failed = String::new();
        if let Some(keys) = &keys {
            managers.moved(node, control);
            match start_manager(dir, keys, node, &endpoint, &addresses, &options.clock).await {
                Ok(started) => *manager = Some(started),
                // Its containers go on, and it can still leave.
                Err(error) if resumes => {
                    let error = crate::error::chain(&error);
                    tracing::error!(error, "this node's manager does not start; trying again");
                    manager_failed = error;
                }
                Err(error) => return Err(error),
            }
        }
        let introduction = Introduction { description: options.description.clone(), addr: Some(state.data_path) };
        let (introduce, introduction) = watch::channel(introduction);
        let parts = AgentParts {
            engine: options.engine.clone(),
            fabric: options.fabric.clone(),
            records: Records::open(&dir.agent())?,
            endpoint: endpoint.clone(),
            managers: managers.clone(),
            introduction,
            clock: options.clock.clone(),
        };
        let agent = Agent::start(parts, stop.clone()).await?;
        let retry_at = (keys.is_some() && manager.is_none()).then(|| Instant::now() + RETRY);
        let manager = manager.take();
        let cluster = agent.cluster();
        let logs = crate::logs::serve(&endpoint, options.engine.clone());
        let carried = crate::carry::serve(&endpoint, options.carrier.clone());
        let mut member = Self {
            wanted_role: identity.peer().role,
            identity,
            state,
            endpoint,
            gossip,
            gossip_view,
            agent,
            managers,
            addresses,
            manager,
            clock: options.clock.clone(),
            stop,
            cluster,
            jitter: rand::rng().random(),
            retry_at,
            retry_pause: RETRY,
            unlisted_since: None,
            manager_failed,
            manager_pause: RETRY,
            manager_began: Instant::now(),
            removals: None,
            _introduce: introduce,
            _logs: logs,
            _carried: carried,
        };
        member.follow_removals();
        Ok(member)
    }

    /// As a manager this node goes by the store in whom it turns away, as a worker by what managers tell it.
    fn follow_removals(&mut self) {
        // First of all: what followed the store of before says nothing any more.
        self.removals = None;
        if self.manager.is_none() {
            let nodes = |info: &ClusterInfo| info.managers.iter().map(|(node, _)| *node).collect();
            let known = self.cluster.borrow().as_ref().map(|info| KnownManagers::exactly(nodes(info)));
            self.endpoint.set_managers(known);
        }
        self.removals = self.manager.as_ref().map(|manager| {
            let stop = self.stop.child_token();
            let feed = manager.writer().feed.clone();
            let follow = removed::follow(feed, self.endpoint.clone(), self.gossip.handle().clone(), stop.clone());
            tokio::spawn(follow);
            stop.drop_guard()
        });
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.identity.peer().node
    }

    /// Why this node's manager does not run although it should; empty when it does.
    pub fn trouble(&self) -> String {
        match (&self.manager, self.wanted_role) {
            (None, NodeRole::Manager) if !self.manager_failed.is_empty() => {
                format!("This node's manager does not run, and is started again: {}", self.manager_failed)
            }
            (None, NodeRole::Manager) | (Some(_), _) | (None, NodeRole::Worker) => String::new(),
        }
    }

    /// Its place, for the handle.
    pub fn status(&self) -> MemberStatus {
        MemberStatus {
            cluster: self.identity.peer().cluster,
            node: self.node(),
            advertise: self.state.advertise,
            endpoint: self.endpoint.clone(),
            managers: self.managers.clone(),
            addresses: self.addresses.clone(),
            // A manager on its way out serves nobody any more.
            writer: (self.wanted_role == NodeRole::Manager)
                .then_some(self.manager.as_ref())
                .flatten()
                .map(|manager| manager.writer().clone()),
        }
    }

    /// The next thing to follow.
    pub async fn next_event(&mut self) -> Event {
        let due = self.renewal_due();
        // What could not be done is tried again in its time, not at once.
        let retry_at = self.retry_at;
        let mut ended = self.manager.as_ref().map(Manager::ended);
        tokio::select! {
            info = cluster_changed(&mut self.cluster) => info.map_or(Event::Again, Event::Cluster),
            () = self.gossip.changed() => Event::Gossip,
            () = sleep(due.min(RENEWAL_LOOK)), if retry_at.is_none() => Event::Again,
            reason = manager_ended(&mut ended) => Event::ManagerEnded(reason),
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => Event::Again,
        }
    }

    fn renewal_due(&self) -> Duration {
        renewal_time(self.identity.peer().validity, self.jitter).since(self.clock.wall())
    }

    /// Follows an event. On an error it is tried again later.
    pub async fn handle(&mut self, options: &NodeOptions, dir: &DataDir, event: Event) -> Result<(), MemberError> {
        match event {
            Event::Cluster(info) => {
                self.managers.replace(info.managers);
                self.wanted_role = info.role;
                if self.manager.is_none() {
                    self.follow_removals();
                }
                self.retry_pause = RETRY;
            }
            Event::Gossip => {
                let view = self.gossip.view();
                for (node, member) in &view.members {
                    if member.manager {
                        self.managers.moved(*node, member.control);
                    }
                }
                self.gossip_view.send_replace(view);
                return Ok(());
            }
            Event::ManagerEnded(end) => {
                self.manager = None;
                self.follow_removals();
                match end {
                    // A later promotion begins with an empty log.
                    ManagerEnd::Removed => dir.forget_manager()?,
                    ManagerEnd::Failed(reason) => {
                        self.leave_manager_alone(reason);
                        return Ok(());
                    }
                    ManagerEnd::Stopped => {}
                }
            }
            Event::Again => {}
        }
        let followed = self.follow(options, dir).await;
        (self.retry_at, self.retry_pause) = match &followed {
            Ok(()) => (None, RETRY),
            Err(MemberError::Lingering) => (Some(Instant::now() + RETRY), RETRY),
            Err(_) => (Some(Instant::now() + self.retry_pause), (self.retry_pause * 2).min(RETRY_MAX)),
        };
        followed
    }

    /// What made it fail may be there still: it would fail at once, again and again.
    fn leave_manager_alone(&mut self, reason: String) {
        self.manager_pause = pause_after(self.manager_pause, self.manager_began.elapsed());
        tracing::error!(reason, pause = ?self.manager_pause, "this node's manager failed; trying again after a pause");
        self.retry_at = Some(Instant::now() + self.manager_pause);
        self.manager_failed = reason;
    }

    /// Brings this member to what the cluster wants of it; what is done already costs nothing.
    async fn follow(&mut self, options: &NodeOptions, dir: &DataDir) -> Result<(), MemberError> {
        self.follow_role(options, dir).await?;
        let keys = self.cluster.borrow().as_ref().map(|info| info.gossip_keys.clone());
        let state = MemberState {
            managers: self.managers.all(),
            gossip_keys: keys.unwrap_or_else(|| self.state.gossip_keys.clone()),
            ..self.state.clone()
        };
        if state != self.state {
            self.gossip.set_keys(&state.gossip_keys).await?;
            dir.save_state(&state)?;
            self.state = state;
        }
        if self.renewal_due().is_zero() {
            self.renew(dir).await?;
        }
        Ok(())
    }

    /// Brings certificate and manager to the role the leader wants.
    async fn follow_role(&mut self, options: &NodeOptions, dir: &DataDir) -> Result<(), MemberError> {
        if self.wanted_role == NodeRole::Worker && self.manager.is_some() {
            return self.end_manager(dir).await;
        }
        if self.identity.peer().role != self.wanted_role {
            self.renew(dir).await?;
            self.introduce_role().await?;
        }
        if self.identity.peer().role == NodeRole::Manager && self.manager.is_none() {
            let became = self.become_manager(options, dir).await;
            self.manager_failed = became.as_ref().err().map(|error| crate::error::chain(error)).unwrap_or_default();
            self.manager_began = Instant::now();
            return became;
        }
        Ok(())
    }

    /// It votes and is heard until the leader has taken it out of the group: with two managers, the removal
    /// itself needs its vote. After that it stays for [`LINGER`], so that the others have the removal on disk as
    /// committed and will not wait for its vote again.
    async fn end_manager(&mut self, dir: &DataDir) -> Result<(), MemberError> {
        let own = self.node();
        let listed = self.cluster.borrow().as_ref().is_none_or(|c| c.managers.iter().any(|(node, _)| *node == own));
        if listed {
            self.unlisted_since = None;
            return Ok(());
        }
        let since = *self.unlisted_since.get_or_insert_with(Instant::now);
        if since.elapsed() < LINGER {
            return Err(MemberError::Lingering);
        }
        self.removals = None;
        if let Some(manager) = self.manager.take() {
            manager.stop().await;
        }
        self.follow_removals();
        dir.forget_manager()?;
        self.renew(dir).await?;
        self.introduce_role().await
    }

    async fn introduce_role(&mut self) -> Result<(), MemberError> {
        self.gossip.set_role(if self.manager.is_some() { NodeRole::Manager } else { NodeRole::Worker }).await
    }

    /// Takes its place in the group again, or asks to be let in, with an empty log and a fresh id.
    async fn become_manager(&mut self, options: &NodeOptions, dir: &DataDir) -> Result<(), MemberError> {
        if let Some(keys) = dir.load_keys()?
            && dir.log().exists()
        {
            let (endpoint, addresses) = (&self.endpoint, &self.addresses);
            self.manager = Some(start_manager(dir, &keys, self.node(), endpoint, addresses, &options.clock).await?);
            self.follow_removals();
            return Ok(());
        }
        let raft_id = crate::raft::fresh_raft_id();
        let join = pb::control::JoinRaft { raft_id };
        // The log is there before the leader sends to it.
        let data = crate::disk::random_key()?;
        dir.forget_manager()?;
        let identity = crate::storage::Identity { raft_id, node: self.node() };
        crate::raft::join(&dir.log(), &DataKey::new(*data.expose()), identity)?;
        let joined = match ask_leader(&self.endpoint, &self.managers, Request::JoinRaft(join)).await? {
            Reply::JoinedRaft(joined) => joined,
            other => return Err(unexpected(other)),
        };
        for peer in &joined.peers {
            self.managers.moved(NodeId::from_wire(peer.node.clone())?, SocketAddr::from_wire(peer.addr.clone())?);
        }
        let keys = ManagerKeys { data, sealing: Wire::from_wire(joined.sealing_key)? };
        dir.save_keys(&keys)?;
        let manager = start_manager(dir, &keys, self.node(), &self.endpoint, &self.addresses, &options.clock).await?;
        self.manager = Some(manager);
        self.follow_removals();
        self.managers.moved(self.node(), self.addresses.own.1);
        self.introduce_role().await?;
        tracing::info!(raft_id, "this node is a manager now");
        Ok(())
    }

    /// A new certificate with the role the managers want.
    async fn renew(&mut self, dir: &DataDir) -> Result<(), MemberError> {
        let key = NodeKey::generate()?;
        let request = pb::trust::RenewRequest { csr_der: key.signing_request(self.node())? };
        let renewed = match ask_manager(&self.endpoint, &self.managers, Request::Renew(request)).await? {
            Reply::Renewed(renewed) => renewed.identity.ok_or(WireError::Missing("RenewReply.identity"))?,
            other => return Err(unexpected(other)),
        };
        let identity = NodeIdentity::from_issued(&key, renewed.certificate_der, renewed.ca_certificate_der, None)?;
        identity.save(&dir.identity())?;
        self.endpoint.set_identity(identity.clone())?;
        tracing::info!(role = ?identity.peer().role, "the certificate was renewed");
        self.identity = identity;
        Ok(())
    }

    /// Stops this node's part; its containers go on.
    pub async fn stop(self) {
        let endpoint = self.endpoint.clone();
        self.stop_parts().await;
        endpoint.close().await;
    }

    /// All but the endpoint.
    async fn stop_parts(self) {
        self.stop.cancel();
        if timeout(AGENT_END, self.agent.ended()).await.is_err() {
            tracing::warn!("the agent is still busy with the network");
        }
        if let Some(manager) = self.manager {
            manager.stop().await;
        }
    }
}

async fn start_manager(
    dir: &DataDir,
    keys: &ManagerKeys,
    node: NodeId,
    endpoint: &Endpoint,
    addresses: &Addresses,
    clock: &Clock,
) -> Result<Manager, MemberError> {
    let parts = ManagerParts {
        node,
        log_path: &dir.log(),
        data_key: &DataKey::new(*keys.data.expose()),
        sealing_key: keys.sealing.clone(),
        endpoint: endpoint.clone(),
        addresses: addresses.clone(),
        clock: clock.clone(),
    };
    Ok(Manager::start(parts).await?)
}

/// What starting needs. `resumes`: it was a member before, and its containers may run.
struct Start<'a> {
    options: &'a NodeOptions,
    dir: &'a DataDir,
    identity: NodeIdentity,
    state: MemberState,
    endpoint: Endpoint,
    resumes: bool,
}

/// The next word of the leader on the cluster; never, when the agent has ended.
async fn cluster_changed(cluster: &mut watch::Receiver<Option<ClusterInfo>>) -> Option<ClusterInfo> {
    if cluster.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    cluster.borrow_and_update().clone()
}

async fn manager_ended(ended: &mut Option<watch::Receiver<Option<ManagerEnd>>>) -> ManagerEnd {
    match ended {
        Some(ended) => match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(ManagerEnd::Stopped),
            Err(_) => ManagerEnd::Failed("its task is gone".to_owned()),
        },
        None => std::future::pending().await,
    }
}

/// How long a manager that failed after having run for `ran` is left alone, when it was for `last` the time before.
fn pause_after(last: Duration, ran: Duration) -> Duration {
    if ran > MANAGER_RETRY_MAX { RETRY } else { (last * 2).clamp(RETRY, MANAGER_RETRY_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_fails_at_once_is_left_alone_for_longer_and_longer() {
        let (mut pause, mut total) = (RETRY, Duration::ZERO);
        for _ in 0..10 {
            pause = pause_after(pause, Duration::from_millis(5));
            assert!(pause >= RETRY && pause <= MANAGER_RETRY_MAX);
            total += pause;
        }
        assert_eq!(pause, MANAGER_RETRY_MAX);
        assert!(total > Duration::from_secs(60));
        assert_eq!(pause_after(pause, Duration::from_secs(60)), RETRY);
    }
}
