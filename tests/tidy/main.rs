//! The rules of the tree that no compiler checks: who may depend on whom, how long a file may be,
//! where `unsafe` is forbidden, and what no file may contain.
//!
//! Each test prints every place that breaks its rule, not only the first.

use std::collections::{BTreeMap, BTreeSet};

use tidy::{Manifest, Source, manifest, root, sources};

/// A file longer than this fails: nobody keeps more than this in mind at once.
const FILE_LINES_MAX: usize = 1000;
/// A file longer than this is listed, so that it is split before it fails.
const FILE_LINES_TARGET: usize = 500;

/// The crates of the workspace, by the name of their folder in `src/`.
const CRATES: [&str; 8] = ["core", "wire", "overlay", "runtime", "node", "api", "sim", "swarm"];

fn read_sources() -> Vec<Source> {
    sources(&root()).expect("the source tree is readable")
}

fn read_manifest(name: &str) -> Manifest {
    let path = root().join("src").join(name).join("Cargo.toml");
    manifest(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// What one crate may use: its own crates by name, and what it must never see.
struct Imports {
    name: &'static str,
    ours: &'static [&'static str],
    never: &'static [&'static str],
    /// When set, nothing outside this list either.
    only: Option<&'static [&'static str]>,
}

/// The import table of the design.
const IMPORTS: [Imports; 8] = [
    Imports {
        name: "core",
        ours: &[],
        never: &["tokio", "bollard", "bollard-stubs", "nix", "libc"],
        // Pure decisions: data, errors, the two protocol cores, persistent maps, a YAML reader and codecs.
        only: Some(&[
            "serde",
            "serde_json",
            "thiserror",
            "tracing",
            "bytes",
            "ipnet",
            "foca",
            "raft",
            "protobuf",
            "slog",
            "imbl",
            "rand",
            "rand_core",
            "bincode",
            "saphyr",
            "saphyr-parser",
            "sha2",
            "base64",
            "hex",
            "time",
        ]),
    },
    Imports {
        name: "wire",
        ours: &["core"],
        never: &["tokio", "bollard", "bollard-stubs"],
        only: Some(&["prost", "bytes", "thiserror", "ipnet"]),
    },
    Imports {
        name: "overlay",
        ours: &["core"],
        never: &["bollard", "bollard-stubs", "axum", "quinn", "redb"],
        only: None,
    },
    Imports {
        name: "runtime",
        ours: &["core"],
        never: &["bollard", "bollard-stubs", "axum", "quinn", "redb"],
        only: None,
    },
    Imports {
        name: "node",
        ours: &["core", "wire", "overlay", "runtime"],
        never: &["axum", "bollard", "bollard-stubs", "clap"],
        only: None,
    },
    Imports {
        name: "api",
        ours: &["core"],
        never: &["bollard", "quinn", "raft", "redb", "prost", "rtnetlink", "libcontainer", "clap"],
        only: None,
    },
    Imports { name: "sim", ours: &["core"], never: &["tokio"], only: Some(&["bytes", "rand", "serde_json"]) },
    Imports {
        name: "swarm",
        ours: &["core", "wire", "overlay", "runtime", "node", "api"],
        never: &["raft", "redb", "quinn", "prost", "libcontainer"],
        only: None,
    },
];

#[test]
fn a_crate_depends_only_on_what_the_import_table_allows() {
    let ours: BTreeSet<&str> = CRATES.into_iter().collect();
    let mut found = Vec::new();
    for rule in IMPORTS {
        let m = read_manifest(rule.name);
        assert!(!m.normal.is_empty(), "src/{}/Cargo.toml: no dependencies read, is the reader broken?", rule.name);
        for dep in &m.normal {
            let dep = dep.as_str();
            let allowed = if ours.contains(dep) {
                rule.ours.contains(&dep)
            } else {
                !rule.never.contains(&dep) && rule.only.is_none_or(|list| list.contains(&dep))
            };
            if !allowed {
                found.push(format!("src/{}/Cargo.toml: {dep}", rule.name));
            }
        }
    }
    assert_none("these dependencies are not in the import table (tests/tidy/main.rs)", &found);
}

