//! Write intents: what a writer wants changed, and what must still hold when it is applied.

use crate::model::*;
use crate::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Any stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Cluster(Arc<Cluster>),
    Node(Arc<Node>),
    Service(Arc<Service>),
    Task(Arc<Task>),
    Network(Arc<Network>),
    Secret(Arc<Secret>),
    Config(Arc<Config>),
}

/// Names a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectRef {
    Cluster,
    Node(NodeId),
    Service(ServiceId),
    Task(TaskId),
    Network(NetworkId),
    Secret(SecretId),
    Config(ConfigId),
}

impl Object {
    /// Names this object.
    pub fn object_ref(&self) -> ObjectRef {
        match self {
            Object::Cluster(_) => ObjectRef::Cluster,
            Object::Node(o) => ObjectRef::Node(o.id),
            Object::Service(o) => ObjectRef::Service(o.id),
            Object::Task(o) => ObjectRef::Task(o.id),
            Object::Network(o) => ObjectRef::Network(o.id),
            Object::Secret(o) => ObjectRef::Secret(o.id),
            Object::Config(o) => ObjectRef::Config(o.id),
        }
    }

    /// Version, creation and last write.
    pub fn meta(&self) -> Meta {
        match self {
            Object::Cluster(o) => o.meta,
            Object::Node(o) => o.meta,
            Object::Service(o) => o.meta,
            Object::Task(o) => o.meta,
            Object::Network(o) => o.meta,
            Object::Secret(o) => o.meta,
            Object::Config(o) => o.meta,
        }
    }
}

/// What must hold when a transaction is applied; otherwise none of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The object is there and was last written at this index.
    Version(ObjectRef, u64),
    /// The object is there.
    Present(ObjectRef),
    /// The object is not there.
    Absent(ObjectRef),
    /// The specifications written hold by the rules of this number (`spec::RULES`), by themselves and on the state that
    /// there is when they are applied.
    Rules(u32),
}

/// One change. The partial ones touch only what their writer owns, so that writers do not undo each
/// other's work. The partial changes of a task, node or service that is gone do nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Refused when the id exists or the name is taken. `meta` is set by the store.
    Create(Object),
    /// Refused when there is nothing to replace or the name is taken by another.
    Replace(Object),
    /// Deleting what is gone does nothing; what is still used is refused.
    Delete(ObjectRef),
    /// By the agent of the task's node, through the leader. Ignored when it would lower the state.
    TaskStatus { task: TaskId, status: TaskStatus },
    /// By the leader: desired state only rises.
    TaskDesired { task: TaskId, desired: TaskState },
    /// By the scheduler: pending to assigned, with these units of named resources; `None` only explains why it still
    /// waits. Ignored when the node no longer takes tasks.
    TaskAssigned {
        task: TaskId,
        node: Option<NodeId>,
        message: String,
        reason: String,
        resources: BTreeMap<String, ResourceNames>,
    },
    /// By the allocator: new to pending; `None` only explains why it still waits.
    TaskAllocated { task: TaskId, attachments: Option<Vec<TaskAttachment>>, reason: String },
    /// By the leader.
    NodeStatus { node: NodeId, status: NodeStatus },
    /// By the node, when its session starts.
    NodeDescription { node: NodeId, description: NodeDescription },
    /// By the leader, as Raft membership changes are carried out.
    NodeRaft { node: NodeId, raft: Option<RaftMember> },
    /// By whoever issued a certificate.
    NodeCertificate { node: NodeId, role: NodeRole },
    /// By the allocator.
    ServiceEndpoint { service: ServiceId, endpoint: Endpoint },
    /// By the updater; ignored unless `spec_version` inside is the service's.
    ServiceUpdateStatus { service: ServiceId, status: UpdateStatus },
    /// By the updater, when an update failed: back to the previous spec, with `message` as its status.
    /// Ignored unless `failed_version` is still the service's spec version and there is a previous spec; refused when
    /// what that one refers to is gone.
    ServiceRollback { service: ServiceId, failed_version: u64, message: String },
    /// By the autoscaler; ignored unless the spec is still the one written at log index `spec_written`.
    ServiceScaled { service: ServiceId, spec_written: u64, scaled: Scaled },
    /// By the leader: takes the contents the service should have, as an update of it would. Ignored unless
    /// `spec_version` is still the service's, and when it has them.
    ServiceContents { service: ServiceId, spec_version: u64 },
    /// By users. Where the content is another, the present one is kept as an older one.
    SecretSpec { secret: SecretId, spec: SecretSpec },
    /// By users; as for secrets.
    ConfigSpec { config: ConfigId, spec: ConfigSpec },
    /// By the leader: nothing refers to this older content any more. Ignored when a service has come to meanwhile.
    ContentDropped { content: ContentId, version: u64 },
    /// By the allocator; `None` only explains why it still waits.
    NetworkAllocated { network: NetworkId, allocation: Option<NetworkAllocation>, reason: String },
}

/// A write: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Fence: the Raft term of the leader that decided this; `None` for what users ask for.
    pub term: Option<u64>,
    /// Of a leader, the leaders' time; else the wall clock of the proposer, for display.
    pub wall: WallTime,
    pub preconditions: Vec<Precondition>,
    pub changes: Vec<Change>,
}

/// Why a transaction was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The leader that decided this is no longer the leader.
    #[error("decided in term {decided}, arrived in term {current}")]
    Fenced { decided: u64, current: u64 },
    /// Someone else wrote the object in between.
    #[error("update out of sequence")]
    OutOfSequence { object: ObjectRef, expected: u64, found: u64 },
    /// It is not there (any more).
    #[error("{kind} {id} not found")]
    NotFound { kind: &'static str, id: String },
    /// The id is taken.
    #[error("{kind} {id} already exists")]
    Exists { kind: &'static str, id: String },
    /// The name is taken.
    #[error("name conflicts with an existing object: {kind} {name} already exists")]
    NameTaken { kind: &'static str, name: String },
    /// It is still used.
    #[error("{kind} {name} is in use by {user}")]
    InUse { kind: &'static str, name: String, user: String },
    /// A specification in it does not hold (any more).
    #[error(transparent)]
    Refused(crate::spec::Refusal),
}
