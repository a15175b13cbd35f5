//! Transactions and whole objects.

use crate::convert::{ListItem, Wire, WireError, message, required};
use crate::pb::raft as pb;
use swarm_core::model::ContentVersion;
use swarm_core::spec::RULES;
use swarm_core::store::{Change, Object, ObjectRef, Precondition, Txn};

impl Wire for Object {
    type Pb = pb::Object;
    fn to_wire(&self) -> pb::Object {
        use pb::object::Object as Kind;
        let object = match self {
            Object::Cluster(o) => Kind::Cluster(o.to_wire()),
            Object::Node(o) => Kind::Node(o.to_wire()),
            Object::Service(o) => Kind::Service(o.to_wire()),
            Object::Task(o) => Kind::Task(o.to_wire()),
            Object::Network(o) => Kind::Network(o.to_wire()),
            Object::Secret(o) => Kind::Secret(o.to_wire()),
            Object::Config(o) => Kind::Config(o.to_wire()),
        };
        pb::Object { object: Some(object) }
    }
    fn from_wire(pb: pb::Object) -> Result<Self, WireError> {
        use pb::object::Object as Kind;
        Ok(match pb.object.ok_or(WireError::Missing("Object.object"))? {
            Kind::Cluster(o) => Object::Cluster(Wire::from_wire(o)?),
            Kind::Node(o) => Object::Node(Wire::from_wire(o)?),
            Kind::Service(o) => Object::Service(Wire::from_wire(o)?),
            Kind::Task(o) => Object::Task(Wire::from_wire(o)?),
            Kind::Network(o) => Object::Network(Wire::from_wire(o)?),
            Kind::Secret(o) => Object::Secret(Wire::from_wire(o)?),
            Kind::Config(o) => Object::Config(Wire::from_wire(o)?),
        })
    }
}
impl ListItem for Object {}

impl Wire for ObjectRef {
    type Pb = pb::ObjectRef;
    fn to_wire(&self) -> pb::ObjectRef {
        use pb::ObjectKind as Kind;
        let (kind, id) = match self {
            ObjectRef::Cluster => (Kind::Cluster, Vec::new()),
            ObjectRef::Node(id) => (Kind::Node, id.to_wire()),
            ObjectRef::Service(id) => (Kind::Service, id.to_wire()),
            ObjectRef::Task(id) => (Kind::Task, id.to_wire()),
            ObjectRef::Network(id) => (Kind::Network, id.to_wire()),
            ObjectRef::Secret(id) => (Kind::Secret, id.to_wire()),
            ObjectRef::Config(id) => (Kind::Config, id.to_wire()),
        };
        pb::ObjectRef { kind: kind as i32, id }
    }
    fn from_wire(pb: pb::ObjectRef) -> Result<Self, WireError> {
        use pb::ObjectKind as Kind;
        let unknown = WireError::Unknown { what: "ObjectKind", value: i64::from(pb.kind) };
        Ok(match Kind::try_from(pb.kind) {
            Ok(Kind::Cluster) => ObjectRef::Cluster,
            Ok(Kind::Node) => ObjectRef::Node(Wire::from_wire(pb.id)?),
            Ok(Kind::Service) => ObjectRef::Service(Wire::from_wire(pb.id)?),
            Ok(Kind::Task) => ObjectRef::Task(Wire::from_wire(pb.id)?),
            Ok(Kind::Network) => ObjectRef::Network(Wire::from_wire(pb.id)?),
            Ok(Kind::Secret) => ObjectRef::Secret(Wire::from_wire(pb.id)?),
            Ok(Kind::Config) => ObjectRef::Config(Wire::from_wire(pb.id)?),
            Ok(Kind::Unspecified) | Err(_) => return Err(unknown),
        })
    }
}

