//! YAML text to a tree with places: anchors, aliases and merge keys (`<<`) resolved, scalars typed, `!reset` and
//! `!override` noted on the value they stand before.
//!
//! Called by `compose::load`. Never follows a text beyond the bounds below, so that aliases cannot
//! blow it up and depth cannot exhaust the stack.

use super::report::Report;
use super::value::{Entry, Map, Mark, Node, Pos, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of one compose file; larger ones are a mistake.
pub(crate) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most nodes of one file after aliases are resolved (a real stack has a few thousand).
const NODES_MAX: usize = 50_000;
/// Deepest nesting; the specification needs about ten.
const DEPTH_MAX: usize = 64;

/// A collection that is still open.
struct Frame {
    pos: Pos,
    anchor: usize,
    mark: Mark,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: BTreeSet<String>, merges: Vec<Node>, key: Option<Key> },
}

enum Key {
    Name(String, Pos),
    Merge,
    /// Was refused; its value is dropped.
    Refused,
}

struct Builder<'r> {
    report: &'r mut Report,
    file: usize,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// Parses file number `file`. `None`: the errors are in `report`.
pub(crate) fn parse(text: &str, file: usize, report: &mut Report) -> Option<Node> {
    let top = Pos { file, line: 0, column: 0 };
    let errors_before = report.errors();
    if text.len() > FILE_BYTES_MAX {
        report.error(top, "", format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len()));
        return None;
    }
    // Editors put a byte order mark there; it is no part of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { report, file, stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    // Every event is at least one node, a document mark or an end: bounded by the text and NODES_MAX.
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let pos = builder.pos(error.marker());
                builder.report.error(pos, "", format!("not valid YAML: {}", error.info()));
                return None;
            }
        };
        let pos = builder.pos(&span.start);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    builder.report.warn(
                        pos,
                        "",
                        "only the first YAML document of a file is read; put the rest into a file of its own",
                    );
                    break;
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            event => builder.event(event, pos).ok()?,
        }
    }
    if builder.report.errors() > errors_before {
        return None;
    }
    if builder.root.is_none() {
        report.error(top, "", "the file is empty; it must have services");
        return None;
    }
    builder.root
}

/// Reading stopped; the report says why.
struct Stopped;

