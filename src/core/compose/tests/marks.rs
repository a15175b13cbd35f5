//! `!reset` and `!override`.

use super::*;

/// The canonical text of the service `web` when `over` comes after `base`.
fn both(base: &str, over: &str) -> String {
    canonical(&[&service(base), &service(over)])
}

#[test]
fn what_is_reset_is_gone_and_nothing_is_left_of_the_tag() {
    let text = both(
        "ports: ['8080:80']\ntty: true\nenvironment: {A: 1, B: 2}\ndeploy: {replicas: 2, labels: {a: b}}",
        "ports: !reset []\ntty: !reset\nenvironment:\n  A: !reset null\ndeploy: {labels: !reset {}}",
    );
    assert_eq!(text, both("environment: {B: 2}\ndeploy: {replicas: 2}", ""));
}

#[test]
fn what_is_overridden_is_replaced_as_a_whole() {
    let text = both(
        "ports: ['8080:80']\nenvironment: {A: 1}\ndns: [1.1.1.1]",
        "ports: !override ['8443:443']\nenvironment: !override [B=2]\ndns: !override 9.9.9.9",
    );
    assert_eq!(text, both("ports: ['8443:443']\nenvironment: {B: 2}\ndns: [9.9.9.9]", ""));
    let nets = |text: &str| format!("{}networks: {{n: {text}}}\n", service("networks: [n]"));
    let text = canonical(&[&nets("{name: x, external: true}"), &nets("!override {internal: true}")]);
    assert_eq!(text, canonical(&[&nets("{internal: true}")]));
}

#[test]
fn in_a_single_file_a_reset_key_is_left_out_and_an_overriding_one_is_what_it_says() {
    let text = canonical(&[&service("tty: !reset true\nports: !override ['80:80']")]);
    assert_eq!(text, canonical(&[&service("ports: ['80:80']")]));
    let with_merge_key = "x-base: &base {image: w, tty: true, ports: ['1:1']}\n\
        services: {web: {<<: *base, tty: !reset null, ports: !override ['2:2']}}\n";
    let text = canonical(&[with_merge_key]);
    let (services, _) = text.split_once("x-base:").expect("x-base is printed last");
    assert!(!services.contains("tty") && services.contains("published: 2"), "{text}");
    assert_eq!(services.matches("published").count(), 1, "{text}");
}

#[test]
fn what_is_reset_is_not_checked_where_it_comes_from_nor_where_it_is_said() {
    let base = "volumes_from: [db]\nbuild: .\ncpuset: '0'\nports: nonsense\nhostname: ${NOT_SET:?is missing}\nenv_file: nope.env";
    let over = "volumes_from: !reset {any: thing}\nbuild: !reset\ncpuset: !reset 0\nports: !override ['80:80']\nhostname: !reset x\nenv_file: !reset [nope]";
    let loaded = loaded(&[&service(base), &service(over)]);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.stack, super::loaded(&[&service("ports: ['80:80']")]).stack);
}

#[test]
fn a_key_that_is_reset_must_be_one() {
    let said = errors(&service("prots: !reset []"));
    assert_eq!(said, ["stack.yml:4:5: services.web.prots: unknown key (did you mean ports?)"]);
}

