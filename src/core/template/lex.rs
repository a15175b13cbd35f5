//! Text to pieces: literal text and the tokens of actions.

use super::Fault;

/// Part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// With the line it begins in.
    Action(usize, Vec<Spot>),
}

/// A token, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub token: Token,
    pub place: Place,
}

/// Part of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.A` or, alone, `.` (empty name).
    Field(String),
    /// `$x` or `$` (empty name).
    Variable(String),
    Word(String),
    Text(String),
    Number(f64),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
    /// Blank between tokens: `.A .B` are two operands, `.A.B` is one.
    Blank,
}

/// Where something is: the line from 1, and the byte in it from 0 (Go's way of telling).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place after this text.
    fn after(self, text: &str) -> Self {
        match text.rfind('\n') {
            Some(last) => Self { line: self.line + newlines(text), column: text.len() - last - 1 },
            None => Self { column: self.column + text.len(), ..self },
        }
    }
}

pub(super) fn lex(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    let mut place = Place { line: 1, column: 0 };
    loop {
        let start = rest.find("{{");
        let literal = &rest[..start.unwrap_or(rest.len())];
        place = place.after(literal);
        let literal = if trim_next { literal.trim_start() } else { literal };
        let Some(start) = start else {
            push_text(&mut pieces, literal);
            return Ok(pieces);
        };
        let body = &rest[start + 2..];
        place.column += 2;
        let trims = body.starts_with("- ") || body.starts_with("-\n") || body.starts_with("-\t");
        push_text(&mut pieces, if trims { literal.trim_end() } else { literal });
        let (marker, body) = body.split_at(usize::from(trims));
        place = place.after(marker);
        let line = place.line;
        let end = end_of_action(body).map_err(Fault::at(line))?;
        let inside = &body[..end];
        rest = &body[end + 2..];
        trim_next = inside.ends_with(" -") || inside.ends_with("\t-") || inside.ends_with("\n-");
        let inside = if trim_next { &inside[..inside.len() - 1] } else { inside };
        let (blanks, trimmed) = inside.split_at(inside.len() - inside.trim_start().len());
        let action = trimmed.trim_end();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            let spots = spots(action, place.after(blanks)).map_err(Fault::at(line))?;
            pieces.push(Piece::Action(line, spots));
        }
        place = place.after(&body[..end + 2]);
    }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where `}}` is, not counting quoted ones.
fn end_of_action(body: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if body[at..].starts_with("}}") => return Ok(at),
            None => {}
        }
    }
    Err("unclosed action".to_owned())
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens of an action that is at `place`.
fn spots(action: &str, mut place: Place) -> Result<Vec<Spot>, String> {
    let mut out = Vec::new();
    let mut rest = action;
    while let Some(first) = rest.chars().next() {
        let name_after = |skip: usize| {
            let tail = &rest[skip..];
            tail.find(|c: char| !is_name(c)).map_or(rest.len(), |end| skip + end)
        };
        let (token, used) = match first {
            c if c.is_whitespace() => (Token::Blank, rest.len() - rest.trim_start().len()),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '.' => {
                let end = name_after(1);
                (Token::Field(rest[1..end].to_owned()), end)
            }
            '$' => {
                let end = name_after(1);
                (Token::Variable(rest[1..end].to_owned()), end)
            }
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            c if c.is_ascii_digit() || c == '-' || c == '+' => number(rest)?,
            c if is_name(c) => {
                let end = name_after(0);
                (Token::Word(rest[..end].to_owned()), end)
            }
            c => return Err(format!("unexpected {c:?} in command")),
        };
        out.push(Spot { token, place });
        place = place.after(&rest[..used]);
        rest = &rest[used..];
    }
    Ok(out)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let end = rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(rest.len(), |end| end + 1);
    let number = rest[..end].parse().map_err(|_| format!("bad number syntax: {:?}", &rest[..end]))?;
    Ok((Token::Number(number), end))
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), at + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, c @ ('"' | '\'' | '\\'))) => out.push(c),
                Some((_, c)) => return Err(format!("unknown escape \\{c}")),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}
