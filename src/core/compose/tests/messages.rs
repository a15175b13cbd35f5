//! What is wrong or left out is said with its place.

use super::*;

#[track_caller]
fn one_error(text: &str, expected: &str) {
    assert_eq!(errors(text), [expected.to_owned()]);
}

#[track_caller]
fn service_error(line: &str, expected: &str) {
    one_error(&service(line), &format!("stack.yml:4:{expected}"));
}

#[test]
fn an_unknown_key_is_an_error_with_place_path_and_suggestion() {
    service_error("prots: ['80:80']", "5: services.web.prots: unknown key (did you mean ports?)");
    service_error("frobnicate: 1", "5: services.web.frobnicate: unknown key; remove it, or begin its name with x-");
    one_error("services: {}\nservics: {}\n", "stack.yml:2:1: servics: unknown key (did you mean services?)");
}

#[test]
fn keys_that_begin_with_x_are_taken_without_a_word() {
    assert_eq!(warnings(&format!("x-note: 1\n{}", service("x-more: {a: [1]}"))), Vec::<String>::new());
}

#[test]
fn a_probe_that_is_none_is_an_error_at_its_place() {
    let error = |probe: &str, expected: &str| service_error(&format!("deploy: {{x-readiness: {probe}}}"), expected);
    let place = "services.web.deploy.x-readiness";
    let unknown = "is no probe: use http://:PORT/PATH, tcp://:PORT or exec:COMMAND";
    error("{test: '8080'}", &format!("34: {place}.test: \"8080\" {unknown}"));
    let nothing = "name what to probe: http://:PORT/PATH, tcp://:PORT or exec:COMMAND";
    error("{interval: 1s}", &format!("27: {place}.test: {nothing}"));
    error(
        "{test: 'tcp://:80', port: 1}",
        &format!("47: {place}.port: unknown key; remove it, or begin its name with x-"),
    );
    let short = "Swarm.Readiness.Interval: 1ms is not between 100ms and 24h";
    let said = errors(&service("deploy: {x-readiness: {test: 'tcp://:80', interval: 1ms}}"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("services.web.deploy: ") && said[0].contains(short), "{said:?}");
}

#[test]
fn a_key_that_is_not_honoured_says_what_to_use() {
    service_error("cpu_quota: 1000", "5: services.web.cpu_quota: not honoured: use deploy.resources.limits.cpus");
}

#[test]
fn the_template_driver_is_golang_and_that_of_an_external_config_is_its_own() {
    let with = |config: &str| format!("{}configs: {{c: {config}}}\n", service("configs: [c]"));
    one_error(
        &with("{content: x, template_driver: jinja}"),
        "stack.yml:5:44: configs.c.template_driver: template driver jinja is not known; use golang",
    );
    let said = warnings(&with("{external: true, template_driver: golang}"));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("configs.c: template_driver is ignored for what is external"), "{said:?}");
}

#[test]
fn ignored_keys_are_named_one_by_one() {
    let said = warnings(&service(
        "build: .\ncontainer_name: w\nlinks: [db]\nexpose: [80]\ndevices: [/dev/fuse]\nprivileged: true",
    ));
    let paths: Vec<_> = said.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    let keys = ["build", "container_name", "links", "expose", "devices"];
    assert_eq!(paths, keys.map(|key| format!("services.web.{key}")));
    assert!(said[0].starts_with("stack.yml:4:5: "), "{said:?}");
}

