//! Whole nodes in one process: real transport, gossip, log and disk on loopback addresses, fake containers.
//!
//! Every test has a /24 of 127.0.0.0/8 of its own, so that all can run at once on the usual ports.

mod fake;
mod membership;
mod probes;
mod refusals;
mod tasks;

use crate::clock::Clock;
use crate::disk::DataDir;
use crate::manager::{WriteError, Writer};
use crate::node::{InitRequest, JoinRequest, Node, NodeDone, NodeError, NodeOptions};
use crate::transport::QUIC_PORT;
use fake::{FakeEngine, FakeFabric, Shared, SharedFabric};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::model::*;
use swarm_core::store::{Conflict, View};
use swarm_core::trust::{CaDigest, JoinToken};
use swarm_core::{NodeId, Sensitive, ServiceId, WallTime};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For anything that is waited for: long on a loaded machine, short for one that hangs.
const SOON: Duration = Duration::from_secs(60);

struct Daemon {
    node: Node,
    done: NodeDone,
    stop: CancellationToken,
    runtime: Runtime,
}

/// A host: what survives its daemon, and the daemon while it runs.
struct Host {
    ip: IpAddr,
    dir: tempfile::TempDir,
    engine: Arc<FakeEngine>,
    fabric: Arc<FakeFabric>,
    daemon: Option<Daemon>,
}

impl Host {
    /// Host `number` of test `test`, its daemon running.
    async fn start(test: u8, number: u8) -> Self {
        let mut host = Self {
            ip: Ipv4Addr::new(127, 77, test, number).into(),
            dir: tempfile::tempdir().unwrap(),
            engine: Arc::default(),
            fabric: Arc::default(),
            daemon: None,
        };
        host.resume().await;
        host
    }

