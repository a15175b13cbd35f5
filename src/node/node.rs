//! The node: in no cluster, or a member of one. One task owns which; others hold a [`Node`] handle.

use crate::agent::engine::{Engine, Fabric};
use crate::carry::Carrier;
use crate::clock::Clock;
use crate::disk::{DataDir, DirLock, DiskError};
use crate::manager::{StoreFeed, Writer};
use crate::member::{self, Member, MemberError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use swarm_core::model::{Availability, ClusterSpec, NodeDescription};
use swarm_core::{ClusterId, NodeId, Sensitive};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Requests that may wait: they are rare and long.
const REQUESTS: usize = 16;

/// What a node is made of.
pub struct NodeOptions {
    pub engine: Arc<dyn Engine>,
    pub fabric: Arc<dyn Fabric>,
    /// What this host is; the WireGuard key and port included.
    pub description: NodeDescription,
    pub clock: Clock,
    /// Takes what managers carry to this node's API.
    pub carrier: Carrier,
}

/// What is asked of a new cluster.
#[derive(Clone, Debug)]
pub struct InitRequest {
    pub listen: SocketAddr,
    pub advertise: IpAddr,
    pub data_path: IpAddr,
    pub availability: Availability,
    pub spec: ClusterSpec,
}

/// What is asked to join one.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub listen: SocketAddr,
    /// `None`: the address the managers see this node at.
    pub advertise: Option<IpAddr>,
    pub data_path: Option<IpAddr>,
    pub availability: Availability,
    pub managers: Vec<SocketAddr>,
    pub token: Sensitive<String>,
}

/// This node's place, cheap to look at.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    pub member: Option<MemberStatus>,
    /// Why a member does not have its place; empty when it has.
    pub error: String,
}

/// A member's place.
#[derive(Clone)]
pub struct MemberStatus {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub advertise: IpAddr,
    pub endpoint: crate::transport::Endpoint,
    pub managers: crate::managers::Managers,
    pub addresses: crate::manager::Addresses,
    /// Reads and writes of the store, while this node is a manager.
    pub writer: Option<Writer>,
}

impl std::fmt::Debug for MemberStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberStatus")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("advertise", &self.advertise)
            .field("manager", &self.writer.is_some())
            .finish_non_exhaustive()
    }
}

impl MemberStatus {
    /// The store of this manager.
    pub fn feed(&self) -> Option<&StoreFeed> {
        self.writer.as_ref().map(|writer| &writer.feed)
    }
}

/// Why the node did not do what was asked. One line each, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("This node is already part of a swarm. Use \"swarm leave\" to leave this swarm and join another one.")]
    AlreadyMember,
    #[error(
        "This node is not part of a swarm. Use \"swarm init\" or \"swarm join\" to connect this node to one and try again."
    )]
    NotMember,
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the daemon is stopping")]
    Stopping,
}

impl NodeError {
    /// Whether the wish was right and can't be granted while this node is a manager.
    pub fn needs_demotion(&self) -> bool {
        matches!(self, Self::Member(MemberError::IsManager { .. }))
    }
}

type Answer<T> = oneshot::Sender<Result<T, NodeError>>;

enum Request {
    Init(Box<InitRequest>, Answer<NodeId>),
    Join(Box<JoinRequest>, Answer<NodeId>),
    Leave { force: bool, answer: Answer<()> },
}

/// Handle of the node.
#[derive(Clone)]
pub struct Node {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<NodeStatus>,
}

impl Node {
    /// Takes the node up where it was: in its cluster, if it is in one. Ends with `stop`; its containers go on.
    pub async fn start(
        options: NodeOptions,
        (dir, lock): (DataDir, DirLock),
        stop: CancellationToken,
    ) -> Result<(Self, NodeDone), NodeError> {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (status, status_seen) = watch::channel(NodeStatus::default());
        let mut owner = Owner { options, dir, member: None, status };
        if let Some(state) = owner.dir.load_state()? {
            owner.member = Some(Member::resume(&owner.options, &owner.dir, state).await?);
            owner.publish();
        }
        let done = tokio::spawn(owner.run(asked, stop, lock));
        Ok((Self { requests, status: status_seen }, NodeDone(done)))
    }

    /// This node's place now.
    pub fn status(&self) -> NodeStatus {
        self.status.borrow().clone()
    }

    /// Changes of it.
    pub fn watch(&self) -> watch::Receiver<NodeStatus> {
        self.status.clone()
    }

