//! The simulator's command line: runs seeds, replays recorded logs, and shows that what is broken is noticed.

#![forbid(unsafe_code)]

use sim::command::{Command, parse};
use sim::{many, replay};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let good = match parse(&words) {
        Ok(Command::Help) => {
            println!("{}", sim::command::help());
            true
        }
        Ok(Command::One { settings, log }) => many::one(settings, log),
        Ok(Command::Many { seeds, mutation, keep_going }) => many::many(seeds, mutation, keep_going),
        Ok(Command::Mutations) => many::mutations(),
        Ok(Command::Scenarios) => many::scenarios(),
        Ok(Command::Replay { file, until, diff }) => replay::replay(&file, until, diff),
        Err(error) => {
            eprintln!("sim: {error}\nTry: sim --help");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
