//! The rotation of the gossip keys: a node that leaves keeps what it knew, so the others move on to a new key.
//!
//! The first key of the ring seals, all open. A new key is added at the end; when all had time to learn it, it goes
//! first; when all had time to learn that, the older ones are dropped. The ring itself says how far that has come, so
//! whoever leads goes on. Two rings that follow each other open each other's packets: nodes are at most one step apart,
//! and one that was away longer learns the ring from its session, which needs no gossip.

use std::time::Duration;

use crate::model::{Cluster, GossipKey};
use crate::store::{Change, Object, ObjectRef, Precondition, View};
use crate::{Sensitive, WallTime};

/// For all nodes to learn a ring: they hear of it in their sessions at once, and one without a session is down after
/// 15 s.
pub const GOSSIP_KEYS_LEARNED: Duration = Duration::from_secs(60);

/// Whether a key was made after another. Numbers begin again after 255.
fn newer(one: &GossipKey, other: &GossipKey) -> bool {
    one.id.wrapping_sub(other.id).cast_signed() > 0
}

fn newest(ring: &[GossipKey]) -> Option<&GossipKey> {
    ring.iter().reduce(|newest, key| if newer(key, newest) { key } else { newest })
}

/// The ring with a new key, which nobody seals with yet. A key that waits for its turn already gives way: whoever is
/// gone now may know it, and nobody has used it.
fn with_new_key(ring: &[GossipKey], key: Sensitive<[u8; 32]>) -> Vec<GossipKey> {
    let newest = newest(ring);
    let id = newest.map_or(1, |newest| newest.id.wrapping_add(1));
    let waiting = newest.filter(|newest| ring.first() != Some(*newest));
    let kept = ring.iter().filter(|key| Some(*key) != waiting).cloned();
    kept.chain([GossipKey { id, key }]).collect()
}

/// The ring after the next step; `None`: nothing is to be done.
fn next_ring(ring: &[GossipKey]) -> Option<Vec<GossipKey>> {
    let (first, newest) = (ring.first()?, newest(ring)?);
    if ring.len() == 1 {
        return None;
    }
    Some(if first == newest { vec![newest.clone()] } else { vec![newest.clone(), first.clone()] })
}

fn replaced(cluster: &Cluster, gossip_keys: Vec<GossipKey>) -> (Precondition, Change) {
    let precondition = Precondition::Version(ObjectRef::Cluster, cluster.meta.version);
    let cluster = Cluster { gossip_keys, ..cluster.clone() };
    (precondition, Change::Replace(Object::Cluster(cluster.into())))
}

/// Begins a rotation, in the transaction by which a node goes. `key` is random.
#[must_use]
pub fn begin_gossip_rotation(view: &View, key: Sensitive<[u8; 32]>) -> Option<(Precondition, Change)> {
    let cluster = view.cluster()?;
    Some(replaced(cluster, with_new_key(&cluster.gossip_keys, key)))
}

/// The next step, when it is due at `now`.
#[must_use]
pub fn continue_gossip_rotation(view: &View, now: WallTime) -> Option<(Precondition, Change)> {
    let cluster = view.cluster()?;
    let due = now.since(cluster.meta.updated.wall) >= GOSSIP_KEYS_LEARNED;
    Some(replaced(cluster, next_ring(&cluster.gossip_keys).filter(|_| due)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(ids: &[u8]) -> Vec<GossipKey> {
        ids.iter().map(|id| GossipKey { id: *id, key: Sensitive::new([*id; 32]) }).collect()
    }

    fn ids(ring: &[GossipKey]) -> Vec<u8> {
        ring.iter().map(|key| key.id).collect()
    }

    fn added(ids: &[u8]) -> Vec<u8> {
        self::ids(&with_new_key(&ring(ids), Sensitive::new([0; 32])))
    }

    fn next(ids: &[u8]) -> Option<Vec<u8>> {
        next_ring(&ring(ids)).map(|ring| self::ids(&ring))
    }

    #[test]
    fn a_key_is_added_then_used_then_alone() {
        assert_eq!(added(&[1]), [1, 2]);
        assert_eq!(next(&[1, 2]), Some(vec![2, 1]));
        assert_eq!(next(&[2, 1]), Some(vec![2]));
        assert_eq!(next(&[2]), None);
        assert_eq!(added(&[255]), [255, 0]);
        assert_eq!(next(&[255, 0]), Some(vec![0, 255]));
    }

    #[test]
    fn a_node_that_goes_meanwhile_knows_no_key_that_will_be_used() {
        assert_eq!(added(&[1, 2]), [1, 3]);
        assert_eq!(added(&[2, 1]), [2, 1, 3]);
        assert_eq!(next(&[2, 1, 3]), Some(vec![3, 2]));
        assert_eq!(added(&[2, 1, 3]), [2, 1, 4]);
    }

    proptest! {
        #[test]
        fn nodes_one_step_apart_hear_each_other(steps in prop::collection::vec(any::<bool>(), 0..600)) {
            let mut now = ring(&[1]);
            for (count, add) in steps.into_iter().enumerate() {
                let key = Sensitive::new([count as u8; 32]);
                let then = if add { Some(with_new_key(&now, key)) } else { next_ring(&now) };
                let Some(then) = then else { continue };
                prop_assert!(then.contains(&now[0]), "the old first key opens in {then:?}");
                prop_assert!(now.contains(&then[0]), "the new first key opens in {now:?}");
                prop_assert!(then.len() <= 3);
                now = then;
            }
            while let Some(then) = next_ring(&now) {
                prop_assert!(then.len() <= now.len() && then != now);
                now = then;
            }
            prop_assert_eq!(now.len(), 1);
        }
    }
}