#[test]
fn every_crate_of_src_is_in_the_import_table() {
    let mut folders: Vec<String> = std::fs::read_dir(root().join("src"))
        .expect("src is readable")
        .map(|e| e.expect("src is readable").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut known: Vec<String> = CRATES.iter().map(|s| (*s).to_owned()).collect();
    known.sort();
    assert_eq!(folders, known);
    let rules: BTreeSet<&str> = IMPORTS.iter().map(|r| r.name).collect();
    assert_eq!(rules, CRATES.into_iter().collect());
}

/// Which modules of core a decision module may name, beside the ones below it (ids, time, model, spec, store).
const DECISIONS: [(&str, &[&str]); 11] = [
    ("plan", &["scheduler"]),
    ("scheduler", &["constraint"]),
    ("allocator", &["dependency"]),
    ("consensus", &[]),
    ("membership", &[]),
    ("dispatch", &[]),
    ("worker", &["template"]),
    ("compose", &["constraint", "template"]),
    ("trust", &[]),
    ("dns", &[]),
    ("template", &[]),
];

#[test]
fn decision_modules_of_core_do_not_import_one_another() {
    let all: BTreeSet<&str> = DECISIONS.iter().map(|(m, _)| *m).chain(["constraint", "dependency", "audit"]).collect();
    let allowed: BTreeMap<&str, &[&str]> = DECISIONS.into_iter().collect();
    let mut found = Vec::new();
    for s in read_sources().iter().filter(|s| s.is_rust()) {
        let Some(rest) = s.path.strip_prefix("src/core/") else {
            continue;
        };
        let module = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
        let Some(may) = allowed.get(module) else {
            continue;
        };
        let body = s.text.split("#[cfg(test)]").next().unwrap_or("");
        for (n, line) in body.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for other in all.iter().filter(|o| **o != module && !may.contains(o)) {
                if line.contains(&format!("crate::{other}::")) {
                    found.push(format!("{}:{}: {module} uses {other}", s.path, n + 1));
                }
            }
        }
    }
    assert_none("decision modules are put together by their shells, not by one another", &found);
}

#[test]
fn the_store_and_the_model_do_not_know_the_decisions() {
    let mut found = Vec::new();
    for s in read_sources().iter().filter(|s| s.is_rust()) {
        let Some(rest) = s.path.strip_prefix("src/core/") else {
            continue;
        };
        let module = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
        if !matches!(module, "ids" | "time" | "model" | "spec" | "store") {
            continue;
        }
        let body = s.text.split("#[cfg(test)]").next().unwrap_or("");
        for (n, line) in body.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            // Whether a template can be filled in is told by its grammar, which knows the model alone.
            let grammar = |m: &str| module == "spec" && m == "template";
            let upward = DECISIONS.iter().any(|(m, _)| !grammar(m) && line.contains(&format!("crate::{m}::")));
            let model_to_store = module != "store" && line.contains("crate::store::");
            if upward || model_to_store {
                found.push(format!("{}:{}: {}", s.path, n + 1, line.trim()));
            }
        }
    }
    assert_none("ids, time -> model -> spec -> store -> decisions: nothing points back", &found);
}

#[test]
fn no_source_file_is_longer_than_the_limit() {
    let mut found = Vec::new();
    let mut long = Vec::new();
    for s in read_sources().iter().filter(|s| s.is_rust() && !s.is_generated()) {
        let lines = s.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines", s.path));
        } else if lines > FILE_LINES_TARGET {
            long.push(format!("{}: {lines} lines", s.path));
        }
    }
    if !long.is_empty() {
        println!("over the target of {FILE_LINES_TARGET} lines:\n  {}", long.join("\n  "));
    }
    assert_none(&format!("files over {FILE_LINES_MAX} lines: split them by idea"), &found);
}

