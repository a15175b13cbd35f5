//! One run of `stack config`: the files, the environment, and what docker makes of them.

use super::data::{differences, read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What docker's results have in place of the directory of the collection.
const ROOT: &str = "/CORPUS";

/// Keys that are printed as another one that says the same, and where.
const MOVED: [(&str, &str); 6] = [
    ("scale", "/deploy/replicas"),
    ("cpus", "/deploy/resources/limits/cpus"),
    ("mem_limit", "/deploy/resources/limits/memory"),
    ("mem_reservation", "/deploy/resources/reservations/memory"),
    ("pids_limit", "/deploy/resources/limits/pids"),
    ("label_file", "/labels"),
];

pub struct Case {
    /// Path below the collection.
    pub name: String,
    root: PathBuf,
    files: Vec<PathBuf>,
    env: BTreeMap<String, String>,
    expected: Expected,
}

enum Expected {
    Printed(String),
    Refused,
}

/// What came out, beside what docker has.
pub enum Outcome {
    /// Both print the same.
    Same,
    /// Both refuse.
    Rejected,
    /// Both print, and these places are not the same.
    Differs(Vec<String>),
    /// Docker prints, we refuse: why.
    Refused(String),
    /// Docker refuses, we print.
    Swallowed,
    Broken(String),
}

impl Outcome {
    pub fn is_dockers(&self) -> bool {
        matches!(self, Self::Same | Self::Rejected)
    }

    /// As the list writes it.
    pub fn verdict(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Rejected | Self::Refused(_) => "rejected".to_owned(),
            Self::Differs(places) => {
                let places: BTreeSet<String> = places.iter().map(|place| any_item(place)).collect();
                format!("differs at {}", places.into_iter().collect::<Vec<_>>().join(" "))
            }
            Self::Swallowed => "accepted".to_owned(),
            Self::Broken(_) => "broken".to_owned(),
        }
    }

    pub fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Broken(why) => why,
            Self::Same | Self::Rejected | Self::Differs(_) | Self::Swallowed => "",
        }
    }
}

/// The place with `*` for each index into a list.
fn any_item(place: &str) -> String {
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts = place.split('/').map(|part| if is_index(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// All cases below `root`, sorted by name.
pub fn all(root: &Path) -> Vec<Case> {
    let root = root.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut cases = Vec::new();
    collect(&root, &root, &mut cases);
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn collect(root: &Path, directory: &Path, cases: &mut Vec<Case>) {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("an entry of a directory").path();
        if path.is_dir() {
            collect(root, &path, cases);
            continue;
        }
        let written = path.to_str().expect("a name in UTF-8");
        if let Some(stem) = written.strip_suffix(".expected.yml") {
            cases.push(Case::new(root, stem, Expected::Printed(text(&path))));
        } else if let Some(stem) = written.strip_suffix(".expected.err") {
            cases.push(Case::new(root, stem, Expected::Refused));
        }
    }
}

impl Case {
    fn new(root: &Path, stem: &str, expected: Expected) -> Self {
        // A file's own `.env` below the default one would change what docker, which reads none, has printed.
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), "/nonexistent".to_owned()),
            ("COMPOSE_DISABLE_ENV_FILE".to_owned(), "1".to_owned()),
        ]);
        let list = PathBuf::from(format!("{stem}.list"));
        let files = if list.is_file() {
            text(&list).lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| root.join(line)).collect()
        } else {
            let source = stem.strip_suffix(".env").filter(|_| Path::new(stem).is_file());
            let variables = source.map(|_| text(Path::new(stem))).unwrap_or_default();
            let variables = variables.lines().filter_map(|line| line.split_once('='));
            env.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
            vec![PathBuf::from(source.unwrap_or(stem))]
        };
        let name = Path::new(stem).strip_prefix(root).unwrap_or(Path::new(stem)).display().to_string();
        Self { name, root: root.to_owned(), files, env, expected }
    }

    pub fn run(&self) -> Outcome {
        let read_all = || swarm_cli::stack_config(&self.files, &self.env);
        let Ok(result) = catch_unwind(AssertUnwindSafe(read_all)) else {
            return Outcome::Broken("it panicked".to_owned());
        };
        match (&self.expected, result) {
            (Expected::Refused, Err(_)) => Outcome::Rejected,
            (Expected::Refused, Ok(_)) => Outcome::Swallowed,
            (Expected::Printed(_), Err(why)) => Outcome::Refused(why),
            (Expected::Printed(wanted), Ok(canonical)) => self.compare(wanted, &canonical.yaml),
        }
    }

    /// What is wrong with how the case is read for a deployment: it is refused with reasons, or a stack comes out with a
    /// service for each that is printed.
    pub fn deployed(&self) -> Option<String> {
        let read_all = || swarm_cli::stack_load("corpus", &self.files, &self.env);
        let wrong = match catch_unwind(AssertUnwindSafe(read_all)) {
            Err(_) => "it panicked",
            Ok(Err(why)) if why.is_empty() || why.contains("no reason was found") => "it is refused without a reason",
            Ok(Err(_)) => return None,
            Ok(Ok(loaded)) => {
                let printed = swarm_cli::stack_config(&self.files, &self.env);
                let printed = printed.ok().and_then(|canonical| read(&canonical.yaml).ok());
                let services = printed.as_ref().and_then(|printed| printed["services"].as_object());
                match services.is_some_and(|services| services.len() == loaded.stack.services.len()) {
                    true => return None,
                    false => "what is deployed is not printed",
                }
            }
        };
        Some(format!("{}: {wrong}", self.name))
    }

    fn compare(&self, wanted: &str, got: &str) -> Outcome {
        let got = got.replace(self.root.to_str().expect("a path in UTF-8"), ROOT);
        match (read(wanted), read(&got)) {
            (Ok(wanted), Ok(got)) => {
                let places = differences(&wanted, &got);
                if places.is_empty() { Outcome::Same } else { Outcome::Differs(places) }
            }
            (Err(why), _) => Outcome::Broken(format!("docker's result is no YAML: {why}")),
            (_, Err(why)) => Outcome::Broken(format!("the result is no YAML: {why}")),
        }
    }

    /// Keys of a file that is read which are neither in the result nor named by a warning. Of several files merged only
    /// the result says what holds, so those are left out.
    pub fn dropped(&self) -> Vec<String> {
        let ([file], Ok(canonical)) = (&self.files[..], swarm_cli::stack_config(&self.files, &self.env)) else {
            return Vec::new();
        };
        let warnings: Vec<String> = canonical.warnings.iter().map(ToString::to_string).collect();
        let (written, printed) = (read(&text(file)), read(&canonical.yaml));
        let (Ok(written), Ok(printed)) = (written, printed) else {
            return vec![format!("{}: no YAML", self.name)];
        };
        let mut dropped = Vec::new();
        missing(&written, &printed, "", &mut dropped);
        let said = |path: &str| warnings.iter().any(|warning| names(warning, path));
        dropped.into_iter().filter(|path| !said(path)).map(|path| format!("{}: {path}", self.name)).collect()
    }
}

