//! Files that a file includes.

use super::extends::{project, refused, text};
use super::*;

#[test]
fn all_that_an_included_file_has_becomes_part_of_the_stack() {
    let memory = project(&[(
        "/project/db/compose.yml",
        "services: {db: {image: d, volumes: ['./data:/data'], secrets: [pw], networks: [back]}}\n\
        secrets: {pw: {file: pw.txt}}\nnetworks: {back: {}}\nvolumes: {v: {}}\nconfigs: {c: {file: ../c.txt}}\n",
    )]);
    let plain = "services:
  web: {image: w, depends_on: [db]}
  db: {image: d, volumes: ['/project/db/data:/data'], secrets: [pw], networks: [back]}
networks: {back: {}}
volumes: {v: {}}
secrets: {pw: {file: /project/db/pw.txt}}
configs: {c: {file: c.txt}}
";
    for include in [
        "[db/compose.yml]",
        "[{path: db/compose.yml}]",
        "[{path: [./db/compose.yml]}]",
        "['${EMPTY_VAR:-db}/compose.yml']",
    ] {
        let main = format!("services: {{web: {{image: w, depends_on: [db]}}}}\ninclude: {include}\n");
        assert_eq!(text(&[&main], &memory), text(&[plain], &memory), "{include}");
    }
}

#[test]
fn files_of_one_path_are_merged_and_start_from_the_first() {
    let memory = project(&[
        ("/project/db/compose.yml", "services: {db: {image: d, ports: ['1:1'], volumes: ['./a:/a']}}\n"),
        ("/project/over/db.yml", "services: {db: {ports: !reset [], volumes: ['./b:/b']}}\n"),
    ]);
    let main = "include: [{path: [db/compose.yml, over/db.yml]}]\n";
    let plain = "services: {db: {image: d, volumes: ['/project/db/a:/a', '/project/db/b:/b']}}\n";
    assert_eq!(text(&[main], &memory), text(&[plain], &memory));
    let main = "include: [{path: [db/compose.yml, over/db.yml], project_directory: over}]\n";
    let plain = "services: {db: {image: d, volumes: ['/project/over/a:/a', '/project/over/b:/b']}}\n";
    assert_eq!(text(&[main], &memory), text(&[plain], &memory));
}

#[test]
fn an_included_file_has_variables_of_its_own_below_those_of_the_caller() {
    let inner = "services: {db: {image: 'd:${TAG-none}-${FROM_CALLER}', environment: [TAG, FROM_CALLER]}}\nsecrets: {s: {environment: TAG}}\n";
    let memory = project(&[
        ("/project/db/compose.yml", inner),
        ("/project/db/.env", "TAG=dot\nFROM_CALLER=dot\n"),
        ("/project/a.env", "export TAG='a'\nA=a\n"),
        ("/project/b.env", "TAG=\"${B-b}\"\n"),
    ]);
    for (include, tag) in [
        ("db/compose.yml", "dot"),
        ("{path: db/compose.yml, env_file: a.env}", "a"),
        ("{path: db/compose.yml, env_file: [a.env, ./b.env]}", "b"),
    ] {
        let main = format!(
            "services: {{web: {{image: 'w:${{TAG-unset}}', environment: [TAG], secrets: [s]}}}}\ninclude: [{include}]\n"
        );
        let told = text(&[&main], &memory);
        assert!(
            told.contains(&format!("image: \"d:{tag}-called\"\n")) && told.contains(&format!("TAG: {tag}\n")),
            "{told}"
        );
        assert!(told.contains("image: \"w:unset\"\n") && told.contains("TAG: null\n"), "{told}");
        let stack = load(Some("shop"), &sources(&[&main]), &environment(), &memory).unwrap().stack;
        assert_eq!(stack.secrets[0].data.expose(), tag.as_bytes());
    }
    let told = text(&["include: [{path: db/compose.yml, env_file: /dev/null}]\n"], &memory);
    assert!(told.contains("image: \"d:none-called\"\n") && told.contains("TAG: null\n"), "{told}");
}

#[test]
fn included_files_include_and_extend_from_their_own_directory() {
    let memory = project(&[
        ("/project/a/a.yml", "include: [b/b.yml]\nservices: {a: {image: a}}\n"),
        (
            "/project/a/b/b.yml",
            "services: {b: {extends: {file: ../../lib/common.yml, service: nested}, volumes: ['.:/b']}}\n",
        ),
    ]);
    let plain = "services:
  a: {image: a}
  b: {image: deep, user: nested, volumes: ['/project/a/b:/b', '/project/lib/deeper:/here', '/project/lib:/up']}
";
    assert_eq!(text(&["include: [a/a.yml]\n"], &memory), text(&[plain], &memory));
}

#[test]
fn what_two_files_have_is_an_error_that_names_both_places_unless_it_is_the_same() {
    let memory = project(&[
        ("/project/db.yml", "services:\n  db: {image: d}\nnetworks: {n: {internal: true}}\n"),
        ("/project/other.yml", "include: [db.yml]\nservices:\n  mq: {image: m}\n"),
        ("/project/third.yml", "services:\n  db: {image: e}\n"),
    ]);
    let plain = "services: {db: {image: d}, mq: {image: m}}\nnetworks: {n: {internal: true}}\n";
    assert_eq!(text(&["include: [db.yml, other.yml, db.yml]\n"], &memory), text(&[plain], &memory));
    let words = |section: &str, at: &str| {
        format!(
            "{section}: is at {at} as well, and what is included is not merged; rename one of them, or name a file that changes it beside this one: path: [this, that]"
        )
    };
    let said = refused(&["include: [db.yml]\nservices:\n  db: {tty: true}\nnetworks: {n: {}}\n"], &memory);
    assert_eq!(
        said,
        [
            format!("db.yml:2:3: {}", words("services.db", "stack.yml:3:3")),
            format!("db.yml:3:12: {}", words("networks.n", "stack.yml:4:12")),
        ]
    );
    let said = refused(&["include: [db.yml, third.yml]\n"], &memory);
    assert_eq!(said, [format!("third.yml:2:3: {}", words("services.db", "db.yml:2:3"))]);
    let said = refused(&["include: [db.yml]\nservices:\n  db: !reset null\n"], &memory);
    assert_eq!(said, [format!("db.yml:2:3: {}", words("services.db", "stack.yml:3:3"))]);
}

