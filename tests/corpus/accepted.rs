//! The list of cases whose result is another than docker's, on purpose.
//!
//! A line in brackets is a reason; the lines below it are the cases it is about, each with our verdict:
//!
//! ```text
//! [docker refuses the mapping form of depends_on; it is honoured here]
//! accepted some/compose.yaml
//! [docker drops the address of a published port; it is honoured here]
//! differs other/compose.yaml at /services/web/ports/*/host_ip
//! ```
//!
//! A case that differs and is not in the list fails, and so does one in the list that gives another verdict.

use super::case::Outcome;
use std::collections::BTreeMap;

pub struct Accepted(BTreeMap<String, Verdict>);

/// What the list says of a case, in its own words.
type Verdict = String;

impl Accepted {
    pub fn read(text: &str) -> Self {
        let mut verdicts = BTreeMap::new();
        let mut reason = "";
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(inside) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                reason = inside;
                continue;
            }
            assert!(!reason.is_empty(), "no reason is given for: {line}");
            let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (name, places) = rest.split_once(" at ").unwrap_or((rest, ""));
            let verdict = if places.is_empty() { verdict.to_owned() } else { format!("{verdict} at {places}") };
            assert!(verdicts.insert(name.to_owned(), verdict).is_none(), "{name} is listed twice");
        }
        Self(verdicts)
    }

    /// What is wrong, a line each: cases beyond the list, and entries of the list that are not as it says.
    pub fn against(&self, differing: &BTreeMap<String, Outcome>, known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, outcome) in differing {
            let verdict = outcome.verdict();
            match self.0.get(name) {
                Some(listed) if *listed == verdict => {}
                Some(listed) => wrong.push(format!("{name}: {verdict}, but the list says {listed}. {}", outcome.why())),
                None => wrong.push(format!("{name}: {verdict}, and not in the list. {}", outcome.why())),
            }
        }
        for (name, listed) in self.0.iter().filter(|(name, _)| !differing.contains_key(*name)) {
            let now = if known(name) { "as docker has it" } else { "no case of that name" };
            wrong.push(format!("{name}: {now}, but the list says {listed}"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_held_to_in_both_directions() {
        let list = Accepted::read(
            "# words\n[one]\naccepted a b.yml\ndiffers c.yml at /x /y\n[two]\nrejected d.yml\naccepted e.yml\n",
        );
        let differs = |places: &[&str]| Outcome::Differs(places.iter().map(|place| (*place).to_owned()).collect());
        let now = [
            ("a b.yml", Outcome::Swallowed),
            ("c.yml", differs(&["/x", "/z"])),
            ("d.yml", Outcome::Refused("x: wrong".to_owned())),
            ("new.yml", differs(&["/x"])),
        ];
        let now: BTreeMap<_, _> = now.into_iter().map(|(name, outcome)| (name.to_owned(), outcome)).collect();
        assert_eq!(
            list.against(&now, |name| name != "e.yml"),
            [
                "c.yml: differs at /x /z, but the list says differs at /x /y. ",
                "new.yml: differs at /x, and not in the list. ",
                "e.yml: no case of that name, but the list says accepted",
            ]
        );
        assert_eq!(list.against(&BTreeMap::new(), |_| true).len(), 4);
    }

    #[test]
    #[should_panic = "no reason is given"]
    fn an_entry_without_a_reason_is_none() {
        Accepted::read("accepted a.yml\n");
    }
}
