//! Published ports: on every host, from outside, from the host and its containers, beside firewalls
//! that drop what is forwarded.

mod lab;

use lab::{INGRESS, Lab, greet, greet_udp, inside, port, run};
use overlay::FabricError;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use swarm_core::model::{EndpointMode, Protocol, PublishMode};
use swarm_core::{ServiceId, TaskId};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

/// Tasks 1 and 2 on hosts 1 and 2 of 3, published at 8080/tcp and 8080/udp.
async fn published(lab: &mut Lab) -> Vec<std::path::PathBuf> {
    lab.network(1, false);
    lab.network(INGRESS, false);
    let ports = [Protocol::Tcp, Protocol::Udp].map(|p| port(8080, p, PublishMode::Ingress)).to_vec();
    lab.service(1, "web", EndpointMode::Vip, &[(1, [10, 0, 1, 2])], ports);
    let mut tasks = Vec::new();
    for n in 1..=2u8 {
        tasks.push(lab.task(n.into(), n, &[(1, [10, 0, 1, 10 + n]), (INGRESS, [10, 0, 9, 10 + n])]).await);
    }
    lab.apply().await;
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn every_host_answers_and_the_task_sees_the_client() {
    let mut lab = Lab::new(3).await;
    published(&mut lab).await;
    for host in 1..=3 {
        let mut names = BTreeSet::new();
        for _ in 0..4 {
            let (name, client) = greet(&lab.outside, (lab.host(host).addr(), 8080)).expect("greeted");
            assert_eq!(client, OUTSIDE, "host {host}, task {name}");
            names.insert(name);
            let (_, client) = greet_udp(&lab.outside, (lab.host(host).addr(), 8080), b"x").expect("greeted");
            assert_eq!(client, OUTSIDE);
        }
        assert_eq!(names.len(), 2, "host {host} uses one task only");
        let counted = lab.host(host).fabric().connections().await.expect("counted");
        assert_eq!(counted, [(ServiceId(1), 8)].into(), "each connection is counted once, where it comes in");
        // Bigger than a packet, both ways.
        greet_udp(&lab.outside, (lab.host(host).addr(), 8080), &[1; 1900]).expect("greeted");
        greet_udp(&lab.outside, (lab.host(host).addr(), 8080), &[1; 1900]).expect("greeted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_containers_reach_published_ports_by_any_address() {
    let mut lab = Lab::new(3).await;
    let tasks = published(&mut lab).await;
    for from in 1..=3 {
        let netns = lab.host(from).netns.clone();
        for to in [Ipv4Addr::LOCALHOST, lab.host(1).addr(), lab.host(2).addr(), lab.host(3).addr()] {
            // Both tasks in turn: the local one and the one behind the tunnel.
            for _ in 0..2 {
                let (_, client) = greet(&netns, (to, 8080)).unwrap_or_else(|e| panic!("h{from} to {to}: {e}"));
                assert_eq!(client, lab.host(from).addr());
                greet_udp(&netns, (to, 8080), b"x").unwrap_or_else(|e| panic!("h{from} to {to}, udp: {e}"));
            }
        }
    }
    for (i, task) in tasks.iter().enumerate() {
        for to in 1..=3 {
            for _ in 0..2 {
                greet(task, (lab.host(to).addr(), 8080)).unwrap_or_else(|e| panic!("t{} to h{to}: {e}", i + 1));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_a_published_port_still_reaches_the_outside_and_its_own_network() {
    let mut lab = Lab::new(2).await;
    let tasks = published(&mut lab).await;
    lab::serve(&lab.outside, 80, "out");
    assert_eq!(greet(&tasks[0], (OUTSIDE, 80)).expect("greeted"), ("out".into(), lab.host(1).addr()));
    assert_eq!(greet(&tasks[0], (Ipv4Addr::new(10, 0, 1, 12), 80)).expect("greeted").0, "t2");
}

#[tokio::test(flavor = "multi_thread")]
async fn firewalls_that_drop_forwarded_packets_do_not_stop_it() {
    let mut lab = Lab::new(2).await;
    for host in &lab.hosts {
        // As Docker leaves it, and as firewalld does.
        inside(&host.netns, || {
            run("iptables -P FORWARD DROP");
            run("nft add table inet fw");
            run("nft add chain inet fw passing { type filter hook forward priority 10 ; policy drop ; }");
            run("nft add rule inet fw passing counter reject");
        });
    }
    let tasks = published(&mut lab).await;
    lab::serve(&lab.outside, 80, "out");
    for host in 1..=2 {
        for _ in 0..2 {
            greet(&lab.outside, (lab.host(host).addr(), 8080)).expect("greeted");
            greet(&lab.host(host).netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted");
        }
    }
    greet(&tasks[0], (OUTSIDE, 80)).expect("greeted");
    // iptables still understands its own table.
    let listed = inside(&lab.host(1).netns, || run("iptables -S FORWARD"));
    assert!(listed.contains("-P FORWARD DROP") && listed.matches("ACCEPT").count() == 2, "{listed}");
    lab.host(1).fabric().teardown().await.expect("torn down");
    let listed = inside(&lab.host(1).netns, || run("iptables -S FORWARD"));
    assert!(!listed.contains("ACCEPT"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_was_reloaded_is_opened_again_while_requests_keep_coming() {
    let mut lab = Lab::new(2).await;
    let netns = lab.host(1).netns.clone();
    inside(&netns, || run("iptables -P FORWARD DROP"));
    published(&mut lab).await;
    greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted");
    inside(&netns, || run("iptables -F FORWARD"));
    let end = std::time::Instant::now() + lab::PATIENCE;
    while !inside(&netns, || run("iptables -S FORWARD")).contains("ACCEPT") {
        lab.host(1).fabric().status().await.expect("status");
        assert!(std::time::Instant::now() < end, "the firewall stays closed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_clients_go_where_tasks_receive_and_are_refused_where_none_does() {
    let mut lab = Lab::new(3).await;
    published(&mut lab).await;
    lab.state.endpoints.get_mut(&TaskId(1)).expect("task").receives = false;
    lab.apply().await;
    for _ in 0..4 {
        assert_eq!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "t2");
    }
    lab.state.endpoints.get_mut(&TaskId(2)).expect("task").receives = false;
    lab.apply().await;
    let refused = greet(&lab.outside, (lab.host(3).addr(), 8080)).expect_err("nobody is there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_published_at_one_address_answers_there_only() {
    let mut lab = Lab::new(2).await;
    lab.network(INGRESS, false);
    let local = |ip: &str| {
        let mut port = port(8080, Protocol::Tcp, PublishMode::Ingress);
        port.host_ip = Some(ip.parse().expect("address"));
        vec![port]
    };
    lab.service(1, "web", EndpointMode::Vip, &[], local("127.0.0.1"));
    lab.task(1, 2, &[(INGRESS, [10, 0, 9, 11])]).await;
    lab.apply().await;
    greet(&lab.host(1).netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted");
    assert!(greet(&lab.outside, (lab.host(1).addr(), 8080)).is_err());
    // An address of one host: that host alone answers, for the others it is no error.
    lab.service(1, "web", EndpointMode::Vip, &[], local("192.0.2.1"));
    lab.apply().await;
    greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted");
    assert!(greet(&lab.outside, (lab.host(2).addr(), 8080)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_a_port_number_at_two_addresses() {
    let mut lab = Lab::new(1).await;
    lab.network(INGRESS, false);
    for (id, ip) in [(1, "127.0.0.1"), (2, "192.0.2.1")] {
        let mut port = port(8080, Protocol::Tcp, PublishMode::Ingress);
        port.host_ip = Some(ip.parse().expect("address"));
        lab.service(id, &format!("s{id}"), EndpointMode::Vip, &[], vec![port]);
        let at = [(INGRESS, [10, 0, INGRESS, 10 + id as u8])];
        lab.endpoint(id, id, 1, &at);
        lab::serve(&lab.attach(1, id, &at).await.netns, 80, &format!("t{id}"));
    }
    lab.apply().await;
    assert_eq!(greet(&lab.host(1).netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted").0, "t1");
    assert_eq!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "t2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_process_is_left_to_it_and_taken_when_it_ends() {
    let mut lab = Lab::new(1).await;
    let other = inside(&lab.host(1).netns.clone(), || std::net::TcpListener::bind("0.0.0.0:8080").expect("bind"));
    lab.network(INGRESS, false);
    let ports = vec![port(8080, Protocol::Tcp, PublishMode::Ingress), port(8081, Protocol::Tcp, PublishMode::Ingress)];
    lab.service(1, "web", EndpointMode::Vip, &[], ports);
    lab.task(1, 1, &[(INGRESS, [10, 0, 9, 11])]).await;
    let errors = lab.host(1).fabric().apply(Arc::new(lab.state.clone())).await;
    assert!(matches!(errors.as_slice(), [FabricError::PortInUse { port: 8080, .. }]), "{errors:?}");
    greet(&lab.outside, (lab.host(1).addr(), 8081)).expect("the other port works");
    drop(other);
    lab.apply().await;
    greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_from_outside_outlive_the_daemons_on_both_ends() {
    let mut lab = Lab::new(3).await;
    let tasks = published(&mut lab).await;
    lab.state.endpoints.get_mut(&TaskId(1)).expect("task").receives = false;
    lab.apply().await;
    // A server on host 2 that speaks when told to, so that after a restart it is the first to do so.
    let quiet = inside(&tasks[1], || std::net::TcpListener::bind("10.0.9.12:81").expect("bind"));
    let service = lab.state.services.get_mut(&swarm_core::ServiceId(1)).expect("service");
    service
        .ports
        .push(swarm_core::model::PortConfig { target_port: 81, ..port(8081, Protocol::Tcp, PublishMode::Ingress) });
    lab.apply().await;
    let to = (lab.host(1).addr(), 8081);
    let mut client = inside(&lab.outside, || std::net::TcpStream::connect(to).expect("connected"));
    client.set_read_timeout(Some(lab::PATIENCE)).expect("set");
    let (mut server, from) = quiet.accept().expect("accepted");
    assert_eq!(from.ip(), OUTSIDE);
    for host in [2, 1] {
        lab.restart(host).await;
        server.write_all(b"pushed").expect("written");
        let mut buffer = [0; 6];
        client.read_exact(&mut buffer).unwrap_or_else(|e| panic!("after the restart of h{host}: {e}"));
        client.write_all(b"back").expect("written");
        server.read_exact(&mut buffer[..4]).expect("read");
        greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_a_host_without_touching_each_other() {
    let mut lab = Lab::new(2).await;
    // A second daemon on host 1, of another cluster, with a network of the same number and subnet.
    let mut options = lab.host(1).options.clone();
    options.instance.push_str("-second");
    options.run_dir.set_extension("second");
    options.state_dir.set_extension("second");
    options.listen.set_port(4790);
    let second = overlay::Fabric::start(options.clone()).await.expect("started");
    let tasks = published(&mut lab).await;
    let mut state = lab.state.clone();
    state.peers.clear();
    state.services.values_mut().for_each(|s| s.ports.iter_mut().for_each(|p| p.published_port = 9090));
    state.endpoints.values_mut().for_each(|e| e.node = options.node);
    state.endpoints.retain(|id, _| *id == TaskId(1));
    let netns = second.attach(TaskId(1), lab.spec(&[(1, [10, 0, 1, 11]), (INGRESS, [10, 0, 9, 11])])).await;
    lab::serve(&netns.expect("attached").netns, 80, "second");
    assert!(second.apply(Arc::new(state.clone())).await.is_empty());
    assert_eq!(greet(&lab.outside, (lab.host(1).addr(), 9090)).expect("greeted").0, "second");
    assert_ne!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "second");
    assert_eq!(greet(&tasks[1], (Ipv4Addr::new(10, 0, 1, 11), 80)).expect("greeted").0, "t1");
    // A port of the other one is in use.
    state.services.values_mut().for_each(|s| s.ports.iter_mut().for_each(|p| p.published_port = 8080));
    let errors = second.apply(Arc::new(state)).await;
    assert!(errors.iter().all(|e| matches!(e, FabricError::PortInUse { port: 8080, .. })), "{errors:?}");
    assert_eq!(errors.len(), 2);
    second.teardown().await.expect("torn down");
    assert_ne!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "second");
    greet(&lab.host(1).netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted");
}

/// A client that goes on sending from one socket, as syslog and telemetry do: its connection is
/// tracked and never ends by itself.
fn steady(netns: &std::path::Path, to: (Ipv4Addr, u16)) -> impl Fn() -> Option<String> + use<> {
    let socket = inside(netns, || std::net::UdpSocket::bind("0.0.0.0:0").expect("bind"));
    socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("set");
    move || {
        socket.send_to(b"x", to).expect("sent");
        let mut buffer = [0; 64];
        let bytes = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..bytes]).split(' ').next().unwrap_or("").to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_udp_sender_follows_a_port_that_is_published_changed_and_taken_back() {
    let mut lab = Lab::new(2).await;
    // Something with a way out, so that the host tracks connections.
    lab.network(1, false);
    lab.attach(1, 9, &[(1, [10, 0, 1, 9])]).await;
    lab.apply().await;
    let ask = steady(&lab.outside, (lab.host(1).addr(), 8080));
    assert_eq!(ask(), None);
    lab.network(INGRESS, false);
    let mut ports = vec![port(8080, Protocol::Udp, PublishMode::Ingress)];
    lab.service(1, "log", EndpointMode::Vip, &[], ports.clone());
    let task = lab.task(1, 2, &[(INGRESS, [10, 0, 9, 11])]).await;
    lab::serve(&task, 81, "t1-81");
    lab.apply().await;
    lab::wait("the published port", || (ask()? == "t1").then_some(()));
    ports[0].target_port = 81;
    lab.service(1, "log", EndpointMode::Vip, &[], ports.clone());
    lab.apply().await;
    lab::wait("the new port of the task", || (ask()? == "t1-81").then_some(()));
    lab.service(1, "log", EndpointMode::Vip, &[], Vec::new());
    lab.apply().await;
    lab::wait("the end", || ask().is_none().then_some(()));
    lab.service(1, "log", EndpointMode::Vip, &[], ports);
    lab.apply().await;
    lab::wait("the port published again", || (ask()? == "t1-81").then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_udp_sender_reaches_the_next_task_at_a_host_port() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    // It keeps the network, and what is tracked there, over the end of the first task.
    lab.attach(1, 9, &[(1, [10, 0, 1, 9])]).await;
    let ask = steady(&lab.outside, (lab.host(1).addr(), 8080));
    for n in 1..=2u8 {
        let mut spec = lab.spec(&[(1, [10, 0, 1, 10 + n])]);
        spec.host_ports = vec![port(8080, Protocol::Udp, PublishMode::Host)];
        let task = lab.host(1).fabric().attach(TaskId(n.into()), spec).await.expect("attached");
        lab::serve(&task.netns, 80, &format!("t{n}"));
        lab::wait("the task", || (ask()? == format!("t{n}")).then_some(()));
        lab.host(1).fabric().detach(TaskId(n.into())).await.expect("detached");
        lab::wait("its end", || ask().is_none().then_some(()));
        // It goes on while nobody is there.
        (0..3).for_each(|_| assert_eq!(ask(), None));
    }
}
