//! Logs of a service or task, gathered from the nodes that run it.

use api::ports::{Failure, LogOptions, LogRecord, LogRecords, LogSelector, LogSource, LogStream};
use futures_util::StreamExt;
use futures_util::future::join_all;
use node::agent::engine::LogQuery;
use node::logs::TaskLine;
use node::logs::merge::by_time;
use node::manager::Writer;
use node::node::MemberStatus;
use node::transport::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use swarm_core::model::Task;
use swarm_core::store::View;
use swarm_core::{NodeId, ServiceId, TaskId};
use tokio::sync::mpsc;

/// Records gathered ahead of a slow reader.
const AHEAD: usize = 256;

/// Records of what `selector` names. Without `follow` they come in the order of their times.
pub async fn records(
    member: MemberStatus,
    writer: Writer,
    selector: LogSelector,
    options: LogOptions,
) -> Result<LogRecords, Failure> {
    let view = writer.read().await.map_err(|error| Failure::Unavailable(error.to_string()))?;
    let (records, gathered) = mpsc::channel(AHEAD);
    let follow = options.follow;
    let gatherer = Gatherer { member, writer, selector, options, records };
    if !follow {
        // The log has an end: the records of all nodes are put in one order, as they are read.
        let nodes = gatherer.nodes(&view, &mut BTreeSet::new());
        let streams = join_all(nodes.into_iter().map(read)).await;
        return Ok(by_time(streams, |record| record.as_ref().ok().map(|record| record.time_ns)));
    }
    tokio::spawn(gatherer.run(view));
    let stream = futures_util::stream::unfold(gathered, |mut gathered| async {
        gathered.recv().await.map(|record| (record, gathered))
    });
    Ok(stream.boxed())
}

struct Gatherer {
    member: MemberStatus,
    writer: Writer,
    selector: LogSelector,
    options: LogOptions,
    records: mpsc::Sender<Result<LogRecord, Failure>>,
}

impl Gatherer {
    /// Reads the tasks there are, and while it follows also those that come.
    async fn run(self, view: View) {
        let mut read: BTreeSet<TaskId> = BTreeSet::new();
        let mut views = self.writer.feed.views.clone();
        let mut readers = tokio::task::JoinSet::new();
        self.begin(&view, &mut read, &mut readers);
        loop {
            tokio::select! {
                ended = readers.join_next(), if !readers.is_empty() => drop(ended),
                changed = views.changed(), if self.follows_service() => {
                    if changed.is_err() { return }
                    let view = views.borrow_and_update().clone();
                    self.begin(&view, &mut read, &mut readers);
                }
                () = self.records.closed() => return,
                else => return,
            }
            if readers.is_empty() && !self.follows_service() {
                return;
            }
        }
    }

    fn follows_service(&self) -> bool {
        self.options.follow && matches!(self.selector, LogSelector::Service(_))
    }

    fn begin(&self, view: &View, read_already: &mut BTreeSet<TaskId>, readers: &mut tokio::task::JoinSet<()>) {
        for node in self.nodes(view, read_already) {
            let records = self.records.clone();
            readers.spawn(async move {
                let mut lines = read(node).await;
                while let Some(record) = lines.next().await {
                    if records.send(record).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// The nodes to ask about the tasks that are not read already.
    fn nodes(&self, view: &View, read_already: &mut BTreeSet<TaskId>) -> Vec<NodeLog> {
        let mut by_node: BTreeMap<NodeId, BTreeMap<TaskId, ServiceId>> = BTreeMap::new();
        let mut add = |task: &Task| {
            // Before a container exists there is no log to read.
            let begun = task.status.state >= swarm_core::model::TaskState::Starting;
            if let (Some(node), true) = (task.node, begun)
                && read_already.insert(task.id)
            {
                by_node.entry(node).or_default().insert(task.id, task.service);
            }
        };
        match self.selector {
            LogSelector::Service(service) => view.tasks_of_service(service).for_each(|task| add(task)),
            LogSelector::Task(task) => view.task(task).into_iter().for_each(|task| add(task)),
        }
        let query = LogQuery {
            follow: self.options.follow,
            stdout: self.options.stdout,
            stderr: self.options.stderr,
            tail: self.options.tail,
            since_ns: self.options.since_ns,
            until_ns: self.options.until_ns,
        };
        let one = |(node, services)| NodeLog {
            endpoint: self.member.endpoint.clone(),
            node,
            name: view.node(node).map_or_else(|| node.to_string(), |node| node.display_name()),
            addresses: self.member.addresses.all_of(view, node),
            services,
            query: query.clone(),
        };
        by_node.into_iter().map(one).collect()
    }
}

/// What one node is asked for.
struct NodeLog {
    endpoint: Endpoint,
    node: NodeId,
    /// As people know it.
    name: String,
    /// None: the log cannot be had, and that is said.
    addresses: Vec<SocketAddr>,
    services: BTreeMap<TaskId, ServiceId>,
    query: LogQuery,
}

/// Its records; a node that is away is one error.
async fn read(log: NodeLog) -> LogRecords {
    let NodeLog { endpoint, node, name, addresses, services, query } = log;
    let ids: Vec<TaskId> = services.keys().copied().collect();
    let lines = match node::logs::fetch(&endpoint, node, &addresses, &ids, &query).await {
        Ok(lines) => lines,
        Err(words) => {
            let failure = Failure::Unavailable(format!("logs of node {name} are not available: {words}"));
            return futures_util::stream::iter([Err(failure)]).boxed();
        }
    };
    let record = move |line: Result<TaskLine, String>| {
        let (task, line) = line.map_err(Failure::Unavailable)?;
        let service = services.get(&task).copied();
        let service = service.ok_or_else(|| Failure::Internal(format!("node {node} sent a log nobody asked for")))?;
        Ok(LogRecord {
            time_ns: line.time_ns,
            stream: if line.stderr { LogStream::Stderr } else { LogStream::Stdout },
            source: Some(LogSource { node, service, task }),
            line: line.data,
        })
    };
    lines.map(record).boxed()
}
