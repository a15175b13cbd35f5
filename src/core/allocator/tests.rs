use super::*;
use crate::model::*;
use crate::store::{Change, Object, Store, Txn, View};
use crate::{NetworkId, NodeId};
use proptest::prelude::*;
use std::sync::Arc;

fn store(networks: Vec<Network>) -> Store {
    let mut store = Store::new();
    let changes = networks.into_iter().map(|network| Change::Create(Object::Network(Arc::new(network)))).collect();
    store.apply(1, 1, &Txn { changes, ..Txn::default() }).unwrap();
    store
}

fn network(id: u128, subnet: Option<&str>) -> Network {
    let ipam = subnet.map(|subnet| IpamSubnet { subnet: subnet.parse().unwrap(), gateway: None, range: None });
    let spec = NetworkSpec { name: format!("net{id}"), ipam: ipam.into_iter().collect(), ..NetworkSpec::default() };
    Network {
        id: NetworkId(id),
        meta: Meta::default(),
        spec,
        allocation: None,
        pending_reason: String::new(),
        removing: false,
    }
}

fn allocate(store: &mut Store) -> View {
    let changes = allocate_networks(&store.view(), &Books::of(&store.view()), usize::MAX);
    let index = store.view().index() + 1;
    store.apply(index, 1, &Txn { changes, ..Txn::default() }).unwrap();
    store.view()
}

fn subnet(view: &View, id: u128) -> String {
    view.network(NetworkId(id)).unwrap().allocation.as_ref().unwrap().subnet.to_string()
}

#[test]
fn a_subnet_is_drawn_around_those_that_were_asked_for() {
    let mut store = store(vec![network(1, None), network(2, Some("10.0.0.128/25")), network(3, Some("10.0.1.0/16"))]);
    let view = allocate(&mut store);
    assert_eq!(subnet(&view, 2), "10.0.0.128/25");
    assert_eq!(subnet(&view, 1), "10.0.1.0/24");
    let reason = &view.network(NetworkId(3)).unwrap().pending_reason;
    assert_eq!(reason, "subnet 10.0.1.0/16 overlaps with 10.0.0.128/25 of network \"net2\"");
}

#[test]
fn a_subnet_that_covers_the_address_of_a_host_is_not_drawn() {
    let mut store = store(vec![network(1, None)]);
    let status = NodeStatus { addr: Some("10.0.0.7".parse().unwrap()), ..NodeStatus::default() };
    let node = Node {
        id: NodeId(1),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: None,
        status,
        raft: None,
        certificate_role: NodeRole::Worker,
    };
    store.apply(2, 1, &Txn { changes: vec![Change::Create(node.into())], ..Txn::default() }).unwrap();
    assert_eq!(subnet(&allocate(&mut store), 1), "10.0.1.0/24");
}

proptest! {
    #[test]
    fn subnets_never_overlap_and_tunnel_ids_are_never_used_twice(
        asked in proptest::collection::vec(proptest::option::of((0u32..1 << 12, 12u8..29)), 1..40),
        removed in 0usize..40,
    ) {
        let networks: Vec<Network> = asked.iter().enumerate().map(|(n, asked)| {
            let subnet = asked.map(|(at, size)| {
                let net = ipnet::Ipv4Net::new(std::net::Ipv4Addr::from((10 << 24) + (at << 12)), size).unwrap();
                net.trunc().to_string()
            });
            // Ids that fall on one tunnel id.
            network((n as u128 % 3) + (n as u128 + 1) * ((1 << 24) - 1), subnet.as_deref())
        }).collect();
        let ids: Vec<NetworkId> = networks.iter().map(|network| network.id).collect();
        let mut store = store(networks);
        allocate(&mut store);
        let gone = Change::Delete(crate::store::ObjectRef::Network(ids[removed % ids.len()]));
        let index = store.view().index() + 1;
        store.apply(index, 1, &Txn { changes: vec![gone], ..Txn::default() }).unwrap();
        let view = allocate(&mut store);
        let given: Vec<&NetworkAllocation> = view.networks().filter_map(|n| n.allocation.as_ref()).collect();
        for (n, one) in given.iter().enumerate() {
            prop_assert!((1..1 << 24).contains(&one.overlay_id));
            prop_assert!(one.subnet.contains(&one.gateway));
            for other in &given[n + 1..] {
                prop_assert!(one.overlay_id != other.overlay_id);
                prop_assert!(!one.subnet.contains(&other.subnet) && !other.subnet.contains(&one.subnet));
            }
        }
        for network in view.networks() {
            prop_assert_eq!(network.allocation.is_some(), network.pending_reason.is_empty());
        }
        prop_assert!(allocate_networks(&view, &Books::of(&view), usize::MAX).is_empty());
    }
}
