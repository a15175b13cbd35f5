//! Three hosts: the encrypted way between them, isolation of networks, service addresses, names, and
//! what a restart of the daemon leaves alone.

mod lab;

use lab::{INGRESS, Lab, greet, greet_udp, inside, serve, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_core::TaskId;
use swarm_core::model::EndpointMode;

const VIP: [u8; 4] = [10, 0, 1, 2];

fn at(n: u8) -> [u8; 4] {
    [10, 0, 1, n]
}

/// Task n on host n, each at 10.0.1.(10+n), behind one service address.
async fn three_tasks(lab: &mut Lab) -> Vec<std::path::PathBuf> {
    lab.network(1, false);
    lab.service(1, "web", EndpointMode::Vip, &[(1, VIP)], Vec::new());
    let mut tasks = Vec::new();
    for n in 1..=3u8 {
        tasks.push(lab.task(n.into(), n, &[(1, at(10 + n))]).await);
    }
    lab.apply().await;
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_on_different_hosts_talk_by_address() {
    let mut lab = Lab::new(3).await;
    let tasks = three_tasks(&mut lab).await;
    for (i, from) in tasks.iter().enumerate() {
        for n in 1..=3u8 {
            let seen = (format!("t{n}"), Ipv4Addr::from(at(11 + i as u8)));
            assert_eq!(greet(from, (at(10 + n).into(), 80)).expect("greeted"), seen);
            assert_eq!(greet_udp(from, (at(10 + n).into(), 80), b"x").expect("greeted"), seen);
        }
    }
    // A datagram in fragments, and a stream of some size.
    assert!(greet_udp(&tasks[0], (at(12).into(), 80), &[7; 1900]).is_ok());
    let sum = inside(&tasks[0], || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((at(13), 80)), lab::CONNECT).expect("connected");
        let mut reader = stream.try_clone().expect("cloned");
        let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || {
            stream.write_all(&copy).expect("written");
            stream.shutdown(std::net::Shutdown::Write).expect("shut down");
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("read");
        writer.join().expect("written");
        let greeting = got.iter().position(|b| *b == b'\n').expect("greeting") + 1;
        got[greeting..] == sent
    });
    assert!(sum, "bytes were changed on the way");
    let status = lab.host(1).fabric().status().await.expect("status");
    assert_eq!(status.peers.len(), 2);
    assert!(status.peers.values().all(|p| p.last_handshake.is_some() && p.rx_bytes > 0));
    assert_eq!(status.networks.values().next().map(|n| n.mtu), Some(1420));
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_do_not_see_each_other_even_with_the_same_subnet() {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    lab.network(2, false);
    lab.network_at(3, 1, false);
    let a = lab.task(1, 1, &[(1, at(5))]).await;
    let b = lab.task(2, 2, &[(1, at(6))]).await;
    let other = lab.task(3, 1, &[(2, [10, 0, 2, 5])]).await;
    let twin_a = lab.task(4, 1, &[(3, at(5))]).await;
    let twin_b = lab.task(5, 2, &[(3, at(6))]).await;
    lab.apply().await;
    let name = |from: &std::path::Path| greet(from, (at(6).into(), 80)).map(|(name, _)| name).ok();
    assert_eq!(name(&a).as_deref(), Some("t2"));
    assert_eq!(name(&twin_a).as_deref(), Some("t5"));
    assert_eq!(name(&other), None, "network 2 reached network 1");
    assert_eq!(greet(&b, (at(5).into(), 80)).expect("greeted").0, "t1");
    assert_eq!(greet(&twin_b, (at(5).into(), 80)).expect("greeted").0, "t4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_address_spreads_over_receiving_tasks_and_reaches_its_own_task_too() {
    let mut lab = Lab::new(3).await;
    let tasks = three_tasks(&mut lab).await;
    let count = |from: &std::path::Path, times: u32| {
        let mut seen = BTreeMap::new();
        for _ in 0..times {
            let (name, _) = greet(from, (VIP.into(), 80)).expect("greeted");
            *seen.entry(name).or_insert(0u32) += 1;
        }
        seen
    };
    for from in &tasks {
        // In turn: each as often as any other, itself included.
        assert_eq!(count(from, 9).into_values().collect::<Vec<_>>(), [3, 3, 3]);
        assert!(greet_udp(from, (VIP.into(), 80), b"x").is_ok());
    }
    lab.state.endpoints.get_mut(&TaskId(2)).expect("task").receives = false;
    lab.apply().await;
    assert_eq!(count(&tasks[0], 6).into_keys().collect::<Vec<_>>(), ["t1", "t3"]);
    // It is still reached by its own address.
    assert_eq!(greet(&tasks[0], (at(12).into(), 80)).expect("greeted").0, "t2");
    for endpoint in lab.state.endpoints.values_mut() {
        endpoint.receives = false;
    }
    lab.apply().await;
    let begin = Instant::now();
    let refused = greet(&tasks[0], (VIP.into(), 80)).expect_err("nobody is there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(begin.elapsed() < Duration::from_secs(1), "a client waits instead of being refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_the_end_of_new_ones_and_udp_leaves_a_removed_task() {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    lab.service(1, "web", EndpointMode::Vip, &[(1, VIP)], Vec::new());
    lab.endpoint(9, 7, 1, &[(1, at(9))]);
    let client = lab.attach(1, 9, &[(1, at(9))]).await.netns;
    lab.task(1, 1, &[(1, at(11))]).await;
    lab.apply().await;
    let mut stream = inside(&client, || TcpStream::connect((Ipv4Addr::from(VIP), 80)).expect("connected"));
    let socket = inside(&client, || std::net::UdpSocket::bind("0.0.0.0:0").expect("bind"));
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    let ask = || {
        socket.send_to(b"x", (Ipv4Addr::from(VIP), 80)).expect("sent");
        let mut buffer = [0; 64];
        let bytes = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..bytes]).split(' ').next().unwrap_or("").to_owned())
    };
    assert_eq!(ask().as_deref(), Some("t1"));
    lab.task(2, 2, &[(1, at(12))]).await;
    lab.state.endpoints.get_mut(&TaskId(1)).expect("task").receives = false;
    lab.apply().await;
    stream.set_read_timeout(Some(lab::CONNECT)).expect("set");
    stream.write_all(b"still").expect("written");
    let mut text = Vec::new();
    while !text.ends_with(b"still") {
        let mut buffer = [0; 64];
        let bytes = stream.read(&mut buffer).expect("the connection stays");
        assert!(bytes > 0, "the connection was closed");
        text.extend(&buffer[..bytes]);
    }
    lab.state.endpoints.remove(&TaskId(1));
    lab.host(1).fabric().detach(TaskId(1)).await.expect("detached");
    lab.apply().await;
    wait("the same UDP socket reaches the other task", || (ask()? == "t2").then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_wire_can_be_read() {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    let a = lab.task(1, 1, &[(1, at(5))]).await;
    lab.task(2, 2, &[(1, at(6))]).await;
    lab.apply().await;
    let secret = b"the-quick-brown-fox-is-a-secret";
    let sniffer = inside(&lab.bridge, sniff::open);
    let (greeting, _) = greet_udp(&a, (at(6).into(), 80), secret).expect("greeted");
    assert_eq!(greeting, "t2");
    // The same words outside of any tunnel: the ear works.
    serve(&lab.outside, 81, "plain");
    greet_udp(&lab.host(1).netns, (Ipv4Addr::new(192, 0, 2, 100), 81), b"hear-me-plainly").expect("greeted");
    let heard = sniff::drain(&sniffer);
    let has = |words: &[u8]| heard.windows(words.len()).any(|w| w == words);
    assert!(has(b"hear-me-plainly"), "nothing was heard at all");
    // Any 8 bytes of it, and the inner addresses.
    assert!(!secret.windows(8).any(has), "the payload is readable");
    assert!(!has(&[at(5), at(6)].concat()), "the inner header is readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_takes_over_its_containers_and_heals() {
    let mut lab = Lab::new(3).await;
    let tasks = three_tasks(&mut lab).await;
    let mut stream = inside(&tasks[0], || TcpStream::connect((Ipv4Addr::from(at(12)), 80)).expect("connected"));
    stream.set_read_timeout(Some(lab::PATIENCE)).expect("set");
    let begin = Instant::now();
    lab.restart(2).await;
    assert_eq!(lab.host(2).fabric().attached().await.expect("listed"), [TaskId(2).to_string()]);
    // Without any new state: it goes on with the last one.
    wait("both directions after the restart", || {
        greet(&tasks[1], (at(11).into(), 80)).and(greet(&tasks[2], (at(12).into(), 80))).ok()
    });
    assert!(begin.elapsed() < Duration::from_secs(5), "healing took {:?}", begin.elapsed());
    stream.write_all(b"after").expect("written");
    let mut text = Vec::new();
    while !text.ends_with(b"after") {
        let mut buffer = [0; 64];
        let bytes = stream.read(&mut buffer).expect("the connection lives");
        assert!(bytes > 0, "the connection was closed");
        text.extend(&buffer[..bytes]);
    }
    lab.apply().await;
    let status = lab.host(2).fabric().status().await.expect("status");
    assert_eq!(status.networks.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_send_for_addresses_that_are_not_its_own() {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    let a = lab.task(1, 1, &[(1, at(5))]).await;
    lab.task(2, 2, &[(1, at(6))]).await;
    lab.apply().await;
    assert!(greet(&a, (at(6).into(), 80)).is_ok());
    // Host 2 is told that 10.0.1.5 is nobody's: what host 1 sends from it must not arrive.
    let mut state = lab.state.clone();
    state.endpoints.remove(&TaskId(1));
    let errors = lab.host(2).fabric().apply(Arc::new(state)).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert!(greet(&a, (at(6).into(), 80)).is_err());
    let status = lab.host(2).fabric().status().await.expect("status");
    assert!(status.peers.values().any(|p| p.drops.spoofed > 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_networks_in_use_are_built() {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    lab.network(2, false);
    lab.network(INGRESS, false);
    lab.task(1, 1, &[(1, at(5))]).await;
    lab.apply().await;
    let built = async |host: u8| -> BTreeSet<u32> {
        let status = lab.host(host).fabric().status().await.expect("status");
        status.networks.values().map(|n| n.overlay_id).collect()
    };
    assert_eq!(built(1).await, [1].into());
    assert_eq!(built(2).await, [].into());
}

/// Hears every packet on a wire (packet(7)).
mod sniff {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    pub fn open() -> OwnedFd {
        let all = i32::from((libc::ETH_P_ALL as u16).to_be());
        // SAFETY: makes a new descriptor, which is checked and owned from here on.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, all);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        }
    }

    pub fn drain(socket: &OwnedFd) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut buffer = [0u8; 65536];
        loop {
            // SAFETY: the buffer is ours, with its true length.
            let bytes = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match usize::try_from(bytes) {
                Ok(bytes) => heard.extend(&buffer[..bytes]),
                Err(_) => return heard,
            }
        }
    }
}
