//! Containers of another node through a manager: two servers, and between them what the transport would carry.

use super::client::{Answer, World};
use crate::ports::{ContainerRecord, ContainerState, Io, LogRecord, LogStream};
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use swarm_core::model::NodeState;
use swarm_core::{NodeId, ServiceId};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);

/// A manager, and a worker named host3 with a task of the service `web`.
struct Two {
    manager: World,
    worker: World,
    node: NodeId,
    service: ServiceId,
    /// Of the task's container.
    id: String,
    name: String,
}

impl Two {
    async fn new() -> Self {
        let (manager, worker) = (World::manager(), World::outside());
        let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
        let service: ServiceId = manager.create("/services/create", spec).await.parse().unwrap();
        let node = manager.cluster.add_worker("host3");
        worker.cluster.set_status(|status| status.node = Some(node));
        let peer = (worker.carried.clone(), crate::ApiVersion::MAX.to_string());
        manager.cluster.peers.lock().unwrap().insert(node, peer);
        let mut two = Self { manager, worker, node, service, id: "cd".repeat(32), name: String::new() };
        two.name = two.run(1, &two.id.clone(), 100);
        two
    }

    /// A further task over there; the name of its container.
    fn run(&self, slot: u64, id: &str, created_s: i64) -> String {
        let task = self.manager.cluster.run_task_on(self.node, self.service, slot, id);
        let name = self.manager.cluster.view().task(task).unwrap().name();
        self.worker.local.containers.lock().unwrap().push(ContainerRecord {
            id: id.to_owned(),
            name: name.clone(),
            task: Some(task),
            state: ContainerState::Running,
            created_ns: created_s * 1_000_000_000,
            labels: [("com.docker.swarm.node.id".to_owned(), self.node.to_string())].into(),
            ..ContainerRecord::default()
        });
        name
    }

    /// A container of the manager's own host that belongs to no task.
    fn own(&self, id: &str, name: &str, created_s: i64) {
        self.manager.local.containers.lock().unwrap().push(ContainerRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            state: ContainerState::Running,
            created_ns: created_s * 1_000_000_000,
            ..ContainerRecord::default()
        });
    }

    fn cut_off(&self) {
        self.manager.cluster.peers.lock().unwrap().clear();
    }

    /// From now on connections to the worker come here, and it has this version of the API.
    fn listen(&self, version: &str) -> mpsc::Receiver<Io> {
        let (connections, received) = mpsc::channel(1);
        self.manager.cluster.peers.lock().unwrap().insert(self.node, (connections, version.to_owned()));
        received
    }

    async fn names(&self, query: &str) -> Vec<String> {
        let answer = self.manager.get(&format!("/containers/json{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let rows = answer.json();
        rows.as_array().unwrap().iter().map(|row| row["Names"][0].as_str().unwrap()[1..].to_owned()).collect()
    }
}

fn filters(filters: &Value) -> String {
    let encoded: String = filters.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("?filters={encoded}")
}

/// The head of what comes on a connection.
async fn head(io: &mut BufReader<Io>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(timeout(WITHIN, io.read_line(&mut head)).await.unwrap().unwrap(), 0, "{head}");
    }
    head
}