    /// Starts the daemon on what is there.
    async fn resume(&mut self) {
        let description = NodeDescription {
            hostname: format!("host-{}", self.ip),
            wireguard_key: [7; 32],
            wireguard_port: 4790,
            ..NodeDescription::default()
        };
        let options = NodeOptions {
            engine: Arc::new(Shared(self.engine.clone())),
            fabric: Arc::new(SharedFabric(self.fabric.clone())),
            description,
            clock: Clock::new(),
            carrier: crate::carry::carrier(String::new()).0,
        };
        let (root, stop) = (self.dir.path().to_owned(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let token = stop.clone();
        let started = runtime.spawn(async move {
            let dir = DataDir::open_soon(&root).await?;
            Node::start(options, dir, token).await
        });
        let (node, done) = started.await.unwrap().unwrap();
        self.daemon = Some(Daemon { node, done, stop, runtime });
    }

    /// Ends the daemon as SIGTERM does.
    async fn stop(&mut self) {
        let Daemon { node, done, stop, runtime } = self.daemon.take().unwrap();
        stop.cancel();
        timeout(SOON, done.wait()).await.expect("the daemon ends");
        drop(node);
        runtime.shutdown_background();
    }

    /// Ends it as SIGKILL does: nothing more is done.
    async fn kill(&mut self) {
        let Daemon { runtime, .. } = self.daemon.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(SOON)).await.unwrap();
    }

    fn node(&self) -> &Node {
        &self.daemon.as_ref().unwrap().node
    }

    fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.ip, QUIC_PORT)
    }

    async fn init(&self) -> NodeId {
        let request = InitRequest {
            listen: self.listen(),
            advertise: self.ip,
            data_path: self.ip,
            availability: Availability::Active,
            spec: ClusterSpec::default(),
        };
        self.node().init(request).await.unwrap()
    }

    async fn join(&self, token: &str, managers: &[SocketAddr]) -> Result<NodeId, NodeError> {
        let request = JoinRequest {
            listen: self.listen(),
            advertise: Some(self.ip),
            data_path: None,
            availability: Availability::Active,
            managers: managers.to_vec(),
            token: Sensitive::new(token.to_owned()),
        };
        self.node().join(request).await
    }

    fn id(&self) -> NodeId {
        self.node().status().member.expect("a member").node
    }

    /// Reads and writes; the node must be a manager, or become one soon.
    async fn writer(&self) -> Writer {
        let mut status = self.node().watch();
        let wait = status.wait_for(|status| status.member.as_ref().is_some_and(|member| member.writer.is_some()));
        let seen = timeout(SOON, wait).await.expect("a manager in time").unwrap();
        seen.member.as_ref().unwrap().writer.clone().unwrap()
    }

    /// Waits until this manager's copy of the store is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        let mut views = self.writer().await.feed.views.clone();
        let result = timeout(SOON, views.wait_for(|view| wanted(view))).await;
        result.unwrap_or_else(|_| panic!("not in time: {what}")).unwrap().clone()
    }

    async fn token(&self, role: NodeRole) -> String {
        let view = self.writer().await.read().await.unwrap();
        let cluster = view.cluster().unwrap();
        let secret = match role {
            NodeRole::Worker => &cluster.worker_secret,
            NodeRole::Manager => &cluster.manager_secret,
        };
        let digest = CaDigest::of(&cluster.ca.certificate_der);
        JoinToken { digest, secret: secret.secret.expose().parse().unwrap() }.to_string()
    }

    /// Sets the wanted role of a node.
    async fn set_role(&self, node: NodeId, role: NodeRole) {
        let writer = self.writer().await;
        loop {
            let view = writer.read().await.unwrap();
            let known = view.node(node).unwrap();
            let spec = NodeSpec { role, ..known.spec.clone() };
            let txn = swarm_core::control::update_node(&view, node, known.meta.version, spec, WallTime(0)).unwrap();
            match writer.submit(&txn).await {
                Ok(_) => return,
                // The leader wrote of this node meanwhile, as a person would find: on what is there now.
                Err(WriteError::Refused(Conflict::OutOfSequence { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Makes a service of fake containers.
    async fn service(&self, name: &str, mode: ServiceMode, constraints: &[String]) -> ServiceId {
        self.service_of("busybox", name, mode, constraints).await
    }

    async fn service_of(&self, image: &str, name: &str, mode: ServiceMode, constraints: &[String]) -> ServiceId {
        self.service_with(name, mode, constraints, |task| task.container.image = image.to_owned()).await
    }

    async fn service_with(
        &self,
        name: &str,
        mode: ServiceMode,
        constraints: &[String],
        edit: impl FnOnce(&mut TaskSpec),
    ) -> ServiceId {
        let writer = self.writer().await;
        let view = writer.read().await.unwrap();
        let mut task = TaskSpec::default();
        task.container.image = "busybox".to_owned();
        task.restart.delay = Duration::from_millis(1);
        task.placement.constraints = constraints.to_vec();
        edit(&mut task);
        let spec = ServiceSpec { task, ..ServiceSpec::new(name, mode, ContainerSpec::default()) };
        let id = ServiceId(rand::random());
        let txn = swarm_core::control::create_service(&view, spec, id, WallTime(0)).unwrap();
        writer.submit(&txn).await.unwrap();
        id
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.runtime.shutdown_background();
        }
    }
}

/// A cluster of these hosts: the first makes it, the others join with these roles.
async fn cluster(test: u8, roles: &[NodeRole]) -> Vec<Host> {
    let first = Host::start(test, 1).await;
    first.init().await;
    let mut hosts = vec![first];
    for (number, role) in (2..).zip(roles) {
        let host = Host::start(test, number).await;
        let token = hosts[0].token(*role).await;
        host.join(&token, &[hosts[0].listen()]).await.unwrap();
        hosts.push(host);
    }
    hosts
}

fn state_of(view: &View, node: NodeId) -> Option<NodeState> {
    view.node(node).map(|node| node.status.state)
}

fn voters(view: &View) -> usize {
    view.nodes().filter(|node| node.raft.is_some_and(|raft| raft.voter)).count()
}

/// Tasks of a service that run and are meant to.
fn running(view: &View, service: ServiceId) -> Vec<Arc<Task>> {
    let up = |task: &&Arc<Task>| task.status.state == TaskState::Running && task.desired == TaskState::Running;
    view.tasks_of_service(service).filter(up).cloned().collect()
}
