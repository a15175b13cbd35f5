//! Short and other ways to write what a longer key says.

use super::*;
use crate::model::{Platform, ServiceMode, ServiceSpec};

fn web(lines: &str) -> ServiceSpec {
    loaded(&[&service(lines)]).stack.services.remove(0).spec
}

#[test]
fn limits_written_short_are_those_of_deploy() {
    let text = canonical(&[&service("scale: 3\ncpus: 0.5\nmem_limit: 64m\nmem_reservation: 32m\npids_limit: 100")]);
    let long = "deploy: {replicas: 3, resources: {limits: {cpus: '0.5', memory: 64m, pids: 100}, reservations: {memory: 32m}}}";
    assert_eq!(text, canonical(&[&service(long)]));
    let spec = web("scale: 0\ncpus: '1.5'\nmem_limit: 67108864");
    assert_eq!(spec.mode, ServiceMode::Replicated { replicas: 0 });
    let resources = spec.task.resources;
    assert_eq!((resources.limit_nano_cpus, resources.limit_memory_bytes), (1_500_000_000, 64 << 20));
}

#[test]
fn limits_written_twice_must_agree() {
    let both = |short: &str, long: &str| service(&format!("{short}\ndeploy: {{{long}}}"));
    for (short, long) in [
        ("scale: 2", "replicas: 2"),
        ("cpus: 0.50", "resources: {limits: {cpus: '0.5'}}"),
        ("mem_limit: 1g", "resources: {limits: {memory: 1024m}}"),
        ("pids_limit: 0", "resources: {limits: {pids: 5}}"),
        ("mem_limit: 0", "resources: {limits: {memory: 64m}}"),
        ("cpus: 0", "resources: {limits: {cpus: '2'}}"),
    ] {
        assert_eq!(canonical(&[&both(short, long)]), canonical(&[&service(&format!("deploy: {{{long}}}"))]), "{short}");
    }
    for (short, long, said) in [
        ("scale: 2", "replicas: 3", "scale: deploy.replicas is given too, and says something else; keep one"),
        ("cpus: 1", "resources: {limits: {cpus: '2'}}", "cpus: deploy.resources.limits.cpus is given too"),
        ("mem_limit: 1g", "resources: {limits: {memory: 2g}}", "mem_limit: deploy.resources.limits.memory is"),
        ("mem_reservation: 8m", "resources: {reservations: {memory: 9m}}", "deploy.resources.reservations.memory"),
        ("pids_limit: 4", "resources: {limits: {pids: 5}}", "pids_limit: deploy.resources.limits.pids is given too"),
    ] {
        let found = errors(&both(short, long));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("stack.yml:4:") && found[0].contains(said), "{found:?}");
    }
}

#[test]
fn limits_of_several_files_are_one_service() {
    let over = "services: {web: {mem_limit: 2g, deploy: {resources: {limits: {cpus: '1'}}}}}";
    let text = canonical(&[&service("mem_limit: 1g"), over]);
    assert_eq!(text, canonical(&[&service("deploy: {resources: {limits: {cpus: '1', memory: 2g}}}")]));
}

#[test]
fn no_limit_is_written_as_zero_or_minus_one() {
    let plain = canonical(&[&service("")]);
    assert_eq!(canonical(&[&service("pids_limit: -1\nmem_limit: 0\ncpus: 0.0")]), plain);
    let said = errors(&service("pids_limit: -2"));
    assert_eq!(said, ["stack.yml:4:17: services.web.pids_limit: must be -1, which is no limit, or at least 0"]);
}

#[test]
fn a_platform_chooses_nodes() {
    let platform = |text: &str| web(&format!("platform: {text}")).task.placement.platforms;
    let is = |os: &str, architecture: &str| vec![Platform { os: os.to_owned(), architecture: architecture.to_owned() }];
    assert_eq!(platform("linux/amd64"), is("linux", "amd64"));
    assert_eq!(platform("linux/arm64/v8"), is("linux", "arm64"));
    assert_eq!(platform("linux"), is("linux", ""));
    assert_eq!(platform("arm64"), is("", "arm64"));
    assert_eq!(warnings(&service("platform: linux/arm64/v8")), [""; 0]);
    let said = warnings(&service("platform: linux/arm/v7"));
    assert_eq!(said, ["stack.yml:4:15: services.web.platform: the variant v7 is not looked at when a node is chosen"]);
    for wrong in ["linux/", "a/b/c/d", "'linux amd64'"] {
        let said = errors(&service(&format!("platform: {wrong}")));
        assert!(said[0].starts_with("stack.yml:4:15: services.web.platform: must be a platform"), "{said:?}");
    }
}