#[test]
fn one_member_is_reset_also_where_the_earlier_file_has_a_list() {
    let text =
        both("environment: [A=1, B=2]\nlabels: [a=1, b=2]", "environment: {A: !reset null}\nlabels: {b: !reset 0}");
    assert_eq!(text, both("environment: {B: 2}\nlabels: {a: '1'}", ""));
    let nets = |web: &str| format!("{}networks: {{a: {{}}, b: {{}}}}\n", service(web));
    let text = canonical(&[&nets("networks: [a, b]"), &service("networks: {b: !reset null}")]);
    assert_eq!(text, canonical(&[&nets("networks: [a]")]));
    let with = |web: &str| format!("{}  db: {{image: d}}\n  mq: {{image: m}}\n", service(web));
    let text = canonical(&[&with("depends_on: [db, mq]"), &service("depends_on: {mq: !reset null}")]);
    assert_eq!(text, canonical(&[&with("depends_on: [db]")]));
    let text = canonical(&[
        &with("depends_on: {db: {condition: service_healthy}}"),
        &service("depends_on: {db: !override {required: false}}"),
    ]);
    assert_eq!(text, canonical(&[&with("depends_on: {db: {required: false}}")]));
    let text = both("ulimits: {nofile: 1, nproc: 2}", "ulimits: {nofile: !reset 0}");
    assert_eq!(text, both("ulimits: {nproc: 2}", ""));
    let text = both("build: ./dir", "build: {context: !reset null, target: t}");
    assert!(!text.contains("context") && text.contains("target: t"), "{text}");
}

#[test]
fn environment_files_stay_when_the_environment_is_reset_and_a_name_that_is_reset_stays_away() {
    let text = both("env_file: web.env\nenvironment: {MODE: own}", "environment: !reset null");
    assert!(text.contains("MODE: from-file\n"), "{text}");
    let text = both(
        "env_file: web.env\nenvironment: {MODE: own}",
        "environment: {MODE: !reset null, FROM_CALLER: !reset null}",
    );
    assert!(!text.contains("MODE") && !text.contains("FROM_CALLER") && text.contains("ONLY_FILE"), "{text}");
}

#[test]
fn whole_services_networks_and_sections_are_taken_away() {
    let two = "services: {web: {image: w}, db: {image: d, bogus: 1}}\nnetworks: {n: {driver: odd}}\nname: old\n";
    let text = canonical(&[two, "services: {db: !reset null}\nnetworks: !reset {}\nname: !reset x\n"]);
    assert_eq!(text, canonical(&["services: {web: {image: w}}\n"]));
    let text = canonical(&[two, "services: !override {db: {image: other}}\nnetworks: {n: !reset {}}\n"]);
    assert!(text.contains("image: other\n") && !text.contains("web:") && text.contains("name: old"), "{text}");
    let again = canonical(&[two, "services: {db: !reset null}\n", "services: {db: {image: third}}\n"]);
    assert!(again.contains("image: third\n") && again.contains("web:"), "{again}");
}

#[test]
fn tags_go_with_aliases() {
    let over = "x-gone: &gone\n  ports: !reset []\nx-none: &none !reset []\n\
        services: {a: {<<: *gone}, b: {ports: *none}}\n";
    let text = canonical(&["services: {a: {image: a, ports: ['1:1']}, b: {image: b, ports: ['2:2']}}\n", over]);
    assert!(!text.contains("ports") && !text.contains("reset"), "{text}");
}

#[test]
fn a_tag_where_it_means_nothing_is_refused_at_its_place() {
    let words = "the tags !reset and !override stand before the value of a key, as in ports: !reset []";
    for (text, place) in [
        (service("ports: [!reset '80:80']"), "4:20"),
        ("!override {services: {}}\n".to_owned(), "1:11"),
        (service("<<: !override {tty: true}"), "4:19"),
        (service("!reset tty: true"), "4:12"),
    ] {
        let said = errors(&text);
        assert_eq!(said, [format!("stack.yml:{place}: {words}")], "{text}");
    }
    let said = errors(&service("ports: !rest []"));
    assert!(said[0].contains("the tag !rest is not supported"), "{said:?}");
    let said = errors(&service("extra_hosts: {a: !reset null}"));
    assert!(said[0].contains("services.web.extra_hosts.a: one host can not be reset"), "{said:?}");
}

#[test]
fn a_version_that_is_reset_is_that_of_a_file_without_one() {
    let text = canonical(&[&format!("version: '3.7'\n{}", service("")), "version: !reset null\nservices: {}\n"]);
    assert_eq!(text, canonical(&[&service("")]));
}
