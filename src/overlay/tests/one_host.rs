//! One host: containers come, talk and go, and nothing is left.

mod lab;

use lab::{INGRESS, Lab, greet, greet_udp, inside, port, run, serve, wait};
use overlay::{AttachSpec, FabricError};
use std::net::Ipv4Addr;
use swarm_core::TaskId;
use swarm_core::model::{Protocol, PublishMode};

const A: [u8; 4] = [10, 0, 1, 5];
const B: [u8; 4] = [10, 0, 1, 6];

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_network_talk_and_see_each_others_address() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    let a = lab.attach(1, 1, &[(1, A)]).await;
    let b = lab.attach(1, 2, &[(1, B)]).await;
    serve(&b.netns, 80, "b");
    assert_eq!(greet(&a.netns, (B.into(), 80)).expect("greeted"), ("b".into(), A.into()));
    assert_eq!(greet_udp(&a.netns, (B.into(), 80), b"x").expect("greeted"), ("b".into(), A.into()));
    assert!(a.resolv_conf.contains("nameserver 127.0.0.11"));
    assert!(a.hosts.contains("10.0.1.5\tbox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_network_has_loopback_only() {
    let lab = Lab::new(1).await;
    let none = lab.attach(1, 1, &[]).await;
    let links = inside(&none.netns, || std::fs::read_to_string("/proc/thread-self/net/dev").expect("links"));
    assert_eq!(links.lines().skip(2).map(|l| l.split(':').next().unwrap_or("").trim()).collect::<Vec<_>>(), ["lo"]);
    serve(&none.netns, 80, "self");
    greet(&none.netns, (Ipv4Addr::LOCALHOST, 80)).expect("loopback is up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_within_reaches_a_container_without_network_and_one_that_listens_on_loopback_only() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    let (none, a) = (lab.attach(1, 1, &[]).await, lab.attach(1, 2, &[(1, A)]).await);
    serve(&none.netns, 80, "none");
    serve(&a.netns, 81, "a");
    // Bound in the namespace, to nothing but its loopback.
    let inner = inside(&a.netns, || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 82)).expect("bind"));
    let local = Ipv4Addr::LOCALHOST;
    overlay::connect(&none.netns, (local, 80).into()).await.expect("a container without network");
    overlay::connect(&a.netns, (Ipv4Addr::from(A), 81).into()).await.expect("by its own address");
    let stream = overlay::connect(&a.netns, (local, 82).into()).await.expect("its loopback");
    let accepted = inner.accept().expect("accepted");
    assert_eq!(stream.local_addr().expect("local").port(), accepted.1.port());
    let refused = overlay::connect(&a.netns, (Ipv4Addr::from(A), 82).into()).await.expect_err("nobody listens there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let gone = overlay::connect(std::path::Path::new("/nowhere"), (local, 80).into()).await.expect_err("no namespace");
    assert!(gone.to_string().contains("/nowhere"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_reaches_the_outside_under_the_hosts_address_unless_its_network_is_internal() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    lab.network(2, true);
    let open = lab.attach(1, 1, &[(2, [10, 0, 2, 5]), (1, A)]).await;
    let closed = lab.attach(1, 2, &[(2, [10, 0, 2, 6])]).await;
    serve(&lab.outside, 80, "out");
    let outside = (Ipv4Addr::new(192, 0, 2, 100), 80);
    assert_eq!(greet(&open.netns, outside).expect("greeted"), ("out".into(), lab.host(1).addr()));
    assert!(greet(&closed.netns, outside).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_on_the_network_of_published_ports_reach_the_outside_but_not_each_other() {
    let mut lab = Lab::new(1).await;
    lab.network(INGRESS, false);
    let at = |last| [(INGRESS, [10, 0, INGRESS, last])];
    let (a, b) = (lab.attach(1, 1, &at(5)).await, lab.attach(1, 2, &at(6)).await);
    serve(&lab.outside, 80, "out");
    serve(&b.netns, 80, "b");
    assert!(greet(&a.netns, (Ipv4Addr::new(192, 0, 2, 100), 80)).is_ok());
    assert!(greet(&a.netns, (Ipv4Addr::new(10, 0, INGRESS, 6), 80)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_cannot_send_under_anothers_address() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    let a = lab.attach(1, 1, &[(1, A)]).await;
    let b = lab.attach(1, 2, &[(1, B)]).await;
    serve(&b.netns, 80, "b");
    let forge = |from: Ipv4Addr| {
        let heard = inside(&b.netns, || std::net::UdpSocket::bind(("0.0.0.0", 0)).expect("bind"));
        heard.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("set");
        let to = heard.local_addr().expect("address").port();
        inside(&a.netns, || {
            let status = std::process::Command::new("ip")
                .args(["addr", "add", &format!("{from}/32"), "dev", "eth0"])
                .status()
                .expect("ip");
            assert!(status.success() || from == Ipv4Addr::from(A));
            let socket = std::net::UdpSocket::bind((from, 0)).expect("bind");
            socket.send_to(b"x", (Ipv4Addr::from(B), to)).expect("sent");
        });
        heard.recv_from(&mut [0; 8]).is_ok()
    };
    assert!(forge(A.into()));
    assert!(!forge(Ipv4Addr::new(10, 0, 1, 77)));
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_twice_is_the_same_and_otherwise_an_error() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    let first = lab.attach(1, 1, &[(1, A)]).await;
    assert_eq!(lab.attach(1, 1, &[(1, A)]).await, first);
    let other = lab.spec(&[(1, B)]);
    let refused = lab.host(1).fabric().attach(TaskId(1), other).await;
    assert!(matches!(refused, Err(FabricError::AttachedOtherwise(_))));
    let bad = lab.host(1).fabric().attach("../x", AttachSpec::default()).await;
    assert!(matches!(bad, Err(FabricError::BadId(_))));
    assert_eq!(lab.host(1).fabric().attached().await.expect("listed"), [TaskId(1).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_taken_on_the_host_refuses_the_task_and_leaves_nothing() {
    let mut lab = Lab::new(1).await;
    lab.network(1, false);
    serve(&lab.host(1).netns, 8080, "other");
    let mut spec = lab.spec(&[(1, A)]);
    spec.host_ports = vec![port(8080, Protocol::Tcp, PublishMode::Host)];
    let refused = lab.host(1).fabric().attach(TaskId(1), spec.clone()).await;
    assert!(matches!(refused, Err(FabricError::PortInUse { port: 8080, .. })), "{refused:?}");
    assert!(lab.host(1).fabric().attached().await.expect("listed").is_empty());
    // The other process still has its port.
    assert_eq!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "other");
    spec.host_ports[0].published_port = 8081;
    let free = lab.host(1).fabric().attach(TaskId(1), spec).await.expect("attached");
    serve(&free.netns, 80, "task");
    let (name, seen) = greet(&lab.outside, (lab.host(1).addr(), 8081)).expect("greeted");
    assert_eq!((name.as_str(), seen), ("task", Ipv4Addr::new(192, 0, 2, 100)));
    assert_eq!(greet(&lab.host(1).netns, (Ipv4Addr::LOCALHOST, 8081)).expect("greeted").0, "task");
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_and_teardown_leave_nothing() {
    let mut lab = Lab::new(1).await;
    let ns = lab.host(1).netns.file_name().expect("name").to_string_lossy().into_owned();
    let netns = lab.host(1).netns.clone();
    let look = move || {
        let rules = inside(&netns, || run("nft list ruleset"));
        (run(&format!("ip -n {ns} -o link")).lines().count(), run(&format!("ip -n {ns} route")), rules)
    };
    let before = look();
    lab.network(1, false);
    lab.network(lab::INGRESS, false);
    let ports = vec![port(8080, Protocol::Tcp, PublishMode::Ingress)];
    lab.service(1, "web", swarm_core::model::EndpointMode::Vip, &[(1, [10, 0, 1, 2])], ports);
    lab.task(1, 1, &[(1, A), (lab::INGRESS, [10, 0, 9, 5])]).await;
    lab.apply().await;
    let fabric = lab.host(1).fabric().clone();
    fabric.detach(TaskId(1)).await.expect("detached");
    fabric.detach(TaskId(1)).await.expect("detached again");
    lab.state.services.clear();
    lab.state.endpoints.clear();
    lab.apply().await;
    let netns = lab.host(1).options.run_dir.join("netns");
    assert_eq!(std::fs::read_dir(&netns).expect("listed").count(), 0, "a namespace is left");
    fabric.teardown().await.expect("torn down");
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    wait("links, routes and rules as before", || (look() == before).then_some(()));
    assert!(!mounts().contains(&lab.dir.path().display().to_string()), "a mount is left");
    // The fabric goes on empty; then its daemon dies with a task attached and never comes back.
    lab.task(2, 1, &[(1, B), (lab::INGRESS, [10, 0, 9, 6])]).await;
    assert!(look() != before);
    drop(fabric);
    drop(lab.hosts[0].fabric.take());
    let mut gone = lab.host(1).options.clone();
    gone.host_netns = Some(lab.dir.path().join("no-such-host"));
    overlay::Fabric::purge(&gone).await.expect("purged what is not in the host's namespace");
    assert!(!mounts().contains(&lab.dir.path().display().to_string()), "a mount is left");
    overlay::Fabric::purge(&lab.host(1).options).await.expect("purged");
    wait("links, routes and rules as before", || (look() == before).then_some(()));
    assert!(!mounts().contains(&lab.dir.path().display().to_string()), "a mount is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_inside_its_hosts_namespace_needs_no_path_to_it() {
    let mut lab = Lab::new(1).await;
    drop(lab.hosts[0].fabric.take());
    lab.network(1, false);
    lab.network(lab::INGRESS, false);
    let ports = vec![port(8080, Protocol::Tcp, PublishMode::Ingress)];
    lab.service(1, "web", swarm_core::model::EndpointMode::Vip, &[], ports);
    lab.endpoint(1, 1, 1, &[(1, A), (lab::INGRESS, [10, 0, 9, 5])]);
    let spec = lab.spec(&[(1, A), (lab::INGRESS, [10, 0, 9, 5])]);
    let mut options = lab.host(1).options.clone();
    options.host_netns = None;
    options.listen.set_port(4790);
    let (netns, state) = (lab.host(1).netns.clone(), std::sync::Arc::new(lab.state.clone()));
    // Threads start in the namespace of the thread that starts them.
    inside(&netns, || {
        tokio::runtime::Runtime::new().expect("runtime").block_on(async {
            let fabric = overlay::Fabric::start(options).await.expect("started");
            let task = fabric.attach(TaskId(1), spec).await.expect("attached");
            serve(&task.netns, 80, "t1");
            let errors = fabric.apply(state).await;
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(greet(&lab.outside, (lab.host(1).addr(), 8080)).expect("greeted").0, "t1");
            assert_eq!(greet(&netns, (Ipv4Addr::LOCALHOST, 8080)).expect("greeted").0, "t1");
            fabric.teardown().await.expect("torn down");
        });
    });
}
