//! A service that is made of another one.

use super::*;

const COMMON: &str = "services:
  base:
    image: base:1
    environment: [A=base, B=base]
    env_file: common.env
    volumes: ['./data:/data', 'cache:/cache']
    ports: ['80:80']
    cap_add: [X]
    command: [one, two]
  nested: {extends: {file: deeper/more.yml, service: deep}, user: nested}
  broken: {image: x, bogus: true}
";

pub(super) fn project(files: &[(&str, &str)]) -> Memory {
    let mut memory = memory();
    let common = [
        ("/project/lib/common.yml", COMMON),
        ("/project/lib/common.env", "FILE=common\nA=file\n"),
        ("/project/lib/deeper/more.yml", "services: {deep: {image: deep, volumes: ['.:/here', '..:/up']}}\n"),
    ];
    memory.0.extend(common.iter().chain(files).map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
    memory
}

#[track_caller]
pub(super) fn text(files: &[&str], memory: &Memory) -> String {
    match config(&sources(files), &environment(), memory) {
        Ok(canonical) => canonical.yaml,
        Err(errors) => panic!("refused: {errors:#?}"),
    }
}

#[track_caller]
pub(super) fn refused(files: &[&str], memory: &Memory) -> Vec<String> {
    match config(&sources(files), &environment(), memory) {
        Ok(canonical) => panic!("accepted: {}", canonical.yaml),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_service_of_the_same_file_lies_below_in_either_form() {
    let with = |extends: &str| {
        format!(
            "services: {{a: {{image: a, tty: true, cap_add: [X]}}, b: {{extends: {extends}, image: b, cap_add: [Y]}}}}\n"
        )
    };
    let plain = "services: {a: {image: a, tty: true, cap_add: [X]}, b: {image: b, tty: true, cap_add: [X, Y]}}\n";
    assert_eq!(canonical(&[&with("a")]), canonical(&[plain]));
    assert_eq!(canonical(&[&with("{service: a}")]), canonical(&[plain]));
}

#[test]
fn a_chain_of_services_is_followed_to_its_end() {
    let chain =
        "services:\n  a: {extends: b, command: [x]}\n  b: {extends: c, image: b}\n  c: {image: c, user: root}\n";
    let plain = "services:\n  a: {image: b, user: root, command: [x]}\n  b: {image: b, user: root}\n  c: {image: c, user: root}\n";
    assert_eq!(canonical(&[chain]), canonical(&[plain]));
}

#[test]
fn paths_of_an_extended_service_start_from_its_own_file() {
    let main = "services:
  web:
    extends: {file: lib/common.yml, service: base}
    environment: {B: web}
    env_file: web.env
    volumes: ['./own:/own']
    command: [three]
  deep: {extends: {file: ./lib/common.yml, service: nested}}
volumes: {cache: {}}
";
    let plain = "services:
  web:
    image: base:1
    environment: {MODE: from-file, ONLY_FILE: a b, FROM_FILE_CALLER: too, FILE: common, A: base, B: web}
    env_file: [/project/lib/common.env, web.env]
    volumes: ['cache:/cache', '/project/lib/data:/data', './own:/own']
    ports: ['80:80']
    cap_add: [X]
    command: [three]
  deep: {image: deep, user: nested, volumes: ['/project/lib/deeper:/here', '/project/lib:/up']}
volumes: {cache: {}}
";
    let memory = project(&[]);
    assert_eq!(text(&[main], &memory), text(&[plain], &memory));
}

#[test]
fn environment_files_of_one_name_in_two_directories_are_two() {
    let memory = project(&[("/project/common.env", "FILE=own\nOWN=1\n")]);
    let main = "services: {web: {extends: {file: lib/common.yml, service: base}, env_file: common.env}}\n";
    let text = text(&[main], &memory);
    assert!(text.contains("FILE: own\n") && text.contains("OWN: \"1\"\n") && text.contains("A: base\n"), "{text}");
}

#[test]
fn each_file_is_extended_by_itself_before_files_are_merged() {
    let memory = project(&[]);
    let base = "services: {a: {image: a, tty: true, ports: ['1:1']}, b: {extends: a}}\n";
    let over = "services: {a: {tty: false, ports: !reset []}, b: {ports: !reset []}}\n";
    let plain = "services: {a: {image: a}, b: {image: a, tty: true}}\n";
    assert_eq!(text(&[base, over], &memory), text(&[plain], &memory));
    let said = refused(&["services: {a: {image: a}}\n", "services: {b: {extends: a}}\n"], &memory);
    assert_eq!(said, ["stack2.yml:1:25: services.b.extends: a is not a service of stack2.yml (did you mean b?)"]);
}

#[test]
fn what_is_reset_on_top_is_not_checked_below() {
    let memory =
        project(&[("/project/old.yml", "services: {o: {image: o, volumes_from: [x], build: ., cpuset: '0'}}\n")]);
    let main = "services: {web: {extends: {file: old.yml, service: o}, volumes_from: !reset [], build: !reset .}}\n";
    let told = text(&[main, "services: {web: {cpuset: !reset null}}\n"], &memory);
    assert_eq!(told, text(&["services: {web: {image: o}}\n"], &memory));
}

#[test]
fn errors_and_warnings_name_the_place_in_the_file_where_the_key_stands() {
    let memory = project(&[("/elsewhere/x.yml", "services:\n  x: {image: x, hostname: '${GONE}', links: [y]}\n")]);
    let said = refused(&["services: {web: {extends: {file: lib/common.yml, service: broken}}}\n"], &memory);
    assert_eq!(
        said,
        ["lib/common.yml:11:22: services.broken.bogus: unknown key; remove it, or begin its name with x-"]
    );
    let files = sources(&["services: {web: {extends: {file: /elsewhere/x.yml, service: x}}}\n"]);
    let said = load(Some("shop"), &files, &environment(), &memory).map(|loaded| loaded.warnings);
    let said: Vec<_> = said.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("/elsewhere/x.yml:2:27: services.x.hostname: the variable GONE is not set"),
        "{said:?}"
    );
    assert!(said[1].starts_with("/elsewhere/x.yml:2:38: services.x.links: ignored"), "{said:?}");
    let mut named = sources(&["services: {web: {extends: {file: lib/common.yml, service: broken}}}\n"]);
    named[0].name = "deploy/shop/stack.yml".to_owned();
    let said = config(&named, &environment(), &memory).unwrap_err();
    assert!(said[0].to_string().starts_with("deploy/shop/lib/common.yml:11:22: "), "{said:?}");
}

#[test]
fn nothing_but_the_service_comes_along() {
    let memory = project(&[(
        "/project/n.yml",
        "services: {n: {image: n, networks: [back], depends_on: [db]}}\nnetworks: {back: {}}\n",
    )]);
    let files = sources(&["services: {web: {extends: {file: n.yml, service: n}}}\n"]);
    let said = load(Some("shop"), &files, &environment(), &memory).unwrap_err();
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "n.yml:1:37: services.web.networks.back: back is not declared in networks (add it below networks: in stack.yml)",
            "n.yml:1:57: services.web.depends_on: db is not a service of the stack",
        ]
    );
}

