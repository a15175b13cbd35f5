//! Recorded logs: a run's log below a header that says how to run it again, and the comparison of two.

use crate::command;
use crate::mutate::Mutation;
use crate::run::{Outcome, run_until};
use crate::settings::Settings;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;

const HEADER: &str = "# sim log 1:";
const SHAPE: &str = "# ";
/// Lines shown before the first that differs, and from there on.
const BEFORE: usize = 12;
const AFTER: usize = 6;
/// Objects shown that differ.
const OBJECTS_MAX: usize = 40;

/// The first lines of a recorded log: the words that run it again, and what they came to.
pub fn header(settings: &Settings) -> String {
    format!("{HEADER} {}\n{SHAPE}{settings:?}", words(settings))
}

/// What a person says to have the same run again.
pub fn words(settings: &Settings) -> String {
    if let Some(scenario) = settings.scenario {
        return format!("--scenario {}", scenario.name);
    }
    let seed = settings.seed;
    let small = *settings == Settings { mutation: settings.mutation, ..Settings::small(seed) };
    let small = if small { " --small" } else { "" };
    let mutation = settings.mutation.map(|mutation: Mutation| format!(" --mutation {mutation}")).unwrap_or_default();
    format!("--seed {seed}{small}{mutation}")
}

fn settings_of(header: &str) -> Result<Settings, String> {
    let words = header.strip_prefix(HEADER).ok_or(format!(
        "this is not a log of the simulator: it does not begin with \"{HEADER}\", as what --log full writes does"
    ))?;
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    match command::parse(&words)? {
        command::Command::One { settings, .. } => Ok(settings),
        _other => Err("its header does not name a run".to_owned()),
    }
}

/// A log as it was recorded.
struct Recording<'a> {
    settings: Settings,
    /// What its words came to then.
    shape: &'a str,
    lines: Vec<&'a str>,
    /// Its last line is not whole, and not among them.
    is_torn: bool,
}

fn read(text: &str) -> Result<Recording<'_>, String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_torn = !text.is_empty() && !text.ends_with('\n');
    if is_torn {
        lines.pop();
    }
    let settings = settings_of(lines.first().copied().unwrap_or(text))?;
    let shape = lines.get(1).and_then(|line| line.strip_prefix(SHAPE)).ok_or("it ends within its header")?;
    Ok(Recording { settings, shape, lines: lines.split_off(2), is_torn })
}

/// A run again, beside what was recorded of it.
struct Again {
    lines: Vec<String>,
    outcome: Outcome,
    verdict: String,
    is_same: bool,
}

fn again(recording: &Recording<'_>, until: u64) -> Again {
    let recorded = &recording.lines;
    let until = usize::try_from(until).unwrap_or(usize::MAX).min(recorded.len());
    // One more shows whether there is one.
    let whole = until == recorded.len();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = {
        let lines = Rc::clone(&lines);
        Box::new(move |line: &str| lines.borrow_mut().push(line.to_owned()))
    };
    let outcome = run_until(recording.settings.clone(), Some(sink), until as u64 + u64::from(whole));
    let mut lines = lines.take();
    let next = lines.get(until).cloned().filter(|_| whole);
    lines.truncate(until);
    let mut verdict = String::new();
    let shape = format!("{:?}", recording.settings);
    if shape != recording.shape {
        let was = recording.shape;
        let _ = writeln!(verdict, "these words came to another run when it was recorded:\n- {was}\n+ {shape}");
    }
    let departs = recorded.iter().zip(&lines).position(|(old, new)| old != new);
    let is_same = match (departs, next) {
        (Some(at), _) => {
            verdict += &departure(&recorded[..until], &lines, at);
            false
        }
        (None, _) if lines.len() < until => {
            let _ = writeln!(verdict, "this run ends after line {}, the recorded one goes on:", lines.len());
            let _ = writeln!(verdict, "- {}", recorded[lines.len()]);
            false
        }
        (None, Some(next)) => {
            let torn = if recording.is_torn { ", within a line" } else { "" };
            let _ =
                writeln!(verdict, "the same up to line {until}, where the file ends{torn}; the run goes on:\n+ {next}");
            false
        }
        (None, None) if whole => {
            let _ = writeln!(verdict, "the same, line for line, to the end of the run: {until} lines");
            true
        }
        (None, None) => {
            let _ = writeln!(verdict, "the same up to line {until} of {}", recorded.len());
            true
        }
    };
    Again { lines, outcome, verdict, is_same }
}

/// Runs a recorded log again up to a line. False when it cannot be read, or departs from what was recorded.
pub fn replay(file: &str, until: u64, diff: bool) -> bool {
    let text = match std::fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            eprintln!("sim: {file} cannot be read: {error}");
            return false;
        }
    };
    let recording = match read(&text) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("sim: {file}: {error}");
            return false;
        }
    };
    let Again { lines, outcome, verdict, is_same } = again(&recording, until);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let events = if diff { &[] } else { &lines[..] };
    let state = if until < recording.lines.len() as u64 { &outcome.state[..] } else { &[] };
    let told = events.iter().map(String::as_str).chain(state.iter().map(String::as_str));
    for line in told {
        // Whoever closed the pipe wants no more.
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    // What was asked for is data; on the events of a run it is a word.
    if diff {
        let _ = out.write_all(verdict.as_bytes());
    }
    let _ = out.flush();
    if !diff {
        eprint!("{verdict}");
    }
    is_same
}

