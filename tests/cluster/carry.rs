//! One socket, whole cluster: the docker command line at host 1, the container on host 3.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::harness::terminal::Terminal;
use crate::harness::{Cluster, Probe as _, SOON, assert_success, wait_for, wait_until};

/// What the container says when it starts, so that its log is known.
const WORDS: &str = "at your service";

/// A cluster with one container, on host 3; its name there, and the name of that host.
fn with_a_container_on_host_3(scenario: &str) -> (Cluster, String, String) {
    let cluster = Cluster::up(scenario, 3);
    cluster.load_app(1);
    let host = format!("{}-3", cluster.name);
    let stack = format!(
        "services:\n  web:\n    image: app:1\n    command: [sh, -c, 'echo {WORDS}; exec sleep 100000']\n    stop_grace_period: 1s\n    deploy: {{placement: {{constraints: ['node.hostname == {host}']}}}}\n"
    );
    cluster.deploy(1, "shop", &stack);
    cluster.wait_running(1, "shop_web", 1, SOON);
    let name = wait_for("docker ps at host 1 shows the container of host 3", SOON, || {
        let listed = cluster.docker(1, &["ps", "--format", "{{.Names}} {{.Label \"com.docker.swarm.node.name\"}}"]);
        listed.trim().strip_suffix(&format!(" {host}")).map(str::to_owned)
    });
    assert!(name.starts_with("shop_web.1."), "{name}");
    (cluster, name, host)
}

#[test]
fn a_container_of_another_host_is_used_as_if_it_were_here() {
    let (cluster, name, host) = with_a_container_on_host_3("carry");
    let node = cluster.node_id(3);
    let at = |host: u8, args: &[&str]| cluster.docker(host, args).trim().to_owned();
    let id = at(1, &["ps", "--no-trunc", "--quiet", "--filter", &format!("node={host}")]);
    for host in [1, 2, 3] {
        let seen = at(host, &["inspect", "--format", "{{.Id}} {{.State.Status}}", &name]);
        assert_eq!(seen, format!("{id} running"), "at host {host}");
        let label =
            at(host, &["inspect", "--format", "{{index .Config.Labels \"com.docker.swarm.node.id\"}}", &id[..12]]);
        assert_eq!(label, node, "at host {host}");
        assert_eq!(at(host, &["logs", &name]), WORDS, "at host {host}");
        let inside = at(host, &["exec", &name, "hostname"]);
        assert_eq!(inside, id[..12], "at host {host}");
    }
    what_is_put_in_comes_back_with_the_exit_code(&cluster, &name);
    an_exec_made_at_one_manager_is_started_at_another(&cluster, &name);
    a_terminal_has_the_size_of_its_window(&cluster, &name);
    // The last of all: its task is replaced.
    cluster.docker(1, &["stop", "--time", "1", &name]);
    wait_until("another container has taken its place", SOON, || {
        let listed = at(2, &["ps", "--no-trunc", "--quiet", "--filter", "name=shop_web"]);
        !listed.is_empty() && listed != id
    });
    let gone = cluster.try_docker(1, &["exec", "shop_web.1.nothing", "true"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("No such container"), "{gone:?}");
}

fn what_is_put_in_comes_back_with_the_exit_code(cluster: &Cluster, name: &str) {
    let mut command = cluster.docker_command(1);
    command.args(["exec", "-i", name, "sh", "-c", "wc -c; echo wrong >&2; exit 7"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("docker starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(&vec![b'x'; 3_000_000]).expect("the container reads");
    drop(input);
    let output = child.wait_with_output().expect("docker ends");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3000000");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "wrong\n");
}

fn an_exec_made_at_one_manager_is_started_at_another(cluster: &Cluster, name: &str) {
    let asked = json!({ "Cmd": ["sh", "-c", "echo over; exit 3"], "AttachStdout": true, "Tty": true });
    let made = cluster.try_api(1, "POST", &format!("/containers/{name}/exec"), Some(&asked)).expect("host 1 answers");
    assert_eq!(made.status, 201, "{}", made.text());
    let exec = made.json()["Id"].as_str().expect("an id").to_owned();
    let started = cluster.try_api(2, "POST", &format!("/exec/{exec}/start"), Some(&json!({ "Tty": true })));
    assert_eq!(started.expect("host 2 answers").text().trim(), "over");
    assert_eq!(cluster.api(1, &format!("/exec/{exec}/json"))["ExitCode"], 3);
}

fn a_terminal_has_the_size_of_its_window(cluster: &Cluster, name: &str) {
    let mut command = cluster.docker_command(1);
    command.args(["exec", "-it", name, "sh"]);
    let mut terminal = Terminal::open(command, (33, 101));
    // Said in two words, so that the echo of what is typed is not taken for the answer.
    terminal.types("while [ \"$(stty size)\" != '33 101' ]; do sleep 0.1; done; echo first'' size\n");
    terminal.sees("first size");
    terminal.resize((44, 120));
    terminal.types("while [ \"$(stty size)\" != '44 120' ]; do sleep 0.1; done; echo second'' size\n");
    terminal.sees("second size");
    terminal.types("exit 5\n");
    let (status, screen) = terminal.end();
    assert_eq!(status.code(), Some(5), "{screen}");
}

#[test]
fn a_host_that_is_cut_off_is_named_and_its_containers_stay_listed() {
    let (cluster, name, host) = with_a_container_on_host_3("carrycut");
    let mut command = cluster.docker_command(1);
    command.args(["exec", "-it", &name, "sh"]);
    let mut terminal = Terminal::open(command, (24, 80));
    terminal.types("echo here I'' am\n");
    terminal.sees("here I am");
    cluster.dev(&["partition", "3"]);
    let refused = cluster.try_docker(1, &["exec", &name, "true"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains(&format!("node {host} cannot be reached: ")), "{words}");
    let listed = cluster.docker(1, &["ps", "--format", "{{.Names}} {{.Status}}"]);
    let row =
        listed.lines().find(|row| row.starts_with(&name)).unwrap_or_else(|| panic!("{name} is not in {listed:?}"));
    let why = [format!("(node {host} did not answer)"), format!("(node {host} is down)")];
    assert!(row.contains(" Up ") && why.iter().any(|why| row.ends_with(why)), "{row}");
    // Whoever sits at a terminal there is not left waiting, and docker says why it cannot tell how it ended.
    let (status, screen) = terminal.end();
    assert!(!status.success() && screen.contains(&format!("node {host} cannot be reached")), "{status}: {screen}");
    cluster.dev(&["heal"]);
    cluster.wait_all_ready(1);
    let output = wait_for("the container of host 3 is reached again", SOON, || {
        let listed = cluster.docker(1, &["ps", "--quiet", "--filter", "name=shop_web"]);
        let output = cluster.try_docker(1, &["exec", listed.lines().next()?, "hostname"]);
        output.status.success().then_some(output)
    });
    assert_success("docker exec after healing", &output);
}
