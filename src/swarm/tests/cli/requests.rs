//! What commands ask of the daemon is what docker's ask.

use crate::daemon::{Asked, Daemon};
use crate::transcript::{difference, split};
use crate::{docker, run, swarm};
use serde_json::Value;

/// Commands that write. Docker and this program are to send the same, but for what is the daemon's default anyway.
const COMMANDS: &str = "\
service create -d --name web redis:7 redis-server --x
service create -d --no-resolve-image --name web --replicas 2 -p 8080:80 -p published=53,target=53,protocol=udp,mode=host -e A=1 -l a=b --container-label c=d redis:7
service create -d --no-resolve-image --name web --mount type=volume,source=data,target=/data --mount type=bind,src=/a,dst=/b,ro --mount type=tmpfs,target=/t,tmpfs-size=64m redis:7
service create -d --no-resolve-image --name web --mount type=volume,target=/anon,volume-nocopy,volume-driver=local,volume-opt=a=b,volume-label=x=y --mount type=bind,src=/a,dst=/b,bind-propagation=rslave,bind-recursive=disabled redis:7
service create -d --no-resolve-image --name web --limit-cpu 0.5 --limit-memory 64m --limit-pids 5 --reserve-cpu 0.25 --reserve-memory 1m --generic-resource gpu=2 redis:7
service create -d --no-resolve-image --name web --constraint node.role==manager --placement-pref spread=node.labels.zone --restart-condition on-failure --restart-delay 3s --restart-max-attempts 2 --restart-window 1m redis:7
service create -d --no-resolve-image --name web --health-cmd true --health-interval 5s --health-retries 2 --stop-grace-period 5s --stop-signal SIGINT redis:7
service create -d --no-resolve-image --name web --hostname h --user u --workdir /d --group g -t --read-only --init --cap-add NET_ADMIN --cap-drop all --sysctl a=b --ulimit nofile=1:2 --oom-score-adj 5 redis:7
service create -d --no-resolve-image --name web --log-driver json-file --log-opt max-size=1m --dns 1.1.1.1 --dns-option x --dns-search y --host h1:1.2.3.4 --endpoint-mode dnsrr --entrypoint 'a c' redis:7
service create -d --no-resolve-image --name web --network net10 --secret key10 --config conf10 --config source=conf2,target=/x --mode global redis:7
service create -d --no-resolve-image --name j --mode replicated-job --replicas 5 --max-concurrent 2 --no-healthcheck redis:7
service create -d --no-resolve-image --name web --name web2 --network name=net10,driver-opt=a=b redis:7
service rm shop_web10
network create -d overlay --attachable --subnet 10.1.0.0/24 --gateway 10.1.0.1 --ip-range 10.1.0.0/25 --opt encrypted --label a=b mynet
network create -d overlay --ipv6 --subnet fd00:1::/64 --aux-address a=fd00:1::5 --ipam-opt x=y --scope swarm mynet
network rm net10
network prune -f --filter label=a=b
secret create -l a=b s1 Cargo.toml
secret create -d vault s2
config create --template-driver golang c1 Cargo.toml
volume create --label a=b --opt type=nfs v1
volume rm -f vol10
node update --label-add a=b --label-rm zone --availability pause host10
node update --role worker host2
node promote host3
node demote host2
node rm -f host3
swarm leave -f
swarm join-token -q manager
";

#[test]
fn commands_ask_the_daemon_for_what_docker_s_ask() {
    let Some(docker) = docker() else { return };
    let daemon = Daemon::start();
    let mut wrong = Vec::new();
    for line in COMMANDS.lines() {
        let words = split(line);
        let printed = run(&daemon, &swarm(), &words);
        let ours = shown(daemon.take_requests());
        run(&daemon, &docker, &words);
        let theirs = shown(daemon.take_requests());
        if ours != theirs {
            wrong.push(format!("{line}:\n{}{}", difference(&theirs, &ours), printed.err));
        }
    }
    assert!(wrong.is_empty(), "- docker, + swarm\n{}", wrong.join("\n"));
}

fn shown(requests: Vec<Asked>) -> String {
    let one = |(line, body): Asked| {
        let body = meant(body).unwrap_or(Value::Null);
        format!("{line}\n{}\n", serde_json::to_string_pretty(&body).expect("it is JSON"))
    };
    requests.into_iter().map(one).collect()
}

/// Without what means nothing: empty values, and what the daemon takes when it is not said.
fn meant(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then(|| Value::from(text)),
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(meant).collect();
            (!items.is_empty()).then(|| Value::from(items))
        }
        Value::Object(fields) => {
            let default = |key: &str, value: &Value| match key {
                "Mode" => value == "vip",
                "Replicas" => value == 1,
                "ForceUpdate" => value == 0,
                "Driver" => value == "default",
                _ => false,
            };
            let fields = fields.into_iter().filter(|(key, value)| !default(key, value));
            let fields: serde_json::Map<String, Value> =
                fields.filter_map(|(key, value)| Some((key, meant(value)?))).collect();
            (!fields.is_empty()).then(|| Value::from(fields))
        }
        value @ (Value::Bool(true) | Value::Number(_)) => Some(value),
    }
}