impl Wire for Precondition {
    type Pb = pb::Precondition;
    fn to_wire(&self) -> pb::Precondition {
        use pb::precondition::Holds;
        let (object, holds) = match self {
            Precondition::Version(object, version) => (Some(object), Holds::Version(*version)),
            Precondition::Present(object) => (Some(object), Holds::Present(true)),
            Precondition::Absent(object) => (Some(object), Holds::Absent(true)),
            Precondition::Rules(number) => (None, Holds::Rules(*number)),
        };
        pb::Precondition { object: object.map(Wire::to_wire), holds: Some(holds) }
    }
    fn from_wire(pb: pb::Precondition) -> Result<Self, WireError> {
        use pb::precondition::Holds;
        let object = || required(pb.object, "Precondition.object");
        Ok(match pb.holds.ok_or(WireError::Missing("Precondition.holds"))? {
            Holds::Version(version) => Precondition::Version(object()?, version),
            Holds::Present(_) => Precondition::Present(object()?),
            Holds::Absent(_) => Precondition::Absent(object()?),
            // Whoever does not know the rules would come to another store than the others.
            Holds::Rules(number) if number == 0 || number > RULES => {
                return Err(WireError::Unknown { what: "Precondition.rules", value: i64::from(number) });
            }
            Holds::Rules(number) => Precondition::Rules(number),
        })
    }
}
impl ListItem for Precondition {}

impl Wire for Change {
    type Pb = pb::Change;
    fn to_wire(&self) -> pb::Change {
        use pb::change::Change as Kind;
        let change = match self {
            Change::Create(object) => Kind::Create(object.to_wire()),
            Change::Replace(object) => Kind::Replace(object.to_wire()),
            Change::Delete(object) => Kind::Delete(object.to_wire()),
            Change::TaskStatus { task, status } => {
                Kind::TaskStatus(pb::TaskStatusChange { task: task.to_wire(), status: Some(status.to_wire()) })
            }
            Change::TaskDesired { task, desired } => {
                Kind::TaskDesired(pb::TaskDesiredChange { task: task.to_wire(), desired: desired.to_wire() })
            }
            Change::TaskAssigned { task, node, message, reason, resources } => {
                Kind::TaskAssigned(pb::TaskAssignedChange {
                    task: task.to_wire(),
                    node: node.to_wire(),
                    message: message.clone(),
                    reason: reason.clone(),
                    resources: resources.to_wire(),
                })
            }
            Change::TaskAllocated { task, attachments, reason } => Kind::TaskAllocated(pb::TaskAllocatedChange {
                task: task.to_wire(),
                allocated: attachments.is_some(),
                attachments: attachments.as_ref().map(Wire::to_wire).unwrap_or_default(),
                reason: reason.clone(),
            }),
            Change::NodeStatus { node, status } => {
                Kind::NodeStatus(pb::NodeStatusChange { node: node.to_wire(), status: Some(status.to_wire()) })
            }
            Change::NodeDescription { node, description } => Kind::NodeDescription(pb::NodeDescriptionChange {
                node: node.to_wire(),
                description: Some(description.to_wire()),
            }),
            Change::NodeRaft { node, raft } => {
                Kind::NodeRaft(pb::NodeRaftChange { node: node.to_wire(), raft: raft.to_wire() })
            }
            Change::NodeCertificate { node, role } => {
                Kind::NodeCertificate(pb::NodeCertificateChange { node: node.to_wire(), role: role.to_wire() })
            }
            Change::ServiceEndpoint { service, endpoint } => Kind::ServiceEndpoint(pb::ServiceEndpointChange {
                service: service.to_wire(),
                endpoint: Some(endpoint.to_wire()),
            }),
            Change::ServiceUpdateStatus { service, status } => {
                Kind::ServiceUpdateStatus(pb::ServiceUpdateStatusChange {
                    service: service.to_wire(),
                    status: Some(status.to_wire()),
                })
            }
            Change::ServiceRollback { service, failed_version, message } => {
                Kind::ServiceRollback(pb::ServiceRollbackChange {
                    service: service.to_wire(),
                    failed_version: *failed_version,
                    message: message.clone(),
                })
            }
            Change::ServiceScaled { service, spec_written, scaled } => Kind::ServiceScaled(pb::ServiceScaledChange {
                service: service.to_wire(),
                spec_written: *spec_written,
                scaled: Some(scaled.to_wire()),
            }),
            Change::ServiceContents { service, spec_version } => Kind::ServiceContents(pb::ServiceContentsChange {
                service: service.to_wire(),
                spec_version: *spec_version,
            }),
            Change::SecretSpec { secret, spec } => {
                Kind::SecretSpec(pb::SecretSpecChange { secret: secret.to_wire(), spec: Some(spec.to_wire()) })
            }
            Change::ConfigSpec { config, spec } => {
                Kind::ConfigSpec(pb::ConfigSpecChange { config: config.to_wire(), spec: Some(spec.to_wire()) })
            }
            Change::ContentDropped { content, version } => {
                Kind::ContentDropped(ContentVersion { content: *content, version: *version }.to_wire())
            }
            Change::NetworkAllocated { network, allocation, reason } => {
                Kind::NetworkAllocated(pb::NetworkAllocatedChange {
                    network: network.to_wire(),
                    allocation: allocation.to_wire(),
                    reason: reason.clone(),
                })
            }
        };
        pb::Change { change: Some(change) }
    }

