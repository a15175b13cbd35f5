//! The docker command line on the containers of a node: what it does to them, and what comes of it.

use crate::harness::{Cluster, Probe as _, SOON, wait_until};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Its only container, running.
fn container(cluster: &Cluster) -> String {
    let mut found = String::new();
    wait_until("one container runs", SOON, || {
        found = cluster.docker(1, &["ps", "--format", "{{.Names}}"]).trim().to_owned();
        !found.is_empty() && !found.contains('\n')
    });
    found
}

#[test]
fn docker_acts_on_the_containers_of_a_node() {
    let cluster = Cluster::up("acts", 1);
    cluster.load_app(1);
    cluster.deploy(
        1,
        "shop",
        "services:\n  web:\n    image: 'app:1'\n    volumes: ['data:/data']\nvolumes:\n  data:\n",
    );
    cluster.wait_running(1, "shop_web", 1, SOON);
    let name = container(&cluster);
    let docker = |args: &[&str]| cluster.docker(1, args);
    let state = |name: &str| docker(&["inspect", "--format", "{{.State.Status}}", name]).trim().to_owned();

    docker(&["pause", &name]);
    assert_eq!(state(&name), "paused");
    assert!(docker(&["ps", "--format", "{{.Status}}"]).contains("(Paused)"));
    docker(&["unpause", &name]);
    assert_eq!(state(&name), "running");

    let top = docker(&["top", &name]);
    assert!(top.starts_with("UID") && top.contains("httpd -f -p 8080"), "{top}");
    let pids = docker(&["top", &name, "-o", "pid,comm"]);
    assert!(pids.contains("httpd") && !pids.contains("UID"), "{pids}");

    docker(&["exec", &name, "sh", "-c", "ping -c 1 -W 5 $(ip route | grep default | cut -d ' ' -f 3)"]);
    let stats = docker(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}", &name]);
    let words: Vec<&str> = stats.split_whitespace().collect();
    assert_eq!((words[0], words[2]), (name.as_str(), "/"), "{stats}");
    assert!(!stats.contains("0B / 0B") && words.last().is_some_and(|pids| *pids != "0"), "{stats}");

    copies(&cluster, &name);

    let filter = |filter: &str| docker(&["ps", "-q", "--filter", filter]).lines().count();
    let by_name = format!("name=^/{name}$");
    assert_eq!((filter(&by_name), filter("name=^shop"), filter("name=nothing")), (1, 1, 0));
    assert_eq!((filter("ancestor=app:1"), filter("ancestor=app:2"), filter("volume=/data")), (1, 0, 1));
    assert!(docker(&["ps", "--size", "--format", "{{.Size}}"]).contains("virtual"));
    let inspected =
        docker(&["inspect", "--format", "{{json .Config.Cmd}} {{.HostConfig.ShmSize}} {{.GraphDriver.Name}}", &name]);
    assert_eq!(inspected.trim(), r#"["httpd","-f","-p","8080","-h","/www"] 67108864 overlayfs"#);
    replaced(&cluster, &name);
}

/// `docker cp` both ways, `diff` and `export`.
fn copies(cluster: &Cluster, name: &str) {
    let docker = |args: &[&str]| cluster.docker(1, args);
    let dir = cluster.dir.path().join("copies");
    std::fs::create_dir_all(dir.join("tree/sub")).expect("the folder is writable");
    std::fs::write(dir.join("tree/sub/file"), "from the host").expect("the folder is writable");
    let path = |name: &str| dir.join(name).display().to_string();
    let inside = |path: &str| format!("{name}:{path}");
    docker(&["cp", &path("tree"), &inside("/data")]);
    assert_eq!(docker(&["exec", name, "cat", "/data/tree/sub/file"]), "from the host");
    docker(&["exec", name, "sh", "-c", "echo inside > /data/tree/sub/more; ln -s sub/more /data/tree/link"]);
    docker(&["cp", &inside("/data/tree"), &path("back")]);
    assert_eq!(std::fs::read_to_string(dir.join("back/sub/more")).expect("copied"), "inside\n");
    assert_eq!(std::fs::read_link(dir.join("back/link")).expect("a link").display().to_string(), "sub/more");
    docker(&["cp", "-L", &inside("/data/tree/link"), &path("followed")]);
    assert_eq!(std::fs::read_to_string(dir.join("followed")).expect("copied"), "inside\n");
    docker(&["cp", &inside("/www/index.html"), &path("index.html")]);
    assert_eq!(std::fs::read_to_string(dir.join("index.html")).expect("copied"), "app 1\n");
    docker(&["cp", &path("index.html"), &inside("/www/copy.html")]);
    docker(&["exec", name, "rm", "/www/cgi-bin/who"]);
    let diff = docker(&["diff", name]);
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.retain(|line| line.contains("/www"));
    assert_eq!(lines, ["C /www", "C /www/cgi-bin", "D /www/cgi-bin/who", "A /www/copy.html"], "{diff}");
    assert!(!diff.contains("/proc") && !diff.contains("/etc/hosts"), "{diff}");
    docker(&["export", "-o", &path("root.tar"), name]);
    let listed = Command::new("tar").args(["-tf", &path("root.tar")]).output().expect("tar");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("www/copy.html") && !listed.contains("data/tree"), "{listed}");
}

