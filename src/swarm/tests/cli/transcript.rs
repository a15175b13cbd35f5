//! Transcripts: commands after `$`, what they print below, with `!` before the words on standard error and `?` before an
//! exit code that is not 0.

use std::fmt;

pub struct Transcript {
    /// What stands before the first command.
    head: String,
    pub steps: Vec<Step>,
}

pub struct Step {
    /// Lines before the command: comments and blanks.
    before: String,
    /// Why docker prints something else, where it is to.
    pub differs: Option<String>,
    /// The command as it stands there.
    pub line: String,
    pub words: Vec<String>,
    pub printed: String,
}

impl Step {
    /// Whether what is printed is JSON, whose order does not count.
    pub fn is_json(&self) -> bool {
        self.words.iter().any(|word| word == "json" || word.contains("{{json .")) || !self.is_formatted()
    }

    fn is_formatted(&self) -> bool {
        !self.words.iter().any(|word| word == "inspect")
            || self.words.iter().any(|word| matches!(word.as_str(), "-f" | "--format" | "--pretty"))
    }
}

impl Transcript {
    pub fn parse(text: &str) -> Self {
        let mut out = Self { head: String::new(), steps: Vec::new() };
        let mut before = String::new();
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n');
            if let Some(command) = bare.strip_prefix("$ ") {
                let differs = before.lines().find_map(|line| line.strip_prefix("# docker differs: "));
                out.steps.push(Step {
                    differs: differs.map(str::to_owned),
                    before: std::mem::take(&mut before),
                    line: bare.to_owned(),
                    words: split(command),
                    printed: String::new(),
                });
            } else if bare.starts_with("# ") {
                before.push_str(line);
            } else if let Some(step) = out.steps.last_mut() {
                step.printed.push_str(line);
            } else {
                out.head.push_str(line);
            }
        }
        out
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        self.steps.iter().try_for_each(|step| write!(f, "{}{}\n{}", step.before, step.line, step.printed))
    }
}

/// Words as a shell splits them, with single quotes alone.
pub fn split(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    out
}

/// What a program printed as a transcript shows it: without the digits of times, which are other ones each time, and
/// without the version of the program.
pub fn page(out: &str, err: &str, code: i32) -> String {
    let mut page = out.to_owned();
    if !page.is_empty() && !page.ends_with('\n') {
        page.push_str("\n(no end of line)\n");
    }
    err.lines().for_each(|line| page.push_str(&format!("! {line}\n")));
    if code != 0 {
        page.push_str(&format!("? {code}\n"));
    }
    let version = env!("CARGO_PKG_VERSION");
    let page = without_times(&page).replace(&format!(" {version}\n"), " <version>\n");
    page.replace(&format!("\"{version}\""), "\"<version>\"")
}

/// `2024-05-01 10:00:00.5` becomes `0000-00-00 00:00:00.0`.
fn without_times(text: &str) -> String {
    const SHAPE: &str = "dddd-dd-dd?dd:dd:dd";
    let is_time = |rest: &[char]| {
        rest.len() >= SHAPE.len()
            && SHAPE.chars().zip(rest).all(|(shape, c)| match shape {
                'd' => c.is_ascii_digit(),
                '?' => matches!(c, ' ' | 'T'),
                shape => shape == *c,
            })
    };
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        if !is_time(&chars[at..]) {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let zero = |c: char| if c.is_ascii_digit() { '0' } else { c };
        out.extend(chars[at..at + SHAPE.len()].iter().map(|c| zero(*c)));
        at += SHAPE.len();
        while at < chars.len() && (chars[at] == '.' || chars[at].is_ascii_digit()) {
            out.push(zero(chars[at]));
            at += 1;
        }
    }
    out
}

/// Lines that only one of the two has, where they stand.
pub fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut out = String::new();
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        // To the next line that both have; lines of these pages are few.
        let next = (0..before.len() - i).flat_map(|p| (0..after.len() - j).map(move |q| (p, q)));
        let met = next.filter(|(p, q)| before[i + p] == after[j + q]).min_by_key(|(p, q)| p + q);
        let (p, q) = met.unwrap_or((before.len() - i, after.len() - j));
        before[i..i + p].iter().for_each(|line| out.push_str(&format!("  - {line}\n")));
        after[j..j + q].iter().for_each(|line| out.push_str(&format!("  + {line}\n")));
        (i, j) = (i + p, j + q);
    }
    out
}

#[test]
fn a_command_is_split_as_a_shell_does() {
    assert_eq!(
        split("service ls --format '{{.Name}} x' -q ''"),
        ["service", "ls", "--format", "{{.Name}} x", "-q", ""]
    );
}

#[test]
fn times_lose_their_digits_and_nothing_else() {
    assert_eq!(without_times("at 2024-05-01T10:00:00.5Z 12"), "at 0000-00-00T00:00:00.0Z 12");
    assert_eq!(without_times("2024-05-01"), "2024-05-01");
}

#[test]
fn a_transcript_is_read_as_it_is_written() {
    let text = "About nodes.\n\n$ node ls\nID\nx\n! words\n? 1\n# docker differs: y\n$ node ls -q\nx\n";
    let read = Transcript::parse(text);
    assert_eq!(read.to_string(), text);
    assert_eq!(read.steps[1].differs.as_deref(), Some("y"));
}
