//! Tests of the compose module as its callers see it: text in, stacks, canonical text and messages out.

mod canonical;
mod extends;
mod forms;
mod include;
mod marks;
mod merging;
mod messages;
mod parsing;
mod profiles;
mod properties;
mod specs;

use super::*;
use std::collections::BTreeMap;

/// Files in memory, below `/project`.
pub(super) struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn directory(&self) -> &str {
        "/project"
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "No such file or directory".to_owned())
    }
}

pub(super) fn memory() -> Memory {
    let files = [
        ("/project/web.env", "# of the web\nMODE=from-file\nONLY_FILE=a b\nFROM_FILE_CALLER\nNOT_SET\n"),
        ("/project/token.txt", "t0k3n"),
        ("/project/web.labels", "# of the web\ntier=front\nteam=file\nplain\n"),
    ];
    Memory(files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect())
}

pub(super) fn environment() -> BTreeMap<String, String> {
    let variables = [("HOME", "/home/me"), ("FROM_CALLER", "called"), ("FROM_FILE_CALLER", "too"), ("EMPTY_VAR", "")];
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn sources(texts: &[&str]) -> Vec<SourceFile> {
    let named = |(index, text): (usize, &&str)| SourceFile {
        name: if index == 0 { "stack.yml".to_owned() } else { format!("stack{}.yml", index + 1) },
        text: (*text).to_owned(),
    };
    texts.iter().enumerate().map(named).collect()
}

/// The canonical text of files that are right.
pub(super) fn canonical(texts: &[&str]) -> String {
    match config(&sources(texts), &environment(), &memory()) {
        Ok(canonical) => canonical.yaml,
        Err(errors) => panic!("refused: {errors:#?}"),
    }
}

/// The stack `shop` and the warnings of files that are right.
pub(super) fn loaded(texts: &[&str]) -> Loaded {
    match load(Some("shop"), &sources(texts), &environment(), &memory()) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("refused: {errors:#?}"),
    }
}

/// The errors of a file that is wrong.
pub(super) fn errors(text: &str) -> Vec<String> {
    match load(Some("shop"), &sources(&[text]), &environment(), &memory()) {
        Ok(loaded) => panic!("accepted: {loaded:#?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn warnings(text: &str) -> Vec<String> {
    loaded(&[text]).warnings.iter().map(ToString::to_string).collect()
}

/// The one service `web` with `lines` below it.
pub(super) fn service(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    format!("services:\n  web:\n    image: web:1\n{lines}")
}

/// Compares with a file in `testdata`; writes it anew when asked to.
#[allow(clippy::disallowed_methods, reason = "a golden file is written anew on demand")]
pub(super) fn golden(file: &str, told: &str, expected: &str) {
    if std::env::var_os("REGENERATE").is_some() {
        let path = format!("{}/compose/tests/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, told).expect("the golden file is written");
    }
    assert_eq!(told, expected, "\nrun with REGENERATE=1 when this is meant");
}