/// Where the runs part: what led there, what each has from there on, and what their stores hold there.
fn departure(recorded: &[&str], present: &[String], at: usize) -> String {
    let mut said = format!("the runs part at line {} (-: recorded, +: now):\n", at + 1);
    for line in &recorded[at.saturating_sub(BEFORE)..at] {
        let _ = writeln!(said, "  {line}");
    }
    for line in recorded[at..].iter().take(AFTER) {
        let _ = writeln!(said, "- {line}");
    }
    for line in present[at..].iter().take(AFTER) {
        let _ = writeln!(said, "+ {line}");
    }
    let old = stores(recorded[..=at].iter().copied());
    let new = stores(present[..=at].iter().map(String::as_str));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ: Vec<_> = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).collect();
    let _ = writeln!(said, "objects of the store that differ after that line: {}", differ.len());
    for key in differ.into_iter().take(OBJECTS_MAX) {
        let side = |store: &BTreeMap<String, String>| store.get(key).cloned().unwrap_or("is not there".to_owned());
        let _ = writeln!(said, "- {key} {}\n+ {key} {}", side(&old), side(&new));
    }
    said
}

/// The objects of the newest state, as far as the lines tell: by what they are, in what state.
fn stores<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut objects = BTreeMap::new();
    for line in lines {
        for change in line.split(" | ").skip(1) {
            let Some(sign) = change.chars().next() else { continue };
            let Some((key, state)) = change[sign.len_utf8()..].split_once('@') else { continue };
            match sign {
                '+' | '~' => drop(objects.insert(key.to_owned(), format!("@{state}"))),
                '-' => drop(objects.remove(key)),
                _refusal => {}
            }
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run;
    use crate::scenarios::ALL;

    /// A short run as it is written to a file.
    fn recorded() -> String {
        let settings = Settings::scripted(&ALL[0]);
        let text = Rc::new(RefCell::new(header(&settings) + "\n"));
        let sink = {
            let text = Rc::clone(&text);
            Box::new(move |line: &str| *text.borrow_mut() += &format!("{line}\n"))
        };
        assert!(run(settings, Some(sink)).is_good());
        text.take()
    }

    fn verdict(text: &str, until: u64) -> (bool, String) {
        let Again { verdict, is_same, .. } = again(&read(text).expect("a log"), until);
        (is_same, verdict)
    }

    #[test]
    fn a_header_names_its_run() {
        let broken = Settings { mutation: Some(Mutation::SkipFsync), ..Settings::draw(8) };
        for settings in [Settings::draw(7), Settings::small(9), broken, Settings::scripted(&ALL[1])] {
            let text = header(&settings) + "\n";
            let recording = read(&text).expect("a header");
            assert_eq!(recording.settings, settings);
            assert_eq!(recording.shape, format!("{settings:?}"));
        }
    }

    #[test]
    fn what_is_no_log_is_refused_in_words() {
        let first = format!("{HEADER} --seed 3\n");
        for (text, words) in [
            ("", "not a log of the simulator"),
            ("hello\n", "not a log of the simulator"),
            ("\u{fffd}\u{0}\n", "not a log of the simulator"),
            ("# sim log 2: --seed 3\n", "does not begin with \"# sim log 1:\""),
            ("# sim log 1: --seeds 3..4\n", "does not name a run"),
            ("# sim log 1: --seed x\n", "not x"),
            (&first, "ends within its header"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_recorded_run_is_the_same_again_whole_and_up_to_any_of_its_lines() {
        let text = recorded();
        let lines = text.lines().count() - 2;
        assert_eq!(
            verdict(&text, u64::MAX),
            (true, format!("the same, line for line, to the end of the run: {lines} lines\n"))
        );
        // Several lines are written at the beginning at once.
        for until in [1, 5, 200] {
            let Again { lines, is_same, .. } = again(&read(&text).expect("a log"), until);
            assert_eq!((lines.len() as u64, is_same), (until, true));
        }
    }

    #[test]
    fn where_a_file_was_cut_off_is_told_and_no_difference() {
        let text = recorded();
        let end = text.match_indices('\n').nth(301).map_or(0, |(at, _)| at);
        let (is_same, words) = verdict(&text[..=end], u64::MAX);
        assert!(
            !is_same && words.starts_with("the same up to line 300, where the file ends; the run goes on:\n+ 301 "),
            "{words}"
        );
        let (is_same, words) = verdict(&text[..end + 4], u64::MAX);
        assert!(
            !is_same && words.starts_with("the same up to line 300, where the file ends, within a line;"),
            "{words}"
        );
    }

    #[test]
    fn the_first_line_that_differs_is_shown_with_what_the_stores_hold_there() {
        let text = recorded();
        let at = text.lines().position(|line| line.contains("+network:small@")).expect("it is made");
        let other = text.replace("+network:small@", "+network:other@");
        let (is_same, words) = verdict(&other, u64::MAX);
        assert!(!is_same && words.starts_with(&format!("the runs part at line {} ", at - 1)), "{words}");
        assert!(
            words.contains("+ network:other is not there") && words.contains("- network:small is not there"),
            "{words}"
        );
        // A file of another run, by its first words.
        let (is_same, words) = verdict(&text.replacen(ALL[0].name, ALL[1].name, 1), 50);
        assert!(!is_same && words.starts_with("these words came to another run when it was recorded:"), "{words}");
    }

    #[test]
    fn the_store_is_told_by_the_lines() {
        let lines = [
            "1 0.0 h0 applies 2 | +task:a@2 new | +service:s@2 v1",
            "2 0.1 h0 applies 3 | ~task:a@3 running | -service:s@2 v1",
        ];
        let objects = stores(lines.into_iter());
        assert_eq!(objects, BTreeMap::from([("task:a".to_owned(), "@3 running".to_owned())]));
    }
}
