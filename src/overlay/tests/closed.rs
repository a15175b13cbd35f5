//! What nobody published stays closed: to other containers, to other hosts, by any way around.

mod lab;

use lab::{INGRESS, Lab, greet, port};
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