#[test]
fn a_published_range_is_one_port_each_in_either_form() {
    let long = canonical(&[&service("ports: [{target: 80, published: '8080-8082', protocol: udp, mode: host}]")]);
    let published: Vec<_> = long.lines().filter_map(|line| line.trim().strip_prefix("published: ")).collect();
    assert_eq!(published, ["8080", "8081", "8082"]);
    let short = canonical(&[&service("ports: ['8080-8082:80']")]);
    assert_eq!(
        canonical(&[&service("ports: [{mode: ingress, target: '80', published: '8080-8082', protocol: tcp}]")]),
        short
    );
    let said = errors(&service("ports: [{target: 80, published: 82-80}]"));
    assert_eq!(said, ["stack.yml:4:37: services.web.ports[0].published: the range ends before it begins"]);
    assert!(!canonical(&[&service("ports: [{target: 80, published: ''}]")]).contains("published"));
}

#[test]
fn truth_values_and_numbers_may_be_written_as_strings() {
    let text = canonical(&[&service(
        "tty: 'true'\nprivileged: 'no'\nread_only: on\nulimits: {nproc: '3'}\noom_score_adj: '-5'\ndeploy: {replicas: '2'}",
    )]);
    assert_eq!(
        text,
        canonical(&[&service(
            "tty: true\nread_only: true\nulimits: {nproc: 3}\noom_score_adj: -5\ndeploy: {replicas: 2}"
        )])
    );
    let said = errors(&service("deploy: {replicas: two}"));
    assert_eq!(said, ["stack.yml:4:24: services.web.deploy.replicas: must be an integer, this is a string"]);
}

#[test]
fn truth_values_in_environments_and_labels_are_the_words() {
    let text = canonical(&[&service("environment: {A: true, B: False}\nlabels: {c: true}\nsysctls: {d: false}")]);
    assert_eq!(
        text,
        canonical(&[&service("environment: {A: 'true', B: 'false'}\nlabels: {c: 'true'}\nsysctls: {d: 'false'}")])
    );
    assert!(errors(&service("logging: {options: {a: true}}"))[0].contains("put it in quotes"));
}

#[test]
fn a_host_may_have_several_addresses() {
    let text = canonical(&[&service("extra_hosts: {db: [10.0.0.7, '[::1]'], one: 10.0.0.8}")]);
    assert_eq!(text, canonical(&[&service("extra_hosts: ['db:10.0.0.7', 'db:::1', 'one:10.0.0.8']")]));
    let said = errors(&service("extra_hosts: {db: [[]]}"));
    assert_eq!(said, ["stack.yml:4:24: services.web.extra_hosts.db[0]: must be a string or a number, this is a list"]);
}

#[test]
fn files_of_labels_come_before_the_labels_of_the_service() {
    let text = canonical(&[&service("label_file: web.labels\nlabels: [team=own]")]);
    assert_eq!(text, canonical(&[&service("labels: {tier: front, team: own, plain: ''}")]));
    assert_eq!(
        canonical(&[&service("label_file: [web.labels]")]),
        canonical(&[&service("labels: {tier: front, team: file, plain: ''}")])
    );
    let said = errors(&service("label_file: none"));
    assert_eq!(said, ["stack.yml:4:17: services.web.label_file: cannot read /project/none: No such file or directory"]);
}

#[test]
fn an_environment_file_is_raw_whether_it_is_said_or_not() {
    let said = canonical(&[&service("env_file: [{path: web.env, format: raw}]")]);
    assert_eq!(said, canonical(&[&service("env_file: web.env")]));
    assert!(errors(&service("env_file: [{path: web.env, format: json}]"))[0].contains("format: must be one of raw"));
}

#[test]
fn what_asks_for_what_is_done_anyway_is_taken_without_a_word() {
    for line in [
        "userns_mode: host",
        "ipc: private",
        "ipc: shareable",
        "ipc: none",
        "cgroup: private",
        "cgroupns_mode: private",
        "isolation: default",
    ] {
        assert_eq!(warnings(&service(line)), [""; 0], "{line}");
    }
    assert!(warnings(&service("ipc: host"))[0].contains("services.web.ipc: ignored"));
    assert!(errors(&service("cgroup: host"))[0].contains("services.web.cgroup: not honoured"));
}

#[test]
fn devices_are_warned_of_in_either_form() {
    let said = warnings(&service("devices: [/dev/fuse, {source: /dev/kvm, target: /dev/kvm, permissions: rw}]"));
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("stack.yml:4:5: services.web.devices: ignored"), "{said:?}");
    let said = errors(&service("devices: [{source: /dev/kvm, sorce: 1}]"));
    assert_eq!(said, ["stack.yml:4:34: services.web.devices[0].sorce: unknown key (did you mean source?)"]);
}
