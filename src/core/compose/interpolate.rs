//! Variables in compose files: `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?error}`, `${VAR?error}`,
//! `${VAR:+other}`, `${VAR+other}`, nested, `$$` for a dollar sign (Compose specification, "Interpolation").
//!
//! Called by `compose::load` on every value (never on keys) of a file after parsing. Reads only the map it is given.

use super::parse::brief;
use super::report::Report;
use super::value::{Node, Value};
use std::collections::BTreeMap;

/// Deepest nesting of `${A:-${B:-…}}`.
const NESTING_MAX: usize = 32;
/// Most bytes of one value after expansion; the kernel takes no longer argument or variable (MAX_ARG_STRLEN).
const VALUE_BYTES_MAX: usize = 128 * 1024;

pub(crate) type Environment = BTreeMap<String, String>;

/// Expands all values below `node`. `path` is the node's own.
pub(crate) fn expand_tree(node: &mut Node, path: &str, env: &Environment, report: &mut Report) {
    match &mut node.value {
        Value::Text { text, expanded } => {
            if !text.contains('$') {
                return;
            }
            let mut unset = Vec::new();
            match expand(text, env, &mut unset) {
                Ok(new) => {
                    *expanded = *expanded || new != *text;
                    *text = new;
                }
                Err(message) => report.error(node.pos, path, message),
            }
            for name in unset {
                report.warn(node.pos, path, format!("the variable {name} is not set; an empty string is used"));
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_tree(item, &format!("{path}[{index}]"), env, report);
            }
        }
        Value::Map(map) => {
            for entry in &mut map.0 {
                expand_tree(&mut entry.node, &join(path, &entry.key), env, report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
    }
}

/// The path of member `key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = brief(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Expands one text. Names without a value and without a default go to `unset`.
pub(crate) fn expand(text: &str, env: &Environment, unset: &mut Vec<String>) -> Result<String, String> {
    Expander { env, unset }.text(text, 0)
}

struct Expander<'a> {
    env: &'a Environment,
    unset: &'a mut Vec<String>,
}

/// Length in bytes of the variable name that `text` begins with.
fn name_len(text: &str) -> usize {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first {
        return 0;
    }
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

/// Where the `}` is that closes the brace `text` is the inside of.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

impl Expander<'_> {
    fn text(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > NESTING_MAX {
            return Err(format!("variables are nested deeper than {NESTING_MAX} levels"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| bad(text))?;
                out.push_str(&self.braced(&inside[..end], text, depth)?);
                rest = &inside[end + 1..];
            } else {
                let len = name_len(rest);
                if len == 0 {
                    return Err(bad(text));
                }
                out.push_str(&self.plain(&rest[..len]));
                rest = &rest[len..];
            }
            if out.len() > VALUE_BYTES_MAX {
                return Err(format!("the value is longer than {VALUE_BYTES_MAX} bytes once its variables are put in"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn plain(&mut self, name: &str) -> String {
        self.env.get(name).cloned().unwrap_or_else(|| {
            self.unset.push(name.to_owned());
            String::new()
        })
    }

    fn braced(&mut self, inside: &str, whole: &str, depth: usize) -> Result<String, String> {
        let len = name_len(inside);
        let (name, rest) = inside.split_at(len);
        if len == 0 {
            return Err(bad(whole));
        }
        if rest.is_empty() {
            return Ok(self.plain(name));
        }
        let (filled_only, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let value = self.env.get(name).filter(|value| !filled_only || !value.is_empty()).cloned();
        let mut chars = rest.chars();
        let operator = chars.next();
        let argument = chars.as_str();
        match (operator, value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.text(argument, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let words = self.text(argument, depth + 1)?;
                let words = if words.is_empty() { "set it, or give a default with ${NAME:-default}" } else { &words };
                Err(format!("the required variable {name} is missing a value: {}", brief(words)))
            }
            (Some(_) | None, _) => Err(bad(whole)),
        }
    }
}

fn bad(text: &str) -> String {
    format!("\"{}\" has a $ that begins no variable; write $$ for a dollar sign", brief(text))
}
