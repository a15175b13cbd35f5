//! Queries and their `filters`: read, or refused with words.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| api::fuzzing::query(text));
