//! The handle callers hold, and the thread behind it.
//!
//! The thread owns all state and does one thing after the other: requests to the kernel may wait, and
//! nobody else shall wait for them. Packets never pass through it.

use crate::api::{AttachSpec, Attached, FabricOptions};
use crate::error::{FabricError, Result};
use crate::manager::{Manager, purge};
use crate::names::Names;
use crate::netlink::Netlink;
use crate::netns::Netns;
use crate::status::FabricStatus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::ServiceId;
use swarm_core::fabric::FabricState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Requests that may wait; callers wait when there are more. Each takes milliseconds.
const REQUESTS_MAX: usize = 256;
/// Between two looks at what others may have changed on the host.
const TICK: Duration = Duration::from_secs(10);

/// Requests after which what they left for later is done, even if more wait.
const TOGETHER_MAX: u32 = 32;

enum Request {
    Apply(Arc<FabricState>, oneshot::Sender<Vec<FabricError>>),
    Attach(String, Box<AttachSpec>, oneshot::Sender<Result<Attached>>),
    Detach(String, oneshot::Sender<Result<()>>),
    Attached(oneshot::Sender<Vec<String>>),
    Status(oneshot::Sender<Result<FabricStatus>>),
    Connections(oneshot::Sender<Result<BTreeMap<ServiceId, u64>>>),
    Teardown(oneshot::Sender<Result<()>>),
}

/// A node's network. Clones are handles of the same one; when the last is dropped the data path stops
/// and everything in the kernel stays, for the next start to take over.
#[derive(Clone, Debug)]
pub struct Fabric {
    requests: mpsc::Sender<Request>,
}

impl Fabric {
    /// Starts the network of this node: takes over what an earlier daemon of the same instance left
    /// (attachments, networks, the last state applied) and listens for peers. Needs CAP_NET_ADMIN and
    /// CAP_SYS_ADMIN, and a tokio runtime around it, on which the resolvers of containers run.
    ///
    /// # Errors
    /// `Socket` when the port is taken, `NftMissing`, `Netns`, `Netlink`, `File`.
    pub async fn start(options: FabricOptions) -> Result<Self> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (started, start) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        spawn("fabric", move |own| own.block_on(run(options, runtime, inbox, started)))?;
        start.await.map_err(|_| FabricError::Stopped)??;
        Ok(Self { requests })
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (answer, wait) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| FabricError::Stopped)?;
        wait.await.map_err(|_| FabricError::Stopped)
    }

    /// Brings the network to `state`. Only differences to what is there cost anything. Returns what
    /// could not be done; the rest is done, and the next call (or the next 10 s) tries again.
    pub async fn apply(&self, state: Arc<FabricState>) -> Vec<FabricError> {
        self.ask(|answer| Request::Apply(state, answer)).await.unwrap_or_else(|error| vec![error])
    }

    /// Makes the network namespace of a task or container. `id` is a file name of at most 64
    /// characters. The same id and spec again gives the same answer.
    ///
    /// # Errors
    /// Nothing is left over: `PortInUse`, `UnknownNetwork`, `Unsupported`, `AttachedOtherwise`, and
    /// whatever the kernel refuses.
    pub async fn attach(&self, id: impl ToString, spec: AttachSpec) -> Result<Attached> {
        let id = id.to_string();
        self.ask(|answer| Request::Attach(id, Box::new(spec), answer)).await?
    }

    /// Removes what `attach` made; an unknown id is fine. The task's processes should have ended.
    pub async fn detach(&self, id: impl ToString) -> Result<()> {
        let id = id.to_string();
        self.ask(|answer| Request::Detach(id, answer)).await?
    }

    /// Ids that are attached, those of an earlier daemon included.
    pub async fn attached(&self) -> Result<Vec<String>> {
        self.ask(Request::Attached).await
    }

    /// Counters of peers and networks.
    pub async fn status(&self) -> Result<FabricStatus> {
        self.ask(Request::Status).await?
    }

    /// Connections to published ports that came in by this node, by the service that publishes them: counters that begin
    /// at 0 when a port is published and when the daemon starts.
    pub async fn connections(&self) -> Result<BTreeMap<ServiceId, u64>> {
        self.ask(Request::Connections).await?
    }

    /// Removes everything of this instance from the kernel and its files (the key file, which is the
    /// caller's, stays). The fabric goes on empty.
    ///
    /// # Errors
    /// The last thing that could not be removed; all others are.
    pub async fn teardown(&self) -> Result<()> {
        self.ask(Request::Teardown).await?
    }

    /// The same without a running fabric: for what a daemon left behind that will not come back. Must
    /// be called where the host's namespace is (or with its path); if that path holds none any more,
    /// the rest is removed.
    pub async fn purge(options: &FabricOptions) -> Result<()> {
        let names = Names::new(&options.instance, &options.run_dir);
        let host = options.host_netns.clone().map_or(Netns::Own, Netns::At);
        let state = options.state_dir.join("fabric.json");
        let (done, wait) = oneshot::channel();
        spawn("fabric-purge", move |own| {
            let result = own.block_on(async {
                if let Netns::At(path) = &host
                    && !Netns::exists(path)
                {
                    return purge(&names, None, &state).await;
                }
                let netlink = Netlink::open(&host)?;
                purge(&names, Some((&host, &netlink)), &state).await
            });
            // The caller has given up waiting: it was done all the same.
            let _ = done.send(result);
        })?;
        wait.await.map_err(|_| FabricError::Stopped)?
    }
}

/// Runs `work` on a thread with a runtime of its own.
fn spawn(name: &str, work: impl FnOnce(&tokio::runtime::Runtime) + Send + 'static) -> Result<()> {
    let failed = |source| FabricError::Socket { what: "start the fabric's thread".into(), source };
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new().name(name.into()).spawn(move || work(&own)).map_err(failed)?;
    Ok(())
}

async fn run(
    options: FabricOptions,
    runtime: tokio::runtime::Handle,
    mut inbox: mpsc::Receiver<Request>,
    started: oneshot::Sender<Result<()>>,
) {
    let mut manager = match Manager::start(options, runtime).await {
        Ok(manager) => {
            let _ = started.send(Ok(()));
            manager
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut unsettled = 0;
    let mut next_tick = Instant::now() + TICK;
    loop {
        // Requests may never pause for so long that a wait for them ends.
        if Instant::now() >= next_tick {
            manager.tick().await;
            next_tick = Instant::now() + TICK;
        }
        // What attaching and detaching leave for later is done once for all that wait together.
        unsettled += 1;
        if inbox.is_empty() || unsettled >= TOGETHER_MAX {
            manager.settle().await;
            unsettled = 0;
        }
        // Whoever asked and did not wait for the answer has lost nothing but the answer.
        match tokio::time::timeout_at(next_tick, inbox.recv()).await {
            Err(_) => {}
            Ok(None) => return,
            Ok(Some(Request::Apply(state, answer))) => drop(answer.send(manager.apply(state).await)),
            Ok(Some(Request::Attach(id, spec, answer))) => drop(answer.send(manager.attach(&id, *spec).await)),
            Ok(Some(Request::Detach(id, answer))) => drop(answer.send(manager.detach(&id).await)),
            Ok(Some(Request::Attached(answer))) => drop(answer.send(manager.attached())),
            Ok(Some(Request::Status(answer))) => drop(answer.send(manager.status())),
            Ok(Some(Request::Connections(answer))) => drop(answer.send(manager.connections())),
            Ok(Some(Request::Teardown(answer))) => drop(answer.send(manager.teardown().await)),
        }
    }
}
