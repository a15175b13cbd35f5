//! Names for services that were given none, as Docker makes them: a word and a person.

use crate::store::View;

const WORDS: [&str; 32] = [
    "brave", "bright", "busy", "calm", "clever", "cool", "eager", "fair", "fast", "fond", "gentle", "glad", "happy",
    "honest", "jolly", "keen", "kind", "lively", "loyal", "lucky", "merry", "neat", "nice", "proud", "quiet", "quick",
    "ready", "sharp", "smart", "steady", "swift", "wise",
];
const PEOPLE: [&str; 32] = [
    "babbage", "bell", "bohr", "boole", "cantor", "carson", "curie", "darwin", "dijkstra", "einstein", "euler",
    "fermi", "franklin", "galois", "gauss", "goodall", "hamilton", "hopper", "hypatia", "jemison", "kepler", "knuth",
    "lamport", "liskov", "lovelace", "meitner", "newton", "noether", "perlman", "shannon", "turing", "wiles",
];

/// A name that no service of `view` has. `random` decides which; a number is put behind when its names are taken.
pub fn fresh_service_name(view: &View, random: u128) -> String {
    let pick = |list: &[&'static str; 32], at: u128| list[(at % 32) as usize];
    let name = format!("{}_{}", pick(&WORDS, random), pick(&PEOPLE, random >> 5));
    let taken = |name: &str| view.service_by_name(name).is_some();
    if !taken(&name) {
        return name;
    }
    // As long as the store has fewer services than numbers, one is free.
    let numbered = (0..=view.services().count()).map(|number| format!("{name}{number}"));
    numbered.into_iter().find(|name| !taken(name)).unwrap_or(name)
}
