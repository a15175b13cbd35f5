//! Recorded logs: a run's log with a header that says how to run it again, and the comparison of two.

use crate::command;
use crate::mutate::Mutation;
use crate::run::run_until;
use crate::settings::Settings;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const HEADER: &str = "# sim log 1:";
/// Lines shown before the first that differs.
const CONTEXT: usize = 12;
/// Objects shown that differ.
const OBJECTS_MAX: usize = 40;

/// The first line of a recorded log: the words that run it again.
pub fn header(settings: &Settings) -> String {
    format!("{HEADER} {}", words(settings))
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
    let words = header.strip_prefix(HEADER).ok_or("this is not a log of the simulator")?;
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    match command::parse(&words)? {
        command::Command::One { settings, .. } => Ok(settings),
        _other => Err("its header does not name a run".to_owned()),
    }
}

/// Runs a recorded log again up to a line. False when it cannot be read, or departs from what was recorded.
pub fn replay(file: &str, until: u64, diff: bool) -> bool {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("sim: {file} cannot be read: {error}");
            return false;
        }
    };
    let mut lines = text.lines();
    let settings = match settings_of(lines.next().unwrap_or_default()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("sim: {file}: {error}");
            return false;
        }
    };
    let recorded: Vec<&str> = lines.take(usize::try_from(until).unwrap_or(usize::MAX)).collect();
    let present = Rc::new(RefCell::new(Vec::new()));
    let sink = {
        let present = Rc::clone(&present);
        Box::new(move |line: &str| present.borrow_mut().push(line.to_owned()))
    };
    let outcome = run_until(settings, Some(sink), until.min(recorded.len() as u64));
    let present = present.borrow();
    if !diff {
        present.iter().for_each(|line| println!("{line}"));
    }
    let departs = recorded.iter().zip(present.iter()).position(|(old, new)| old != new);
    match departs {
        Some(at) => show(&recorded, &present, at),
        None if present.len() < recorded.len() => {
            println!("this run ends after line {}, the recorded one goes on:", present.len());
            println!("- {}", recorded[present.len()]);
        }
        None => println!("the same up to line {}", present.len()),
    }
    for violation in &outcome.violations {
        println!("violated: {violation}");
    }
    departs.is_none() && present.len() == recorded.len()
}

fn show(recorded: &[&str], present: &[String], at: usize) {
    println!("the runs depart at line {}:", at + 1);
    for line in &recorded[at.saturating_sub(CONTEXT)..at] {
        println!("  {line}");
    }
    println!("- {}", recorded[at]);
    println!("+ {}", present[at]);
    let old = stores(recorded[..=at].iter().copied());
    let new = stores(present[..=at].iter().map(String::as_str));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ: Vec<_> = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).collect();
    println!("objects of the store that differ there: {}", differ.len());
    for key in differ.into_iter().take(OBJECTS_MAX) {
        let side =
            |store: &BTreeMap<String, String>| store.get(key).cloned().unwrap_or_else(|| "is not there".to_owned());
        println!("- {key} {}", side(&old));
        println!("+ {key} {}", side(&new));
    }
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

    #[test]
    fn a_header_names_its_run() {
        let broken = Settings { mutation: Some(Mutation::SkipFsync), ..Settings::draw(8) };
        for settings in [Settings::draw(7), Settings::small(9), broken] {
            assert_eq!(settings_of(&header(&settings)), Ok(settings));
        }
        assert!(settings_of("hello").is_err());
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
