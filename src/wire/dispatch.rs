//! Assignments of a node.

use crate::convert::{Wire, WireError, message};
use crate::fabric::{ids, ids_from};
use crate::pb::dispatch as pb;
use crate::pb::objects::ContentVersion as ContentVersionPb;
use std::collections::BTreeSet;
use std::sync::Arc;
use swarm_core::autoscale::{Loads, Sampling, ServiceLoad, TaskLoad};
use swarm_core::dispatch::Assignments;
use swarm_core::model::{Config, ConfigSpec, ContentId, ContentVersion, Labels, Meta, Secret, SecretSpec};
use swarm_core::{ConfigId, SecretId, Sensitive, ServiceId, Stamp};

message!(TaskLoad => pb::TaskLoad { task, over, nano_cpus, memory_bytes });
message!(ServiceLoad => pb::ServiceLoad { service, over, connections });
message!(Loads => pb::Loads { tasks, services });

impl Wire for Sampling {
    type Pb = pb::Sampling;

    fn to_wire(&self) -> pb::Sampling {
        let ids = |set: &BTreeSet<ServiceId>| set.iter().map(Wire::to_wire).collect();
        pb::Sampling { services: ids(&self.services), counted: ids(&self.counted) }
    }

    fn from_wire(pb: pb::Sampling) -> Result<Self, WireError> {
        let ids = |list: Vec<Vec<u8>>| list.into_iter().map(ServiceId::from_wire).collect::<Result<_, _>>();
        Ok(Sampling { services: ids(pb.services)?, counted: ids(pb.counted)? })
    }
}

impl Wire for Assignments {
    type Pb = pb::Assignments;

    fn to_wire(&self) -> pb::Assignments {
        pb::Assignments {
            complete: self.complete,
            index: self.index,
            tasks: self.tasks.iter().map(Wire::to_wire).collect(),
            removed_tasks: ids(&self.removed_tasks),
            secrets: self.secrets.iter().map(secret_to_wire).collect(),
            removed_secrets: Vec::new(),
            configs: self.configs.iter().map(config_to_wire).collect(),
            removed_configs: Vec::new(),
            fabric: self.fabric.to_wire(),
            more: false,
            removed_contents: removed_to_wire(self),
        }
    }

    fn from_wire(pb: pb::Assignments) -> Result<Self, WireError> {
        let (removed_secrets, removed_configs) = removed_from_wire(&pb)?;
        Ok(Assignments {
            complete: pb.complete,
            index: pb.index,
            tasks: pb.tasks.into_iter().map(Wire::from_wire).collect::<Result<_, _>>()?,
            removed_tasks: ids_from(pb.removed_tasks)?,
            secrets: pb.secrets.into_iter().map(secret_from_wire).collect::<Result<_, _>>()?,
            removed_secrets,
            configs: pb.configs.into_iter().map(config_from_wire).collect::<Result<_, _>>()?,
            removed_configs,
            fabric: Wire::from_wire(pb.fabric)?,
        })
    }
}

fn removed_to_wire(assignments: &Assignments) -> Vec<ContentVersionPb> {
    let secrets = assignments.removed_secrets.iter().map(|(id, version)| (ContentId::Secret(*id), *version));
    let configs = assignments.removed_configs.iter().map(|(id, version)| (ContentId::Config(*id), *version));
    secrets.chain(configs).map(|(content, version)| ContentVersion { content, version }.to_wire()).collect()
}

type Removed = (Vec<(SecretId, u64)>, Vec<(ConfigId, u64)>);

fn removed_from_wire(pb: &pb::Assignments) -> Result<Removed, WireError> {
    // Contents of managers that knew one of each have no version.
    let secrets: Vec<SecretId> = ids_from(pb.removed_secrets.clone())?;
    let configs: Vec<ConfigId> = ids_from(pb.removed_configs.clone())?;
    let mut removed: Removed =
        (secrets.into_iter().map(|id| (id, 0)).collect(), configs.into_iter().map(|id| (id, 0)).collect());
    for content in &pb.removed_contents {
        let ContentVersion { content, version } = Wire::from_wire(content.clone())?;
        match content {
            ContentId::Secret(id) => removed.0.push((id, version)),
            ContentId::Config(id) => removed.1.push((id, version)),
        }
    }
    Ok(removed)
}

/// A node gets the content and the name; labels and stamps stay with the managers.
fn secret_to_wire(secret: &Arc<Secret>) -> pb::SecretContent {
    pb::SecretContent {
        id: secret.id.to_wire(),
        version: secret.meta.version,
        name: secret.spec.name.clone(),
        templated: secret.spec.templated,
        content_version: secret.content_version,
        data: secret.spec.data.expose().clone(),
    }
}

fn secret_from_wire(pb: pb::SecretContent) -> Result<Arc<Secret>, WireError> {
    let data = Sensitive::new(pb.data);
    let spec = SecretSpec { name: pb.name, labels: Labels::new(), data, templated: pb.templated };
    let (id, content_version) = (Wire::from_wire(pb.id)?, pb.content_version);
    Ok(Arc::new(Secret { id, meta: meta(pb.version), spec, content_version, older: Vec::new() }))
}

fn config_to_wire(config: &Arc<Config>) -> pb::ConfigContent {
    pb::ConfigContent {
        id: config.id.to_wire(),
        version: config.meta.version,
        name: config.spec.name.clone(),
        templated: config.spec.templated,
        content_version: config.content_version,
        data: config.spec.data.clone(),
    }
}

fn config_from_wire(pb: pb::ConfigContent) -> Result<Arc<Config>, WireError> {
    let spec = ConfigSpec { name: pb.name, labels: Labels::new(), data: pb.data, templated: pb.templated };
    let (id, content_version) = (Wire::from_wire(pb.id)?, pb.content_version);
    Ok(Arc::new(Config { id, meta: meta(pb.version), spec, content_version, older: Vec::new() }))
}

fn meta(version: u64) -> Meta {
    Meta { version, created: Stamp::default(), updated: Stamp::default() }
}