#[test]
fn includes_of_all_files_count_and_can_be_taken_away() {
    let memory = project(&[
        ("/project/a.yml", "services: {a: {image: a}}\n"),
        ("/project/b.yml", "services: {b: {image: b}}\n"),
    ]);
    let both = text(&["include: [a.yml]\n", "include: [b.yml]\n"], &memory);
    assert_eq!(both, text(&["services: {a: {image: a}, b: {image: b}}\n"], &memory));
    assert_eq!(
        text(&["include: [a.yml]\n", "include: !override [b.yml]\n"], &memory),
        text(&["services: {b: {image: b}}\n"], &memory)
    );
    assert_eq!(text(&["include: [a.yml]\n", "include: !reset []\n"], &memory), text(&["services: {}\n"], &memory));
}

#[test]
fn files_that_are_brought_in_know_the_name_of_the_stack() {
    let memory = project(&[("/project/a.yml", "services: {a: {image: a, hostname: $COMPOSE_PROJECT_NAME}}\n")]);
    let told = text(&["name: shop\ninclude: [a.yml]\nservices: {b: {extends: {file: a.yml, service: a}}}\n"], &memory);
    assert_eq!(told.matches("hostname: shop\n").count(), 2, "{told}");
}

#[test]
fn errors_of_an_included_file_name_it() {
    let memory = project(&[("/project/sub/x.yml", "services:\n  x:\n    image: x\n    prots: []\n")]);
    let said = refused(&["include:\n  - sub/x.yml\n"], &memory);
    assert_eq!(said, ["sub/x.yml:4:5: services.x.prots: unknown key (did you mean ports?)"]);
}

#[test]
fn what_cannot_be_included_is_refused_with_the_reason() {
    let memory = project(&[
        ("/project/bad.env", "A B=1\n"),
        ("/project/a.yml", "services: {a: {image: a}}\n"),
        ("/project/list.yml", "- a\n"),
    ]);
    let cases = [
        ("nope.yml", "stack.yml:1:10: include: must be a list, this is a string"),
        ("[nope.yml]", "stack.yml:1:11: include[0]: cannot read /project/nope.yml: No such file or directory"),
        (
            "['oci://example.com/app']",
            "stack.yml:1:11: include[0].path: oci://example.com/app is on another host, and none is asked; name a local copy",
        ),
        ("[{paht: a.yml}]", "include[0].paht: unknown key (did you mean path?)"),
        ("[{env_file: a}]", "include[0]: path, the file that is included, is missing"),
        ("[{path: []}]", "include[0]: path, the file that is included, is missing"),
        ("[{path: ['']}]", "include[0].path: the path is empty"),
        ("[1]", "include[0]: must be a mapping, this is an integer"),
        ("[{path: a.yml, env_file: bad.env}]", "include[0].env_file: bad.env:1:1: expected = after the name A"),
        ("[{path: a.yml, env_file: no.env}]", "include[0].env_file: cannot read /project/no.env"),
        ("[list.yml]", "list.yml:1:1: the file must be a mapping with services, this is a list"),
        ("['${NOPE:?set it}']", "include[0]: the required variable NOPE is missing a value: set it"),
    ];
    for (include, expected) in cases {
        let said = refused(&[&format!("include: {include}\n")], &memory);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn circles_depth_and_number_of_includes_are_bounded() {
    let memory = project(&[("/project/a.yml", "include: [b.yml]\n"), ("/project/b.yml", "include: [./a.yml]\n")]);
    let said = refused(&["include: [a.yml]\n"], &memory);
    let circle = "/project/stack.yml -> /project/a.yml -> /project/b.yml -> /project/a.yml";
    assert_eq!(said, [format!("b.yml:1:11: include[0]: files include one another in a circle: {circle}")]);
    let memory = project(&[("/project/c.yml", "include: [stack.yml]\n")]);
    let said = refused(&["include: [c.yml]\n"], &memory);
    assert!(said[0].ends_with("in a circle: /project/stack.yml -> /project/c.yml -> /project/stack.yml"), "{said:?}");
    let chain: Vec<_> =
        (0..40).map(|n| (format!("/project/f{n}.yml"), format!("include: [f{}.yml]\n", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let said = refused(&["include: [f0.yml]\n"], &project(&chain));
    assert!(
        said.len() == 1 && said[0].contains("f15.yml:1:11: include[0]: files include one another more than 16 deep"),
        "{said:?}"
    );
    let memory = project(&[("/project/e.yml", "services: {}\n")]);
    let many: String = (0..600).map(|_| "  - e.yml\n").collect();
    let said = refused(&[&format!("include:\n{many}")], &memory);
    assert!(said[0].contains("extends and include bring in more than 500 files"), "{said:?}");
}

#[test]
fn the_name_of_an_included_file_is_not_used_and_that_is_said() {
    let memory = project(&[("/project/a.yml", "name: inner\nservices: {a: {image: a}}\n")]);
    let loaded = load(Some("shop"), &sources(&["include: [a.yml]\n"]), &environment(), &memory).unwrap();
    let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["a.yml:1:7: name: ignored; the stack has the name of the file that includes this one"]);
}
