//! Which role, if any, a presented token secret opens.

use std::time::Duration;

use crate::WallTime;
use crate::model::cluster::{Cluster, JoinSecret};
use crate::model::node::NodeRole;

use super::token::TokenSecret;

/// Why a secret was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// No such secret: mistyped, or rotated away.
    #[error(
        "the join token is not valid for this cluster: it was mistyped or replaced (print the current one on a manager with: swarm join-token worker)"
    )]
    Unknown,
    /// It was right once.
    #[error(
        "the join token expired {} s ago (make a new one on a manager with: swarm join-token --rotate worker)",
        ago.as_secs()
    )]
    Expired {
        /// Time since it expired.
        ago: Duration,
    },
}

/// The role that `presented` opens in `cluster` at `now`.
///
/// Compares with both secrets whatever matches, so the time taken says nothing about them.
pub fn admit(cluster: &Cluster, presented: &TokenSecret, now: WallTime) -> Result<NodeRole, JoinRefusal> {
    let as_worker = try_one(&cluster.worker_secret, presented, now);
    let as_manager = try_one(&cluster.manager_secret, presented, now);
    match (as_worker, as_manager) {
        (Some(Ok(())), _) => Ok(NodeRole::Worker),
        (_, Some(Ok(()))) => Ok(NodeRole::Manager),
        (Some(Err(expired)), _) | (None, Some(Err(expired))) => Err(expired),
        (None, None) => Err(JoinRefusal::Unknown),
    }
}

/// `None`: another secret. A stored secret that does not parse matches nothing.
fn try_one(known: &JoinSecret, presented: &TokenSecret, now: WallTime) -> Option<Result<(), JoinRefusal>> {
    let secret: TokenSecret = known.secret.expose().parse().ok()?;
    if secret != *presented {
        return None;
    }
    Some(match known.expires {
        Some(expires) if now >= expires => Err(JoinRefusal::Expired { ago: now.since(expires) }),
        Some(_) | None => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::{ClusterCa, ClusterSpec};
    use crate::{ClusterId, Sensitive};

    fn secret(byte: u8) -> TokenSecret {
        TokenSecret::from_random([byte; 16])
    }

    fn cluster() -> Cluster {
        let join = |byte, expires| JoinSecret { secret: Sensitive::new(secret(byte).reveal()), expires };
        let cluster = Cluster::new(ClusterId(1), ClusterSpec::default(), ClusterCa::default());
        let (worker_secret, manager_secret) = (join(1, None), join(2, Some(WallTime(100_000))));
        Cluster { worker_secret, manager_secret, ..cluster }
    }

    #[test]
    fn a_secret_opens_its_role() {
        assert_eq!(admit(&cluster(), &secret(1), WallTime(1_000_000)), Ok(NodeRole::Worker));
        assert_eq!(admit(&cluster(), &secret(2), WallTime(99_999)), Ok(NodeRole::Manager));
    }

    #[test]
    fn an_expired_secret_says_since_when() {
        assert_eq!(
            admit(&cluster(), &secret(2), WallTime(160_000)),
            Err(JoinRefusal::Expired { ago: Duration::from_secs(60) })
        );
    }

    #[test]
    fn an_unknown_secret_opens_nothing() {
        assert_eq!(admit(&cluster(), &secret(3), WallTime(0)), Err(JoinRefusal::Unknown));
    }
}
