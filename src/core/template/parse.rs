//! Tokens to a tree.

use super::cursor::Cursor;
use super::functions::Function;
use super::lex::{Piece, Place, Spot, Token};
use super::{Fault, Uses};
use serde_json::Value;
use std::collections::BTreeMap;

/// Parentheses and blocks within one another; a template of a person has few, and evaluation recurses.
pub(super) const DEPTH_MAX: usize = 50;

/// A template, and those it defines by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// A part of a template, with the line it begins in.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    Print(Pipeline),
    Declare(String, Pipeline),
    Assign(String, Pipeline),
    If(Condition, Vec<Node>, Vec<Node>),
    With(Condition, Vec<Node>, Vec<Node>),
    Range(Range),
    /// Another template, with its dot; nothing by default.
    Include(String, Option<Pipeline>),
    Break,
    Continue,
}

/// Of `if` and `with`; the variable is known in the block.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub variable: Option<String>,
    pub of: Pipeline,
}

#[derive(Clone, Debug)]
pub(super) struct Range {
    pub key: Option<String>,
    pub item: Option<String>,
    pub over: Pipeline,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Commands; each gets the result of the one before as its last argument.
pub(super) type Pipeline = Vec<Command>;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Value(Operand),
    Call(Function, Vec<Operand>, Origin),
}

#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub base: Base,
    pub fields: Vec<String>,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Constant(Value),
    Group(Pipeline),
}

/// Where a part of an action is, and as what it was written: for errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub place: Place,
    pub source: String,
}

pub(super) fn parse(pieces: Vec<Piece>, uses: Uses) -> Result<Tree, Fault> {
    let (defined, included) = (BTreeMap::new(), Vec::new());
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, ranges: 0, line: 1, uses, defined, included };
    let parsed = parser.block().and_then(|(nodes, end)| match end {
        End::Input => Ok(nodes),
        End::Else(_) => Err("unexpected {{else}}".to_owned()),
        End::Closed => Err("unexpected {{end}}".to_owned()),
    });
    let nodes = parsed.map_err(Fault::at(parser.line))?;
    match parser.included.iter().find(|(_, name)| !parser.defined.contains_key(name)) {
        Some((line, name)) => Err(Fault::at(*line)(format!("template {name:?} not defined"))),
        None => Ok(Tree { nodes, defined: parser.defined }),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    /// Those around what is parsed.
    ranges: usize,
    /// Of the action that is parsed.
    line: usize,
    uses: Uses,
    defined: BTreeMap<String, Vec<Node>>,
    /// Names that are used, each with its line.
    included: Vec<(usize, String)>,
}

/// What ended a block.
enum End {
    Input,
    Closed,
    /// With the tokens after `else`.
    Else(Vec<Spot>),
}