/// Whether the warning is about `path` or what it lies in.
fn names(warning: &str, path: &str) -> bool {
    let about = warning.split(": ").nth(1).unwrap_or_default();
    about.split('.').count() > 2
        && path.strip_prefix(about).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Paths of the keys of `written` that `printed` has not. What says nothing (null, false, 0, empty) may be left out, and
/// a value that is printed in another form is not looked into.
fn missing(written: &Value, printed: &Value, at: &str, out: &mut Vec<String>) {
    let (Value::Object(keys), Value::Object(there)) = (written, printed) else { return };
    let moved = |key: &str| MOVED.iter().any(|(from, to)| *from == key && printed.pointer(to).is_some());
    for (key, value) in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let empty = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Bool(true) => false,
            Value::Number(number) => number.as_f64() == Some(0.0),
            // A variable may be empty.
            Value::String(text) => text.is_empty() || text.starts_with('$'),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
        };
        match there.get(key) {
            Some(inner) => missing(value, inner, &path, out),
            None if empty || moved(key) || key.starts_with("x-") && at.is_empty() => {}
            None if is_carried_out(at, key, value) => {}
            None => out.push(path),
        }
    }
}

/// Keys that bring in what is printed and are not printed themselves; and services that no profile turns on.
fn is_carried_out(at: &str, key: &str, value: &Value) -> bool {
    let in_service = at.strip_prefix("services.").is_some_and(|name| !name.contains('.'));
    match key {
        "include" => at.is_empty(),
        "extends" | "profiles" => in_service,
        _ => at == "services" && value.get("profiles").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_that_is_not_printed_is_missed_unless_it_says_nothing() {
        let written = json!({"x-a": 1, "services": {"web": {"tty": false, "image": "a", "ports": [1], "b": {"c": 1}}}});
        let printed = json!({"services": {"web": {"ports": [{"target": 1}], "b": {}}}});
        let mut out = Vec::new();
        missing(&written, &printed, "", &mut out);
        assert_eq!(out, ["services.web.b.c", "services.web.image"]);
        assert!(names("a.yml:1:2: services.web.b: ignored", "services.web.b.c"));
        assert!(
            !names("a.yml:1:2: services.web: ignored", "services.web.b")
                && !names("a.yml:1:2: services.web.bc: x", "services.web.b")
        );
    }
}
