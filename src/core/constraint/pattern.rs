//! What a value is compared with: the value itself, or one with `*` and `?` in it.

use std::fmt;

/// One part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This character, upper or lower case.
    One(char),
    /// `?`: any one character.
    Any,
    /// `*`: any number of any characters, also none.
    Many,
}

/// A value as written in a constraint. `*` and `?` stand for themselves after a backslash, and a backslash for itself
/// before anything else, so that a value Docker compares letter by letter still equals itself here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            parts.push(match char {
                '*' => Part::Many,
                '?' => Part::Any,
                '\\' => Part::One(chars.next_if(|next| matches!(next, '*' | '?')).unwrap_or('\\')),
                other => Part::One(other),
            });
        }
        Self { text: text.to_owned(), parts }
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// It stands for more than one value.
    pub fn is_glob(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Any | Part::Many))
    }

    /// Whether `value` is what it stands for, without regard to ASCII case.
    pub fn matches(&self, value: &str) -> bool {
        let value: Vec<char> = value.chars().collect();
        let (mut part, mut at) = (0, 0);
        // The last `*`, and up to where it reaches: it is let grow when what follows it does not match. Earlier ones
        // need never grow again, which keeps this at length times length.
        let mut grow: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.parts.get(part), value.get(at)) {
                (None, None) => return true,
                (Some(Part::Many), _) => {
                    grow = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                (Some(Part::Any), Some(_)) => true,
                (Some(Part::One(wanted)), Some(found)) => wanted.eq_ignore_ascii_case(found),
                (Some(Part::One(_) | Part::Any), None) | (None, Some(_)) => false,
            };
            if fits {
                part += 1;
                at += 1;
                continue;
            }
            match grow {
                Some((after, reach)) if reach < value.len() => {
                    grow = Some((after, reach + 1));
                    part = after;
                    at = reach + 1;
                }
                Some(_) | None => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
