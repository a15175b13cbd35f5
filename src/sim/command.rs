//! The words of the command line. By hand: the import table gives the simulator no parser.

use crate::mutate::Mutation;
use crate::settings::Settings;
use std::ops::Range;

pub const HELP: &str = "\
Runs a virtual cluster with faults and checks its invariants.

Usage: sim [--seed N [--log short|full] | --seeds A..B | --soak [A] | --mutations | --replay FILE [--until K] [--diff]]

  --seed N          one run; exit code 1 when an invariant is violated
  --log short|full  how much of its event log is written: what led to a violation (short, the default), or every line
                    to standard output, with a header that --replay reads (full)
  --seeds A..B      the runs A, A+1, ... B-1, on all cores
  --soak [A]        runs from A on (default 0) until it is stopped or something is found
  --keep-going      with --seeds: does not stop at the first that is not good
  --mutation NAME   with --seed or --seeds: with this broken on purpose (see --mutations)
  --small           with --seed: the small shape of the tests
  --mutations       breaks one thing after the other, and fails when one is not noticed
  --replay FILE     runs again what was recorded with --log full
  --until K         only up to line K of the log
  --diff            shows where this run departs from the recorded one, and what the stores hold there";

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
    Replay { file: String, until: u64, diff: bool },
}

/// From the words behind the program's name.
pub fn parse(words: &[String]) -> Result<Command, String> {
    let (mut seed, mut seeds, mut log, mut file, mut until) = (None, None, LogKind::Short, None, u64::MAX);
    let (mut diff, mut small, mut mutations, mut mutation) = (false, false, false, None);
    let mut keep_going = false;
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let mut value = |what: &str| rest.next().cloned().ok_or(format!("{word} needs {what}"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--seed" => seed = Some(number(word, &value("a number")?)?),
            "--seeds" => seeds = Some(range(&value("a range, A..B")?)?),
            "--soak" => {
                let from = rest.next_if(|next| !next.starts_with("--"));
                let from = from.map_or(Ok(0), |from| number(word, from))?;
                seeds = Some(from..u64::MAX);
            }
            "--log" => {
                log = match value("short or full")?.as_str() {
                    "short" => LogKind::Short,
                    "full" => LogKind::Full,
                    other => return Err(format!("--log is short or full, not {other}")),
                }
            }
            "--replay" => file = Some(value("a file")?),
            "--until" => until = number(word, &value("a number of a line")?)?,
            "--diff" => diff = true,
            "--keep-going" => keep_going = true,
            "--small" => small = true,
            "--mutations" => mutations = true,
            "--mutation" => {
                let name = value("a name")?;
                let names: Vec<_> = Mutation::ALL.iter().map(|mutation| mutation.name()).collect();
                let found = Mutation::from_name(&name);
                mutation =
                    Some(found.ok_or(format!("there is no mutation {name}: it is one of {}", names.join(", ")))?);
            }
            other => return Err(format!("{other} is not known")),
        }
    }
    match (seed, seeds, file, mutations) {
        (Some(seed), None, None, false) => {
            let small_one = || Settings { mutation, ..Settings::small(seed) };
            let settings = if small { small_one() } else { Settings::broken(seed, mutation) };
            Ok(Command::One { settings, log })
        }
        (None, Some(seeds), None, false) => Ok(Command::Many { seeds, mutation, keep_going }),
        (None, None, Some(file), false) => Ok(Command::Replay { file, until, diff }),
        (None, None, None, true) => Ok(Command::Mutations),
        (None, None, None, false) => Ok(Command::Help),
        _both => Err("--seed, --seeds, --soak, --replay and --mutations exclude one another".to_owned()),
    }
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
            ("--seed 1 --mutations", "exclude"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