#[test]
fn what_cannot_be_extended_is_refused_with_the_reason() {
    let memory = project(&[
        ("/project/none.yml", "networks: {}\n"),
        ("/project/v2.yml", "version: '2.4'\nservices: {a: {image: a}}\n"),
        ("/project/bad.yml", "services: [\n"),
    ]);
    let cases = [
        ("bse", "stack.yml:1:27: services.web.extends: bse is not a service of stack.yml (did you mean base?)"),
        ("web", "each extends the next, in a circle: web (stack.yml) -> web (stack.yml)"),
        ("{file: lib/common.yml}", "services.web.extends: service, the name of the one that is extended, is missing"),
        ("{service: s, fiel: x}", "services.web.extends.fiel: unknown key (did you mean file?)"),
        ("[base]", "services.web.extends: must be a mapping, this is a list"),
        (
            "{file: nope.yml, service: a}",
            "services.web.extends.file: cannot read /project/nope.yml: No such file or directory",
        ),
        ("{file: none.yml, service: a}", "services.web.extends.file: none.yml has no services"),
        ("{file: v2.yml, service: a}", "v2.yml:1:10: version: unsupported version \"2.4\""),
        ("{file: bad.yml, service: a}", "bad.yml:2:1: not valid YAML: "),
        (
            "{file: 'https://example.com/a.yml', service: a}",
            "stack.yml:1:34: services.web.extends.file: https://example.com/a.yml is on another host, and none is asked; name a local copy",
        ),
        ("{file: 'git@example.com:a/b.git', service: a}", "is on another host"),
        ("{file: lib/common.yml, service: bas}", "bas is not a service of lib/common.yml (did you mean base?)"),
    ];
    for (extends, expected) in cases {
        let said = refused(&[&format!("services: {{web: {{extends: {extends}}}, base: {{image: b}}}}\n")], &memory);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn circles_and_endless_chains_through_files_are_refused() {
    let memory = project(&[
        ("/project/a.yml", "services: {a: {extends: {file: b.yml, service: b}}}\n"),
        ("/project/b.yml", "services: {b: {extends: {file: ./a.yml, service: a}}}\n"),
    ]);
    let said = refused(&["services: {web: {extends: {file: a.yml, service: a}}}\n"], &memory);
    assert_eq!(
        said,
        [
            "b.yml:1:25: services.b.extends: each extends the next, in a circle: web (stack.yml) -> a (a.yml) -> b (b.yml) -> a (a.yml)"
        ]
    );
    let chain: String = (0..40).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    let said = refused(&[&format!("services:\n{chain}  s40: {{image: x}}\n")], &memory);
    assert!(said.iter().all(|said| said.contains("more than 32 services extend one another")), "{said:?}");
}

#[test]
fn a_big_service_is_not_copied_without_end() {
    let labels: String = (0..20_000).map(|n| format!("      l{n}: x\n")).collect();
    let users: String = (0..100).map(|n| format!("  u{n}: {{extends: big}}\n")).collect();
    let said = refused(&[&format!("services:\n  big:\n    image: b\n    x-notes:\n{labels}{users}")], &memory());
    assert!(said[0].contains("take over too much"), "{:?}", said[0]);
}

#[test]
fn variables_of_an_extended_service_are_those_of_who_extends_it() {
    let memory =
        project(&[("/project/v.yml", "services: {v: {image: 'v:${FROM_CALLER}', environment: [FROM_CALLER]}}\n")]);
    let told = text(&["services: {web: {extends: {file: v.yml, service: v}}}\n"], &memory);
    assert!(told.contains("image: \"v:called\"\n") && told.contains("FROM_CALLER: called\n"), "{told}");
    let told = text(&["services: {web: {extends: '${EMPTY_VAR:-base}'}, base: {image: b}}\n"], &memory);
    assert_eq!(told, text(&["services: {web: {image: b}, base: {image: b}}\n"], &memory));
}
