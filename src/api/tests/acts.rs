//! What is done to containers, and with their streams and files.

use super::client::World;
use crate::ports::{
    ContainerEnd, ContainerMount, ContainerNetwork, ContainerRecord, ContainerState, LogRecord, LogStream,
    ProcessRecord,
};
use axum::http::{Method, StatusCode};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use swarm_core::model::{Health, PortConfig, Protocol, PublishMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn running() -> ContainerRecord {
    let state = ContainerState::Running;
    ContainerRecord { id: "ab".repeat(32), name: "web.1.x".into(), state, ..ContainerRecord::default() }
}

fn with(container: ContainerRecord) -> World {
    let world = World::outside();
    world.local.containers.lock().unwrap().push(container);
    world
}

fn done(world: &World) -> Vec<String> {
    std::mem::take(&mut *world.local.done.lock().unwrap())
}

#[tokio::test]
async fn a_container_is_paused_once_and_goes_on_once() {
    let world = with(running());
    let act = async |what: &str| world.post(&format!("/containers/web.1.x/{what}"), Value::Null).await;
    assert_eq!(act("unpause").await.message(), format!("container {} is not paused", "ab".repeat(32)));
    assert_eq!(act("pause").await.status, StatusCode::NO_CONTENT);
    let again = act("pause").await;
    assert_eq!((again.status, again.message().ends_with("is already paused")), (StatusCode::CONFLICT, true));
    let listed = world.get("/containers/json").await.json();
    assert_eq!(listed[0]["State"], "paused", "a paused one is among those that run");
    assert_eq!(act("unpause").await.status, StatusCode::NO_CONTENT);
    assert_eq!(done(&world), ["told pause", "told unpause"]);
    assert_eq!(world.post("/containers/none/pause", Value::Null).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_paused_container_can_be_stopped_killed_and_restarted() {
    let world = with(ContainerRecord { state: ContainerState::Paused, ..running() });
    for act in ["stop?t=1", "kill?signal=TERM", "restart?t=2&signal=INT"] {
        let answer = world.post(&format!("/containers/web.1.x/{act}"), Value::Null).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{act}: {}", answer.text());
    }
    let stopped = world.local.stopped_with.lock().unwrap().clone();
    assert_eq!(stopped, [(String::new(), Some(1)), ("INT".to_owned(), Some(2))]);
    assert_eq!(done(&world), ["told stop", "kill TERM", "told stop", "told restart"]);
}

#[tokio::test]
async fn a_task_that_ended_is_not_restarted() {
    let world = with(ContainerRecord { state: ContainerState::Exited, ..running() });
    let refused = world.post("/containers/web.1.x/restart", Value::Null).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.message().contains("a task runs once"), "{}", refused.message());
    assert_eq!(world.post("/containers/web.1.x/stop", Value::Null).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_container_that_runs_is_removed_by_force_only() {
    let world = with(running());
    let refused = world.delete("/containers/web.1.x").await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let words = "cannot remove container \"/web.1.x\": container is running: stop the container before removing or force remove";
    assert_eq!(refused.message(), words);
    assert_eq!(world.delete("/containers/web.1.x?link=1").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.delete("/containers/web.1.x?force=1&v=1").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.delete("/containers/web.1.x?force=1").await.status, StatusCode::NOT_FOUND);
    let world = with(ContainerRecord { state: ContainerState::Exited, ..running() });
    assert_eq!(world.delete("/containers/web.1.x").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn waiting_is_answered_at_once_and_ends_with_the_container() {
    let world = with(running());
    for (condition, until) in
        [("", "NotRunning"), ("?condition=next-exit", "NextExit"), ("?condition=removed", "Removed")]
    {
        let path = format!("/v1.44/containers/web.1.x/wait{condition}");
        let answer = world.open(Method::POST, &path, Vec::new()).await;
        assert_eq!(answer.status(), StatusCode::OK, "the head is there while the container runs");
        assert_eq!(done(&world), [format!("wait {until}")]);
        let end = world.local.ends.lock().unwrap().pop().unwrap();
        end.send(ContainerEnd { exit_code: 137, error: String::new() }).unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, json!({ "StatusCode": 137 }));
    }
    let wrong = world.post("/containers/web.1.x/wait?condition=never", Value::Null).await;
    assert_eq!((wrong.status, wrong.message().as_str()), (StatusCode::BAD_REQUEST, "invalid condition: \"never\""));
    assert_eq!(world.post("/containers/none/wait", Value::Null).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn processes_are_listed_in_the_columns_asked_for() {
    let world = with(running());
    let process = ProcessRecord {
        pid: 7,
        parent: 1,
        user: "web".into(),
        arguments: vec!["sleep".into(), "9".into()],
        terminal: "?".into(),
        ..ProcessRecord::default()
    };
    world.local.processes.lock().unwrap().push(process);
    let shown = world.get("/containers/web.1.x/top").await.json();
    assert_eq!(shown["Titles"][7], "CMD");
    assert_eq!((&shown["Processes"][0][0], &shown["Processes"][0][7]), (&json!("web"), &json!("sleep 9")));
    let _: bollard_stubs::models::ContainerTopResponse = serde_json::from_value(shown).unwrap();
    let chosen = world.get("/containers/web.1.x/top?ps_args=-o%20pid,args").await.json();
    assert_eq!(chosen, json!({ "Titles": ["PID", "COMMAND"], "Processes": [["7", "sleep 9"]] }));
    assert_eq!(world.get("/containers/web.1.x/top?ps_args=--forest").await.status, StatusCode::BAD_REQUEST);
    world.local.containers.lock().unwrap()[0].state = ContainerState::Exited;
    assert_eq!(world.get("/containers/web.1.x/top").await.status, StatusCode::CONFLICT);
}

/// As the docker CLI counts (cli/command/container, formatter of stats).
fn cpu_percent(stats: &Value) -> f64 {
    let number = |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let used = number("/cpu_stats/cpu_usage/total_usage") - number("/precpu_stats/cpu_usage/total_usage");
    let passed = number("/cpu_stats/system_cpu_usage") - number("/precpu_stats/system_cpu_usage");
    used / passed * number("/cpu_stats/online_cpus") * 100.0
}

#[tokio::test]
async fn figures_of_two_moments_make_a_rate() {
    let world = with(running());
    let once = world.get("/containers/web.1.x/stats?stream=false").await.json();
    assert!((cpu_percent(&once) - 50.0).abs() < 0.01, "one of two CPUs for half of the time: {once}");
    let _: bollard_stubs::models::ContainerStatsResponse = serde_json::from_value(once).unwrap();
    let shot = world.get("/containers/web.1.x/stats?stream=0&one-shot=1").await.json();
    assert_eq!(shot["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(world.get("/containers/web.1.x/stats?one-shot=1").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn figures_are_told_until_the_container_is_gone() {
    let world = with(running());
    let mut answer = world.open(Method::GET, "/containers/web.1.x/stats", Vec::new()).await;
    let line = async |answer: &mut axum::http::Response<hyper::body::Incoming>| -> Value {
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        serde_json::from_slice(&frame.into_data().unwrap()).unwrap()
    };
    let first = line(&mut answer).await;
    assert_eq!((&first["name"], &first["precpu_stats"]["system_cpu_usage"]), (&json!("/web.1.x"), &Value::Null));
    let second = line(&mut answer).await;
    assert!((cpu_percent(&second) - 50.0).abs() < 0.01, "{second}");
    world.local.containers.lock().unwrap()[0].state = ContainerState::Exited;
    let third = line(&mut answer).await;
    assert_eq!((&third["memory_stats"], &third["read"]), (&json!({}), &json!("0001-01-01T00:00:00Z")));
    world.local.containers.lock().unwrap().clear();
    assert!(answer.body_mut().frame().await.is_none(), "it ends with the container");
}

/// Sends `input` over an upgraded connection and closes that side; everything that came back after the head.
async fn attach(world: &World, query: &str, input: &[u8]) -> (String, Vec<u8>) {
    let mut stream = tokio::net::UnixStream::connect(&world.socket).await.unwrap();
    let request = format!(
        "POST /v1.44/containers/web.1.x/attach?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(input).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8_lossy(&answer[..head_end]).to_lowercase(), answer.split_off(head_end))
}

fn logged(stream: LogStream, line: &'static [u8]) -> LogRecord {
    LogRecord { time_ns: 1, stream, source: None, line: Bytes::from_static(line) }
}

#[tokio::test]
async fn attached_streams_begin_with_the_log_if_it_is_asked_for() {
    let world = with(running());
    world.local.log.lock().unwrap().push(logged(LogStream::Stderr, b"old\n"));
    let (head, streams) = attach(&world, "stream=1&stdin=1&stdout=1&stderr=1&logs=1", b"new").await;
    assert!(head.starts_with("http/1.1 101") && head.contains("application/vnd.docker.multiplexed-stream"), "{head}");
    assert_eq!(streams, b"\x02\0\0\0\0\0\0\x04old\n\x01\0\0\0\0\0\0\x03new");
    let (_, streams) = attach(&world, "stream=1&stdin=1&stdout=1", b"new").await;
    assert_eq!(streams, b"\x01\0\0\0\0\0\0\x03new");
    let (_, past) = attach(&world, "logs=1&stderr=1", b"").await;
    assert_eq!(past, b"\x02\0\0\0\0\0\0\x04old\n");
    assert_eq!(done(&world), ["told attach", "told attach", "told attach"]);
}

#[tokio::test]
async fn a_terminal_has_no_frames_and_is_left_with_the_keys_for_it() {
    let world = with(ContainerRecord { tty: true, ..running() });
    let (head, streams) = attach(&world, "stream=1&stdin=1&stdout=1", b"hi\x10\x11never").await;
    assert!(head.contains("application/vnd.docker.raw-stream"), "{head}");
    // What the program says of the last input may be lost: nobody listens any more.
    assert!(b"hi".starts_with(&streams), "{streams:?}");
    let (_, streams) = attach(&world, "stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,d", b"a\x01dnever").await;
    assert!(b"a".starts_with(&streams), "{streams:?}");
    assert_eq!(done(&world), ["told attach", "told detach", "told attach", "told detach"]);
    let wrong = world.post("/containers/web.1.x/attach?detachKeys=meta-x", Value::Null).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_client_without_an_upgrade_gets_the_output_as_the_body() {
    let world = with(ContainerRecord { state: ContainerState::Exited, ..running() });
    world.local.log.lock().unwrap().push(logged(LogStream::Stdout, b"last\n"));
    let answer = world.post("/containers/web.1.x/attach?stream=1&logs=1&stdout=1", Value::Null).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"\x01\0\0\0\0\0\0\x05last\n"[..]));
    assert_eq!(answer.headers["content-type"], "application/vnd.docker.multiplexed-stream");
    let older = world.post("/v1.41/containers/web.1.x/attach?logs=1&stdout=1", Value::Null).await;
    assert_eq!(
        (&older.headers["content-type"], &older.body),
        (&"application/vnd.docker.raw-stream".parse().unwrap(), &answer.body)
    );
    world.local.containers.lock().unwrap()[0].state = ContainerState::Paused;
    let paused = world.post("/containers/web.1.x/attach?stream=1&stdout=1", Value::Null).await;
    assert_eq!(paused.status, StatusCode::CONFLICT);
    assert!(paused.message().ends_with("is paused, unpause the container before attach"), "{}", paused.message());
}

#[tokio::test]
async fn a_client_that_went_away_is_noticed_though_the_program_says_nothing() {
    for tty in [false, true] {
        let world = with(ContainerRecord { tty, ..running() });
        let mut stream = tokio::net::UnixStream::connect(&world.socket).await.unwrap();
        let request = "POST /containers/web.1.x/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0u8; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        drop(stream);
        let left = world.local.left.clone();
        left.subscribe().wait_for(|left| *left).await.unwrap();
    }
}

#[tokio::test]
async fn a_terminal_is_given_its_size() {
    let world = with(running());
    assert_eq!(world.post("/containers/web.1.x/resize?h=30&w=100", Value::Null).await.status, StatusCode::OK);
    assert_eq!(done(&world), ["resize 30x100", "told resize"]);
    assert_eq!(world.post("/containers/web.1.x/resize?h=tall&w=1", Value::Null).await.status, StatusCode::BAD_REQUEST);
    world.local.containers.lock().unwrap()[0].state = ContainerState::Exited;
    assert_eq!(world.post("/containers/web.1.x/resize?h=3&w=1", Value::Null).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn files_are_described_in_a_header_and_come_as_a_tar() {
    let world = with(running());
    let described = world.send(Method::HEAD, "/containers/web.1.x/archive?path=/etc/link", Vec::new()).await;
    assert_eq!((described.status, described.body.len()), (StatusCode::OK, 0));
    let header = described.headers["x-docker-container-path-stat"].to_str().unwrap();
    let stat: Value =
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(header).unwrap()).unwrap();
    let link = 1u32 << 27 | 0o777;
    let expected = json!({ "name": "link", "size": 4, "mode": link, "mtime": "1970-01-01T00:00:01.5Z", "linkTarget": "/srv/file" });
    assert_eq!(stat, expected);
    let archive = world.get("/containers/web.1.x/archive?path=/etc/link").await;
    assert_eq!(
        (&archive.body[..], &archive.headers["content-type"]),
        (&b"tar"[..], &"application/x-tar".parse().unwrap())
    );
    assert!(archive.headers.contains_key("x-docker-container-path-stat"));
    let missing = world.get("/containers/web.1.x/archive?path=/none").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.message(), "Could not find the file /none in container web.1.x");
    assert_eq!(world.get("/containers/web.1.x/archive").await.status, StatusCode::BAD_REQUEST);
    let absent = world.send(Method::HEAD, "/containers/web.1.x/archive?path=/none", Vec::new()).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    assert_eq!(done(&world), ["told archive-path"]);
}

#[tokio::test]
async fn an_archive_is_unpacked_as_it_was_asked_for() {
    let world = with(running());
    let path = "/containers/web.1.x/archive?path=/srv&noOverwriteDirNonDir=true&copyUIDGID=1";
    assert_eq!(world.send(Method::PUT, path, b"tar".to_vec()).await.status, StatusCode::OK);
    let (target, bytes) = world.local.unpacked.lock().unwrap().take().unwrap();
    assert_eq!((target.path.as_str(), target.no_overwrite_dir_non_dir, target.as_container_user), ("/srv", true, true));
    assert_eq!(bytes, b"tar");
    for (path, status) in [("/fixed", StatusCode::FORBIDDEN), ("/none", StatusCode::NOT_FOUND)] {
        let answer =
            world.send(Method::PUT, &format!("/containers/web.1.x/archive?path={path}"), b"tar".to_vec()).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn what_a_container_changed_is_told_by_number() {
    let world = with(running());
    let changes = world.get("/containers/web.1.x/changes").await.json();
    assert_eq!(
        changes,
        json!([{ "Path": "/etc", "Kind": 0 }, { "Path": "/new", "Kind": 1 }, { "Path": "/old", "Kind": 2 }])
    );
    assert_eq!(&world.get("/containers/web.1.x/export").await.body[..], b"root");
}

/// A container with something in every field.
fn full() -> ContainerRecord {
    let port = PortConfig {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: 80,
        published_port: 8080,
        mode: PublishMode::Host,
        host_ip: None,
    };
    let mut container = ContainerRecord {
        image: "web:latest".into(),
        image_id: format!("sha256:{}", "1".repeat(64)),
        command: ["/entry", "run", "-x"].map(str::to_owned).into(),
        entrypoint_words: 1,
        health: Health::Healthy,
        exposed: vec!["80/tcp".into(), "53/udp".into()],
        declared_volumes: vec!["/data".into()],
        stop_signal: "SIGINT".into(),
        stop_grace_s: Some(7),
        ports: vec![port],
        created_ns: 5_000_000_000,
        mounts: vec![ContainerMount {
            kind: "volume",
            name: "db".into(),
            destination: "/data".into(),
            ..Default::default()
        }],
        networks: vec![ContainerNetwork {
            name: "front".into(),
            id: "n1".into(),
            addr: [10, 0, 0, 2].into(),
            prefix_len: 24,
            gateway: Some([10, 0, 0, 1].into()),
            aliases: vec!["www".into()],
        }],
        ..running()
    };
    container.host.memory_bytes = 64 << 20;
    container.host.cap_add = vec!["NET_ADMIN".into()];
    container.host.pids_limit = 9;
    container.files.log = "/var/log.json".into();
    container
}

#[tokio::test]
async fn an_inspected_container_is_shown_in_full() {
    let world = with(full());
    let shown = world.get("/containers/web.1.x/json?size=1").await.json();
    let _: bollard_stubs::models::ContainerInspectResponse = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!(shown["Config"]["Entrypoint"], json!(["/entry"]));
    assert_eq!(shown["Config"]["Cmd"], json!(["run", "-x"]));
    assert_eq!((&shown["Path"], &shown["Args"]), (&json!("/entry"), &json!(["run", "-x"])));
    assert_eq!((&shown["Config"]["StopSignal"], &shown["Config"]["StopTimeout"]), (&json!("SIGINT"), &json!(7)));
    assert_eq!(shown["Config"]["ExposedPorts"], json!({ "80/tcp": {}, "53/udp": {} }));
    assert_eq!(shown["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(
        (&shown["HostConfig"]["CapAdd"][0], &shown["HostConfig"]["PidsLimit"]),
        (&json!("NET_ADMIN"), &json!(9))
    );
    let ports = json!({ "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }], "53/udp": null });
    assert_eq!(shown["NetworkSettings"]["Ports"], ports);
    let network = &shown["NetworkSettings"]["Networks"]["front"];
    assert_eq!(
        (&network["Aliases"], &network["DNSNames"]),
        (&json!(["www"]), &json!(["web.1.x", "abababababab", "www"]))
    );
    assert_eq!(
        (&shown["SizeRw"], &shown["SizeRootFs"], &shown["LogPath"]),
        (&json!(10), &json!(110), &json!("/var/log.json"))
    );
    assert!(shown["NetworkSettings"].get("IPAddress").is_none());
    let older = world.get("/v1.51/containers/web.1.x/json").await.json();
    assert_eq!((&older["NetworkSettings"]["IPAddress"], older.get("SizeRw")), (&json!(""), None));
    let exec = world.create("/containers/web.1.x/exec", json!({ "Cmd": ["x"] })).await;
    assert_eq!(world.get("/containers/web.1.x/json").await.json()["ExecIDs"], Value::Null, "{exec} does not run");
}

#[tokio::test]
async fn a_list_has_what_its_filters_let_through() {
    let world = with(full());
    let second = ContainerRecord {
        id: "cd".repeat(32),
        name: "web.2.y".into(),
        created_ns: 9_000_000_000,
        state: ContainerState::Exited,
        ..ContainerRecord::default()
    };
    world.local.containers.lock().unwrap().push(second);
    let names = async |query: &str| -> Vec<String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = world.get(&format!("/containers/json?all=1&filters={encoded}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        answer.json().as_array().unwrap().iter().map(|row| row["Names"][0].as_str().unwrap().to_owned()).collect()
    };
    let (one, two, both) = (vec!["/web.1.x"], vec!["/web.2.y"], vec!["/web.2.y", "/web.1.x"]);
    for (query, expected) in [
        (r#"{"name":["web"]}"#, &both),
        (r#"{"name":["^/web.1.x$"]}"#, &one),
        (r#"{"name":["^web\\.2"]}"#, &two),
        (r#"{"before":["web.2.y"]}"#, &one),
        (r#"{"since":["web.1.x"]}"#, &two),
        (r#"{"ancestor":["web"]}"#, &one),
        (r#"{"publish":["8000-9000/tcp"]}"#, &one),
        (r#"{"expose":["53/udp"]}"#, &one),
        (r#"{"expose":["54"]}"#, &vec![]),
        (r#"{"health":["healthy"]}"#, &one),
        (r#"{"network":["front"]}"#, &one),
        (r#"{"volume":["db"]}"#, &one),
        (r#"{"id":["^cd"]}"#, &two),
        (r#"{"isolation":["default"]}"#, &both),
    ] {
        assert_eq!(&names(query).await, expected, "{query}");
    }
    for wrong in [r#"{"name":["["]}"#, r#"{"publish":["x"]}"#, r#"{"exited":["x"]}"#, r#"{"health":["fine"]}"#] {
        let encoded: String = wrong.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = world.get(&format!("/containers/json?filters={encoded}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let encoded = "%7B%22before%22%3A%5B%22none%22%5D%7D";
    assert_eq!(world.get(&format!("/containers/json?filters={encoded}")).await.status, StatusCode::NOT_FOUND);
    let newest = world.get("/containers/json?limit=1&size=1").await.json();
    assert_eq!((newest.as_array().unwrap().len(), &newest[0]["Names"][0]), (1, &json!("/web.2.y")), "ended ones too");
    assert_eq!(newest[0]["SizeRootFs"], 110);
    let running = world.get("/containers/json?limit=-1").await.json();
    let _: Vec<bollard_stubs::models::ContainerSummary> = serde_json::from_value(running.clone()).unwrap();
    let ports = json!([
        { "IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp" },
        { "PrivatePort": 53, "Type": "udp" },
    ]);
    assert_eq!((running.as_array().unwrap().len(), &running[0]["Ports"]), (1, &ports));
}
