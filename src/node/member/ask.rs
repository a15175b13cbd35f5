//! What this member asks of managers.

use super::MemberError;
use crate::managers::Managers;
use crate::transport::{CONTROL, Endpoint, Expect};
use std::net::SocketAddr;
use std::time::Duration;
use swarm_core::NodeId;
use tokio::time::{Instant, sleep};
use wire::pb::control::{FailureKind, reply::Reply, request::Request};
use wire::{Message, Wire, WireError, pb};

/// One request to a manager.
const CALL: Duration = Duration::from_secs(5);
/// An election, and the pause between looks for its winner.
const LEADER_WAIT: Duration = Duration::from_secs(8);
const LEADER_PAUSE: Duration = Duration::from_millis(250);

/// Any manager that answers.
pub(super) async fn ask_manager(
    endpoint: &Endpoint,
    managers: &Managers,
    request: Request,
) -> Result<Reply, MemberError> {
    let began = Instant::now();
    let mut last = "no manager is known".to_owned();
    for (node, address) in managers.in_order() {
        match ask(endpoint, node, address, request.clone()).await {
            Ok(Reply::Failure(failure)) => last = failure.message,
            Ok(reply) => return Ok(reply),
            Err(error) => last = crate::error::chain(&error),
        }
    }
    Err(MemberError::NoManager { waited: began.elapsed(), last })
}

/// The leader, wherever it is said to be, or becomes. What is asked of it may be asked again.
pub(super) async fn ask_leader(
    endpoint: &Endpoint,
    managers: &Managers,
    request: Request,
) -> Result<Reply, MemberError> {
    let began = Instant::now();
    loop {
        match ask_leader_once(endpoint, managers, &request).await? {
            Ok(reply) => return Ok(reply),
            Err(last) if began.elapsed() + LEADER_PAUSE >= LEADER_WAIT => {
                return Err(MemberError::NoManager { waited: began.elapsed(), last });
            }
            Err(_) => sleep(LEADER_PAUSE).await,
        }
    }
}

/// The leader's answer, or why none answered.
async fn ask_leader_once(
    endpoint: &Endpoint,
    managers: &Managers,
    request: &Request,
) -> Result<Result<Reply, String>, MemberError> {
    let mut last = "no manager is known".to_owned();
    for (mut node, mut address) in managers.in_order() {
        // Who is asked may name the leader once.
        for _ in 0..2 {
            match ask(endpoint, node, address, request.clone()).await {
                Ok(Reply::Failure(pb::control::Failure { leader: Some(leader), message, .. })) => {
                    last = message;
                    node = NodeId::from_wire(leader.node)?;
                    address = SocketAddr::from_wire(leader.addr)?;
                }
                Ok(Reply::Failure(failure)) => match failure.kind() {
                    FailureKind::NoLeader | FailureKind::NotLeader | FailureKind::Uncertain => {
                        last = failure.message;
                        break;
                    }
                    FailureKind::Unspecified
                    | FailureKind::Invalid
                    | FailureKind::NotFound
                    | FailureKind::Conflict
                    | FailureKind::OutOfSequence
                    | FailureKind::InUse
                    | FailureKind::Denied => return Err(MemberError::Refused(failure.message)),
                },
                Ok(reply) => return Ok(Ok(reply)),
                Err(error) => {
                    last = crate::error::chain(&error);
                    break;
                }
            }
        }
    }
    Ok(Err(last))
}

async fn ask(endpoint: &Endpoint, node: NodeId, address: SocketAddr, request: Request) -> Result<Reply, MemberError> {
    let request = pb::control::Request { request: Some(request) }.encode_to_vec();
    let reply = endpoint.call(address, Expect::Node(node), &CONTROL, request, CALL).await?;
    let reply = pb::control::Reply::decode(reply).map_err(WireError::from)?;
    Ok(reply.reply.ok_or(WireError::Missing("Reply.reply"))?)
}

/// The error for an answer to something else.
pub(super) fn unexpected(reply: Reply) -> MemberError {
    match reply {
        Reply::Failure(failure) => MemberError::Refused(failure.message),
        Reply::Submitted(_) | Reply::Renewed(_) | Reply::JoinedRaft(_) | Reply::Left(_) | Reply::Leader(_) => {
            MemberError::Refused("the manager answered something else than was asked".to_owned())
        }
    }
}
