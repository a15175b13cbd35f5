//! Several files make one stack.

use super::*;

fn merged(over: &str, base: &str) -> String {
    canonical(&[&service(base), &format!("services:\n  web:\n    {over}\n")])
}

#[test]
fn scalars_and_commands_are_replaced() {
    let text = merged("{command: [c], tty: false, hostname: new}", "command: a b\ntty: true\nhostname: old");
    assert!(text.contains("command:\n      - c\n    ") && text.contains("hostname: new\n"), "{text}");
    assert!(!text.contains("tty"), "{text}");
}

#[test]
fn mappings_are_merged_key_by_key_in_either_form() {
    let text = merged("environment: [B=3, C=4]", "environment: {A: 1, B: 2}");
    assert!(text.contains("environment:\n      A: \"1\"\n      B: \"3\"\n      C: \"4\"\n"), "{text}");
}

#[test]
fn lists_are_appended_without_repetition() {
    let text = merged("cap_add: [B, C]", "cap_add: [A, B]");
    assert!(text.contains("cap_add:\n      - A\n      - B\n      - C\n"), "{text}");
}

#[test]
fn ports_are_told_apart_by_where_they_listen() {
    let text = merged("ports: ['81:82', 90, '53:53']", "ports: ['81:81', 80, '53:53/udp']");
    let targets: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("target: ")).collect();
    assert_eq!(targets, ["80", "90", "53", "53", "82"]);
}

#[test]
fn mounts_are_told_apart_by_their_target() {
    let text = merged("volumes: ['/c:/a', '/d:/d']", "volumes: ['/a:/a', '/b:/b']");
    let sources: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("source: ")).collect();
    assert_eq!(sources, ["/c", "/b", "/d"]);
}

#[test]
fn log_options_go_with_their_driver() {
    let same = merged("logging: {options: {max-file: 3}}", "logging: {driver: local, options: {max-size: 1m}}");
    assert!(same.contains("max-size") && same.contains("max-file"), "{same}");
    let other = merged("logging: {driver: json-file}", "logging: {driver: local, options: {max-size: 1m}}");
    assert!(!other.contains("max-size"), "{other}");
}

#[test]
fn new_services_and_networks_are_added() {
    let text =
        canonical(&[&service("networks: [a]"), "services: {api: {image: api}}\nnetworks: {a: {internal: true}}\n"]);
    assert!(text.contains("  api:\n") && text.contains("  web:\n") && text.contains("internal: true"), "{text}");
}

#[test]
fn files_of_different_versions_do_not_mix() {
    let files = sources(&[&format!("version: '3.7'\n{}", service("")), "version: '3.8'\n"]);
    let said = config(&files, &environment(), &memory()).unwrap_err();
    assert_eq!(
        said[0].to_string(),
        "stack2.yml:1:1: version: the files have different versions, 3.7 and 3.8; make them the same"
    );
}

#[test]
fn an_error_names_the_file_it_is_in() {
    let files = sources(&[&service(""), "services:\n  web: {imag: x}\n"]);
    let said = config(&files, &environment(), &memory()).unwrap_err();
    assert_eq!(said[0].to_string(), "stack2.yml:2:9: services.web.imag: unknown key (did you mean image?)");
}