/// The warnings of `stack config`.
fn config_warnings(text: &str) -> Vec<String> {
    let canonical = config(&sources(&[text]), &environment(), &memory()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    canonical.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_docker_drops_and_a_service_needs_is_printed_with_a_warning_and_not_deployed() {
    let cases = [
        ("network_mode: host", "19: services.web.network_mode: ", "publish ports with mode: host"),
        ("network_mode: none", "19: services.web.network_mode: ", "internal: true"),
        ("network_mode: 'service:db'", "19: services.web.network_mode: ", "use the service name"),
        ("network_mode: front", "19: services.web.network_mode: ", "below networks:"),
        (
            "networks: {default: {ipv4_address: 10.0.0.5}}",
            "40: services.web.networks.default.ipv4_address: ",
            "networks.*.aliases",
        ),
        (
            "networks: {default: {ipv6_address: '2001:db8::5'}}",
            "40: services.web.networks.default.ipv6_address: ",
            "networks.*.aliases",
        ),
    ];
    for (line, place, words) in cases {
        let (said, warned) = (errors(&service(line)), config_warnings(&service(line)));
        for (said, verdict) in [(&said, "not honoured: "), (&warned, "not honoured, and not deployed: ")] {
            assert_eq!(said.len(), 1, "{line}: {said:?}");
            assert!(
                said[0].starts_with(&format!("stack.yml:4:{place}{verdict}")) && said[0].ends_with(words),
                "{said:?}"
            );
        }
    }
    for fine in ["network_mode: bridge", "network_mode: default", "network_mode: ''"] {
        assert_eq!(warnings(&service(fine)), [""; 0]);
    }
}

#[test]
fn services_that_wait_for_each_other_are_not_printed_either() {
    let text = format!("{}  db: {{image: db, depends_on: [web]}}\n", service("depends_on: [db]"));
    let said = config(&sources(&[&text]), &environment(), &memory()).expect_err("a circle");
    assert!(said[0].to_string().ends_with("each waits for the next, so none starts: web -> db -> web"), "{said:?}");
}

#[test]
fn what_a_dependency_cannot_do_is_said() {
    let with = |form: &str, db: &str| format!("{}  db: {{image: db{db}}}\n", service(&format!("depends_on: {form}")));
    assert_eq!(warnings(&with("{db: {condition: service_healthy, required: true, restart: false}}", "")), [""; 0]);
    let said = warnings(&with("{db: {condition: service_started, restart: true}}", ""));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("services.web.depends_on.db.restart: ignored; tasks are not restarted"), "{said:?}");
    let completed = "{db: {condition: service_completed_successfully}}";
    let said = warnings(&with(completed, ""));
    assert!(said[0].contains("db is restarted whenever it ends, so it never completes"), "{said:?}");
    for once in [", restart: 'no'", ", deploy: {mode: replicated-job}", ", deploy: {restart_policy: {condition: none}}"]
    {
        assert_eq!(warnings(&with(completed, once)), [""; 0]);
    }
    let said = errors(&with("{db: {condition: healthy}}", ""));
    assert!(said[0].contains("services.web.depends_on.db.condition: must be one of service_started,"), "{said:?}");
    let said = errors(&with("[db]", ", depends_on: [web]"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("depends_on: each waits for the next, so none starts: web -> db -> web"), "{said:?}");
}

#[test]
fn a_job_says_what_does_not_go_with_it() {
    let said = errors(&service("deploy: {mode: global-job, update_config: {parallelism: 1}}"));
    assert!(said[0].contains("services.web.deploy.update_config: a job is run anew as a whole"), "{said:?}");
}

#[test]
fn all_errors_of_a_file_are_told_at_once_in_order() {
    let said = errors(&service("tty: 'x'\ncpuset: '1'\nstop_grace_period: soon\nprots: 1"));
    let lines: Vec<_> = said.iter().filter_map(|line| line.split(':').nth(1)).collect();
    assert_eq!(lines, ["4", "5", "6", "7"]);
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_what_they_should_be() {
    service_error("tty: 'maybe'", "10: services.web.tty: must be true or false, this is a string");
    service_error("hostname: 12", "15: services.web.hostname: must be a string (put it in quotes), this is an integer");
    service_error(
        "environment: {A: [true]}",
        "22: services.web.environment.A: must be a string, a number, true, false or null, this is a list",
    );
    service_error("deploy: {replicas: -1}", "24: services.web.deploy.replicas: must be at least 0, this is -1");
    service_error(
        "stop_grace_period: 10 apples",
        "24: services.web.stop_grace_period: \"10 apples\" is no duration; write it as 1m30s or 500ms",
    );
    service_error(
        "ports: ['80:http']",
        "13: services.web.ports[0]: \"80:http\": \"http\" is no port; a port is a number up to 65535",
    );
}

#[test]
fn what_is_not_declared_is_named_with_the_nearest_name() {
    let text = format!("{}networks: {{front: }}\n", service("networks: [fornt]"));
    one_error(
        &text,
        "stack.yml:4:16: services.web.networks.fornt: fornt is not declared in networks (did you mean front?)",
    );
    service_error(
        "volumes: ['data:/data']",
        "15: services.web.volumes[0]: data is not declared in volumes (add it below volumes: at the top of the file)",
    );
    service_error(
        "secrets: [pw]",
        "15: services.web.secrets[0]: pw is not declared in secrets (add it below secrets: at the top of the file)",
    );
}

#[test]
fn broken_yaml_is_refused_at_its_line() {
    let said = errors("services:\n  web: [\n");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("stack.yml:3:1: not valid YAML: "), "{said:?}");
}

#[test]
fn a_key_written_twice_is_refused() {
    one_error(&service("tty: true\ntty: false"), "stack.yml:5:5: the key \"tty\" is written twice");
}

#[test]
fn a_required_variable_that_is_missing_gives_its_own_message() {
    service_error(
        "command: ['${TOKEN:?set it to the token}']",
        "15: services.web.command[0]: the required variable TOKEN is missing a value: set it to the token",
    );
}

#[test]
fn an_unset_variable_is_a_warning() {
    assert_eq!(
        warnings(&service("hostname: a${NOPE}b")),
        ["stack.yml:4:15: services.web.hostname: the variable NOPE is not set; an empty string is used"]
    );
}

#[test]
fn a_missing_environment_file_is_named_with_its_full_path() {
    service_error(
        "env_file: nope.env",
        "15: services.web.env_file: cannot read /project/nope.env: No such file or directory",
    );
}

#[test]
fn two_services_on_one_published_port_are_refused_before_anything_is_made() {
    let text = "services:\n  a: {image: a, ports: ['80:80']}\n  b: {image: b, ports: ['80:81']}\n";
    one_error(text, "stack.yml:3:24: services.b.ports: port '80' is already in use by service 'shop_a'");
}

#[test]
fn what_the_cluster_would_refuse_is_refused_with_a_place() {
    let said = errors(&service("deploy: {placement: {constraints: [nowhere]}}"));
    assert!(said[0].starts_with("stack.yml:4:40: services.web.deploy.placement.constraints[0]: "), "{said:?}");
    let said = errors(&service("deploy: {resources: {limits: {memory: 1k}}}"));
    assert!(said[0].contains("stack.yml:4:13: services.web.deploy: ") && said[0].contains("4MiB"), "{said:?}");
    let said =
        errors("services: {a: {image: a, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.2.3/24}]}}}\n");
    assert!(
        said[0].contains("stack.yml:2:22: networks.n.ipam: IPAM.Config[0].Subnet") && said[0].contains("10.1.2.0/24"),
        "{said:?}"
    );
    let with =
        |network: &str| errors(&format!("services: {{a: {{image: a, networks: [n]}}}}\nnetworks: {{n: {network}}}\n"));
    assert_eq!(
        with("{driver_opts: {mtu: 1400}}"),
        [
            "stack.yml:2:29: networks.n.driver_opts: Options.mtu: is not supported; only encrypted is, and every overlay network is",
        ]
    );
    assert!(with("{enable_ipv6: true}")[0].starts_with("stack.yml:2:29: networks.n.enable_ipv6: "));
    let said = errors(&service("networks: {default: {driver_opts: {mtu: 1400}}}"));
    let place = "stack.yml:4:15: services.web.networks: TaskTemplate.Networks[0].DriverOpts.mtu: is not supported";
    assert_eq!(said, [place]);
}

#[test]
fn what_is_declared_and_not_used_is_told_when_it_could_not_be_made() {
    let with = |lines: &str| warnings(&format!("{}{lines}\n", service("volumes: ['used:/data']")));
    let used =
        "volumes: {used: , odd: {driver: nfs, driver_opts: {a: b}}, plain: {driver: local}, there: {external: true}}";
    let not = "no service uses it, so it is not made";
    assert_eq!(
        with(used),
        ["driver: only driver local without options", "driver_opts: only driver local without options"].map(
            |key| format!(
                "stack.yml:5:{}: volumes.odd.{key} is supported; {not}",
                if key.starts_with("driver:") { 33 } else { 51 }
            )
        )
    );
    let networks = "volumes: {used: }\nnetworks: {n: {driver: macvlan, driver_opts: {encrypted: '', mtu: 9}}, m: {driver: bridge}}";
    assert_eq!(
        with(networks),
        [
            format!("stack.yml:6:24: networks.n.driver: unknown driver; only overlay is supported; {not}"),
            format!("stack.yml:6:62: networks.n.driver_opts.mtu: is not supported; {not}"),
        ]
    );
}

#[test]
fn versions_other_than_three_are_refused() {
    for version in ["'2'", "'2.4'", "'1'", "'3.x'"] {
        let said = errors(&format!("version: {version}\n{}", service("")));
        assert!(said[0].contains(": version: unsupported version"), "{said:?}");
    }
    assert!(errors(&format!("version: 3.8\n{}", service("")))[0].contains("version: must be a string"));
    assert_eq!(loaded(&[&format!("version: '3.9'\n{}", service(""))]).stack.services.len(), 1);
}

#[test]
fn a_stack_needs_a_name_services_and_images() {
    let nameless = load(None, &sources(&[&service("")]), &environment(), &memory()).unwrap_err();
    assert!(nameless[0].to_string().contains("the stack has no name"));
    assert!(errors("networks: {a: }\n")[0].contains("services: the stack has no services"));
    one_error(
        "services:\n  web: {tty: true}\n",
        "stack.yml:2:3: services.web: image is missing; images are not built here",
    );
    let bad = load(Some("-x"), &sources(&[&service("")]), &environment(), &memory()).unwrap_err();
    assert!(bad[0].to_string().contains("a stack's name has"));
}

#[test]
fn contents_are_never_in_messages_or_debug_output() {
    let text = "services: {web: {image: w, secrets: [s]}}\nsecrets: {s: {file: token.txt}}\n";
    let stack = loaded(&[text]).stack;
    assert_eq!(stack.secrets[0].data.expose(), b"t0k3n");
    assert!(!format!("{stack:?}").contains("t0k3n"));
}

#[test]
fn what_the_cluster_would_refuse_has_the_place_of_the_key_it_is_about() {
    let cases = [
        ("services:\n  web:\n    image: Web\n".to_owned(), "stack.yml:3:12: services.web.image: "),
        (service("ports: ['80:80', '80:81']"), "stack.yml:4:12: services.web.ports: "),
        (service("volumes: ['/x:/a', '/y:/a']"), "stack.yml:4:14: services.web.volumes: "),
    ];
    for (text, place) in cases {
        let said = errors(&text);
        assert!(said[0].starts_with(place), "{said:?}");
    }
}

#[test]
fn a_network_of_a_stack_with_a_long_name_is_named() {
    let name = "a".repeat(60);
    let said = load(Some(&name), &sources(&[&service("")]), &environment(), &memory()).unwrap_err();
    assert!(said[0].to_string().contains(&format!("networks.{name}_default: invalid name")), "{said:?}");
}

fn web_spec(lines: &str) -> crate::model::ServiceSpec {
    loaded(&[&service(lines)]).stack.services.remove(0).spec
}

#[test]
fn a_service_that_is_waited_for_must_be_there() {
    let said = errors(&service("depends_on: [db]"));
    assert_eq!(said, ["stack.yml:4:18: services.web.depends_on: db is not a service of the stack"]);
    assert_eq!(web_spec("depends_on: {db: {condition: service_started, required: false}}").depends_on, []);
}

#[test]
fn limits_of_autoscaling_that_cannot_be_kept_are_refused_at_their_service() {
    service_error(
        "deploy: {x-autoscale: {min: 3, max: 2, cpu_percent: 70}}",
        "13: services.web.deploy: Swarm.Autoscale.Max: must be Min (3) to 10000",
    );
    service_error(
        "deploy: {x-autoscale: {max: 2, cpu: 70}}",
        "36: services.web.deploy.x-autoscale.cpu: unknown key (did you mean cpu_percent?)",
    );
}
