//! Ports kept in memory: a cluster that is one store, and a host that runs nothing.

use crate::ports::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rand::SeedableRng as _;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use swarm_core::model::{
    self, ClusterCa, ClusterSpec, ContainerStatus, JoinSecret, Meta, Node, NodeDescription, NodeRole, NodeSpec,
    NodeState, NodeStatus, Platform, RaftMember, Resources, Task, TaskState, TaskStatus,
};
use swarm_core::store::{Change, Object, Store, Txn, View};
use swarm_core::{ClusterId, NetworkId, NodeId, Sensitive, ServiceId, TaskId, WallTime};
use swarm_core::{control, leader};
use tokio::sync::{broadcast, mpsc};

const ADDR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 2377;

/// 128 bits that differ from draw to draw.
pub fn draw() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    (half() << 64) | half()
}

pub struct FakeCluster {
    state: Mutex<State>,
    watchers: broadcast::Sender<Watched>,
    stopped: AtomicBool,
    /// Other nodes: where a connection to one is brought, and the newest version of the API it has.
    pub peers: Mutex<BTreeMap<NodeId, (mpsc::Sender<Io>, String)>>,
}

#[derive(Default)]
struct State {
    store: Store,
    index: u64,
    status: SwarmStatus,
    logs: Vec<LogRecord>,
    cut_off: bool,
}

impl Default for FakeCluster {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            watchers: broadcast::Sender::new(64),
            stopped: AtomicBool::new(false),
            peers: Mutex::default(),
        }
    }
}

impl FakeCluster {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn view(&self) -> View {
        self.state().store.view()
    }

    pub fn set_status(&self, change: impl FnOnce(&mut SwarmStatus)) {
        change(&mut self.state().status);
    }

    /// From now on no read comes back, as without a majority.
    pub fn cut_off(&self) {
        self.state().cut_off = true;
    }

    pub fn set_logs(&self, logs: Vec<LogRecord>) {
        self.state().logs = logs;
    }

    pub fn apply(&self, changes: Vec<Change>) {
        let txn = Txn { wall: self.now(), changes, ..Txn::default() };
        self.commit(txn).unwrap();
    }

    fn commit(&self, txn: Txn) -> Result<(), SubmitError> {
        let mut state = self.state();
        state.index += 1;
        let (index, wall) = (state.index, txn.wall);
        let events = state.store.apply(index, 1, &txn)?;
        let _ = self.watchers.send(Watched::Committed { index, wall, events });
        Ok(())
    }

