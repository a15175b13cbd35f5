//! What nobody published stays closed: to other containers, to other hosts, by any way around.

mod lab;

use lab::{INGRESS, Lab, greet, inside, port, run};
use std::net::{IpAddr, Ipv4Addr};
use swarm_core::model::{EndpointMode, Protocol, PublishMode};

/// An address on the network of published ports.
fn ingress(last: u8) -> [(u8, [u8; 4]); 1] {
    [(INGRESS, [10, 0, INGRESS, last])]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_service_is_open_to_other_tasks_at_its_published_ports_only() {
    let mut lab = Lab::new(2).await;
    lab.network(INGRESS, false);
    let vip = [10, 0, INGRESS, 2];
    let ports = vec![port(8080, Protocol::Tcp, PublishMode::Ingress)];
    lab.service(1, "web", EndpointMode::Vip, &[(INGRESS, vip)], ports);
    let server = lab.task(1, 1, &ingress(11)).await;
    lab::serve(&server, 5432, "hidden");
    lab.endpoint(2, 7, 1, &ingress(12));
    let stranger = lab.attach(1, 2, &ingress(12)).await.netns;
    lab.apply().await;
    for port in [5432, 80] {
        let reached = greet(&stranger, (vip.into(), port));
        assert!(reached.is_err(), "port {port} is open: {reached:?}");
    }
    // The published port is open to all, to the server itself too.
    for from in [&stranger, &server, &lab.outside, &lab.host(2).netns] {
        for host in 1..=2 {
            assert_eq!(greet(from, (lab.host(host).addr(), 8080)).expect("greeted").0, "t1");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_at_loopback_is_not_reached_by_the_address_behind_it() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    lab.network(INGRESS, false);
    let mut at_loopback = port(8080, Protocol::Tcp, PublishMode::Ingress);
    at_loopback.host_ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let open = port(8081, Protocol::Tcp, PublishMode::Ingress);
    lab.service(1, "web", EndpointMode::Vip, &[], vec![at_loopback, open]);
    lab.task(1, 1, &ingress(11)).await;
    lab.endpoint(2, 7, 1, &[(1, [10, 0, 1, 5])]);
    let stranger = lab.attach(1, 2, &[(1, [10, 0, 1, 5])]).await.netns;
    lab.apply().await;
    // A neighbour on the host's wire needs no more than a route through it.
    inside(&lab.outside, || run("ip route add 169.254.192.0/18 via 192.0.2.1"));
    let routes = inside(&lab.host(1).netns, || run("ip -o route show scope link"));
    let links = routes.lines().filter_map(|l| l.split(' ').next()?.parse().ok()).collect::<Vec<Ipv4Addr>>();
    assert_eq!(links.len(), 2, "{routes}");
    for link in links {
        for from in [&stranger, &lab.outside] {
            let reached = greet(from, (link, 8080));
            assert!(reached.is_err(), "{link}: {reached:?}");
        }
    }
    assert_eq!(greet(&lab.host(1).netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted").0, "t1");
    for from in [&stranger, &lab.outside, &lab.host(1).netns] {
        assert_eq!(greet(from, (lab.host(1).addr(), 8081)).expect("greeted").0, "t1");
    }
    lab::serve(&lab.outside, 80, "out");
    assert_eq!(greet(&stranger, (Ipv4Addr::new(192, 0, 2, 100), 80)).expect("greeted").0, "out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_in_two_networks_does_not_become_a_way_between_them() {
    let mut lab = Lab::new(2).await;
    let (one, two) = (lab.host(1).netns.clone(), lab.host(2).netns.clone());
    let forwards = || inside(&one, || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("read"));
    inside(&one, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("written"));
    // A second wire from host 1 to host 2, where another machine would be.
    let name = two.file_name().expect("name").to_string_lossy().into_owned();
    inside(&one, || {
        run(&format!("ip link add wire type veth peer name wire netns {name}"));
        run("ip addr add 203.0.113.1/24 dev wire");
        run("ip link set wire up");
    });
    inside(&two, || {
        run("ip addr add 203.0.113.2/24 dev wire");
        run("ip link set wire up");
        run("ip route replace 192.0.2.100 via 203.0.113.1 src 203.0.113.2");
    });
    inside(&lab.outside, || run("ip route add 203.0.113.0/24 via 192.0.2.1"));
    lab::serve(&two, 81, "inner");
    let inner = (Ipv4Addr::new(203, 0, 113, 2), 81);
    assert!(greet(&lab.outside, inner).is_err(), "the host forwarded before");
    lab.network(1, false);
    let task = lab.attach(1, 1, &[(1, [10, 0, 1, 5])]).await.netns;
    lab.apply().await;
    for restarted in [false, true] {
        if restarted {
            lab.restart(1).await;
        }
        assert_eq!(forwards().trim(), "1");
        assert!(greet(&lab.outside, inner).is_err(), "restarted: {restarted}");
        assert_eq!(greet(&task, inner).expect("greeted"), ("inner".into(), Ipv4Addr::new(203, 0, 113, 1)));
    }
    lab.host(1).fabric().teardown().await.expect("torn down");
    assert_eq!(forwards().trim(), "0");
}
