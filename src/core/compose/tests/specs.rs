//! Specifications as docker would make them.

use super::*;
use crate::model::*;
use crate::{ConfigId, NetworkId, SecretId};
use std::time::Duration;

const SHOP: &str = include_str!("testdata/shop.yml");

/// Knows every name; ids are the lengths of the names.
struct All;

impl Lookup for All {
    fn network(&self, name: &str) -> Option<NetworkId> {
        Some(NetworkId(name.len() as u128))
    }

    fn secret(&self, name: &str) -> Option<SecretId> {
        Some(SecretId(name.len() as u128))
    }

    fn config(&self, name: &str) -> Option<ConfigId> {
        Some(ConfigId(name.len() as u128))
    }
}

fn web(lines: &str) -> ServiceSpec {
    loaded(&[&service(lines)]).stack.services.remove(0).spec
}

#[test]
fn a_stack_becomes_specifications() {
    let stack = loaded(&[SHOP]).stack;
    golden("shop.stack.txt", &format!("{stack:#?}\n"), include_str!("testdata/shop.stack.txt"));
}

#[test]
fn names_and_labels_are_those_of_docker() {
    let stack = loaded(&[SHOP]).stack;
    let names: Vec<_> = stack.services.iter().map(|service| service.spec.name.as_str()).collect();
    assert_eq!(names, ["shop_db", "shop_web", "shop_worker"]);
    let networks: Vec<_> = stack.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(networks, ["shop_back", "shop_default", "shop_front"]);
    let web = &stack.services[1].spec;
    assert_eq!(web.labels["com.docker.stack.namespace"], "shop");
    assert_eq!(web.labels["com.docker.stack.image"], "registry.local/web:1.0");
    assert_eq!(web.task.container.labels["com.docker.stack.namespace"], "shop");
    assert_eq!(web.task.container.labels["team"], "store");
    assert_eq!(stack.external_secrets, ["shared-key".to_owned()].into());
}

#[test]
fn a_priority_and_constraints_on_several_values_are_taken() {
    let deploy = "deploy:\n  x-priority: -5\n  placement:\n    constraints:";
    let spec = web(&format!("{deploy} [\"node.labels.zone in (a, b)\", \"node.hostname!=db-*\"]"));
    assert_eq!(spec.task.placement.priority, -5);
    assert_eq!(spec.task.placement.constraints, ["node.labels.zone in (a, b)", "node.hostname!=db-*"]);
}

#[test]
fn spreading_over_nodes_is_taken_with_a_word() {
    let file = service("deploy: {placement: {preferences: [{spread: node.id}, {spread: node.labels.zone}]}}");
    assert_eq!(loaded(&[&file]).stack.services[0].spec.task.placement.spread, ["node.id", "node.labels.zone"]);
    let said = warnings(&file);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("services.web.deploy.placement.preferences: node.id has no effect"), "{said:?}");
}

#[test]
fn what_comes_first_is_known_by_its_name_in_the_cluster() {
    let base = format!("{}  a: {{image: a}}\n  b: {{image: b}}\n", service("depends_on: [a, b]"));
    let over = "services: {web: {depends_on: {b: {condition: service_healthy}}}}";
    let depends_on = |texts: &[&str]| loaded(texts).stack.services.remove(2).spec.depends_on;
    let on = |name: &str, condition| Dependency { service: format!("shop_{name}"), condition, optional: false };
    let (started, healthy) = (DependencyCondition::Started, DependencyCondition::Healthy);
    assert_eq!(depends_on(&[&base]), [on("a", started), on("b", started)]);
    assert_eq!(depends_on(&[&base, over]), [on("a", started), on("b", healthy)]);
    let text = canonical(&[&base, over]);
    assert!(text.contains("    depends_on:\n      a: {}\n      b:\n        condition: service_healthy\n"), "{text}");
    assert!(canonical(&[&base]).contains("    depends_on:\n      - a\n      - b\n"));
}

#[test]
fn a_service_can_ask_to_run_once_at_most() {
    let lease = |value: &str| web(&format!("deploy: {{x-at-most-one: {value}}}")).task.at_most_one.map(|l| l.as_secs());
    assert_eq!([lease("true"), lease("false"), lease("1m")], [Some(30), None, Some(60)]);
    let said = errors(&service("deploy: {x-at-most-one: soon}"));
    assert!(said[0].contains("services.web.deploy.x-at-most-one: must be true, false or a duration"), "{said:?}");
}

#[test]
fn a_job_of_a_stack_is_run_again_on_failure_only() {
    let job = web("deploy: {mode: replicated-job, replicas: 3, restart_policy: {x-backoff-max: 1m}}");
    assert_eq!(job.mode, ServiceMode::ReplicatedJob { max_concurrent: 3, total_completions: 3 });
    assert_eq!(job.task.restart.condition, RestartCondition::OnFailure);
    assert_eq!(job.task.restart.backoff_max, std::time::Duration::from_secs(60));
}

