//! The words of the command line. By hand: the import table gives the simulator no parser.

use crate::mutate::Mutation;
use crate::scenarios::{self, Scenario};
use crate::settings::Settings;
use std::ops::Range;

const HELP: &str = "\
Runs a virtual cluster with faults and checks its invariants.

Usage: sim --seed N [--small] [--mutation NAME] [--log short|full]
       sim --seeds A..B | --soak [A] [--mutation NAME] [--keep-going]
       sim --scenario NAME [--log short|full] | --scenarios | --mutations
       sim --replay FILE [--until K] [--diff]

What is run; the exit code is 1 when it is not good:
  --seed N          one run, everything in it drawn from N
  --seeds A..B      the runs A, A+1, ... B-1, on all cores, until one is not good
  --soak [A]        runs from A on (default 0) until it is stopped or one is not good
  --scenario NAME   one run by the script of a bug that was found
  --scenarios       all of them, with their stories
  --mutations       breaks one thing after the other on purpose; good when each is noticed
  --replay FILE     the run that was recorded in FILE, again: good when it is the same line for line

With it:
  --log short|full  short, the default: one line on the run, and of one that is not good the end of its log, the state
                    it came to and what was violated. full: besides, every event on standard output, below two lines
                    that say which run it is: record with  sim --seed N --log full > FILE
  --mutation NAME   with this broken on purpose
  --small           the small shape of the unit tests
  --keep-going      does not stop at the first that is not good
  --until K         replays up to line K (the number a line begins with), and prints the state of the store there
  --diff            prints, instead of the events, where this run parts from the recorded one: the lines before, some of
                    both from there on, and the objects of the store that differ

To find out why a run is bad: sim --seed N --log full > bad.log, and look in it for the last lines about the objects that
are named at its end (by the first eight letters of their ids). Change the code: sim --replay bad.log --diff shows the
first event that the change makes different.";

pub fn help() -> String {
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<Vec<_>>().join(", ");
    let mutations = names(&mut Mutation::ALL.iter().map(|mutation| mutation.name()));
    let scenarios = names(&mut scenarios::ALL.iter().map(|scenario| scenario.name));
    format!("{HELP}\n\nMutations: {mutations}.\nScenarios: {scenarios}.")
}

/// Whether every line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    Short,
    Full,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    One { settings: Settings, log: LogKind },
    Many { seeds: Range<u64>, mutation: Option<Mutation>, keep_going: bool },
    Mutations,
    Scenarios,
    Replay { file: String, until: u64, diff: bool },
}

/// What is run; one of them.
enum What {
    Seed(u64),
    Seeds(Range<u64>),
    Scenario(&'static Scenario),
    Replay(String),
    Mutations,
    Scenarios,
}

impl What {
    /// The words that go with it.
    fn takes(&self) -> &'static [&'static str] {
        match self {
            Self::Seed(_) => &["--log", "--mutation", "--small"],
            Self::Seeds(_) => &["--keep-going", "--mutation"],
            Self::Scenario(_) => &["--log"],
            Self::Replay(_) => &["--until", "--diff"],
            Self::Mutations | Self::Scenarios => &[],
        }
    }
}

/// From the words behind the program's name.
pub fn parse(words: &[String]) -> Result<Command, String> {
    let (mut what, mut log, mut mutation, mut until) = (None, LogKind::Short, None, u64::MAX);
    let mut others: Vec<&str> = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let mut value = |what: &str| rest.next().cloned().ok_or(format!("{word} needs {what}"));
        let run = match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--seed" => Some(What::Seed(number(word, &value("a number")?)?)),
            "--seeds" => Some(What::Seeds(range(&value("a range, A..B")?)?)),
            "--soak" => {
                let from = rest.next_if(|next| !next.starts_with("--"));
                Some(What::Seeds(from.map_or(Ok(0), |from| number(word, from))?..u64::MAX))
            }
            "--scenario" => Some(What::Scenario(named(word, &value("a name")?, scenarios::ALL, |known| known.name)?)),
            "--replay" => Some(What::Replay(value("a file")?)),
            "--mutations" => Some(What::Mutations),
            "--scenarios" => Some(What::Scenarios),
            "--log" => {
                log = match value("short or full")?.as_str() {
                    "short" => LogKind::Short,
                    "full" => LogKind::Full,
                    other => return Err(format!("--log is short or full, not {other}")),
                };
                None
            }
            "--until" => {
                until = number(word, &value("the number of a line")?)?;
                None
            }
            "--mutation" => {
                mutation = Some(*named(word, &value("a name")?, &Mutation::ALL, |known| known.name())?);
                None
            }
            "--diff" | "--keep-going" | "--small" => None,
            other => return Err(format!("{other} is not known")),
        };
        match run {
            None => others.push(word),
            Some(_) if what.is_some() => return Err(format!("one thing is run at a time: {word} is another")),
            Some(run) => what = Some((word, run)),
        }
    }
    let Some((word, what)) = what else {
        return others.first().map_or(Ok(Command::Help), |other| Err(format!("{other} does not say what is run")));
    };
    if let Some(other) = others.iter().find(|other| !what.takes().contains(other)) {
        return Err(format!("{other} does not go with {word}"));
    }
    let has = |other: &str| others.contains(&other);
    Ok(match what {
        What::Seed(seed) if has("--small") => {
            Command::One { settings: Settings { mutation, ..Settings::small(seed) }, log }
        }
        What::Seed(seed) => Command::One { settings: Settings::broken(seed, mutation), log },
        What::Scenario(scenario) => Command::One { settings: Settings::scripted(scenario), log },
        What::Seeds(seeds) => Command::Many { seeds, mutation, keep_going: has("--keep-going") },
        What::Replay(file) => Command::Replay { file, until, diff: has("--diff") },
        What::Mutations => Command::Mutations,
        What::Scenarios => Command::Scenarios,
    })
}

/// The one of this name; the error lists them.
fn named<'a, T>(word: &str, name: &str, all: &'a [T], of: impl Fn(&T) -> &'static str) -> Result<&'a T, String> {
    let names = || all.iter().map(&of).collect::<Vec<_>>().join(", ");
    all.iter().find(|known| of(known) == name).ok_or_else(|| format!("{word} is one of {}, not {name}", names()))
}

fn number(word: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{word} needs a number, not {text}"))
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("--seeds needs a range like 0..50, not {text}");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok(from..to) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Command, String> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_words_of_the_help_are_understood() {
        let one = Command::One { settings: Settings::draw(7), log: LogKind::Full };
        assert_eq!(parsed("--seed 7 --log full"), Ok(one));
        assert_eq!(parsed("--seeds 3..9"), Ok(Command::Many { seeds: 3..9, mutation: None, keep_going: false }));
        assert_eq!(parsed("--soak"), Ok(Command::Many { seeds: 0..u64::MAX, mutation: None, keep_going: false }));
        let replay = Command::Replay { file: "log".to_owned(), until: 10, diff: true };
        assert_eq!(parsed("--replay log --until 10 --diff"), Ok(replay));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, named) in [
            ("--seed x", "not x"),
            ("--speed", "--speed"),
            ("--seeds 9..3", "9..3"),
            ("--seed 1 --mutations", "--mutations is another"),
            ("--seed 1 --until 3", "--until does not go with --seed"),
            ("--seeds 1..2 --log full", "--log does not go with --seeds"),
            ("--log full", "--log does not say"),
            ("--scenario none", "a-canary-on-a-lost-node"),
            ("--seed 1 --mutation none", "vote-twice"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
