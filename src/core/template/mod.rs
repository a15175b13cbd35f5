//! The part of Go's text/template that docker's users write: for the output of commands (`--format`), and in services,
//! configs and secrets ([`task`]).
//!
//! Fields, pipelines, functions, variables, `if`, `with`, `range`, templates within templates, trim markers and comments;
//! docker's functions (`json`, `join`, `split`, `upper`, `lower`, `title`, `pad`, `truncate`, `println`) and Go's but
//! `call`. Follows the documentation of Go's `text/template` and `fmt` and docker's pages on formatting and on templates of
//! services. An error names parts of the template, never a value: that may be a secret.

mod check;
mod cursor;
mod eval;
mod format;
mod functions;
mod lex;
mod parse;
pub mod task;
mod types;

#[cfg(test)]
mod tests;

pub use check::Mention;
use parse::{Origin, Tree};
use serde_json::Value;
use std::fmt;
pub use types::{Type, Types};

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// The objects a command prints, or a field of a service.
    Fields,
    /// The rows of a list: `.Label "KEY"` is known, too.
    Rows,
    /// The content of a config or secret: `env`, `secret` and `config` are known, too.
    Contents,
}

/// How values are looked up and functions act.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Fields of a list are known: another name is an error, which says what it is not a field of.
    Row(&'a str),
    /// An object of known type.
    Typed(&'a Types, &'a Type),
    /// The JSON of an object by its keys: what is not there is an error.
    Raw,
    /// Headers: functions leave their argument as it is.
    Headers,
    /// All fields are known: what is not there is an error.
    Strict,
}

/// How much a template may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub output_bytes: usize,
    /// Of all values on the way there.
    pub work_bytes: usize,
}

/// What `env`, `secret` and `config` name, and `.Label` of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Env,
    Secret,
    Config,
    Label,
}

/// Answers for what is named; the error says what is not there.
pub type Lookup<'a> = &'a dyn Fn(Named, &str) -> Result<String, String>;

/// What is wrong with a template, or with filling it in. Displays as words that quote parts of the template; for one
/// whose text is secret there is [`Fault::discreet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Fault {
    line: Option<usize>,
    /// The part of an action that was carried out.
    origin: Option<Origin>,
    words: String,
    is_missing: bool,
}

impl Fault {
    fn new(words: impl Into<String>) -> Self {
        Self { line: None, origin: None, words: words.into(), is_missing: false }
    }

    fn missing(words: impl Into<String>) -> Self {
        Self { is_missing: true, ..Self::new(words) }
    }

    /// Without the name of what is missing.
    fn unnamed(self) -> Self {
        match self.is_missing {
            true => Self { words: "the task has nothing of that name".to_owned(), ..self },
            false => self,
        }
    }

    fn at(line: usize) -> impl Fn(String) -> Self {
        move |words| Self::new(words).first_at(line)
    }

    /// In this line, unless it is known better.
    fn first_at(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    /// In this part, unless it is known better.
    fn first_in(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// As Go says it, of a template of that name.
    pub fn as_in_go(&self, name: &str) -> impl fmt::Display {
        let words = &self.words;
        match (&self.origin, self.line) {
            (Some(Origin { place, source }), _) => {
                let (line, column) = (place.line, place.column);
                format!("template: {name}:{line}:{column}: executing \"{name}\" at <{source}>: {words}")
            }
            (None, Some(line)) => format!("template: {name}:{line}: {words}"),
            (None, None) => format!("template: {name}: {words}"),
        }
    }

    /// With the line: `line 3: function "x" not defined`.
    pub fn placed(&self) -> impl fmt::Display {
        match self.line {
            Some(line) => format!("line {line}: {}", self.words),
            None => self.words.clone(),
        }
    }

    /// The line alone, and whether it is that something is not there.
    pub fn discreet(&self) -> impl fmt::Display {
        let what = match self.is_missing {
            true => "it names what is not there",
            false => "it is not a template that can be filled in",
        };
        match self.line {
            Some(line) => format!("line {line}: {what}"),
            None => what.to_owned(),
        }
    }
}

impl From<String> for Fault {
    fn from(words: String) -> Self {
        Self::new(words)
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    tree: Tree,
}

impl Template {
    /// # Errors
    /// When the text is no template, or uses what is not supported.
    pub fn parse(text: &str, uses: Uses) -> Result<Self, Fault> {
        Ok(Self { tree: parse::parse(lex::lex(text)?, uses)? })
    }

    /// The text for `value`.
    pub fn render(&self, value: &Value, mode: Mode<'_>, limits: Limits) -> Result<String, Fault> {
        eval::render(&self.tree, value, mode, limits, None)
    }

    /// As `render`, with answers for what is named.
    pub fn render_with(
        &self,
        value: &Value,
        mode: Mode<'_>,
        limits: Limits,
        lookup: Lookup<'_>,
    ) -> Result<String, Fault> {
        eval::render(&self.tree, value, mode, limits, Some(lookup))
    }
}