impl Builder<'_> {
    fn pos(&self, mark: &saphyr_parser::Marker) -> Pos {
        Pos { file: self.file, line: mark.line(), column: mark.col() + 1 }
    }

    fn stop(&mut self, pos: Pos, message: impl Into<String>) -> Stopped {
        self.report.error(pos, "", message);
        Stopped
    }

    fn event(&mut self, event: Event<'_>, pos: Pos) -> Result<(), Stopped> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if plain && text == "<<" && self.at_key() {
                    self.set_key(Key::Merge);
                    return Ok(());
                }
                let mark = mark(tag.as_deref());
                let value = match mark {
                    Mark::Reset => Value::Null,
                    Mark::Override if plain => resolve(&text),
                    Mark::Override => Value::Text { text: text.into_owned(), expanded: false },
                    Mark::Plain => self.scalar(&text, plain, tag.as_deref(), pos)?,
                };
                self.finish(Node::new(pos, value).marked(mark), anchor)
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(self.stop(pos, "the alias names an anchor that is not complete yet"));
                };
                self.count(size, pos)?;
                self.place(node)
            }
            Event::SequenceStart(anchor, tag) => {
                let mark = self.check_tag(tag.as_deref(), "seq", pos)?;
                self.open(Frame { pos, anchor, mark, kind: FrameKind::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                let mark = self.check_tag(tag.as_deref(), "map", pos)?;
                let kind = FrameKind::Map { entries: Vec::new(), seen: BTreeSet::new(), merges: Vec::new(), key: None };
                self.open(Frame { pos, anchor, mark, kind })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(pos),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn count(&mut self, nodes: usize, pos: Pos) -> Result<(), Stopped> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(
                self.stop(pos, format!("the file has more than {NODES_MAX} values once its aliases are resolved"))
            );
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) -> Result<(), Stopped> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(self.stop(frame.pos, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if self.at_key() {
            self.report.error(frame.pos, "", "a key must be a string");
            self.set_key(Key::Refused);
            // Its content is read as a value nobody takes: a second, detached value would confuse the pairing.
            return Err(Stopped);
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self, pos: Pos) -> Result<(), Stopped> {
        let Some(frame) = self.stack.pop() else {
            return Err(self.stop(pos, "not valid YAML: an end without a beginning"));
        };
        let value = match frame.kind {
            FrameKind::List(_) | FrameKind::Map { .. } if frame.mark == Mark::Reset => Value::Null,
            FrameKind::List(items) => Value::List(items),
            FrameKind::Map { entries, merges, .. } => Value::Map(self.merged(entries, merges)?),
        };
        self.finish(Node::new(frame.pos, value).marked(frame.mark), frame.anchor)
    }

    /// Adds what the merge keys bring: written keys win, earlier sources win over later ones (YAML merge key type).
    fn merged(&mut self, entries: Vec<Entry>, merges: Vec<Node>) -> Result<Map, Stopped> {
        let mut map = Map(entries);
        let mut known: BTreeSet<String> = map.0.iter().map(|entry| entry.key.clone()).collect();
        for source in merges {
            let pos = source.pos;
            let sources = match source.value {
                Value::List(items) => items,
                Value::Map(_) | Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {
                    vec![source]
                }
            };
            for source in sources {
                let Value::Map(source) = source.value else {
                    return Err(self.stop(pos, "<<: takes a mapping or a list of mappings"));
                };
                map.0.extend(source.0.into_iter().filter(|entry| known.insert(entry.key.clone())));
            }
        }
        Ok(map)
    }

    fn at_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: FrameKind::Map { key: None, .. }, .. }))
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Frame { kind: FrameKind::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(new);
        }
    }

    /// A node is complete: remembers it under its anchor and puts it where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Stopped> {
        self.count(1, node.pos)?;
        if anchor != 0 {
            let size = node.size();
            self.count(size, node.pos)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        self.place(node)
    }

    fn place(&mut self, node: Node) -> Result<(), Stopped> {
        let keyed = matches!(
            self.stack.last(),
            Some(Frame { kind: FrameKind::Map { key: Some(Key::Name(..) | Key::Refused), .. }, .. })
        );
        if node.mark != Mark::Plain && !keyed {
            return Err(self.stop(
                node.pos,
                "the tags !reset and !override stand before the value of a key, as in ports: !reset []",
            ));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        match &mut frame.kind {
            FrameKind::List(items) => items.push(node),
            FrameKind::Map { entries, seen, merges, key } => match key.take() {
                Some(Key::Name(name, pos)) => entries.push(Entry { key: name, pos, node }),
                Some(Key::Merge) => merges.push(node),
                Some(Key::Refused) => {}
                None => {
                    let Value::Text { text, .. } = node.value else {
                        *key = Some(Key::Refused);
                        let kind = node.kind();
                        self.report.error(node.pos, "", format!("a key must be a string, this is {kind}; quote it"));
                        return Ok(());
                    };
                    if seen.insert(text.clone()) {
                        *key = Some(Key::Name(text, node.pos));
                    } else {
                        *key = Some(Key::Refused);
                        self.report.error(node.pos, "", format!("the key \"{}\" is written twice", brief(&text)));
                    }
                }
            },
        }
        Ok(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, own: &str, pos: Pos) -> Result<Mark, Stopped> {
        match (tag, mark(tag)) {
            (Some(tag), Mark::Plain) if !(tag.is_yaml_core_schema() && tag.suffix == own) => {
                Err(self.stop(pos, format!("the tag {} is not supported; remove it", brief(&tag.to_string()))))
            }
            (Some(_) | None, mark) => Ok(mark),
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&Tag>, pos: Pos) -> Result<Value, Stopped> {
        let own = || Value::Text { text: text.to_owned(), expanded: false };
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(own()),
            Some(tag)
                if tag.is_yaml_core_schema() && ["int", "float", "bool", "null"].contains(&tag.suffix.as_str()) =>
            {
                Ok(resolve(text))
            }
            Some(tag) if tag.to_string() != "!" => {
                Err(self.stop(pos, format!("the tag {} is not supported; remove it", brief(&tag.to_string()))))
            }
            Some(_) => Ok(own()),
            None if plain => Ok(resolve(text)),
            None => Ok(own()),
        }
    }
}

fn mark(tag: Option<&Tag>) -> Mark {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Mark::Reset,
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Mark::Override,
        Some(_) | None => Mark::Plain,
    }
}

/// The first characters of a text from a file, for a message.
pub(crate) fn brief(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What an unquoted scalar means: YAML 1.2's core schema, with the octal (0440), binary and underscore
/// forms of YAML 1.1 that compose files use for file modes. `yes` and `on` are strings.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        if let Some(value) = integer(&text.replace('_', "")) {
            return Value::Int(value);
        }
        let number = text.replace('_', "");
        let digits = number.strip_prefix(['-', '+']).unwrap_or(&number);
        let floating = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        if floating
            && digits.bytes().any(|b| b.is_ascii_digit())
            && let Ok(value) = number.parse::<f64>()
        {
            return Value::Float(value);
        }
    }
    Value::Text { text: text.to_owned(), expanded: false }
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let value = if let Some(hex) = lower.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i128::from_str_radix(octal, 8)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i128::from_str_radix(binary, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i128::from_str_radix(&lower, 8)
    } else {
        lower.parse()
    };
    let value = value.ok()?;
    i64::try_from(if negative { value.checked_neg()? } else { value }).ok()
}
