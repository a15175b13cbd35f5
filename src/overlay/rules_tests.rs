use super::*;
use crate::netns::Netns;
use crate::nft;
use crate::plan::Transport;
use swarm_core::NetworkId;

fn net() -> Net4 {
    Net4 {
        id: NetworkId(1),
        name: "n".into(),
        overlay_id: 1,
        subnet: "10.0.1.0/24".parse().expect("subnet"),
        gateway: Ipv4Addr::new(10, 0, 1, 1),
        internal: false,
        ingress: true,
    }
}

fn backends(last: &[u8], port: Option<u16>) -> Backends {
    Backends { addrs: last.iter().map(|n| Ipv4Addr::new(10, 0, 1, *n)).collect(), port }
}

fn content(services: &[(u8, &[u8])]) -> NetworkContent {
    NetworkContent {
        services: services.iter().map(|(vip, tasks)| (Ipv4Addr::new(10, 0, 1, *vip), backends(tasks, None))).collect(),
        ..NetworkContent::default()
    }
}

#[test]
fn a_change_of_one_service_touches_no_other() {
    let many: Vec<(u8, &[u8])> = (2..100).map(|vip| (vip, &[200u8, 201][..])).collect();
    let old = content(&many);
    let mut new = old.clone();
    new.services.insert(Ipv4Addr::new(10, 0, 1, 50), backends(&[200], None));
    let script = network_diff(&net(), &old, &new);
    assert_eq!(script.lines().count(), 3, "{script}");
    assert!(script.lines().all(|l| l.contains("s_10_0_1_50")), "{script}");
    assert_eq!(network_diff(&net(), &new, &new), "");
}

#[test]
fn nft_takes_every_rule_set_and_every_change_of_it() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("ns");
    let place = Netns::create(&path).expect("a namespace: these tests need root");
    let run = |script: &str| nft::apply(&place, "a test", script).unwrap_or_else(|e| panic!("{e}\n{script}"));
    run(&network_base(&net(), Some(Ipv4Addr::new(169, 254, 192, 2))));
    let mut one = content(&[(2, &[]), (3, &[7]), (4, &[7, 8, 9])]);
    one.published.insert((Transport::Tcp, 8080), backends(&[7, 8], Some(80)));
    one.published.insert((Transport::Udp, 53), backends(&[], Some(53)));
    one.host_ports.insert((Transport::Tcp, 9000), (Ipv4Addr::new(10, 0, 1, 7), 90));
    one.hairpin.insert(Ipv4Addr::new(10, 0, 1, 7));
    run(&network_diff(&net(), &NetworkContent::default(), &one));
    let mut two = content(&[(3, &[7, 8]), (5, &[9])]);
    two.host_ports.insert((Transport::Tcp, 9000), (Ipv4Addr::new(10, 0, 1, 8), 90));
    run(&network_diff(&net(), &one, &two));
    run(&network_diff(&net(), &two, &NetworkContent::default()));
    run(&network_base(&net(), None));

    for own in [None, Some(Ipv4Addr::new(192, 0, 2, 1))] {
        run(&host_base("swarm_t", "swt-", own));
        let mut host = HostContent::default();
        host.ports.insert((None, Transport::Tcp, 80), (Ipv4Addr::new(169, 254, 192, 2), 80));
        host.ports.insert((Some(Ipv4Addr::LOCALHOST), Transport::Udp, 81), (Ipv4Addr::new(169, 254, 192, 2), 81));
        host.links.insert(Ipv4Addr::new(169, 254, 192, 2));
        host.apart.extend(["eth0".to_owned(), "eth1.5@x".to_owned()]);
        run(&host_diff("swarm_t", &HostContent::default(), &host));
        run(&host_diff("swarm_t", &host, &HostContent::default()));
    }
    run(&resolver("swarm_resolver", 4000, 4001));
    Netns::remove(&path).expect("removed");
}
