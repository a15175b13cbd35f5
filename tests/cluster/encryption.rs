//! What containers say to each other is not readable between the hosts.

use crate::harness::capture::Capture;
use crate::harness::http::get;
use crate::harness::{Cluster, Probe as _, SOON, wait_until};

/// A text that is found wherever it is readable.
const SECRET: &str = "the-quick-brown-plaintext-3f9c1d";
/// Enough requests that each replica, two of three on another host, answers some.
const REQUESTS: usize = 30;

#[test]
fn nothing_a_container_sends_is_readable_between_the_hosts() {
    let cluster = Cluster::up("crypt", 3);
    let archive = cluster.make_app(1, &format!("{SECRET}\n").repeat(50));
    for host in &cluster.hosts {
        cluster.swarm(host.index, &["image", "load", "-i", &archive.display().to_string()]);
    }
    let stack = "services:\n  web: {image: 'app:1', ports: ['8080:8080'], deploy: {replicas: 3}}\n  probe:\n    image: app:1\n    ports: [{target: 8080, published: 8090, mode: host}]\n    deploy: {mode: global}\n";
    cluster.deploy(1, "talk", stack);
    cluster.wait_running(1, "talk_web", 3, SOON);
    for host in &cluster.hosts {
        wait_until("the probe reaches the service", SOON, || {
            get(host.address, 8090, "/cgi-bin/fetch?web/").is_ok_and(|r| r.text().contains(SECRET))
        });
    }
    let capture = Capture::start(&cluster);
    let mut answered = 0;
    for n in 0..REQUESTS {
        let host = &cluster.hosts[n % cluster.hosts.len()];
        // From a container on this host by name, and from outside through the published port.
        let inside = get(host.address, 8090, "/cgi-bin/fetch?web/").expect("the probe answers");
        let outside = get(host.address, 8080, "/").expect("the port answers");
        answered += usize::from(inside.text().contains(SECRET)) + usize::from(outside.text().contains(SECRET));
    }
    let packets = capture.stop();
    assert_eq!(answered, 2 * REQUESTS, "requests that were answered with the text");
    let hosts: Vec<_> = cluster.hosts.iter().map(|h| h.address).collect();
    let (between, outside): (Vec<_>, Vec<_>) =
        packets.iter().partition(|p| hosts.contains(&p.source) && hosts.contains(&p.destination));
    // The capture sees what is readable: the client's own traffic with the published port is.
    assert!(outside.iter().any(|p| p.contains(SECRET)), "the capture does not work: {} packets", packets.len());
    let tunnel: usize = between.iter().filter(|p| p.is_udp).map(|p| p.bytes.len()).sum();
    // A third of the answers at most came from the host that was asked.
    assert!(tunnel > REQUESTS * SECRET.len() * 50 / 2, "only {tunnel} bytes of UDP between the hosts");
    let readable: Vec<_> = between.iter().filter(|p| p.contains(SECRET)).map(|p| (p.source, p.destination)).collect();
    assert!(readable.is_empty(), "readable between hosts: {readable:?}");
    // Nor do packets of containers cross unwrapped: only the hosts' own addresses are on the wire.
    let foreign: Vec<_> = packets
        .iter()
        .map(|p| (p.source, p.destination))
        .filter(|(s, d)| ![s, d].iter().all(|a| hosts.contains(a) || is_machine(a, &hosts[0])))
        .collect();
    assert!(foreign.is_empty(), "addresses of no host: {foreign:?}");
}

/// The machine itself, which asks, is the only other on the hosts' subnet; group addresses are no one's.
fn is_machine(address: &std::net::Ipv4Addr, host: &std::net::Ipv4Addr) -> bool {
    address.octets()[..3] == host.octets()[..3] || address.is_multicast() || address.is_broadcast()
}