fn word(spots: &[Spot]) -> Option<&str> {
    match &spots.first()?.token {
        Token::Word(word) => Some(word),
        Token::Field(_)
        | Token::Variable(_)
        | Token::Text(_)
        | Token::Number(_)
        | Token::Open
        | Token::Close
        | Token::Pipe
        | Token::Comma
        | Token::Declare
        | Token::Assign
        | Token::Blank => None,
    }
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let spots = match piece {
                Piece::Text(text) => {
                    nodes.push(Node { line: self.line, kind: Kind::Text(text) });
                    continue;
                }
                Piece::Action(line, spots) => {
                    self.line = line;
                    spots
                }
            };
            match word(&spots) {
                Some("end") => return Ok((nodes, End::Closed)),
                Some("else") => return Ok((nodes, End::Else(spots[1..].to_vec()))),
                Some("define") => self.define(&spots[1..])?,
                Some(_) | None => {
                    let line = self.line;
                    let kind = self.action(&spots)?;
                    nodes.push(Node { line, kind });
                }
            }
        }
        Ok((nodes, End::Input))
    }

    fn action(&mut self, spots: &[Spot]) -> Result<Kind, String> {
        let rest = spots.get(1..).unwrap_or_default();
        match word(spots) {
            Some(word @ ("if" | "with")) => return self.conditional(word, rest),
            Some("range") => return self.range(rest),
            Some("template") => return self.include(rest),
            Some("block") => {
                let mut cursor = Cursor::new(rest, self.uses);
                let name = cursor.name("block")?;
                let of = cursor.whole("block clause")?;
                let body = self.closed("block")?;
                self.defined.insert(name.clone(), body);
                return Ok(Kind::Include(name, Some(of)));
            }
            Some(word @ ("break" | "continue")) => {
                if self.ranges == 0 {
                    return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                return Ok(if word == "break" { Kind::Break } else { Kind::Continue });
            }
            Some(_) | None => {}
        }
        let mut cursor = Cursor::new(spots, self.uses);
        if let Some(name) = cursor.variable_before(&Token::Declare) {
            return Ok(Kind::Declare(name, cursor.whole("command")?));
        }
        if let Some(name) = cursor.variable_before(&Token::Assign) {
            return Ok(Kind::Assign(name, cursor.whole("command")?));
        }
        Ok(Kind::Print(cursor.whole("command")?))
    }

    /// One more block within the others.
    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("more than {DEPTH_MAX} blocks within one another")) } else { Ok(()) }
    }

    /// A block that has no `else`.
    fn closed(&mut self, word: &str) -> Result<Vec<Node>, String> {
        self.deeper()?;
        let (nodes, end) = self.block()?;
        self.depth -= 1;
        match end {
            End::Closed => Ok(nodes),
            End::Input => Err(format!("unexpected EOF: {{{{{word}}}}} has no {{{{end}}}}")),
            End::Else(_) => Err("unexpected {{else}}".to_owned()),
        }
    }

    fn define(&mut self, rest: &[Spot]) -> Result<(), String> {
        if self.depth > 0 {
            return Err("unexpected {{define}}".to_owned());
        }
        let mut cursor = Cursor::new(rest, self.uses);
        let name = cursor.name("define")?;
        cursor.ended("define clause")?;
        let body = self.closed("define")?;
        self.defined.insert(name, body);
        Ok(())
    }

    fn include(&mut self, rest: &[Spot]) -> Result<Kind, String> {
        let mut cursor = Cursor::new(rest, self.uses);
        let name = cursor.name("template")?;
        self.included.push((self.line, name.clone()));
        match cursor.ended("template clause") {
            Ok(()) => Ok(Kind::Include(name, None)),
            Err(_) => Ok(Kind::Include(name, Some(cursor.whole("template clause")?))),
        }
    }

    fn conditional(&mut self, word: &str, rest: &[Spot]) -> Result<Kind, String> {
        self.deeper()?;
        let mut cursor = Cursor::new(rest, self.uses);
        let variable = cursor.variable_before(&Token::Declare);
        let condition = Condition { variable, of: cursor.whole(word)? };
        let (body, end) = self.block()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Input => return Err(format!("unexpected EOF: {{{{{word}}}}} has no {{{{end}}}}")),
            End::Else(rest) => self.otherwise(word, &rest)?,
        };
        self.depth -= 1;
        Ok(if word == "if" { Kind::If(condition, body, otherwise) } else { Kind::With(condition, body, otherwise) })
    }

    fn otherwise(&mut self, opened: &str, rest: &[Spot]) -> Result<Vec<Node>, String> {
        let blanks = rest.iter().take_while(|spot| spot.token == Token::Blank).count();
        let rest = &rest[blanks..];
        match word(rest) {
            // `else if` shares the `end`.
            Some(next) if next == opened && next != "range" => {
                let line = self.line;
                let kind = self.conditional(opened, &rest[1..])?;
                Ok(vec![Node { line, kind }])
            }
            None if rest.is_empty() => match self.block()? {
                (nodes, End::Closed) => Ok(nodes),
                (_, End::Input) => Err(format!("unexpected EOF: {{{{{opened}}}}} has no {{{{end}}}}")),
                (_, End::Else(_)) => Err("unexpected {{else}}".to_owned()),
            },
            Some(_) | None => Err("unexpected tokens after {{else}}".to_owned()),
        }
    }

    fn range(&mut self, rest: &[Spot]) -> Result<Kind, String> {
        self.deeper()?;
        let mut cursor = Cursor::new(rest, self.uses);
        let (key, item) = cursor.range_variables();
        let over = cursor.whole("range")?;
        self.ranges += 1;
        let (body, end) = self.block()?;
        self.ranges -= 1;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Input => return Err("unexpected EOF: {{range}} has no {{end}}".to_owned()),
            End::Else(rest) => self.otherwise("range", &rest)?,
        };
        self.depth -= 1;
        Ok(Kind::Range(Range { key, item, over, body, otherwise }))
    }
}
