//! A published definition (OpenAPI 2, YAML), read piece by piece: a whole one is half a megabyte, and each test is a
//! process of its own.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// Where the definitions are; else in `shared/engine-api` beside the checkout.
const FOLDER_VARIABLE: &str = "SWARM_ENGINE_API";

/// `None` where there are none.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/engine-api");
    Some(named.unwrap_or_else(beside)).filter(|path| path.is_dir())
}

/// Minor versions that are published here, in order.
pub fn published() -> Vec<u16> {
    let files = folder().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let minor = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().ok()?;
        name.strip_prefix("v1.")?.strip_suffix(".yaml")?.parse().ok()
    };
    let mut found: Vec<u16> = files.filter_map(minor).collect();
    found.sort_unstable();
    found
}

/// The definition of a version; of one that is not published, the next newer.
pub fn of_version(minor: u16) -> Option<Arc<Document>> {
    static READ: OnceLock<Mutex<BTreeMap<u16, Arc<Document>>>> = OnceLock::new();
    let minor = published().into_iter().find(|known| *known >= minor)?;
    let mut read = READ.get_or_init(Mutex::default).lock().unwrap();
    if let Some(document) = read.get(&minor) {
        return Some(Arc::clone(document));
    }
    let text = std::fs::read_to_string(folder()?.join(format!("v1.{minor}.yaml"))).ok()?;
    let document = Arc::new(Document::new(minor, text));
    read.insert(minor, Arc::clone(&document));
    Some(document)
}

pub struct Document {
    pub minor: u16,
    text: String,
    /// Where the entries of `definitions` and of `paths` stand in the text.
    definitions: BTreeMap<String, Range<usize>>,
    paths: BTreeMap<String, Range<usize>>,
    parsed: Mutex<BTreeMap<String, Arc<Value>>>,
}

impl Document {
    fn new(minor: u16, text: String) -> Self {
        let (definitions, paths) = (entries(&text, "definitions:"), entries(&text, "paths:"));
        Self { minor, text, definitions, paths, parsed: Mutex::default() }
    }

    fn entry(&self, key: &str, place: &Range<usize>) -> Arc<Value> {
        let mut parsed = self.parsed.lock().unwrap();
        let entry = parsed.entry(key.to_owned()).or_insert_with(|| {
            let whole = parse(&without_words(&self.text[place.clone()]));
            // One key and what it stands for.
            Arc::new(whole.as_object().and_then(|map| map.values().next().cloned()).unwrap_or_default())
        });
        Arc::clone(entry)
    }

    /// What `#/definitions/NAME` stands for.
    pub fn definition(&self, name: &str) -> Arc<Value> {
        let place = self.definitions.get(name).unwrap_or_else(|| panic!("v1.{} lacks {name}", self.minor));
        self.entry(name, place)
    }

    /// The operations of a path as it was asked for.
    pub fn path(&self, asked: &str) -> Option<(&str, Arc<Value>)> {
        // The one that leaves the least open: /images/get is not an image, nor is /images/a/tag one in a folder.
        let fitting = self.paths.iter().filter(|(pattern, _)| fits(pattern, asked));
        let fixed = |pattern: &str| pattern.split('/').filter(|segment| !segment.starts_with('{')).count();
        let (pattern, place) = fitting.max_by_key(|(pattern, _)| fixed(pattern))?;
        Some((pattern.as_str(), self.entry(pattern, place)))
    }
}

/// Names of images and plugins have slashes.
fn fits(pattern: &str, asked: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let asked: Vec<&str> = asked.split('/').collect();
    let same = |(one, other): (&&str, &&str)| one.starts_with('{') || one == other;
    match pattern.iter().position(|segment| *segment == "{name}") {
        Some(at) if asked.len() > pattern.len() && at > 0 => {
            let tail = pattern.len() - at - 1;
            pattern[..at].iter().zip(&asked).all(same)
                && pattern[at + 1..].iter().zip(&asked[asked.len() - tail..]).all(same)
        }
        _ => pattern.len() == asked.len() && pattern.iter().zip(&asked).all(same),
    }
}

/// The entries of a section: its lines indented by two that end in a colon, each up to the next.
fn entries(text: &str, section: &str) -> BTreeMap<String, Range<usize>> {
    let mut found = BTreeMap::new();
    let (mut inside, mut open, mut at) = (false, None::<(String, usize)>, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let ends = !bare.is_empty() && !bare.starts_with(' ') && !bare.starts_with('#');
        let key = bare
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with([' ', '#']))
            .and_then(|rest| rest.strip_suffix(':'));
        if (ends || key.is_some())
            && let Some((name, start)) = open.take()
        {
            found.insert(name, start..at);
        }
        if ends {
            inside = bare == section;
        } else if let Some(key) = key.filter(|_| inside) {
            open = Some((key.trim_matches('"').to_owned(), at));
        }
        at += line.len();
    }
    found.extend(open.map(|(name, start)| (name, start..at)));
    found
}

/// Descriptions and examples say nothing of what is allowed, and some are written as the parser does not take it.
fn without_words(text: &str) -> String {
    enum Inside {
        Nothing,
        /// What is indented further, and a bracket that closes it.
        Block(usize),
        /// Up to the next quotation mark at the end of a line.
        Quoted,
    }
    let mut inside = Inside::Nothing;
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let indent = line.len() - line.trim_start().len();
        let skipped = match inside {
            Inside::Nothing => false,
            Inside::Block(at) => indent > at || bare.is_empty() || (indent == at && bare.starts_with(['}', ']'])),
            Inside::Quoted => true,
        };
        if skipped {
            if matches!(inside, Inside::Quoted) && bare.ends_with('"') {
                inside = Inside::Nothing;
            }
            continue;
        }
        let words = bare.strip_prefix("description:").or_else(|| bare.strip_prefix("example:")).map(str::trim);
        inside = match words {
            None => Inside::Nothing,
            Some(words) if words.starts_with('"') && !words[1..].contains('"') => Inside::Quoted,
            Some(_) => Inside::Block(indent),
        };
        if words.is_none() {
            kept.push_str(line);
        }
    }
    kept
}

/// YAML without anchors, as JSON.
fn parse(text: &str) -> Value {
    enum Frame {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut parser = Parser::new_from_str(text);
    let (mut stack, mut root) = (Vec::new(), Value::Null);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.unwrap();
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style == ScalarStyle::Plain),
            Event::SequenceStart(..) => {
                stack.push(Frame::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push(Frame::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Frame::List(items)) => Value::Array(items),
                Some(Frame::Map(map, _)) => Value::Object(map),
                None => unreachable!("an end without a start"),
            },
            Event::Alias(_) => panic!("the definitions have no anchors"),
            _ => continue,
        };
        match stack.last_mut() {
            None => root = value,
            Some(Frame::List(items)) => items.push(value),
            Some(Frame::Map(map, key)) => match key.take() {
                Some(name) => drop(map.insert(name, value)),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
        }
    }
    root
}

fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => Value::from(text),
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| Value::from(text), Value::Number),
    }
}