    /// Does what the leader and the agents of a cluster would do, all tasks coming up, until nothing is left to do.
    pub fn settle(&self) {
        let mut rng = rand::rngs::StdRng::seed_from_u64(draw() as u64);
        loop {
            let now = self.now();
            let txns = leader::step(&self.view(), now, &leader::Scope::All, &mut rng).txns;
            let starting =
                |task: &&Arc<Task>| task.status.state == TaskState::Assigned && task.desired <= TaskState::Running;
            let ending = |task: &&Arc<Task>| !task.status.state.is_terminal() && task.desired > TaskState::Running;
            let view = self.view();
            let report = |task: &Arc<Task>, state| {
                let container = Some(ContainerStatus { container_id: "ab".repeat(32), ..ContainerStatus::default() });
                let status = TaskStatus { state, timestamp: now, container, ..task.status.clone() };
                Change::TaskStatus { task: task.id, status }
            };
            let mut reports: Vec<_> =
                view.tasks().filter(starting).map(|task| report(task, TaskState::Running)).collect();
            reports.extend(view.tasks().filter(ending).map(|task| report(task, TaskState::Shutdown)));
            if txns.is_empty() && reports.is_empty() {
                return;
            }
            for txn in txns {
                self.commit(txn).unwrap();
            }
            self.apply(reports);
        }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn seconds(&self) -> i64 {
        self.now().0 / 1000
    }

    /// Makes a swarm of this node alone.
    pub fn found(&self) -> NodeId {
        let node = NodeId(draw());
        let cluster = ClusterId(draw());
        let secret = || JoinSecret { secret: Sensitive::new(NodeId(draw()).to_string()), expires: None };
        let founded = model::Cluster {
            id: cluster,
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            ca: ClusterCa { certificate_der: b"certificate".to_vec(), sealed_key: Sensitive::default() },
            worker_secret: secret(),
            manager_secret: secret(),
            gossip_keys: Vec::new(),
        };
        let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
        let resources = Resources { nano_cpus: 2_000_000_000, memory_bytes: 1 << 30, ..Resources::default() };
        let hostname = "host1".to_owned();
        let description = NodeDescription { hostname, platform, resources, ..NodeDescription::default() };
        let member = Node {
            id: node,
            meta: Meta::default(),
            spec: NodeSpec { role: NodeRole::Manager, ..NodeSpec::default() },
            description: Some(description),
            status: NodeStatus { state: NodeState::Ready, addr: Some(ADDR.into()), ..NodeStatus::default() },
            raft: Some(RaftMember { raft_id: 1, voter: true }),
            certificate_role: NodeRole::Manager,
        };
        let networks = control::predefined_networks([NetworkId(draw()), NetworkId(draw()), NetworkId(draw())]);
        let mut changes =
            vec![Change::Create(Object::Cluster(Arc::new(founded))), Change::Create(Object::from(member))];
        changes.extend(networks.map(|network| Change::Create(Object::Network(Arc::new(network)))));
        self.apply(changes);
        let addr = SocketAddr::from((ADDR, PORT));
        self.set_status(|status| {
            *status = SwarmStatus {
                state: SwarmState::Active,
                error: String::new(),
                cluster: Some(cluster),
                node: Some(node),
                addr: Some(ADDR.into()),
                manager: true,
                leader: Some(node),
                managers: vec![ManagerPeer { node, addr, reachable: true }],
            };
        });
        node
    }

    /// A worker with a name.
    pub fn add_worker(&self, name: &str) -> NodeId {
        let node = NodeId(draw());
        let description = NodeDescription { hostname: name.to_owned(), ..NodeDescription::default() };
        self.apply(vec![Change::Create(Object::from(Node {
            id: node,
            meta: Meta::default(),
            spec: NodeSpec::default(),
            description: Some(description),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            raft: None,
            certificate_role: NodeRole::Worker,
        }))]);
        node
    }

    pub fn set_node_state(&self, node: NodeId, state: NodeState) {
        let status = NodeStatus { state, ..self.view().node(node).unwrap().status.clone() };
        self.apply(vec![Change::NodeStatus { node, status }]);
    }

    /// Gives a service a task that runs on this node.
    pub fn run_task(&self, service: ServiceId, slot: u64) -> TaskId {
        self.run_task_on(self.status().node.unwrap(), service, slot, &"ab".repeat(32))
    }

    /// Gives a service a task that runs on a node.
    pub fn run_task_on(&self, node: NodeId, service: ServiceId, slot: u64, container: &str) -> TaskId {
        let view = self.view();
        let service = view.service(service).unwrap();
        let id = TaskId(draw());
        let container = ContainerStatus { container_id: container.to_owned(), pid: 7, ..ContainerStatus::default() };
        let status = TaskStatus {
            state: TaskState::Running,
            timestamp: self.now(),
            message: "started".into(),
            container: Some(container),
            ..TaskStatus::default()
        };
        let task = Task {
            node: Some(node),
            spec_version: service.spec_version,
            service_name: service.spec.name.clone(),
            service_labels: service.spec.labels.clone(),
            status,
            ..Task::new(id, service.id, slot, Arc::new(service.spec.task.clone()))
        };
        self.apply(vec![Change::Create(Object::Task(Arc::new(task)))]);
        id
    }
}

impl crate::ports::Cluster for FakeCluster {
    fn status(&self) -> SwarmStatus {
        self.state().status.clone()
    }

    fn read(&self) -> BoxFuture<'_, Result<View, Unavailable>> {
        Box::pin(async {
            if self.state().cut_off {
                std::future::pending::<()>().await;
            }
            Ok(self.view())
        })
    }

    fn known(&self) -> Option<View> {
        self.status().manager.then(|| self.view())
    }