/// A container that is waited for, attached to and removed; its service makes another.
fn replaced(cluster: &Cluster, name: &str) {
    let socket = format!("unix://{}", cluster.host(1).socket.display());
    let docker = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["-H", &socket]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("docker runs").wait_with_output().expect("it ends")
    };
    let waiting = ["not-running", "removed"].map(|condition| begin_wait(cluster, name, condition));
    let attached = Command::new("docker")
        .args(["-H", &socket, "attach", "--no-stdin", "--sig-proxy=false", name])
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker runs");
    let events = ["events", "--since", "10m", "--until", "0s", "--filter", "event=attach", "--format", "{{.Action}}"];
    wait_until("it is attached to", SOON, || cluster.docker(1, &events).trim() == "attach");
    cluster.docker(1, &["exec", name, "sh", "-c", "echo heard > /proc/1/fd/1"]);
    let id = cluster.docker(1, &["inspect", "--format", "{{.Id}}", name]);
    let refused = String::from_utf8_lossy(&docker(&["rm", name]).stderr).into_owned();
    assert!(refused.contains("container is running: stop the container"), "{refused}");
    cluster.docker(1, &["rm", "-f", name]);
    for mut waiting in waiting {
        let mut waited = String::new();
        waiting.read_to_string(&mut waited).expect("the answer ends");
        assert!(waited.contains(r#"{"StatusCode":137}"#), "{waited}");
    }
    let heard = attached.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "heard\n");
    assert!(!cluster.docker(1, &["ps", "-aq", "--no-trunc"]).contains(id.trim()), "it is gone");
    wait_until("the service has another container", SOON, || {
        let running = cluster.docker(1, &["ps", "--format", "{{.Names}}"]);
        running.lines().count() == 1 && running.trim() != name
    });
    let next = container(cluster);
    cluster.docker(1, &["restart", "-t", "1", &next]);
    wait_until("a restart makes another, too", SOON, || {
        let running = cluster.docker(1, &["ps", "--format", "{{.Names}}"]);
        running.lines().count() == 1 && running.trim() != next
    });
}

/// Asks for the end of a container, or that it is gone; returns when the answer has begun.
fn begin_wait(cluster: &Cluster, name: &str, condition: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&cluster.host(1).socket).expect("the daemon listens");
    let request = format!(
        "POST /v1.44/containers/{name}/wait?condition={condition} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("the daemon reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0u8; 1];
        stream.read_exact(&mut byte).expect("the answer begins");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}
