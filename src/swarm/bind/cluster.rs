//! The API's port to the swarm.

use super::{addresses, carry, logs};
use api::ports::{
    Answer, Cluster, Dialled, Failure, InitRequest, JoinRequest, JoinTokens, LogOptions, LogRecords, LogSelector,
    ManagerPeer, SubmitError, SwarmState, SwarmStatus, Unavailable, Watched,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use node::clock::Clock;
use node::manager::{News, WriteError, Writer};
use node::node::{MemberStatus, Node, NodeError};
use node::transport::QUIC_PORT;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::model;
use swarm_core::store::{Txn, View};
use swarm_core::trust::{CaDigest, JoinToken};
use swarm_core::{NodeId, Sensitive, WallTime};
use tokio::sync::{broadcast, watch};

/// What a request to a node that is no manager gets (Docker's words).
const NOT_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
const NOT_MEMBER: &str = "This node is not a swarm manager. Use \"swarm init\" or \"swarm join\" to connect this node to swarm and try again.";

/// The swarm as this node sees it.
#[derive(Clone)]
pub struct BoundCluster {
    node: Node,
    clock: Clock,
}

impl BoundCluster {
    /// Binds `node`.
    pub fn new(node: Node, clock: Clock) -> Self {
        Self { node, clock }
    }

    fn member(&self) -> Result<MemberStatus, Failure> {
        self.node.status().member.ok_or_else(|| Failure::Unavailable(NOT_MEMBER.to_owned()))
    }

    /// Why this node found no leader, where it is its own fault.
    fn own_fault(&self, error: WriteError) -> String {
        match (error, self.node.status().error) {
            (WriteError::NoLeader, trouble) if !trouble.is_empty() => trouble,
            (error, _) => error.to_string(),
        }
    }

    fn writer(&self) -> Result<(MemberStatus, Writer), Failure> {
        let member = self.member()?;
        let writer = member.writer.clone().ok_or_else(|| Failure::Unavailable(NOT_MANAGER.to_owned()))?;
        Ok((member, writer))
    }
}

fn node_error(error: NodeError) -> Failure {
    let text = node::error::chain(&error);
    match error {
        NodeError::AlreadyMember | NodeError::NotMember | NodeError::Stopping => Failure::Unavailable(text),
        // Docker's status for it (`notAvailableError` in moby's cluster package).
        NodeError::Member(_) if error.needs_demotion() => Failure::Unavailable(text),
        NodeError::Member(_) => Failure::Invalid(text),
        NodeError::Disk(_) => Failure::Internal(text),
    }
}

impl Cluster for BoundCluster {
    fn status(&self) -> SwarmStatus {
        let status = self.node.status();
        let Some(member) = status.member else {
            return SwarmStatus { error: status.error, ..SwarmStatus::default() };
        };
        let mut out = SwarmStatus {
            state: SwarmState::Active,
            cluster: Some(member.cluster),
            node: Some(member.node),
            addr: Some(member.advertise),
            manager: member.writer.is_some(),
            error: status.error,
            ..SwarmStatus::default()
        };
        match &member.writer {
            Some(writer) => {
                out.leader = writer.raft.leader().map(|(leader, _)| leader);
                let view = writer.feed.view();
                let gossip = member.addresses.gossip.borrow().clone();
                let managers = view.nodes().filter(|node| node.raft.is_some());
                out.managers = managers
                    .filter_map(|node| {
                        let addr = member.addresses.of(&view, node.id)?;
                        let alive = gossip.members.get(&node.id).is_some_and(|seen| seen.alive);
                        Some(ManagerPeer { node: node.id, addr, reachable: alive || node.id == member.node })
                    })
                    .collect();
            }
            None => {
                let known = member.managers.in_order();
                out.managers =
                    known.into_iter().map(|(node, addr)| ManagerPeer { node, addr, reachable: true }).collect();
            }
        }
        out
    }

    fn answering(&self) -> BoxFuture<'_, BTreeSet<NodeId>> {
        Box::pin(async move {
            match self.writer() {
                Ok((member, writer)) => writer.answering(&member.addresses).await,
                // Nothing can be written without one, whoever answers.
                Err(_) => BTreeSet::new(),
            }
        })
    }

    fn read(&self) -> BoxFuture<'_, Result<View, Unavailable>> {
        Box::pin(async move {
            let (_, writer) = self.writer().map_err(|failure| Unavailable(failure.to_string()))?;
            writer.read().await.map_err(|error| Unavailable(self.own_fault(error)))
        })
    }

    fn known(&self) -> Option<View> {
        self.writer().ok().map(|(_, writer)| writer.feed.view())
    }

    fn dial(&self, node: NodeId, within: Duration) -> Answer<'_, Dialled> {
        Box::pin(async move {
            let (member, writer) = self.writer()?;
            carry::dial(&member, &writer, node, within).await
        })
    }

    fn submit(&self, txn: Txn) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(async move {
            let (_, writer) = self.writer().map_err(|failure| SubmitError::Unavailable(failure.to_string()))?;
            match writer.submit(&txn).await {
                Ok(_) => Ok(()),
                Err(WriteError::Refused(conflict)) => Err(SubmitError::Conflict(conflict)),
                Err(error) => Err(SubmitError::Unavailable(self.own_fault(error))),
            }
        })
    }

    fn watch(&self) -> BoxStream<'static, Watched> {
        stream::unfold(Watching { status: self.node.watch(), news: None }, next_event).boxed()
    }

    fn init(&self, request: InitRequest) -> Answer<'_, NodeId> {
        Box::pin(async move {
            if request.force_new_cluster {
                return Err(Failure::NotImplemented("force-new-cluster"));
            }
            if request.spec.autolock {
                return Err(Failure::NotImplemented("autolock"));
            }
            let listen = addresses::listen(&request.listen_addr, QUIC_PORT)?;
            let advertise = match addresses::advertise(&request.advertise_addr)? {
                Some(addr) => addr,
                None if !listen.ip().is_unspecified() => listen.ip(),
                None => addresses::only_own()?,
            };
            let request = node::node::InitRequest {
                listen,
                advertise,
                data_path: addresses::advertise(&request.data_path_addr)?.unwrap_or(advertise),
                availability: request.availability,
                spec: request.spec,
            };
            self.node.init(request).await.map_err(node_error)
        })
    }

    fn join(&self, request: JoinRequest) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut managers = Vec::new();
            for remote in &request.remote_addrs {
                managers.extend(addresses::remote(remote, QUIC_PORT)?);
            }
            let listen = addresses::listen(&request.listen_addr, QUIC_PORT)?;
            let own = (!listen.ip().is_unspecified()).then_some(listen.ip());
            let request = node::node::JoinRequest {
                listen,
                advertise: addresses::advertise(&request.advertise_addr)?.or(own),
                data_path: addresses::advertise(&request.data_path_addr)?,
                availability: request.availability,
                managers,
                token: request.token,
            };
            self.node.join(request).await.map(drop).map_err(node_error)
        })
    }

    fn leave(&self, force: bool) -> Answer<'_, ()> {
        Box::pin(async move { self.node.leave(force).await.map_err(node_error) })
    }

    fn join_tokens(&self, cluster: &model::Cluster) -> JoinTokens {
        let digest = CaDigest::of(&cluster.ca.certificate_der);
        let token = |secret: &model::JoinSecret| {
            // A stored secret was made by us; one that does not parse is shown as no token at all.
            let secret = secret.secret.expose().parse().ok();
            Sensitive::new(secret.map(|secret| JoinToken { digest, secret }.to_string()).unwrap_or_default())
        };
        JoinTokens { worker: token(&cluster.worker_secret), manager: token(&cluster.manager_secret) }
    }

    fn logs(&self, selector: LogSelector, options: LogOptions) -> Answer<'_, LogRecords> {
        Box::pin(async move {
            let (member, writer) = self.writer()?;
            logs::records(member, writer, selector, options).await
        })
    }

    fn random(&self) -> u128 {
        rand::random()
    }

    fn now(&self) -> WallTime {
        self.clock.wall()
    }
}

struct Watching {
    status: watch::Receiver<node::node::NodeStatus>,
    news: Option<broadcast::Receiver<Arc<News>>>,
}

/// Committed events while this node is a manager; silence, then `Resync`, around the times it is not.
async fn next_event(mut watching: Watching) -> Option<(Watched, Watching)> {
    if let Some(news) = &mut watching.news {
        match news.recv().await.as_deref() {
            Ok(News::Applied { index, wall, events }) => {
                let told = Watched::Committed { index: *index, wall: *wall, events: events.clone() };
                return Some((told, watching));
            }
            Ok(News::Restored) | Err(broadcast::error::RecvError::Lagged(_)) => {
                return Some((Watched::Resync, watching));
            }
            Err(broadcast::error::RecvError::Closed) => watching.news = None,
        }
    }
    let manager = watching.status.wait_for(|status| status.member.as_ref().is_some_and(|m| m.writer.is_some()));
    let feed = manager.await.ok()?.member.as_ref()?.feed()?.news();
    watching.news = Some(feed);
    Some((Watched::Resync, watching))
}
