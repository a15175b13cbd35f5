//! The name server inside containers.

mod lab;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use lab::{Lab, inside, wait};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use swarm_core::model::EndpointMode;

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
    message.to_vec().expect("encoded")
}

fn ask(netns: &Path, name: &str, kind: RecordType) -> Message {
    let bytes = inside(netns, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.set_read_timeout(Some(lab::PATIENCE)).expect("set");
        socket.connect(SERVER).expect("connected");
        socket.send(&query(name, kind)).expect("sent");
        let mut buffer = vec![0; 4096];
        let bytes = socket.recv(&mut buffer).expect("an answer");
        buffer.truncate(bytes);
        buffer
    });
    Message::from_vec(&bytes).expect("a message")
}

fn ask_tcp(netns: &Path, name: &str) -> Message {
    let bytes = inside(netns, || {
        let mut stream = TcpStream::connect(SERVER).expect("connected");
        stream.set_read_timeout(Some(lab::PATIENCE)).expect("set");
        let query = query(name, RecordType::A);
        stream.write_all(&(query.len() as u16).to_be_bytes()).expect("written");
        stream.write_all(&query).expect("written");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("an answer");
        answer
    });
    Message::from_vec(&bytes).expect("a message")
}

fn addresses(message: &Message) -> Vec<String> {
    let mut found: Vec<String> = message
        .answers
        .iter()
        .filter_map(|r| match &r.data {
            RData::A(a) => Some(a.to_string()),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

/// A name server of the world: knows one name.
fn world(netns: &Path) {
    let (udp, tcp) = inside(netns, || {
        (UdpSocket::bind("127.0.0.1:53").expect("bind"), std::net::TcpListener::bind("127.0.0.1:53").expect("bind"))
    });
    let answer = |query: &[u8]| {
        let query = Message::from_vec(query).expect("a question");
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.queries.clone_from(&query.queries);
        let name = query.queries[0].name().clone();
        if name.to_ascii() == "example.com." {
            let data = RData::A("192.0.2.77".parse::<Ipv4Addr>().expect("address").into());
            answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
        } else {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer.to_vec().expect("encoded")
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((bytes, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&answer(&buffer[..bytes]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("a length");
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).expect("a question");
            let answer = answer(&query);
            let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
            let _ = stream.write_all(&answer);
        }
    });
}

async fn lab_with_services() -> (Lab, std::path::PathBuf) {
    let mut lab = Lab::new(2).await;
    lab.network(1, false);
    lab.service(1, "shop_web", EndpointMode::Vip, &[(1, [10, 0, 1, 2])], Vec::new());
    lab.service(2, "shop_kv", EndpointMode::Dnsrr, &[], Vec::new());
    if let Some(web) = lab.state.services.get_mut(&swarm_core::ServiceId(1)) {
        web.aliases.insert(lab::network_id(1), vec!["web".into()]);
    }
    let task = lab.task(1, 1, &[(1, [10, 0, 1, 11])]).await;
    lab.task(2, 2, &[(1, [10, 0, 1, 12])]).await;
    for n in 3..=4u8 {
        lab.endpoint(n.into(), 2, 2, &[(1, [10, 0, 1, 10 + n])]);
    }
    lab.apply().await;
    (lab, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_tasks_and_aliases_have_names() {
    let (_lab, task) = lab_with_services().await;
    for name in ["shop_web.", "web.", "WEB.", "web"] {
        assert_eq!(addresses(&ask(&task, name, RecordType::A)), ["10.0.1.2"], "{name}");
    }
    assert_eq!(addresses(&ask(&task, "tasks.web.", RecordType::A)), ["10.0.1.11", "10.0.1.12"]);
    assert_eq!(addresses(&ask(&task, "shop_kv.", RecordType::A)), ["10.0.1.13", "10.0.1.14"]);
    assert_eq!(addresses(&ask(&task, "s1.2.", RecordType::A)), ["10.0.1.12"]);
    assert_eq!(addresses(&ask_tcp(&task, "shop_kv.")), ["10.0.1.13", "10.0.1.14"]);
    let aaaa = ask(&task, "web.", RecordType::AAAA);
    assert_eq!((aaaa.metadata.response_code, aaaa.answers.len()), (ResponseCode::NoError, 0));
    let ptr = ask(&task, "12.1.0.10.in-addr.arpa.", RecordType::PTR);
    assert!(ptr.answers[0].data.to_string().starts_with("s1.2"), "{ptr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_are_asked_of_the_hosts_servers() {
    let (lab, task) = lab_with_services().await;
    world(&lab.host(1).netns);
    assert_eq!(addresses(&ask(&task, "example.com.", RecordType::A)), ["192.0.2.77"]);
    assert_eq!(addresses(&ask_tcp(&task, "example.com.")), ["192.0.2.77"]);
    assert_eq!(ask(&task, "nowhere.example.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_from_the_world_the_client_is_told_so() {
    let (lab, task) = lab_with_services().await;
    // Nobody listens at the host's name server.
    assert_eq!(ask(&task, "example.com.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    // Names of ours do not depend on it.
    assert_eq!(addresses(&ask(&task, "web.", RecordType::A)), ["10.0.1.2"]);
    drop(lab);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_run_a_name_server_of_its_own() {
    let (_lab, task) = lab_with_services().await;
    inside(&task, || {
        UdpSocket::bind("0.0.0.0:53").expect("port 53/udp is free");
        std::net::TcpListener::bind("0.0.0.0:53").expect("port 53/tcp is free");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_cannot_make_its_name_server_talk_to_itself() {
    let (_lab, task) = lab_with_services().await;
    let packets = || {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("links");
        let lo = text.lines().find_map(|l| l.trim().strip_prefix("lo:")).expect("loopback");
        lo.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    let sent = inside(&task, || {
        // Answers to this address and port are questions to the server.
        let socket = UdpSocket::bind(SERVER).expect("bind");
        let before = packets();
        for bytes in [query("web.", RecordType::A), Vec::new(), vec![0xff; 40]] {
            socket.send_to(&bytes, SERVER).expect("sent");
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        packets() - before
    });
    assert!(sent <= 6, "{sent} packets");
    assert_eq!(addresses(&ask(&task, "web.", RecordType::A)), ["10.0.1.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_internal_network_the_world_has_no_names() {
    let mut lab = Lab::new(1).await;
    lab.network(1, true);
    lab.service(1, "web", EndpointMode::Vip, &[(1, [10, 0, 1, 2])], Vec::new());
    let task = lab.task(1, 1, &[(1, [10, 0, 1, 11])]).await;
    lab.apply().await;
    world(&lab.host(1).netns);
    assert_eq!(addresses(&ask(&task, "web.", RecordType::A)), ["10.0.1.2"]);
    assert_eq!(ask(&task, "example.com.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_answers_again() {
    let (mut lab, task) = lab_with_services().await;
    lab.restart(1).await;
    let answer = wait("an answer", || Some(ask(&task, "web.", RecordType::A)));
    assert_eq!(addresses(&answer), ["10.0.1.2"]);
}
