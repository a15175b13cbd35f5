//! Differences between two states, so that a change costs what it changes and not the size of the cluster.

use super::{FabricEndpoint, FabricNetwork, FabricPeer, FabricService, FabricState};
use crate::{NetworkId, NodeId, ServiceId, TaskId};
use std::collections::BTreeMap;

/// What to put and what to remove. With `complete`, the base is the empty state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FabricDelta {
    pub complete: bool,
    /// Index of the state it applies to; of no meaning with `complete`.
    pub base: u64,
    /// Index of the state it leads to.
    pub index: u64,
    pub peers: BTreeMap<NodeId, FabricPeer>,
    pub removed_peers: Vec<NodeId>,
    pub networks: BTreeMap<NetworkId, FabricNetwork>,
    pub removed_networks: Vec<NetworkId>,
    pub services: BTreeMap<ServiceId, FabricService>,
    pub removed_services: Vec<ServiceId>,
    pub endpoints: BTreeMap<TaskId, FabricEndpoint>,
    pub removed_endpoints: Vec<TaskId>,
}

/// The state a delta was made for is not the one held: ask for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network state is at index {held}, the change is for index {base}")]
pub struct WrongBase {
    pub held: u64,
    pub base: u64,
}

impl FabricDelta {
    /// The whole of `state`.
    pub fn complete(state: &FabricState) -> Self {
        let mut delta = changes(&FabricState::default(), state);
        delta.complete = true;
        delta
    }

    /// Nothing but an index.
    fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.removed_peers.is_empty()
            && self.networks.is_empty()
            && self.removed_networks.is_empty()
            && self.services.is_empty()
            && self.removed_services.is_empty()
            && self.endpoints.is_empty()
            && self.removed_endpoints.is_empty()
    }
}

impl FabricState {
    /// Brings the state forward; unchanged on error.
    pub fn apply_delta(&mut self, delta: FabricDelta) -> Result<(), WrongBase> {
        if delta.complete {
            *self = FabricState::default();
        } else if self.index != delta.base {
            return Err(WrongBase { held: self.index, base: delta.base });
        }
        self.index = delta.index;
        patch(&mut self.peers, delta.peers, &delta.removed_peers);
        patch(&mut self.networks, delta.networks, &delta.removed_networks);
        patch(&mut self.services, delta.services, &delta.removed_services);
        patch(&mut self.endpoints, delta.endpoints, &delta.removed_endpoints);
        Ok(())
    }
}

fn patch<K: Ord, V>(map: &mut BTreeMap<K, V>, put: BTreeMap<K, V>, removed: &[K]) {
    for key in removed {
        map.remove(key);
    }
    map.extend(put);
}

/// From `old` to `new`; `None` when they differ in nothing but the index.
pub fn diff(old: &FabricState, new: &FabricState) -> Option<FabricDelta> {
    let delta = changes(old, new);
    (!delta.is_empty()).then_some(delta)
}

fn changes(old: &FabricState, new: &FabricState) -> FabricDelta {
    let (peers, removed_peers) = part(&old.peers, &new.peers);
    let (networks, removed_networks) = part(&old.networks, &new.networks);
    let (services, removed_services) = part(&old.services, &new.services);
    let (endpoints, removed_endpoints) = part(&old.endpoints, &new.endpoints);
    FabricDelta {
        complete: false,
        base: old.index,
        index: new.index,
        peers,
        removed_peers,
        networks,
        removed_networks,
        services,
        removed_services,
        endpoints,
        removed_endpoints,
    }
}

fn part<K: Ord + Copy, V: PartialEq + Clone>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> (BTreeMap<K, V>, Vec<K>) {
    let put = new.iter().filter(|(key, value)| old.get(key) != Some(value));
    let put = put.map(|(key, value)| (*key, value.clone())).collect();
    let removed = old.keys().filter(|key| !new.contains_key(key)).copied().collect();
    (put, removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(index: u64, peers: &BTreeMap<u8, u16>) -> FabricState {
        let peer = |(id, port): (&u8, &u16)| {
            let endpoint = std::net::SocketAddr::new("192.0.2.1".parse().expect("address"), *port);
            (NodeId(u128::from(*id)), FabricPeer { name: String::new(), endpoint, wireguard_key: [0; 32] })
        };
        FabricState { index, peers: peers.iter().map(peer).collect(), ..FabricState::default() }
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_the_old_state_to_the_new(
            old in proptest::collection::btree_map(0u8..8, 0u16..4, 0..6),
            new in proptest::collection::btree_map(0u8..8, 0u16..4, 0..6),
        ) {
            let (old, new) = (state(1, &old), state(2, &new));
            let mut held = old.clone();
            match diff(&old, &new) {
                None => prop_assert_eq!(&old.peers, &new.peers),
                Some(delta) => {
                    held.apply_delta(delta).expect("same base");
                    prop_assert_eq!(&held, &new);
                }
            }
            held.apply_delta(FabricDelta::complete(&new)).expect("complete");
            prop_assert_eq!(held, new);
        }
    }

    #[test]
    fn a_difference_for_another_base_is_refused() {
        let mut held = state(5, &BTreeMap::new());
        let delta = FabricDelta { base: 4, index: 6, ..FabricDelta::default() };
        assert_eq!(held.apply_delta(delta), Err(WrongBase { held: 5, base: 4 }));
        assert_eq!(held.index, 5);
    }
}
