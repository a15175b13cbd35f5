//! The tokens of one action, to pipelines.

use super::Uses;
use super::functions::Function;
use super::lex::{Spot, Token};
use super::parse::{Base, Command, DEPTH_MAX, Operand, Origin, Pipeline};
use serde_json::Value;

pub(super) struct Cursor<'a> {
    spots: &'a [Spot],
    at: usize,
    depth: usize,
    uses: Uses,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(spots: &'a [Spot], uses: Uses) -> Self {
        Self { spots, at: 0, depth: 0, uses }
    }

    fn function(&self, word: &str) -> Result<Function, String> {
        let known =
            Function::named(word).filter(|function| self.uses == Uses::Contents || function.looks_up().is_none());
        known.ok_or_else(|| format!("function \"{word}\" not defined"))
    }

    fn peek(&self) -> Option<&'a Token> {
        self.spots.get(self.at).map(|spot| &spot.token)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(&Token::Blank) {
            self.at += 1;
        }
    }

    /// The first tokens without blanks, to see what they begin with.
    fn solid(&self) -> Vec<&'a Token> {
        self.spots.iter().map(|spot| &spot.token).filter(|token| **token != Token::Blank).take(4).collect()
    }

    fn skip_past(&mut self, last: &Token) {
        while let Some(token) = self.peek() {
            self.at += 1;
            if token == last {
                return;
            }
        }
    }

    /// The variable of `$x := ...` or `$x = ...`; after it the cursor is behind the sign.
    pub(super) fn variable_before(&mut self, sign: &Token) -> Option<String> {
        match self.solid().as_slice() {
            [Token::Variable(name), second, ..] if *second == sign => {
                self.skip_past(sign);
                Some(name.clone())
            }
            _ => None,
        }
    }

    pub(super) fn range_variables(&mut self) -> (Option<String>, Option<String>) {
        let found = match self.solid().as_slice() {
            [Token::Variable(key), Token::Comma, Token::Variable(item), Token::Declare] => {
                (Some(key.clone()), Some(item.clone()))
            }
            [Token::Variable(item), Token::Declare, ..] => (None, Some(item.clone())),
            _ => return (None, None),
        };
        self.skip_past(&Token::Declare);
        found
    }

    /// The name in `define "x"`, `template "x"`, `block "x"`.
    pub(super) fn name(&mut self, context: &str) -> Result<String, String> {
        self.blanks();
        match self.peek() {
            Some(Token::Text(name)) => {
                self.at += 1;
                Ok(name.clone())
            }
            Some(token) => Err(format!("unexpected {} in {context} clause", shown(token))),
            None => Err(format!("unexpected \"}}}}\" in {context} clause")),
        }
    }

    /// That nothing is left.
    pub(super) fn ended(&mut self, context: &str) -> Result<(), String> {
        self.blanks();
        self.peek().map_or(Ok(()), |token| Err(format!("unexpected {} in {context}", shown(token))))
    }

    /// A pipeline that takes all that is left; `context` is what it is of.
    pub(super) fn whole(mut self, context: &str) -> Result<Pipeline, String> {
        self.blanks();
        if self.peek().is_none() {
            return Err(format!("missing value for {context}"));
        }
        let pipeline = self.pipeline()?;
        self.ended("command")?;
        Ok(pipeline)
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&Token::Pipe) {
            self.at += 1;
            commands.push(self.command()?);
        }
        if commands.iter().skip(1).any(|command| matches!(command, Command::Value(_))) {
            return Err("non executable command in pipeline".to_owned());
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, String> {
        self.blanks();
        let start = self.at;
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
            Some(function) => Ok(Command::Call(function, operands, self.origin(start, start))),
            None if operands.len() > 1 => self.method(operands, start),
            None => operands.pop().map(Command::Value).ok_or_else(|| "missing value for command".to_owned()),
        }
    }

    /// `.Label "KEY"`: the one field that takes an argument.
    fn method(&self, mut operands: Vec<Operand>, start: usize) -> Result<Command, String> {
        let first = operands.remove(0);
        let is_root = match &first.base {
            Base::Dot => true,
            Base::Variable(name) => name.is_empty(),
            Base::Constant(_) | Base::Group(_) => false,
        };
        if self.uses == Uses::Rows && is_root && first.fields == ["Label"] {
            return Ok(Command::Call(Function::Label, operands, self.origin(start, start)));
        }
        Err(format!("can't give argument to non-function {}", first.origin.source))
    }

    /// From `start` to here; its place is that of the token `place`.
    fn origin(&self, start: usize, place: usize) -> Origin {
        let place = self.spots.get(place).map(|spot| spot.place).unwrap_or_default();
        let source: String = self.spots[start..self.at].iter().map(|spot| source(&spot.token)).collect();
        Origin { place, source: source.trim_end().to_owned() }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let start = self.at;
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
                word => {
                    let function = self.function(word)?;
                    Base::Group(vec![Command::Call(function, Vec::new(), self.origin(start, start))])
                }
            },
            Token::Open => Base::Group(self.group()?),
            token @ (Token::Close | Token::Pipe | Token::Comma | Token::Declare | Token::Assign | Token::Blank) => {
                return Err(format!("unexpected {} in operand", shown(token)));
            }
        };
        let second = self.at;
        while let Some(Token::Field(name)) = self.peek() {
            if name.is_empty() {
                return Err("unexpected . in operand".to_owned());
            }
            fields.push(name.clone());
            self.at += 1;
        }
        // A chain of fields is, for Go, where its second part is.
        let place = if self.at > second { second } else { start };
        Ok(Operand { base, fields, origin: self.origin(start, place) })
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

/// A token as it is written.
fn source(token: &Token) -> String {
    match token {
        Token::Field(name) => format!(".{name}"),
        Token::Variable(name) => format!("${name}"),
        Token::Word(word) => word.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Number(number) => number.to_string(),
        Token::Open => "(".to_owned(),
        Token::Close => ")".to_owned(),
        Token::Pipe => "|".to_owned(),
        Token::Comma => ",".to_owned(),
        Token::Declare => ":=".to_owned(),
        Token::Assign => "=".to_owned(),
        Token::Blank => " ".to_owned(),
    }
}

/// A token as an error names it.
fn shown(token: &Token) -> String {
    match token {
        Token::Field(_) | Token::Variable(_) | Token::Word(_) => format!("<{}>", source(token)),
        Token::Text(_) | Token::Number(_) => source(token),
        Token::Open | Token::Close | Token::Pipe | Token::Comma | Token::Declare | Token::Assign => {
            format!("{:?}", source(token))
        }
        Token::Blank => "blank".to_owned(),
    }
}