    fn dial(&self, node: NodeId, _: Duration) -> Answer<'_, Dialled> {
        let peer = self.peers.lock().unwrap().get(&node).cloned();
        Box::pin(async move {
            let (connections, api_version) =
                peer.ok_or_else(|| Failure::Unavailable("no answer from 192.0.2.9:2377".to_owned()))?;
            // Small, so that whatever is longer has to be read while it is written.
            let (near, far) = tokio::io::duplex(1024);
            connections.send(Box::new(far)).await.map_err(|_| Failure::Unavailable("it is gone".to_owned()))?;
            Ok(Dialled { io: Box::new(near), api_version })
        })
    }

    fn submit(&self, txn: Txn) -> BoxFuture<'_, Result<(), SubmitError>> {
        Box::pin(async { self.commit(txn) })
    }

    fn watch(&self) -> BoxStream<'static, Watched> {
        let receiver = self.watchers.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(watched) => Some((watched, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Watched::Resync, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    fn init(&self, request: InitRequest) -> Answer<'_, NodeId> {
        drop(request);
        Box::pin(async { Ok(self.found()) })
    }

    fn join(&self, request: JoinRequest) -> Answer<'_, ()> {
        let remote = request.remote_addrs.join(",");
        Box::pin(async move { Err(Failure::Unavailable(format!("can't reach {remote}"))) })
    }

    fn leave(&self, force: bool) -> Answer<'_, ()> {
        Box::pin(async move {
            if !force {
                return Err(Failure::Unavailable(
                    "You are attempting to leave the swarm on a node that is participating as a manager.".into(),
                ));
            }
            let mut state = self.state();
            *state = State::default();
            Ok(())
        })
    }

    fn join_tokens(&self, cluster: &model::Cluster) -> JoinTokens {
        let token = |secret: &JoinSecret| Sensitive::new(format!("SWMTKN-1-digest-{}", secret.secret.expose()));
        JoinTokens { worker: token(&cluster.worker_secret), manager: token(&cluster.manager_secret) }
    }

    fn logs(&self, selector: LogSelector, options: LogOptions) -> Answer<'_, LogRecords> {
        let records = self.state().logs.clone();
        let wanted = records.into_iter().filter(move |record| match selector {
            LogSelector::Service(id) => record.source.is_some_and(|source| source.service == id),
            LogSelector::Task(id) => record.source.is_some_and(|source| source.task == id),
        });
        let mut wanted: Vec<_> = wanted.collect();
        if let Some(tail) = options.tail {
            wanted.drain(..wanted.len().saturating_sub(tail as usize));
        }
        let records = stream::iter(wanted).map(Ok);
        let records = if options.follow { records.chain(stream::pending()).boxed() } else { records.boxed() };
        Box::pin(async move { Ok(records) })
    }

    fn random(&self) -> u128 {
        draw()
    }

    fn now(&self) -> WallTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        WallTime(since.as_millis() as i64)
    }
}

/// A host with images and volumes in memory; its registry knows one image, `redis:7`.
#[derive(Default)]
pub struct FakeLocal {
    images: Mutex<Vec<ImageRecord>>,
    volumes: Mutex<Vec<VolumeRecord>>,
    pub containers: Mutex<Vec<ContainerRecord>>,
    /// Bytes of what was loaded or imported last.
    pub uploaded: Arc<Mutex<Vec<u8>>>,
    pub pulled_with: Mutex<Option<RegistryAuth>>,
    /// Signal and time of the containers that were stopped.
    pub stopped_with: Mutex<Vec<(String, Option<i64>)>>,
    /// What was done to containers beside, in order: `pause`, `resize 30x100`, and what was told of.
    pub done: Mutex<Vec<String>>,
    pub log: Mutex<Vec<LogRecord>>,
    pub stats: Mutex<ContainerStats>,
    pub processes: Mutex<Vec<ProcessRecord>>,
    pub unpacked: Mutex<Option<(ArchiveTarget, Vec<u8>)>>,
    /// Ends the containers that are waited for.
    pub ends: Mutex<Vec<tokio::sync::oneshot::Sender<ContainerEnd>>>,
    /// Nobody listens any more to an output without end.
    pub left: Arc<tokio::sync::watch::Sender<bool>>,
}

pub fn image(reference: &str) -> ImageRecord {
    let configuration = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": { "Env": ["A=1"], "Cmd": ["run"], "Labels": { "team": "a" } },
        "rootfs": { "type": "layers", "diff_ids": ["sha256:11"] },
        "history": [{ "created": "2024-01-02T03:04:05Z", "created_by": "COPY" }],
    });
    ImageRecord {
        id: format!("sha256:{:064x}", draw()),
        repo_tags: vec![reference.to_owned()],
        size_bytes: 1000,
        created_s: 1_704_164_645,
        configuration,
        ..ImageRecord::default()
    }
}

fn progress(status: &str) -> Progress {
    Progress { status: status.to_owned(), ..Progress::default() }
}

impl FakeLocal {
    fn take_in(&self, archive: Upload, reference: String) -> Answer<'_, ProgressStream> {
        let uploaded = Arc::clone(&self.uploaded);
        self.images.lock().unwrap().push(image(&reference));
        Box::pin(async move {
            let chunks: Vec<Bytes> = archive.try_collect().await.map_err(|e| Failure::Internal(e.to_string()))?;
            *uploaded.lock().unwrap() = chunks.concat();
            let line = Progress { stream: format!("Loaded image: {reference}\n"), ..Progress::default() };
            Ok(stream::iter([Ok(line)]).boxed())
        })
    }
}

