//! `/swarm`: make, join, leave, settings, tokens, unlock key.

use crate::call::{Call, Outcome, empty, ok};
use crate::compat::{Answer, Request};
use crate::error::ApiError;
use crate::json::{Object, merge_cluster_spec, parse_availability, write_cluster};
use crate::ports::{Failure, InitRequest, JoinRequest, SwarmState, SwarmStatus};
use crate::rebalance;
use crate::routes::unknown_below;
use axum::http::StatusCode;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use swarm_core::Sensitive;
use swarm_core::control::{self, JoinRotation};
use swarm_core::model::{Availability, ClusterSpec};
use swarm_core::trust::TokenSecret;

/// Longest prefix of subnets drawn from the pools: room for a gateway and a few tasks.
const SUBNET_SIZE_MAX: u8 = 29;

const NOT_IN_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
const WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";
const ALREADY: &str =
    "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
const NO_SWARM: &str = "This node is not part of a swarm";

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => inspect(call).await,
        ("POST", ["init"]) => init(call).await,
        ("POST", ["join"]) => join(call).await,
        ("POST", ["leave"]) => leave(call).await,
        ("POST", ["update"]) => update(call).await,
        ("GET", ["rebalance"]) => rebalance::show(call).await,
        ("POST", ["rebalance"]) => rebalance::carry_out(call).await,
        ("GET", ["unlockkey"]) => unlock_key(call).await,
        ("POST", ["unlock"]) => unlock(call).await,
        _ => Err(unknown_below(method, "swarm", rest)),
    }
}

/// Whether this node can answer for the cluster; otherwise the words Docker has for why not.
pub fn require_manager(status: &SwarmStatus) -> Result<(), ApiError> {
    match status.state {
        SwarmState::Active if status.manager => Ok(()),
        // It is to be a manager, and can not at the moment.
        SwarmState::Active if !status.error.is_empty() => Err(ApiError::unavailable(&status.error)),
        SwarmState::Active => Err(ApiError::unavailable(WORKER)),
        SwarmState::Locked => Err(ApiError::unavailable(LOCKED)),
        SwarmState::Pending | SwarmState::Error if !status.error.is_empty() => {
            Err(ApiError::unavailable(format!("{NOT_IN_SWARM} ({})", status.error)))
        }
        SwarmState::Inactive | SwarmState::Pending | SwarmState::Error => Err(ApiError::unavailable(NOT_IN_SWARM)),
    }
}

async fn inspect(call: Call) -> Outcome {
    let view = call.view().await?;
    let cluster = view.cluster().ok_or_else(|| ApiError::unavailable(NOT_IN_SWARM))?;
    ok(call.write(Answer::Cluster, write_cluster(cluster, &call.ports.cluster.join_tokens(cluster))))
}

fn require_outside(status: &SwarmStatus) -> Result<(), ApiError> {
    match status.state {
        SwarmState::Inactive => Ok(()),
        SwarmState::Locked => Err(ApiError::unavailable(LOCKED)),
        SwarmState::Pending | SwarmState::Active | SwarmState::Error => Err(ApiError::unavailable(ALREADY)),
    }
}

fn availability(object: &mut Object) -> Result<Availability, ApiError> {
    match object.string("Availability")?.as_str() {
        "" => Ok(Availability::Active),
        text => parse_availability("Availability", text),
    }
}

async fn init(mut call: Call) -> Outcome {
    let mut object = call.fitting(Request::Init).await?;
    let force_new_cluster = object.bool("ForceNewCluster")?;
    if !force_new_cluster {
        require_outside(&call.ports.cluster.status())?;
    }
    let mut spec = match object.object("Spec")? {
        Some(spec) => merge_cluster_spec(spec, ClusterSpec::default())?,
        None => ClusterSpec::default(),
    };
    spec.autolock |= object.bool("AutoLockManagers")?;
    read_pools(&mut object, &mut spec)?;
    swarm_core::spec::cluster(&spec)?;
    check_autolock(&call, &spec, false).await?;
    let request = InitRequest {
        listen_addr: object.string("ListenAddr")?,
        advertise_addr: object.string("AdvertiseAddr")?,
        data_path_addr: object.string("DataPathAddr")?,
        availability: availability(&mut object)?,
        force_new_cluster,
        spec,
    };
    object.finish()?;
    let node = call.ports.cluster.init(request).await?;
    ok(node.to_string())
}

