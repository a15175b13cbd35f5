use super::client::World;
use crate::ports::{ContainerRecord, ContainerState, LogRecord, LogSource, LogStream};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_pull_tells_its_progress_line_by_line() {
    let world = World::outside();
    let answer = world.post("/images/create?fromImage=redis&tag=7", Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK);
    let told = lines(&answer.text());
    assert_eq!(told[0], json!({ "status": "Downloading", "id": "11", "progressDetail": { "current": 1, "total": 2 } }));
    assert_eq!(told[1]["status"], "Status: Downloaded newer image for redis:7");
}

#[tokio::test]
async fn a_pull_that_fails_at_once_has_a_status_and_later_an_error_line() {
    let world = World::outside();
    let missing = world.post("/images/create?fromImage=absent&tag=1", Value::Null).await;
    assert_eq!(
        (missing.status, missing.message().as_str()),
        (StatusCode::NOT_FOUND, "manifest for absent:1 not found")
    );
    let broken = world.post("/images/create?fromImage=broken&tag=1", Value::Null).await;
    assert_eq!(broken.status, StatusCode::OK);
    let told = lines(&broken.text());
    assert_eq!(told[1], json!({ "error": "layer is corrupt", "errorDetail": { "message": "layer is corrupt" } }));
}

#[tokio::test]
async fn archives_arrive_whole() {
    let world = World::outside();
    let archive = vec![7u8; 3_000_000];
    let loaded = world.send(Method::POST, "/images/load?quiet=0", archive.clone()).await;
    assert_eq!(lines(&loaded.text())[0]["stream"], "Loaded image: loaded:1\n");
    assert_eq!(*world.local.uploaded.lock().unwrap(), archive);
    let imported = world.send(Method::POST, "/images/create?fromSrc=-&repo=own&tag=2", b"tar".to_vec()).await;
    assert!(imported.text().contains("own:2"));
    let elsewhere = world.post("/images/create?fromSrc=http://x/y.tar", Value::Null).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn logs_are_framed_with_details_and_cut_to_the_tail() {
    let world = World::manager();
    let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
    let id = world.create("/services/create", spec).await;
    let service = id.parse().unwrap();
    let task = world.cluster.run_task(service, 1);
    let node = world.cluster.view().nodes().next().unwrap().id;
    let record = |line: &'static [u8]| LogRecord {
        time_ns: 1_000_000_001,
        stream: LogStream::Stdout,
        source: Some(LogSource { node, service, task }),
        line: Bytes::from_static(line),
    };
    world.cluster.set_logs(vec![record(b"one\n"), record(b"two\n")]);
    let answer = world.get("/v1.44/services/web/logs?stdout=1&details=1&timestamps=1&tail=1").await;
    assert_eq!(answer.headers["content-type"], "application/vnd.docker.multiplexed-stream");
    let payload = format!(
        "1970-01-01T00:00:01.000000001Z com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},com.docker.swarm.task.id={task} two\n"
    );
    assert_eq!(&answer.body[..4], &[1, 0, 0, 0]);
    assert_eq!(answer.body[4..8], (payload.len() as u32).to_be_bytes());
    assert_eq!(&answer.body[8..], payload.as_bytes());
    let none = world.get(&format!("/tasks/{task}/logs")).await;
    assert_eq!(none.message(), "Bad parameters: you must choose at least one stream");
}

#[tokio::test]
async fn events_follow_what_is_committed_and_can_be_read_back() {
    let world = World::manager();
    let mut live = world.open(Method::GET, "/events?filters=%7B%22type%22%3A%5B%22service%22%5D%7D", Vec::new()).await;
    let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
    let id = world.create("/services/create", spec).await;
    let frame = live.body_mut().frame().await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(&frame.into_data().unwrap()).unwrap();
    assert_eq!((&event["Type"], &event["Action"]), (&json!("service"), &json!("create")));
    assert_eq!(event["Actor"], json!({ "ID": id, "Attributes": { "name": "web" } }));
    assert_eq!(event["scope"], "swarm");
    let _: bollard_stubs::models::EventMessage = serde_json::from_value(event.clone()).unwrap();
    // Up to a moment that is over, the stream tells the past and ends by itself.
    let now = event["timeNano"].as_i64().unwrap() / 1_000_000_000 + 1;
    while world.cluster.seconds() <= now {
        tokio::task::yield_now().await;
    }
    let past = world.get(&format!("/events?since=1&until={now}")).await;
    assert!(lines(&past.text()).iter().any(|line| line["Actor"]["ID"] == id.as_str()), "{}", past.text());
}

