//! The part of Go's text/template that docker's users write: for the output of commands (`--format`), and in services,
//! configs and secrets ([`task`]).
//!
//! Fields, pipelines, functions, variables, `if`, `with`, `range`, trim markers and comments; docker's functions
//! (`json`, `join`, `split`, `upper`, `lower`, `title`, `pad`, `truncate`, `println`) and Go's (`index`, `len`, `print`,
//! `printf`, `eq` and the like). Templates that define or include others are refused. Follows the documentation of Go's
//! `text/template` and docker's pages on formatting and on templates of services. An error names parts of the template,
//! never a value: that may be a secret.

mod check;
mod eval;
mod functions;
mod lex;
mod parse;
pub mod task;

#[cfg(test)]
mod tests;

pub use check::Mention;
use parse::Node;
use serde_json::Value;
use std::fmt;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// The output of a command, or a field of a service.
    Fields,
    /// The content of a config or secret: `env`, `secret` and `config` are known, too.
    Contents,
}

/// How values are looked up and functions act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Fields of a list are known: another name is an error.
    Row,
    /// The JSON of an object, where absent fields are omitted ones.
    Object,
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

/// What `env`, `secret` and `config` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Env,
    Secret,
    Config,
}

/// Answers `env`, `secret` and `config`; the error says what is not there.
pub type Lookup<'a> = &'a dyn Fn(Named, &str) -> Result<String, String>;

/// What is wrong with a template, or with filling it in. Displays as words that quote parts of the template; for one
/// whose text is secret there is [`Fault::discreet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Fault {
    line: Option<usize>,
    words: String,
    is_missing: bool,
}

impl Fault {
    fn new(words: impl Into<String>) -> Self {
        Self { line: None, words: words.into(), is_missing: false }
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
    nodes: Vec<Node>,
}

impl Template {
    /// # Errors
    /// When the text is no template, or uses what is not supported.
    pub fn parse(text: &str, uses: Uses) -> Result<Self, Fault> {
        Ok(Self { nodes: parse::parse(lex::lex(text)?, uses)? })
    }

    /// The text for `value`.
    pub fn render(&self, value: &Value, mode: Mode, limits: Limits) -> Result<String, Fault> {
        eval::render(&self.nodes, value, mode, limits, None)
    }

    /// As `render`, with answers for `env`, `secret` and `config`.
    pub fn fill(&self, value: &Value, limits: Limits, lookup: Lookup<'_>) -> Result<String, Fault> {
        eval::render(&self.nodes, value, Mode::Strict, limits, Some(lookup))
    }
}