    /// Makes a new cluster with this node as its manager.
    pub async fn init(&self, request: InitRequest) -> Result<NodeId, NodeError> {
        self.ask(|answer| Request::Init(Box::new(request), answer)).await
    }

    /// Joins a cluster; resolves when the node is in.
    pub async fn join(&self, request: JoinRequest) -> Result<NodeId, NodeError> {
        self.ask(|answer| Request::Join(Box::new(request), answer)).await
    }

    /// Leaves the cluster: its tasks are stopped and what it knew is forgotten.
    pub async fn leave(&self, force: bool) -> Result<(), NodeError> {
        self.ask(|answer| Request::Leave { force, answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, NodeError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| NodeError::Stopping)?;
        answered.await.unwrap_or(Err(NodeError::Stopping))
    }
}

/// Resolves when the node has stopped.
pub struct NodeDone(tokio::task::JoinHandle<()>);

impl NodeDone {
    /// Waits for it.
    pub async fn wait(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "the node's task failed");
        }
    }
}

struct Owner {
    options: NodeOptions,
    dir: DataDir,
    member: Option<Member>,
    status: watch::Sender<NodeStatus>,
}

impl Owner {
    async fn run(mut self, mut asked: mpsc::Receiver<Request>, stop: CancellationToken, _lock: DirLock) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                request = asked.recv() => match request {
                    // What is under way when the daemon stops is as it would be after a crash: the next start goes on.
                    Some(request) => if stop.run_until_cancelled(self.answer(request)).await.is_none() { break },
                    None => break,
                },
                event = next_event(&mut self.member) => {
                    if stop.run_until_cancelled(self.member_event(event)).await.is_none() { break }
                }
            }
            self.publish();
        }
        if let Some(member) = self.member.take() {
            member.stop().await;
        }
        self.publish();
    }

    fn publish(&self) {
        let member = self.member.as_ref().map(Member::status);
        let error = self.member.as_ref().map(Member::trouble).unwrap_or_default();
        self.status.send_replace(NodeStatus { member, error });
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Init(request, answer) => {
                let result = self.init(*request).await;
                self.publish();
                let _ = answer.send(result);
            }
            Request::Join(request, answer) => {
                let result = self.join(*request).await;
                self.publish();
                let _ = answer.send(result);
            }
            Request::Leave { force, answer } => {
                let result = self.leave(force).await;
                self.publish();
                let _ = answer.send(result);
            }
        }
    }

    async fn init(&mut self, request: InitRequest) -> Result<NodeId, NodeError> {
        if self.member.is_some() {
            return Err(NodeError::AlreadyMember);
        }
        let made = Member::init(&self.options, &self.dir, request).await;
        self.entered(made).await
    }

    async fn join(&mut self, request: JoinRequest) -> Result<NodeId, NodeError> {
        if self.member.is_some() {
            return Err(NodeError::AlreadyMember);
        }
        let made = Member::join(&self.options, &self.dir, request).await;
        self.entered(made).await
    }

    /// A member that could not be made leaves nothing behind.
    async fn entered(&mut self, made: Result<Member, MemberError>) -> Result<NodeId, NodeError> {
        match made {
            Ok(member) => {
                let node = member.node();
                self.member = Some(member);
                Ok(node)
            }
            Err(error) => {
                if let Err(error) = self.options.fabric.close().await {
                    tracing::debug!(%error, "there was no network to remove");
                }
                self.options.engine.close().await;
                self.dir.forget_cluster()?;
                Err(error.into())
            }
        }
    }

    async fn leave(&mut self, force: bool) -> Result<(), NodeError> {
        let Some(member) = self.member.take() else { return Err(NodeError::NotMember) };
        match member.leave(force).await {
            Ok(()) => {
                if let Err(error) = self.options.fabric.close().await {
                    tracing::warn!(%error, "something of the network stays behind");
                }
                self.options.engine.close().await;
                Ok(self.dir.forget_cluster()?)
            }
            Err((member, error)) => {
                self.member = Some(*member);
                Err(error.into())
            }
        }
    }

    async fn member_event(&mut self, event: member::Event) {
        let Some(member) = self.member.as_mut() else { return };
        let handled = member.handle(&self.options, &self.dir, event).await;
        if let Err(error) = handled.or_else(MemberError::unless_lingering) {
            tracing::error!(error = %crate::error::chain(&error), "the node could not follow a change of the cluster");
        }
    }
}

async fn next_event(member: &mut Option<Member>) -> member::Event {
    match member {
        Some(member) => member.next_event().await,
        None => std::future::pending().await,
    }
}