/// Turning autolock on takes a daemon that has unlock keys.
async fn check_autolock(call: &Call, spec: &ClusterSpec, before: bool) -> Result<(), ApiError> {
    if !spec.autolock || before {
        return Ok(());
    }
    match call.ports.cluster.unlock_key().await {
        Err(Failure::NotImplemented(_)) => {
            Err(ApiError::not_implemented("EncryptionConfig.AutoLockManagers: locking managers"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn read_pools(object: &mut Object, spec: &mut ClusterSpec) -> Result<(), ApiError> {
    let pools = object.strings("DefaultAddrPool")?;
    if !pools.is_empty() {
        let parse = |text: &String| {
            let pool = text.parse::<Ipv4Net>().map(|pool| pool.trunc());
            pool.map_err(|_| {
                ApiError::bad(format!("DefaultAddrPool: invalid base pool \"{text}\", use IPv4 as 10.0.0.0/8"))
            })
        };
        spec.address_pools = pools.iter().map(parse).collect::<Result<_, _>>()?;
    }
    let size: u8 = object.number("SubnetSize", "a prefix length")?;
    if size != 0 {
        spec.subnet_size = size;
    }
    let longest = spec.address_pools.iter().map(Ipv4Net::prefix_len).max().unwrap_or(0);
    if spec.subnet_size > SUBNET_SIZE_MAX || spec.subnet_size < longest {
        return Err(ApiError::bad(format!(
            "SubnetSize: subnet size is {}, must be {longest} to {SUBNET_SIZE_MAX} to fit the address pools",
            spec.subnet_size
        )));
    }
    let port: u16 = object.number("DataPathPort", "a port")?;
    if port != 0 && port != spec.data_path_port {
        let only = spec.data_path_port;
        return Err(ApiError::not_implemented(&format!("DataPathPort: another port than {only}")));
    }
    Ok(())
}

async fn join(mut call: Call) -> Outcome {
    require_outside(&call.ports.cluster.status())?;
    let mut object = call.object().await?;
    let request = JoinRequest {
        listen_addr: object.string("ListenAddr")?,
        advertise_addr: object.string("AdvertiseAddr")?,
        data_path_addr: object.string("DataPathAddr")?,
        availability: availability(&mut object)?,
        remote_addrs: object.strings("RemoteAddrs")?.into_iter().filter(|addr| !addr.is_empty()).collect(),
        token: Sensitive::new(object.string("JoinToken")?),
    };
    object.finish()?;
    if request.remote_addrs.is_empty() {
        return Err(ApiError::bad("RemoteAddrs: at least 1 RemoteAddr is required to join"));
    }
    if request.token.expose().is_empty() {
        return Err(ApiError::bad(
            "JoinToken: must be given, \"docker swarm join-token worker\" on a manager prints it",
        ));
    }
    call.ports.cluster.join(request).await?;
    empty(StatusCode::OK)
}

async fn leave(call: Call) -> Outcome {
    if call.ports.cluster.status().state == SwarmState::Inactive {
        return Err(ApiError::unavailable(NO_SWARM));
    }
    call.ports.cluster.leave(call.query.flag("force")).await?;
    empty(StatusCode::OK)
}

async fn update(mut call: Call) -> Outcome {
    let version = call.query.version()?;
    let body = call.value().await?;
    let view = call.view().await?;
    let cluster = view.cluster().ok_or_else(|| ApiError::unavailable(NOT_IN_SWARM))?;
    let spec = match body {
        Value::Null => cluster.spec.clone(),
        body => merge_cluster_spec(Object::root(body)?, cluster.spec.clone())?,
    };
    check_autolock(&call, &spec, cluster.spec.autolock).await?;
    let secret = || Sensitive::new(TokenSecret::from_random(call.ports.cluster.random().to_be_bytes()).reveal());
    let rotation = JoinRotation {
        worker: call.query.strict_flag("rotateWorkerToken")?.then(secret),
        manager: call.query.strict_flag("rotateManagerToken")?.then(secret),
    };
    // Without autolock there is no key, and nothing to rotate.
    let rotates_key = call.query.strict_flag("rotateManagerUnlockKey")? && spec.autolock;
    let txn = control::update_cluster(&view, version, spec, rotation, call.ports.cluster.now())?;
    call.submit(txn).await?;
    if rotates_key {
        call.ports.cluster.rotate_unlock_key().await?;
    }
    empty(StatusCode::OK)
}

async fn unlock_key(call: Call) -> Outcome {
    let view = call.view().await?;
    if !view.cluster().is_some_and(|cluster| cluster.spec.autolock) {
        return ok(json!({ "UnlockKey": "" }));
    }
    let key = call.ports.cluster.unlock_key().await?;
    ok(json!({ "UnlockKey": key.expose() }))
}

async fn unlock(mut call: Call) -> Outcome {
    match call.ports.cluster.status().state {
        SwarmState::Locked => {}
        SwarmState::Inactive => return Err(ApiError::unavailable(NO_SWARM)),
        SwarmState::Active | SwarmState::Pending | SwarmState::Error => {
            return Err(ApiError::new(StatusCode::CONFLICT, "swarm is not locked"));
        }
    }
    let mut object = call.object().await?;
    let key = Sensitive::new(object.string("UnlockKey")?);
    object.finish()?;
    call.ports.cluster.unlock(key).await?;
    empty(StatusCode::OK)
}
