//! Lines that change while something is under way, on standard error.
//!
//! On a terminal each line is kept in its place; elsewhere a line is printed when it changes.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;

/// Most lines that are shown on a terminal; more would scroll.
const LINES_MAX: usize = 20;

/// Lines by name.
#[derive(Debug)]
pub struct Board {
    bars: Option<MultiProgress>,
    lines: BTreeMap<String, Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    bar: Option<ProgressBar>,
}

impl Board {
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, lines: BTreeMap::new() }
    }

    /// Whether lines may change often.
    pub fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    /// Whether there is a line of that name.
    pub fn has(&self, name: &str) -> bool {
        self.lines.contains_key(name)
    }

    /// Sets the line of that name; a new one comes below the others.
    pub fn set(&mut self, name: &str, text: &str) {
        match self.lines.get_mut(name) {
            Some(line) if line.text == text => return,
            Some(line) => {
                text.clone_into(&mut line.text);
                if let Some(bar) = &line.bar {
                    bar.set_message(text.to_owned());
                }
            }
            None => {
                let bar = self.bars.as_ref().filter(|_| self.lines.len() < LINES_MAX).map(|bars| {
                    let bar = bars.add(ProgressBar::new_spinner().with_style(style()));
                    bar.set_message(text.to_owned());
                    bar
                });
                self.lines.insert(name.to_owned(), Line { text: text.to_owned(), bar });
            }
        }
        if let Some(Line { bar: Some(bar), .. }) = self.lines.get(name) {
            bar.tick();
        }
        if self.bars.is_none() {
            eprintln!("{text}");
        }
    }

    /// As `set`; where lines pile up, one that differs in its numbers alone, as a time that is left, is not repeated.
    pub fn set_words(&mut self, name: &str, text: &str) {
        let said = self.lines.get(name).filter(|_| !self.is_live());
        if said.is_none_or(|line| words(&line.text) != words(text)) {
            self.set(name, text);
        }
    }

    /// Leaves the lines as they are.
    pub fn finish(self) {
        for line in self.lines.into_values() {
            if let Some(bar) = line.bar {
                bar.abandon();
            }
        }
    }
}

/// The text without its numbers.
fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn style() -> ProgressStyle {
    // The template is a constant with one known key; the default style stands in should it ever not parse.
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A bar of `width` characters, `done` of `total` full.
pub fn bar(done: u64, total: u64, width: usize) -> String {
    let total = total.max(1);
    let full = usize::try_from(done.min(total) * width as u64 / total).unwrap_or(width);
    let head = if full < width { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat((width - full).saturating_sub(head.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_differs_in_its_numbers_alone() {
        assert_eq!(
            words("waits for web.1.x7 to stop, 10 s at the most"),
            words("waits for web.1.x7 to stop, 9 s at the most")
        );
        assert_ne!(words("1/3: preparing"), words("1/3: running"));
    }

    #[test]
    fn a_bar_is_as_full_as_its_share() {
        assert_eq!(bar(0, 10, 5), "[>    ]");
        assert_eq!(bar(5, 10, 4), "[==> ]");
        assert_eq!(bar(10, 10, 4), "[====]");
        assert_eq!(bar(99, 0, 3), "[===]");
    }
}