    fn from_wire(pb: pb::Change) -> Result<Self, WireError> {
        use pb::change::Change as Kind;
        Ok(match pb.change.ok_or(WireError::Missing("Change.change"))? {
            Kind::Create(object) => Change::Create(Wire::from_wire(object)?),
            Kind::Replace(object) => Change::Replace(Wire::from_wire(object)?),
            Kind::Delete(object) => Change::Delete(Wire::from_wire(object)?),
            Kind::TaskStatus(c) => Change::TaskStatus {
                task: Wire::from_wire(c.task)?,
                status: crate::objects::task_status(c.status, "TaskStatusChange.status")?,
            },
            Kind::TaskDesired(c) => {
                Change::TaskDesired { task: Wire::from_wire(c.task)?, desired: Wire::from_wire(c.desired)? }
            }
            Kind::TaskAssigned(c) => Change::TaskAssigned {
                task: Wire::from_wire(c.task)?,
                node: Wire::from_wire(c.node)?,
                message: c.message,
                reason: c.reason,
                resources: Wire::from_wire(c.resources)?,
            },
            Kind::TaskAllocated(c) => Change::TaskAllocated {
                task: Wire::from_wire(c.task)?,
                attachments: c.allocated.then(|| Wire::from_wire(c.attachments)).transpose()?,
                reason: c.reason,
            },
            Kind::NodeStatus(c) => Change::NodeStatus {
                node: Wire::from_wire(c.node)?,
                status: required(c.status, "NodeStatusChange.status")?,
            },
            Kind::NodeDescription(c) => Change::NodeDescription {
                node: Wire::from_wire(c.node)?,
                description: required(c.description, "NodeDescriptionChange.description")?,
            },
            Kind::NodeRaft(c) => Change::NodeRaft { node: Wire::from_wire(c.node)?, raft: Wire::from_wire(c.raft)? },
            Kind::NodeCertificate(c) => {
                Change::NodeCertificate { node: Wire::from_wire(c.node)?, role: Wire::from_wire(c.role)? }
            }
            Kind::ServiceEndpoint(c) => Change::ServiceEndpoint {
                service: Wire::from_wire(c.service)?,
                endpoint: required(c.endpoint, "ServiceEndpointChange.endpoint")?,
            },
            Kind::ServiceUpdateStatus(c) => Change::ServiceUpdateStatus {
                service: Wire::from_wire(c.service)?,
                status: required(c.status, "ServiceUpdateStatusChange.status")?,
            },
            Kind::ServiceRollback(c) => Change::ServiceRollback {
                service: Wire::from_wire(c.service)?,
                failed_version: c.failed_version,
                message: c.message,
            },
            Kind::ServiceScaled(c) => Change::ServiceScaled {
                service: Wire::from_wire(c.service)?,
                spec_written: c.spec_written,
                scaled: required(c.scaled, "ServiceScaledChange.scaled")?,
            },
            Kind::ServiceContents(c) => {
                Change::ServiceContents { service: Wire::from_wire(c.service)?, spec_version: c.spec_version }
            }
            Kind::SecretSpec(c) => Change::SecretSpec {
                secret: Wire::from_wire(c.secret)?,
                spec: required(c.spec, "SecretSpecChange.spec")?,
            },
            Kind::ConfigSpec(c) => Change::ConfigSpec {
                config: Wire::from_wire(c.config)?,
                spec: required(c.spec, "ConfigSpecChange.spec")?,
            },
            Kind::ContentDropped(dropped) => {
                let ContentVersion { content, version } = Wire::from_wire(dropped)?;
                Change::ContentDropped { content, version }
            }
            Kind::NetworkAllocated(c) => Change::NetworkAllocated {
                network: Wire::from_wire(c.network)?,
                allocation: Wire::from_wire(c.allocation)?,
                reason: c.reason,
            },
        })
    }
}
impl ListItem for Change {}

message!(Txn => pb::Txn { term, wall, preconditions, changes });
