//! Tokens to a tree.

use super::functions::Function;
use super::lex::{Piece, Token};
use super::{Fault, Uses};
use serde_json::Value;

/// Parentheses and blocks within one another; a template of a person has few, and evaluation recurses.
const DEPTH_MAX: usize = 50;

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
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Range),
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
    Call(Function, Vec<Operand>),
}

#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub base: Base,
    pub fields: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Constant(Value),
    Group(Pipeline),
}

pub(super) fn parse(pieces: Vec<Piece>, uses: Uses) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, line: 1, uses };
    let parsed = parser.block().and_then(|(nodes, end)| match end {
        End::Input => Ok(nodes),
        End::Else(_) => Err("unexpected {{else}}".to_owned()),
        End::Closed => Err("unexpected {{end}}".to_owned()),
    });
    parsed.map_err(Fault::at(parser.line))
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    /// Of the action that is parsed.
    line: usize,
    uses: Uses,
}

/// What ended a block.
enum End {
    Input,
    Closed,
    /// With the tokens after `else`.
    Else(Vec<Token>),
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node { line: self.line, kind: Kind::Text(text) });
                    continue;
                }
                Piece::Action(line, tokens) => {
                    self.line = line;
                    tokens
                }
            };
            match tokens.first() {
                Some(Token::Word(word)) if word == "end" => return Ok((nodes, End::Closed)),
                Some(Token::Word(word)) if word == "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                _ => {
                    let line = self.line;
                    let kind = self.action(tokens)?;
                    nodes.push(Node { line, kind });
                }
            }
        }
        Ok((nodes, End::Input))
    }

    fn action(&mut self, tokens: Vec<Token>) -> Result<Kind, String> {
        if let Some(Token::Word(word)) = tokens.first() {
            let rest = tokens[1..].to_vec();
            match word.as_str() {
                "if" | "with" => return self.conditional(&word.clone(), rest),
                "range" => return self.range(rest),
                "template" | "define" | "block" | "break" | "continue" => {
                    return Err(format!("{{{{{word}}}}} is not supported"));
                }
                _ => {}
            }
        }
        let mut cursor = Cursor::new(&tokens, self.uses);
        if let Some(name) = cursor.declaration() {
            return Ok(Kind::Declare(name, cursor.whole()?));
        }
        Ok(Kind::Print(cursor.whole()?))
    }

    fn conditional(&mut self, word: &str, tokens: Vec<Token>) -> Result<Kind, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} blocks within one another"));
        }
        let condition = Cursor::new(&tokens, self.uses).whole()?;
        let (body, end) = self.block()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Input => return Err(format!("unexpected EOF: {{{{{word}}}}} has no {{{{end}}}}")),
            End::Else(tokens) => self.otherwise(word, tokens)?,
        };
        self.depth -= 1;
        Ok(if word == "if" { Kind::If(condition, body, otherwise) } else { Kind::With(condition, body, otherwise) })
    }

    fn otherwise(&mut self, word: &str, tokens: Vec<Token>) -> Result<Vec<Node>, String> {
        let tokens: Vec<Token> = tokens.into_iter().skip_while(|token| *token == Token::Blank).collect();
        match tokens.first() {
            // `else if` shares the `end`.
            Some(Token::Word(next)) if next == word => {
                let line = self.line;
                let kind = self.conditional(word, tokens[1..].to_vec())?;
                Ok(vec![Node { line, kind }])
            }
            Some(_) => Err("unexpected tokens after {{else}}".to_owned()),
            None => match self.block()? {
                (nodes, End::Closed) => Ok(nodes),
                (_, End::Input) => Err(format!("unexpected EOF: {{{{{word}}}}} has no {{{{end}}}}")),
                (_, End::Else(_)) => Err("unexpected {{else}}".to_owned()),
            },
        }
    }

    fn range(&mut self, tokens: Vec<Token>) -> Result<Kind, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} blocks within one another"));
        }
        let mut cursor = Cursor::new(&tokens, self.uses);
        let (key, item) = cursor.range_variables();
        let over = cursor.whole()?;
        let (body, end) = self.block()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Input => return Err("unexpected EOF: {{range}} has no {{end}}".to_owned()),
            End::Else(tokens) => self.otherwise("range", tokens)?,
        };
        self.depth -= 1;
        Ok(Kind::Range(Range { key, item, over, body, otherwise }))
    }
}

struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    uses: Uses,
}

impl<'a> Cursor<'a> {
    fn new(tokens: &'a [Token], uses: Uses) -> Self {
        Self { tokens, at: 0, depth: 0, uses }
    }