#[test]
fn references_are_resolved_from_names() {
    let stack = loaded(&[SHOP]).stack;
    let spec = stack.services[1].resolve(&All).unwrap();
    let targets: Vec<_> = spec.task.networks.iter().map(|network| network.target.0).collect();
    assert_eq!(targets, ["shop_back".len() as u128, "shop_front".len() as u128]);
    assert_eq!(spec.task.networks[1].aliases, ["www", "web"]);
    let secrets: Vec<_> =
        spec.task.container.secrets.iter().map(|s| (s.name.as_str(), s.file.name.as_str(), s.file.mode)).collect();
    assert_eq!(secrets, [("shared-key", "/etc/key", 0o400), ("shop_token", "token", 0o444)]);
    assert_eq!(spec.task.container.configs[0].file.name, "/etc/greeting");
}

#[test]
fn a_name_the_cluster_does_not_have_is_told_with_its_service() {
    struct Nothing;
    impl Lookup for Nothing {
        fn network(&self, _: &str) -> Option<NetworkId> {
            None
        }
        fn secret(&self, _: &str) -> Option<SecretId> {
            None
        }
        fn config(&self, _: &str) -> Option<ConfigId> {
            None
        }
    }
    let unknown = loaded(&[SHOP]).stack.services[0].resolve(&Nothing).unwrap_err();
    assert!(unknown.to_string().starts_with("service shop_db: there is no network shop_back"), "{unknown}");
}

#[test]
fn a_name_of_its_own_is_taken_as_it_is() {
    let text = "services: {web: {image: w, networks: [n], configs: [c], volumes: ['v:/v']}}\nnetworks: {n: {name: corp}}\nconfigs: {c: {name: conf-7, content: x}}\nvolumes: {v: {name: disk}}\n";
    let stack = loaded(&[text]).stack;
    assert_eq!(stack.networks[0].name, "corp");
    assert_eq!(stack.configs[0].name, "conf-7");
    let MountSource::Volume { name, .. } = &stack.services[0].spec.task.container.mounts[0].source else {
        panic!("a volume")
    };
    assert_eq!(name, "disk");
}

#[test]
fn networks_nobody_uses_are_not_made() {
    let text = format!("{}networks: {{used: , unused: }}\n", service("networks: [used]"));
    let names: Vec<_> = loaded(&[&text]).stack.networks.into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["shop_used"]);
}

#[test]
fn restart_is_the_policy_when_deploy_has_none() {
    let policy = |lines: &str| web(lines).task.restart;
    assert_eq!(policy("restart: always"), RestartPolicy::default());
    assert_eq!(policy("restart: 'no'").condition, RestartCondition::None);
    let failing = policy("restart: on-failure:3");
    assert_eq!((failing.condition, failing.max_attempts), (RestartCondition::OnFailure, 3));
    let both = "restart: always\ndeploy: {restart_policy: {condition: none}}";
    assert_eq!(policy(both).condition, RestartCondition::None);
    assert!(warnings(&service(both))[0].contains("services.web.restart: ignored"));
}

#[test]
fn the_address_of_a_port_is_kept() {
    let ports = web("ports: ['127.0.0.1:8080:80/udp', {target: 81, published: '82', mode: host, host_ip: '::1'}]")
        .endpoint
        .ports;
    assert_eq!(ports[0].host_ip, Some("127.0.0.1".parse().unwrap()));
    assert_eq!((ports[0].protocol, ports[0].published_port, ports[0].target_port), (Protocol::Udp, 8080, 80));
    assert_eq!((ports[1].mode, ports[1].published_port), (PublishMode::Host, 82));
    assert_eq!(ports[1].host_ip, Some("::1".parse().unwrap()));
}

#[test]
fn health_checks_take_each_form() {
    let test = |lines: &str| web(lines).task.container.health_check.map(|check| check.test);
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(test("healthcheck: {test: a b}"), words(&["CMD-SHELL", "a b"]));
    assert_eq!(test("healthcheck: {test: [CMD, a, b]}"), words(&["CMD", "a", "b"]));
    assert_eq!(test("healthcheck: {disable: true}"), words(&["NONE"]));
    assert_eq!(test("tty: true"), None);
}

