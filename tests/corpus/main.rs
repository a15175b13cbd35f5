//! Stack files held against what docker's `stack config` makes of them.
//!
//! Two collections in one form. `ours` lies beside this file: files written here, which are always read. The large one
//! has real files of other repositories under their own licences; this repository does not hold it. It is looked for at
//! `SWARM_COMPOSE_CORPUS`, else in `shared/compose-corpus` beside the checkout.
//!
//! Beside each `FILE` is `FILE.expected.yml`, what docker prints, or `FILE.expected.err`, why it refuses; `FILE.env` is
//! the environment of another run, with results of its own; `merge/N.list` names several files of one run.
//! Where ours is another result on purpose, the case is in a list with the reason: see `accepted`.

mod accepted;
mod case;
mod data;

use accepted::Accepted;
use case::{Case, Outcome};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus").join(path)
}

/// The large collection, where this machine has it.
fn large() -> Option<PathBuf> {
    let named = std::env::var_os("SWARM_COMPOSE_CORPUS").map(PathBuf::from);
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/compose-corpus"));
    if path.is_dir() {
        return Some(path);
    }
    assert!(!is_named, "SWARM_COMPOSE_CORPUS names no directory: {}", path.display());
    eprintln!(
        "NOT TESTED: the large collection of stack files is not at {}; set SWARM_COMPOSE_CORPUS to its directory. \
         Only the files in tests/corpus/ours were read.",
        path.display()
    );
    None
}

/// Reads every case and holds what differs from docker against the list.
#[track_caller]
fn holds(root: &Path, list: &str, cases_min: usize) {
    let cases = case::all(root);
    assert!(cases.len() >= cases_min, "only {} cases below {}", cases.len(), root.display());
    let accepted = Accepted::read(list);
    let differing: BTreeMap<String, Outcome> =
        cases.iter().map(|case| (case.name.clone(), case.run())).filter(|(_, outcome)| !outcome.is_dockers()).collect();
    let known = |name: &str| cases.iter().any(|case| case.name == name);
    let wrong = accepted.against(&differing, known);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn files_written_here_are_read_as_docker_reads_them() {
    holds(&beside("ours"), include_str!("ours/accepted.txt"), 10);
}

#[test]
fn real_files_are_read_as_docker_reads_them() {
    if let Some(root) = large() {
        holds(&root, include_str!("accepted.txt"), 400);
    }
}

#[test]
fn every_file_is_deployed_or_refused_with_a_reason() {
    let roots = [Some(beside("ours")), large()];
    let cases: Vec<Case> = roots.iter().flatten().flat_map(|root| case::all(root)).collect();
    let wrong: Vec<String> = cases.iter().filter_map(Case::deployed).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_key_of_a_file_is_dropped_without_a_word() {
    let roots = [Some(beside("ours")), large()];
    let cases: Vec<Case> = roots.iter().flatten().flat_map(|root| case::all(root)).collect();
    let dropped: Vec<String> = cases.iter().flat_map(Case::dropped).collect();
    assert!(dropped.is_empty(), "neither printed nor named in a warning:\n{}", dropped.join("\n"));
}