    fn function(&self, word: &str) -> Result<Function, String> {
        let known =
            Function::named(word).filter(|function| self.uses == Uses::Contents || function.looks_up().is_none());
        known.ok_or_else(|| format!("function \"{word}\" not defined"))
    }

    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(&Token::Blank) {
            self.at += 1;
        }
    }

    /// The tokens without blanks, to see what they begin with.
    fn solid(&self) -> Vec<&'a Token> {
        self.tokens.iter().filter(|token| **token != Token::Blank).take(4).collect()
    }

    fn skip_past_declare(&mut self) {
        while let Some(token) = self.peek() {
            self.at += 1;
            if *token == Token::Declare {
                return;
            }
        }
    }

    fn declaration(&mut self) -> Option<String> {
        match self.solid().as_slice() {
            [Token::Variable(name), Token::Declare, ..] => {
                self.skip_past_declare();
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn range_variables(&mut self) -> (Option<String>, Option<String>) {
        let found = match self.solid().as_slice() {
            [Token::Variable(key), Token::Comma, Token::Variable(item), Token::Declare] => {
                (Some(key.clone()), Some(item.clone()))
            }
            [Token::Variable(item), Token::Declare, ..] => (None, Some(item.clone())),
            _ => return (None, None),
        };
        self.skip_past_declare();
        found
    }

    /// A pipeline that takes all that is left.
    fn whole(mut self) -> Result<Pipeline, String> {
        let pipeline = self.pipeline()?;
        match self.peek() {
            None => Ok(pipeline),
            Some(token) => Err(format!("unexpected {} in command", name(token))),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&Token::Pipe) {
            self.at += 1;
            commands.push(self.command()?);
        }
        if let Some(Command::Value(_)) = commands.iter().skip(1).find(|command| matches!(command, Command::Value(_))) {
            return Err("non executable command in pipeline".to_owned());
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, String> {
        self.blanks();
        let function = match self.peek() {
            Some(Token::Word(word)) if !matches!(word.as_str(), "true" | "false" | "nil") => {
                self.at += 1;
                Some(self.function(word)?)
            }
            _ => None,
        };
        let mut operands = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None | Some(Token::Pipe | Token::Close) => break,
                Some(_) => operands.push(self.operand()?),
            }
        }
        match function {
            Some(function) => Ok(Command::Call(function, operands)),
            None if operands.len() > 1 => Err("can't give argument to non-function".to_owned()),
            None => operands.pop().map(Command::Value).ok_or_else(|| "missing value for command".to_owned()),
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let token = self.peek().ok_or("missing value for command")?;
        self.at += 1;
        let mut fields = Vec::new();
        let base = match token {
            Token::Field(name) => {
                if !name.is_empty() {
                    fields.push(name.clone());
                }
                Base::Dot
            }
            Token::Variable(name) => Base::Variable(name.clone()),
            Token::Text(text) => Base::Constant(Value::from(text.as_str())),
            Token::Number(number) if number.fract() == 0.0 => Base::Constant(Value::from(*number as i64)),
            Token::Number(number) => Base::Constant(Value::from(*number)),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Constant(Value::Bool(true)),
                "false" => Base::Constant(Value::Bool(false)),
                "nil" => Base::Constant(Value::Null),
                word => Base::Group(vec![Command::Call(self.function(word)?, Vec::new())]),
            },
            Token::Open => Base::Group(self.group()?),
            token @ (Token::Close | Token::Pipe | Token::Comma | Token::Declare | Token::Blank) => {
                return Err(format!("unexpected {} in operand", name(token)));
            }
        };
        while let Some(Token::Field(name)) = self.peek() {
            if name.is_empty() {
                return Err("unexpected . in operand".to_owned());
            }
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Operand { base, fields })
    }

    fn group(&mut self) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} parentheses within one another"));
        }
        let pipeline = self.pipeline()?;
        if self.peek() != Some(&Token::Close) {
            return Err("unclosed left paren".to_owned());
        }
        self.at += 1;
        self.depth -= 1;
        Ok(pipeline)
    }
}

fn name(token: &Token) -> String {
    match token {
        Token::Field(name) => format!("<.{name}>"),
        Token::Variable(name) => format!("<${name}>"),
        Token::Word(word) => format!("<{word}>"),
        Token::Text(text) => format!("{text:?}"),
        Token::Number(number) => number.to_string(),
        Token::Open => "\"(\"".to_owned(),
        Token::Close => "\")\"".to_owned(),
        Token::Pipe => "\"|\"".to_owned(),
        Token::Comma => "\",\"".to_owned(),
        Token::Declare => "\":=\"".to_owned(),
        Token::Blank => "blank".to_owned(),
    }
}