impl Host for FakeLocal {
    fn info(&self) -> Answer<'_, HostInfo> {
        let info = HostInfo {
            hostname: "host1".into(),
            version: "0.1.0".into(),
            architecture: "amd64".into(),
            machine: "x86_64".into(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_version: 2,
            cpus: 2,
            memory_bytes: 1 << 30,
            insecure_registries: vec!["10.0.0.1:5000".into()],
            ..HostInfo::default()
        };
        Box::pin(async { Ok(info) })
    }

    /// Each volume holds seven bytes.
    fn disk_usage(&self) -> Answer<'_, DiskUsage> {
        let volumes = self.volumes.lock().unwrap().iter().map(|volume| (volume.name.clone(), 7)).collect();
        Box::pin(async { Ok(DiskUsage { layers_bytes: 1000, volumes_bytes: volumes }) })
    }
}

impl Images for FakeLocal {
    fn images(&self) -> Answer<'_, Vec<ImageRecord>> {
        let images = self.images.lock().unwrap().clone();
        Box::pin(async { Ok(images) })
    }

    fn image<'a>(&'a self, name: &'a str) -> Answer<'a, ImageRecord> {
        let images = self.images.lock().unwrap();
        let found =
            images.iter().find(|image| image.id == name || image.repo_tags.iter().any(|tag| tag == name)).cloned();
        Box::pin(async move { found.ok_or_else(|| Failure::NotFound(format!("No such image: {name}"))) })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, ProgressStream> {
        *self.pulled_with.lock().unwrap() = request.auth;
        let reference = request.reference;
        let lines = match reference.as_str() {
            "redis:7" => {
                self.images.lock().unwrap().push(image("redis:7"));
                let layer = Progress { id: "11".into(), current: Some(1), total: Some(2), ..progress("Downloading") };
                vec![Ok(layer), Ok(progress("Status: Downloaded newer image for redis:7"))]
            }
            "broken:1" => vec![Ok(progress("Downloading")), Err(Failure::Internal("layer is corrupt".into()))],
            _ => vec![Err(Failure::NotFound(format!("manifest for {reference} not found")))],
        };
        Box::pin(async { Ok(stream::iter(lines).boxed()) })
    }

    fn load(&self, archive: Upload) -> Answer<'_, ProgressStream> {
        self.take_in(archive, "loaded:1".into())
    }

    fn import(&self, archive: Upload, reference: String, _: Vec<String>, _: String) -> Answer<'_, ProgressStream> {
        self.take_in(archive, reference)
    }

    fn tag<'a>(&'a self, name: &'a str, reference: &'a str) -> Answer<'a, ()> {
        let mut images = self.images.lock().unwrap();
        let found = images.iter_mut().find(|image| image.repo_tags.iter().any(|tag| tag == name));
        let tagged = found.map(|image| image.repo_tags.push(reference.to_owned()));
        Box::pin(async move { tagged.ok_or_else(|| Failure::NotFound(format!("No such image: {name}"))) })
    }

    fn remove_image<'a>(&'a self, name: &'a str, _: bool) -> Answer<'a, Vec<ImageRemoval>> {
        let mut images = self.images.lock().unwrap();
        let at = images.iter().position(|image| image.repo_tags.iter().any(|tag| tag == name));
        let removed = at.map(|at| ImageRemoval::Deleted(images.remove(at).id));
        Box::pin(
            async move { removed.map(|r| vec![r]).ok_or_else(|| Failure::NotFound(format!("No such image: {name}"))) },
        )
    }
}

impl Volumes for FakeLocal {
    fn volumes(&self) -> Answer<'_, Vec<VolumeRecord>> {
        let volumes = self.volumes.lock().unwrap().clone();
        Box::pin(async { Ok(volumes) })
    }

    fn create_volume(&self, volume: VolumeRecord) -> Answer<'_, VolumeRecord> {
        self.volumes.lock().unwrap().push(volume.clone());
        Box::pin(async { Ok(volume) })
    }

    fn remove_volume<'a>(&'a self, name: &'a str, _: bool) -> Answer<'a, ()> {
        let mut volumes = self.volumes.lock().unwrap();
        let before = volumes.len();
        volumes.retain(|volume| volume.name != name);
        let found = volumes.len() < before;
        let absent = move || Failure::NotFound(format!("get {name}: no such volume"));
        Box::pin(async move { found.then_some(()).ok_or_else(absent) })
    }
}