#[test]
fn probes_are_like_health_checks_with_something_to_probe() {
    let probes = |lines: &str| {
        let container = web(&format!("deploy: {{{lines}}}")).task.container;
        (container.readiness, container.liveness)
    };
    let http = |path: &str| ProbeAction::Http { port: 8080, path: path.to_owned(), host: String::new() };
    let all = "x-readiness: {test: 'http://:8080/ready', interval: 2s, timeout: 500ms, retries: 5, successes: 2, start_period: 1m}";
    let wanted = Probe {
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(500),
        failures: 5,
        successes: 2,
        start_period: Duration::from_secs(60),
        ..Probe::of(http("/ready"))
    };
    assert_eq!(probes(all), (Some(wanted), None));
    let program = Probe::of(ProbeAction::Exec { command: ["pg_isready", "-U", "the app"].map(str::to_owned).to_vec() });
    for test in ["\"exec:pg_isready -U 'the app'\"", "[CMD, pg_isready, -U, the app]"] {
        assert_eq!(probes(&format!("x-liveness: {{test: {test}}}")), (None, Some(program.clone())));
    }
    let tcp = Probe::of(ProbeAction::Tcp { port: 80 });
    assert_eq!(probes("x-liveness: {test: 'tcp://:80'}"), (None, Some(tcp)));
}

#[test]
fn memory_mounts_have_size_and_mode_in_both_forms() {
    let mounts = web("tmpfs: ['/a:size=1m,mode=700']\nvolumes: [{type: tmpfs, target: /b, tmpfs: {size: 2m}}]")
        .task
        .container
        .mounts;
    assert_eq!(mounts[0].source, MountSource::Tmpfs { size_bytes: 2 << 20, mode: 0 });
    assert_eq!(mounts[1].source, MountSource::Tmpfs { size_bytes: 1 << 20, mode: 0o700 });
}

#[test]
fn a_config_can_be_written_in_the_file_or_come_from_a_variable() {
    let text = "services: {web: {image: w, configs: [a, b]}}\nconfigs: {a: {content: 'x ${HOME}'}, b: {environment: FROM_CALLER}}\n";
    let configs = loaded(&[text]).stack.configs;
    assert_eq!(configs[0].data, b"x /home/me");
    assert_eq!(configs[1].data, b"called");
}

#[test]
fn the_name_in_the_file_is_the_stacks_unless_the_caller_says_another() {
    let file = sources(&[SHOP]);
    let own = load(None, &file, &environment(), &memory()).unwrap();
    assert_eq!(own.stack.name, "shop");
    let other = load(Some("store"), &file, &environment(), &memory()).unwrap();
    assert_eq!(other.stack.services[0].spec.name, "store_db");
    assert!(other.warnings.iter().any(|warning| warning.to_string().contains("the stack is deployed as store")));
}

#[test]
fn images_and_capabilities_are_kept_as_docker_keeps_them() {
    let images = [
        ("web", "web:latest"),
        ("web:1", "web:1"),
        ("docker.io/library/web", "web:latest"),
        ("docker.io/team/web:2", "team/web:2"),
        ("local:5000/web", "local:5000/web:latest"),
    ];
    for (written, kept) in images {
        let stack = loaded(&[&format!("services: {{web: {{image: '{written}'}}}}")]).stack;
        assert_eq!(stack.services[0].spec.task.container.image, kept);
        assert_eq!(stack.services[0].spec.labels["com.docker.stack.image"], written);
    }
    let spec = web("cap_add: [net_admin, CAP_NET_ADMIN, SYS_TIME]\ncap_drop: [ALL]");
    assert_eq!(spec.task.container.cap_add, ["CAP_NET_ADMIN", "CAP_SYS_TIME"]);
    assert_eq!(spec.task.container.cap_drop, ["ALL"]);
}

#[test]
fn a_service_may_be_scaled_by_its_load() {
    let autoscale = web("deploy: {x-autoscale: {max: 5, cpu_percent: 70, scale_down_delay: 2m}}").autoscale.unwrap();
    assert_eq!((autoscale.min, autoscale.max, autoscale.cpu_percent), (1, 5, 70));
    assert_eq!((autoscale.window.as_secs(), autoscale.scale_down_delay.as_secs()), (60, 120));
    assert_eq!(web("deploy: {replicas: 2}").autoscale, None);
}

#[test]
fn canaries_are_of_updates_alone() {
    let spec = web("deploy: {update_config: {x-canary: 2, x-canary-promote-after: 5m}}");
    let update = spec.update.unwrap();
    assert_eq!((update.canary, update.canary_promote_after), (2, Some(std::time::Duration::from_secs(300))));
    assert_eq!(update.parallelism, 1);
    let wrong = |lines: &str| errors(&service(&format!("deploy: {{{lines}}}"))).join("; ");
    assert_eq!(
        wrong("update_config: {x-canary-promote-after: 5m}"),
        "stack.yml:4:54: services.web.deploy.update_config.x-canary-promote-after: needs x-canary, of at least 1"
    );
    assert!(wrong("rollback_config: {x-canary: 1}").ends_with("a rollback has no canaries; give it in update_config"));
}