#[test]
fn unsafe_code_is_forbidden_where_nothing_needs_it() {
    let mut found = Vec::new();
    for name in ["core", "wire", "sim", "api"] {
        let path = root().join("src").join(name).join("lib.rs");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if !text.lines().any(|l| l.trim() == "#![forbid(unsafe_code)]") {
            found.push(format!("src/{name}/lib.rs"));
        }
    }
    assert_none("`#![forbid(unsafe_code)]` is missing", &found);
}

/// Texts no file of the tree may hold, and why. Written in two halves, so that this file passes.
fn forbidden() -> Vec<(String, &'static str)> {
    let join = |a: &str, b: &str| format!("{a}{b}");
    vec![
        (join("todo", "!("), "what is missing is an error that names it"),
        (join("unimplemented", "!("), "what is missing is an error that names it"),
        (join("dbg", "!("), "left over from a search for a bug"),
        (join("FIX", "ME"), "fix it, or say what is missing where a user sees it"),
        (join("TO", "DO"), "do it, or say what is missing where a user sees it"),
        (join("/wo", "rk/"), "a path of one machine"),
        (join("/home", "/vagrant/work"), "a path of one machine"),
        (join("<<<<", "<<< "), "a conflict that was not resolved"),
        (join(">>>>", ">>> "), "a conflict that was not resolved"),
        (join("ghcr", ".io"), "images are named as on the default registry, or after registry.example"),
        (join("quay", ".io"), "images are named as on the default registry, or after registry.example"),
        (join("gcr", ".io"), "images are named as on the default registry, or after registry.example"),
        (join("registry.k8s", ".io"), "images are named as on the default registry, or after registry.example"),
        (join("mcr.micro", "soft.com"), "images are named as on the default registry, or after registry.example"),
        (join("Co-auth", "ored-by"), "commit trailers have no place in the tree"),
    ]
}

#[test]
fn no_file_holds_a_leftover_or_a_path_of_one_machine() {
    let words = forbidden();
    let mut found = Vec::new();
    for s in read_sources().iter().filter(|s| is_ours(s)) {
        for (n, line) in s.text.lines().enumerate() {
            for (word, why) in &words {
                if line.contains(word.as_str()) {
                    found.push(format!("{}:{}: {word} ({why})", s.path, n + 1));
                }
            }
        }
    }
    assert_none("these do not belong into the tree", &found);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let mut found = Vec::new();
    for s in read_sources().iter().filter(|s| is_ours(s)) {
        for (n, line) in s.text.lines().enumerate() {
            if let Some(word) = names_an_issue(line) {
                found.push(format!("{}:{}: {word}", s.path, n + 1));
            }
        }
    }
    assert_none("a reader of the tree cannot look these up", &found);
}

/// The number of a ticket, which means something only to a tracker.
fn names_an_issue(line: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    let at = lower.find("issue ").or_else(|| lower.find("issue #"))?;
    let number = lower[at + 5..].trim_start_matches([' ', '#']);
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("ticket number {digits}"))
}

/// The lock file and the licence text come from elsewhere, generated code from proto/, goldens from the product.
fn is_ours(s: &Source) -> bool {
    !matches!(s.path.as_str(), "Cargo.lock" | "LICENSE" | ".git") && !s.is_generated() && !s.path.contains("/testdata/")
}

#[test]
fn the_reader_of_manifests_sees_every_way_to_name_a_dependency() {
    let m = manifest(
        "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\" # why\n[dependencies.c]\nversion = \"1\"\n\
         [target.'cfg(unix)'.dependencies]\nd = { version = \"1\" }\n[dev-dependencies]\ne = \"1\"\n[features]\nf = []\n",
    );
    let set = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(m, Manifest { normal: set(&["a", "b", "c", "d"]), dev: set(&["e"]) });
}

#[test]
fn an_issue_number_is_found_in_any_spelling() {
    assert_eq!(names_an_issue(&format!("see iss{} 12", "ue")), Some("ticket number 12".to_owned()));
    assert_eq!(names_an_issue(&format!("see Iss{} #7.", "ue")), Some("ticket number 7".to_owned()));
    assert_eq!(names_an_issue("an issue with the disk"), None);
}