fn running() -> ContainerRecord {
    let state = ContainerState::Running;
    ContainerRecord { id: "ab".repeat(32), name: "web.1.x".into(), state, ..ContainerRecord::default() }
}

/// Sends `input` over an upgraded connection; everything that came back.
async fn talk(world: &World, exec: &str, input: &[u8]) -> Vec<u8> {
    let mut stream = tokio::net::UnixStream::connect(&world.socket).await.unwrap();
    let body = r#"{"Detach":false,"Tty":false}"#;
    let request = format!(
        "POST /v1.44/exec/{exec}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(input).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_exec_talks_over_the_upgraded_connection_and_leaves_its_exit_code() {
    let world = World::outside();
    world.local.containers.lock().unwrap().push(running());
    let request = json!({ "Cmd": ["cat"], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Detach": false, "DetachKeys": "", "Env": null });
    let exec = world.create("/containers/web.1.x/exec", request).await;
    let answer = talk(&world, &exec, b"hello").await;
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..head_end]).to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: tcp"), "{head}");
    // The fake gives input back on stdout, then a word on stderr.
    assert_eq!(&answer[head_end..], b"\x01\0\0\0\0\0\0\x05hello\x02\0\0\0\0\0\0\x03bye");
    let ended = world.get(&format!("/exec/{exec}/json")).await.json();
    assert_eq!((&ended["Running"], &ended["ExitCode"]), (&json!(false), &json!(3)));
    let again = world.post(&format!("/exec/{exec}/start"), json!({})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_exec_without_upgrade_answers_in_the_body() {
    let world = World::outside();
    world.local.containers.lock().unwrap().push(running());
    let exec = world.create("/containers/web.1.x/exec", json!({ "Cmd": ["x"], "AttachStdout": true })).await;
    let answer = world.post(&format!("/exec/{exec}/start"), json!({ "Detach": false })).await;
    assert_eq!(&answer.body[..], b"\x02\0\0\0\0\0\0\x03bye");
    assert_eq!(world.get(&format!("/exec/{exec}/json")).await.json()["ExitCode"], 3);
    assert_eq!(world.get("/exec/absent/json").await.message(), "No such exec instance: absent");
}

#[tokio::test]
async fn an_exec_needs_a_running_container_and_a_command() {
    let world = World::outside();
    assert_eq!(world.post("/containers/web/exec", json!({ "Cmd": ["x"] })).await.status, StatusCode::NOT_FOUND);
    world.local.containers.lock().unwrap().push(ContainerRecord { state: ContainerState::Exited, ..running() });
    assert_eq!(world.post("/containers/web.1.x/exec", json!({ "Cmd": ["x"] })).await.status, StatusCode::CONFLICT);
    world.local.containers.lock().unwrap()[0].state = ContainerState::Running;
    assert_eq!(world.post("/containers/web.1.x/exec", json!({})).await.message(), "Cmd: No exec command specified");
}

#[tokio::test]
async fn streams_without_end_do_not_hold_up_the_end_of_the_daemon() {
    let mut world = World::manager();
    let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
    world.create("/services/create", spec).await;
    let logs = world.open(Method::GET, "/services/web/logs?stdout=1&follow=1", Vec::new()).await;
    let events = world.open(Method::GET, "/events", Vec::new()).await;
    world.stop().await;
    assert_eq!(logs.into_body().collect().await.unwrap().to_bytes(), Bytes::new());
    assert_eq!(events.into_body().collect().await.unwrap().to_bytes(), Bytes::new());
}