/// One request on a connection that a manager carried, and its answer.
async fn carried(world: &World, method: Method, path: &str) -> Answer {
    let (near, far) = tokio::io::duplex(1024);
    world.carried.send(Box::new(far)).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(near);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = axum::http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

#[tokio::test]
async fn a_container_of_another_node_is_inspected_and_stopped_there_by_any_of_its_names() {
    let two = Two::new().await;
    for text in [&two.id[..], &two.name, &two.id[..12], "cd"] {
        let shown = two.manager.get(&format!("/v1.44/containers/{text}/json")).await;
        assert_eq!(shown.json()["Id"], json!(two.id), "{text}: {}", shown.text());
        let stopped = two.manager.post(&format!("/containers/{text}/stop?t=3"), Value::Null).await;
        assert_eq!(stopped.status, StatusCode::NO_CONTENT, "{text}: {}", stopped.text());
    }
    assert_eq!(*two.worker.local.stopped_with.lock().unwrap(), vec![(String::new(), Some(3)); 4]);
    assert!(two.manager.local.stopped_with.lock().unwrap().is_empty());
    // What that node answers is the answer, errors too.
    let wrong = two.manager.post(&format!("/containers/{}/stop?t=soon", two.name), Value::Null).await;
    assert_eq!((wrong.status, &wrong.message()[..2]), (StatusCode::BAD_REQUEST, "t:"));
    let unknown = two.manager.get("/containers/ce/json").await;
    assert_eq!((unknown.status, unknown.message()), (StatusCode::NOT_FOUND, "No such container: ce".to_owned()));
}

#[tokio::test]
async fn the_start_of_an_id_must_mean_one_container_of_the_whole_cluster() {
    let two = Two::new().await;
    two.own(&"cdee".repeat(16), "mine", 1);
    let both = two.manager.get("/containers/cd/json").await;
    assert_eq!(both.status, StatusCode::BAD_REQUEST);
    assert_eq!(both.message(), "container cd is ambiguous (2 matches found)");
    assert_eq!(two.manager.get("/containers/cdee/json").await.json()["Name"], json!("/mine"));
    assert_eq!(two.manager.get("/containers/cdcd/json").await.json()["Id"], json!(two.id));
}

#[tokio::test]
async fn a_container_is_found_without_a_leader_wherever_it_is() {
    let two = Two::new().await;
    two.own(&"aa".repeat(32), "mine", 1);
    two.manager.cluster.cut_off();
    assert_eq!(two.manager.get("/containers/mine/json").await.status, StatusCode::OK);
    assert_eq!(two.manager.get(&format!("/containers/{}/json", two.name)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_exec_on_another_node_talks_over_two_connections_and_its_id_says_where_it_is() {
    let two = Two::new().await;
    let request = json!({ "Cmd": ["cat"], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true });
    let exec = two.manager.create(&format!("/containers/{}/exec", two.name), request).await;
    assert!(exec.len() == 64 && exec.starts_with(&format!("{:032x}", two.node.0)), "{exec}");
    let stream = UnixStream::connect(&two.manager.socket).await.unwrap();
    let mut stream = BufReader::new(Box::new(stream) as Io);
    let body = r#"{"Detach":false,"Tty":false}"#;
    let start = format!(
        "POST /v1.44/exec/{exec}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(start.as_bytes()).await.unwrap();
    let head = head(&mut stream).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: tcp"), "{head}");
    assert!(head.contains("content-type: application/vnd.docker.multiplexed-stream"), "{head}");
    // More than fits between the two, so that it has to flow.
    let input = vec![b'x'; 100_000];
    stream.write_all(&input).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut output = Vec::new();
    timeout(WITHIN, stream.read_to_end(&mut output)).await.unwrap().unwrap();
    assert_eq!(output.iter().filter(|byte| **byte == b'x').count(), input.len());
    assert!(output.ends_with(b"\x02\0\0\0\0\0\0\x03bye"));
    let ended = two.manager.get(&format!("/exec/{exec}/json")).await.json();
    assert_eq!(
        (&ended["Running"], &ended["ExitCode"], &ended["ContainerID"]),
        (&json!(false), &json!(3), &json!(two.id))
    );
    let absent = two.manager.get(&format!("/exec/{:032x}{:032x}/json", two.node.0, 1)).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_node_that_is_not_reached_is_named_with_the_reason() {
    let two = Two::new().await;
    let exec = two.manager.create(&format!("/containers/{}/exec", two.name), json!({ "Cmd": ["x"] })).await;
    two.cut_off();
    let words = "node host3 cannot be reached: no answer from 192.0.2.9:2377";
    for path in [format!("/containers/{}/json", two.id), format!("/exec/{exec}/json")] {
        let answer = two.manager.get(&path).await;
        assert_eq!((answer.status, answer.message()), (StatusCode::SERVICE_UNAVAILABLE, words.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_carried_connection_serves_containers_and_nothing_else_and_carries_nothing_on() {
    let two = Two::new().await;
    let ours = carried(&two.worker, Method::GET, &format!("/v1.44/containers/{}/json", two.id)).await;
    assert_eq!(ours.status, StatusCode::OK);
    for (method, path) in [
        (Method::GET, "/services"),
        (Method::GET, "/v1.44/info"),
        (Method::POST, "/containers/create"),
        (Method::POST, "/swarm/leave?force=1"),
        (Method::POST, "/images/create?fromImage=redis:7"),
    ] {
        let refused = carried(&two.worker, method, path).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        assert!(refused.message().ends_with("is not asked of another node"), "{}", refused.message());
    }
    // The manager knows where it is, and as a node it says what it has itself.
    let not_here = carried(&two.manager, Method::GET, &format!("/containers/{}/json", two.id)).await;
    assert_eq!(not_here.status, StatusCode::NOT_FOUND);
    let list = carried(&two.manager, Method::GET, "/containers/json?all=1").await;
    assert_eq!(list.json(), json!([]));
}

#[tokio::test]
async fn a_request_is_carried_in_the_version_the_node_has_and_without_the_client_s_credentials() {
    let two = Two::new().await;
    let mut connections = two.listen("1.40");
    for (asked, carried) in [("/v1.44", "/v1.40"), ("", "/v1.40"), ("/v1.30", "/v1.30")] {
        let path = format!("{asked}/containers/{}/archive?path=%2Fa%20b", two.name);
        let mut client = BufReader::new(Box::new(UnixStream::connect(&two.manager.socket).await.unwrap()) as Io);
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nX-Registry-Auth: secret\r\nContent-Type: application/x-tar\r\nContent-Length: 3\r\n\r\ntar"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut node = BufReader::new(timeout(WITHIN, connections.recv()).await.unwrap().unwrap());
        let asked = head(&mut node).await;
        let first = format!("PUT {carried}/containers/{}/archive?path=%2Fa%20b HTTP/1.1\r\n", two.id);
        assert!(asked.starts_with(&first), "{asked}");
        let asked = asked.to_lowercase();
        assert!(asked.contains("content-type: application/x-tar") && !asked.contains("secret"), "{asked}");
        let mut body = [0u8; 3];
        node.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"tar");
        let answer = "HTTP/1.1 418 I'm a teapot\r\nX-Docker-Container-Path-Stat: e30=\r\nContent-Length: 2\r\n\r\nok";
        node.write_all(answer.as_bytes()).await.unwrap();
        let answered = head(&mut client).await.to_lowercase();
        assert!(answered.starts_with("http/1.1 418") && answered.contains("x-docker-container-path-stat: e30="));
        client.read_exact(&mut body[..2]).await.unwrap();
        assert_eq!(&body[..2], b"ok");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let two = Two::new().await;
    let mut connections = two.listen("1.53");
    let asking = two.manager.open(Method::GET, "/containers/cd/logs?stdout=1&follow=1", Vec::new());
    let node = async {
        let mut node = BufReader::new(connections.recv().await.unwrap());
        head(&mut node).await;
        node.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").await.unwrap();
    };
    let (response, ()) = tokio::join!(asking, node);
    assert!(timeout(WITHIN, response.into_body().collect()).await.unwrap().is_err());

    let asking = two.manager.open(Method::GET, "/containers/cd/json", Vec::new());
    let (response, _) = tokio::join!(asking, async { drop(connections.recv().await) });
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_stream_of_frames_that_breaks_off_says_why_in_a_frame() {
    let two = Two::new().await;
    let mut connections = two.listen("1.53");
    let media_type = "Content-Type: application/vnd.docker.multiplexed-stream\r\n";
    let frame = b"\x01\0\0\0\0\0\0\x03hi\n";

    let asking = two.manager.open(Method::GET, "/containers/cd/logs?stdout=1&follow=1", Vec::new());
    let node = async {
        let mut node = BufReader::new(connections.recv().await.unwrap());
        head(&mut node).await;
        let answer = format!("HTTP/1.1 200 OK\r\n{media_type}Transfer-Encoding: chunked\r\n\r\nb\r\n");
        node.write_all(&[answer.as_bytes(), frame, b"\r\n"].concat()).await.unwrap();
    };
    let (response, ()) = tokio::join!(asking, node);
    let mut body = response.into_body();
    let mut told = Vec::new();
    let failed = loop {
        match timeout(WITHIN, body.frame()).await.unwrap() {
            Some(Ok(piece)) => told.extend_from_slice(&piece.into_data().unwrap()),
            other => break other.is_some(),
        }
    };
    assert!(failed && told.starts_with(frame), "{told:?}");
    let words = |told: &[u8]| {
        assert_eq!(told[..4], [3, 0, 0, 0]);
        String::from_utf8_lossy(&told[8..]).into_owned()
    };
    assert!(words(&told[frame.len()..]).starts_with("node host3 went away: "), "{told:?}");

    let mut client = BufReader::new(Box::new(UnixStream::connect(&two.manager.socket).await.unwrap()) as Io);
    let request = "POST /containers/cd/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut node = BufReader::new(timeout(WITHIN, connections.recv()).await.unwrap().unwrap());
    assert!(head(&mut node).await.to_lowercase().contains("upgrade: tcp"));
    let answer = format!("HTTP/1.1 101 UPGRADED\r\n{media_type}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    node.write_all(answer.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    node.write_all(frame).await.unwrap();
    let mut first = [0u8; 11];
    timeout(WITHIN, client.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, frame);
    // The two ends here cannot fail, only end: an end is passed on as one.
    drop(node);
    let mut rest = Vec::new();
    timeout(WITHIN, client.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn the_list_of_a_manager_has_the_containers_of_all_nodes_the_newest_first() {
    let two = Two::new().await;
    two.own(&"aa".repeat(32), "mine", 150);
    let second = two.run(2, &"ce".repeat(32), 200);
    assert_eq!(two.names("").await, [second.clone(), "mine".to_owned(), two.name.clone()]);
    assert_eq!(two.names("?limit=1").await, std::slice::from_ref(&second));
    let rows = two.manager.get("/containers/json").await.json();
    assert_eq!(rows[0]["Labels"]["com.docker.swarm.node.name"], json!("host3"));
    assert_eq!(rows[1]["Labels"]["com.docker.swarm.node.name"], Value::Null);
    let mine = "mine".to_owned();
    let cases = [
        (json!({ "node": ["host3"] }), vec![&second, &two.name]),
        (json!({ "node": [two.node.to_string()], "name": ["web.1"] }), vec![&two.name]),
        (json!({ "label": ["com.docker.swarm.node.name=host3"] }), vec![&second, &two.name]),
        (json!({ "label": ["com.docker.swarm.node.name=host4"] }), vec![]),
        (json!({ "label": [format!("com.docker.swarm.node.id={}", two.node)], "id": ["cd"] }), vec![&two.name]),
        (json!({ "node": ["nowhere"] }), vec![]),
        // Of a container that is elsewhere, and one that is here.
        (json!({ "before": [second] }), vec![&mine, &two.name]),
        (json!({ "since": [two.name] }), vec![&second, &mine]),
        (json!({ "since": ["mine"] }), vec![&second]),
        (json!({ "before": ["mine"], "since": [two.name] }), vec![]),
    ];
    for (asked, expected) in cases {
        assert_eq!(two.names(&filters(&asked)).await, expected.into_iter().cloned().collect::<Vec<_>>(), "{asked}");
    }
    assert_eq!(two.names(&filters(&json!({ "is-task": ["false"] }))).await, ["mine"]);
    let worker = two.worker.get(&format!("/containers/json{}", filters(&json!({ "node": ["host3"] })))).await;
    assert_eq!(worker.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn containers_of_a_node_that_does_not_answer_stay_in_the_list_as_the_store_knows_them() {
    let two = Two::new().await;
    two.cut_off();
    let rows = two.manager.get("/containers/json").await.json();
    let row = &rows[0];
    let _: bollard_stubs::models::ContainerSummary = serde_json::from_value(row.clone()).unwrap();
    assert_eq!((&row["Id"], &row["Names"][0]), (&json!(two.id), &json!(format!("/{}", two.name))));
    assert_eq!((&row["State"], &row["Image"]), (&json!("running"), &json!("redis:7")));
    assert_eq!(row["Labels"]["com.docker.swarm.node.name"], json!("host3"));
    let status = row["Status"].as_str().unwrap();
    assert!(status.starts_with("Up ") && status.ends_with(" (node host3 did not answer)"), "{status}");
    assert_eq!(two.names(&filters(&json!({ "status": ["exited"] }))).await, Vec::<String>::new());

    // One that is known to be down is not even asked.
    let mut connections = two.listen("1.53");
    two.manager.cluster.set_node_state(two.node, NodeState::Down);
    let status = two.manager.get("/containers/json").await.json()[0]["Status"].as_str().unwrap().to_owned();
    assert!(status.ends_with(" (node host3 is down)"), "{status}");
    assert!(connections.try_recv().is_err());
}

#[tokio::test]
async fn a_log_that_is_followed_on_another_node_ends_with_the_daemon() {
    let mut two = Two::new().await;
    let line =
        LogRecord { time_ns: 1, stream: LogStream::Stdout, source: None, line: bytes::Bytes::from_static(b"hi\n") };
    two.worker.local.log.lock().unwrap().push(line);
    let path = format!("/v1.44/containers/{}/logs?stdout=1&follow=1", two.name);
    let response = two.manager.open(Method::GET, &path, Vec::new()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.docker.multiplexed-stream");
    let mut body = response.into_body();
    let frame = timeout(WITHIN, body.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(&frame.into_data().unwrap()[..], b"\x01\0\0\0\0\0\0\x03hi\n");
    two.manager.stop().await;
    assert!(timeout(WITHIN, body.frame()).await.unwrap().is_none());
}
