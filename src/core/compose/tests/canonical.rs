//! The canonical form.

use super::*;

const SHOP: &str = include_str!("testdata/shop.yml");

#[test]
fn a_stack_is_printed_in_its_long_form() {
    golden("shop.canonical.yml", &canonical(&[SHOP]), include_str!("testdata/shop.canonical.yml"));
}

#[test]
fn the_canonical_form_is_its_own_canonical_form() {
    // A dollar sign is printed as it is, as docker does, so it must be escaped before it is read again.
    let once = canonical(&[SHOP]);
    assert_eq!(canonical(&[&once.replace('$', "$$")]), once);
}

#[test]
fn a_command_is_split_as_a_shell_splits_it() {
    let text = canonical(&[&service(r#"command: a 'b c' "d \" e" f\ g"#)]);
    assert!(text.contains("      - a\n      - \"b c\"\n      - \"d \\\" e\"\n      - \"f g\"\n"), "{text}");
}

#[test]
fn environment_files_come_first_and_the_caller_fills_what_has_no_value() {
    let text = canonical(&[&service("env_file: web.env\nenvironment: [MODE=own, FROM_CALLER, UNKNOWN]")]);
    for line in ["MODE: own", "FROM_CALLER: called", "FROM_FILE_CALLER: too", "ONLY_FILE: \"a b\"", "UNKNOWN: null"] {
        assert!(text.contains(&format!("      {line}\n")), "{line} in {text}");
    }
    assert!(!text.contains("NOT_SET"), "{text}");
}

#[test]
fn paths_of_the_host_are_absolute() {
    let text = canonical(&[&service("volumes: ['./a/../b:/x', '~/c:/y', '../d:/z', '/e//f:/w']")]);
    for path in ["/project/b", "/home/me/c", "/d", "/e//f"] {
        assert!(text.contains(&format!("source: {path}\n")), "{path} in {text}");
    }
}

#[test]
fn numbers_in_environments_are_printed_as_docker_prints_them() {
    let text = canonical(&[&service("environment: {A: 1.50, B: 010, C: 1e3, D: 12_000, E: 1e30, F: 0.00001}")]);
    for line in ["A: \"1.5\"", "B: \"8\"", "C: \"1000\"", "D: \"12000\"", "E: \"1e+30\"", "F: \"1e-05\""] {
        assert!(text.contains(&format!("      {line}\n")), "{line} in {text}");
    }
}

#[test]
fn variables_stay_as_they_are_when_they_are_not_asked_for() {
    let files = |line: &str| sources(&[&service(line)]);
    let files = [files("hostname: ${NAME:?set it}\ncommand: [a, $$b]"), files("tty: ${TTY}")];
    let printed = config_uninterpolated(&files[0], &environment(), &memory()).expect("the file is right").yaml;
    assert!(printed.contains("hostname: \"${NAME:?set it}\"\n") && printed.contains("- \"$$b\"\n"), "{printed}");
    let said = config_uninterpolated(&files[1], &environment(), &memory()).expect_err("no truth value");
    assert_eq!(said[0].to_string(), "stack.yml:4:10: services.web.tty: must be true or false, this is a string");
}

#[test]
fn text_that_looks_like_something_else_is_quoted() {
    let text =
        canonical(&[&service("environment: {A: 'yes', B: 'null', C: '12', D: \"a\\nb\", E: '', F: 'a: b', G: '~'}")]);
    for line in ["A: \"yes\"", "B: \"null\"", "C: \"12\"", "D: \"a\\nb\"", "E: \"\"", "F: \"a: b\"", "G: \"~\""] {
        assert!(text.contains(&format!("      {line}\n")), "{line} in {text}");
    }
}

#[test]
fn an_address_of_a_published_port_stays() {
    let text = canonical(&[&service("ports: ['127.0.0.1:8080:80', '[::1]:81:81']")]);
    assert!(text.contains("host_ip: \"127.0.0.1\"") && text.contains("host_ip: \"::1\""), "{text}");
}
