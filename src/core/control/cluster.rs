//! Update the cluster's settings and its join secrets.

use super::{Refusal, check_version, invalid, txn};
use crate::model::*;
use crate::spec;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View, fits};
use crate::{Sensitive, WallTime};
use std::sync::Arc;

/// New join secrets; `None` keeps the one there is.
#[derive(Clone, Debug, Default)]
pub struct JoinRotation {
    pub worker: Option<Sensitive<String>>,
    pub manager: Option<Sensitive<String>>,
}

fn find(view: &View, version: u64) -> Result<&Arc<Cluster>, Refusal> {
    let cluster = view.cluster().ok_or_else(|| Refusal::NotFound("cluster not found".to_owned()))?;
    check_version(version, cluster.meta.version)?;
    Ok(cluster)
}

fn replace(old: &Cluster, new: Cluster, now: WallTime) -> Txn {
    let preconditions = vec![Precondition::Version(ObjectRef::Cluster, old.meta.version)];
    txn(now, preconditions, vec![Change::Replace(Object::Cluster(Arc::new(new)))])
}

/// Replaces the settings of the cluster and, in the same write, the join secrets given.
pub fn update_cluster(
    view: &View,
    version: u64,
    mut spec: ClusterSpec,
    rotation: JoinRotation,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = find(view, version)?;
    if spec.name.is_empty() {
        spec.name.clone_from(&old.spec.name);
    }
    spec::cluster(&spec)?;
    fits::cluster(view, &spec)?;
    if spec.name != old.spec.name {
        return invalid("Name: the name of a swarm can not be changed");
    }
    let fixed = |spec: &ClusterSpec| (spec.address_pools.clone(), spec.subnet_size, spec.data_path_port);
    if fixed(&spec) != fixed(&old.spec) {
        return invalid("DefaultAddrPool, SubnetSize and DataPathPort can only be set when the swarm is made");
    }
    Ok(replace(old, rotated(Cluster { spec, ..(**old).clone() }, rotation), now))
}

/// Replaces join secrets: tokens handed out before no longer let anyone in.
pub fn rotate_join_secrets(view: &View, version: u64, rotation: JoinRotation, now: WallTime) -> Result<Txn, Refusal> {
    let old = find(view, version)?;
    Ok(replace(old, rotated((**old).clone(), rotation), now))
}

fn rotated(mut cluster: Cluster, rotation: JoinRotation) -> Cluster {
    if let Some(secret) = rotation.worker {
        cluster.worker_secret = JoinSecret { secret, expires: None };
    }
    if let Some(secret) = rotation.manager {
        cluster.manager_secret = JoinSecret { secret, expires: None };
    }
    cluster
}
