//! What is said about a compose file: errors and warnings, each with the place they are about.
//!
//! Owned by `compose`. Collected in one [`Report`] while a file is read, so that one run names all of them.

use super::value::Pos;
use std::collections::BTreeSet;
use std::fmt;

/// Most errors, and most warnings, kept of one run; a person reads no more, and a hostile file must not grow them without end.
const NOTES_MAX: usize = 1000;

/// One line about one place of a file: `stack.yml:12:7: services.web.prots: unknown key (did you mean ports?)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Name of the file as it was given.
    pub file: String,
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Keys from the top of the file, joined by dots; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a file cannot be used. Nothing was made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ComposeError(pub Note);

/// What is left out or taken differently than written; the stack can be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Note);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Collects notes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<String>,
    errors: Vec<(Pos, Note)>,
    warnings: Vec<(Pos, Note)>,
    seen: BTreeSet<(Pos, String)>,
}

impl Report {
    /// One more file, under the name that messages use; its number is that of [`Pos::file`].
    pub fn file(&mut self, name: String) -> usize {
        self.files.push(name);
        self.files.len() - 1
    }

    /// A place in words, `stack.yml:12:7`, for a message about another place.
    pub fn place(&self, pos: Pos) -> String {
        let file = self.files.get(pos.file).map_or("", String::as_str);
        if pos.line == 0 { file.to_owned() } else { format!("{file}:{}:{}", pos.line, pos.column) }
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        self.errors.len()
    }

    /// `kept`: how many there are already.
    fn note(&mut self, kept: usize, pos: Pos, path: &str, message: String) -> Option<Note> {
        // An aliased node is walked once for each use: say it once.
        if kept >= NOTES_MAX || !self.seen.insert((pos, message.clone())) {
            return None;
        }
        let file = self.files.get(pos.file).cloned().unwrap_or_default();
        Some(Note { file, line: pos.line, column: pos.column, path: path.to_owned(), message })
    }

    pub fn error(&mut self, pos: Pos, path: &str, message: impl Into<String>) {
        let note = self.note(self.errors.len(), pos, path, message.into());
        self.errors.extend(note.map(|note| (pos, note)));
    }

    pub fn warn(&mut self, pos: Pos, path: &str, message: impl Into<String>) {
        let note = self.note(self.warnings.len(), pos, path, message.into());
        self.warnings.extend(note.map(|note| (pos, note)));
    }

    pub fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The errors if there are any, else the warnings; each in the order of the files.
    pub fn finish(mut self) -> Result<Vec<Warning>, Vec<ComposeError>> {
        if self.failed() {
            self.errors.sort_by_key(|(pos, _)| *pos);
            return Err(self.errors.into_iter().map(|(_, note)| ComposeError(note)).collect());
        }
        self.warnings.sort_by_key(|(pos, _)| *pos);
        Ok(self.warnings.into_iter().map(|(_, note)| Warning(note)).collect())
    }
}

/// The candidate closest to `word`, when it is close enough to be a slip of the keyboard.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no slips; the bound keeps the work small.
    const WORD_CHARS_MAX: usize = 64;
    let chars = word.chars().count();
    if chars > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (chars / 3).clamp(1, 3);
    let scored = candidates.map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(score, _)| *score <= allowed).min_by_key(|(score, _)| *score).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
