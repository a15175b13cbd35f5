//! Files of variables for the compose files: `.env`, `--env-file` (Compose specification, "Interpolation: .env file").
//!
//! Called by the command line before `load` and `config`; reads only the texts it is given. Files that services name
//! with `env_file` are others: docker takes their lines as they are, and so does `words`.

use super::SourceFile;
use super::interpolate::expand;
use super::parse::brief;
use super::report::{ComposeError, Note, Warning};
use std::collections::BTreeMap;

/// Most bytes of one file of variables.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most files of variables; each is named by hand.
const FILES_MAX: usize = 100;

/// The environment that compose files are read in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// What the files say, with the caller's own variables over it.
    pub environment: BTreeMap<String, String>,
    pub warnings: Vec<Warning>,
}

/// Reads `files`, the later over the earlier, and puts `shell`, the caller's environment, over all of them. A value may
/// use variables of the shell and those written above it; what both have is the shell's. All errors are returned
/// together.
pub fn variables(files: &[SourceFile], shell: &BTreeMap<String, String>) -> Result<Variables, Vec<ComposeError>> {
    let mut told = Told::default();
    if files.len() > FILES_MAX {
        told.file = files[FILES_MAX].name.clone();
        told.error(0, format!("at most {FILES_MAX} files of variables are read"));
        return Err(told.errors);
    }
    let mut environment = shell.clone();
    for file in files {
        told.file.clone_from(&file.name);
        if file.text.len() > FILE_BYTES_MAX {
            told.error(0, format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", file.text.len()));
            continue;
        }
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        Reader { rest: text, line: 1, shell, environment: &mut environment, told: &mut told }.file();
    }
    if told.errors.is_empty() { Ok(Variables { environment, warnings: told.warnings }) } else { Err(told.errors) }
}

/// What is said about the file at hand.
#[derive(Default)]
struct Told {
    file: String,
    errors: Vec<ComposeError>,
    warnings: Vec<Warning>,
}

impl Told {
    fn note(&self, line: usize, path: &str, message: String) -> Note {
        Note { file: self.file.clone(), line, column: usize::from(line > 0), path: brief(path), message }
    }

    fn error(&mut self, line: usize, message: impl Into<String>) {
        let note = self.note(line, "", message.into());
        self.errors.push(ComposeError(note));
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Of the first character of `rest`, from 1.
    line: usize,
    shell: &'a BTreeMap<String, String>,
    /// The shell's over what was read so far.
    environment: &'a mut BTreeMap<String, String>,
    told: &'a mut Told,
}

/// A value as it is written.
enum Written<'a> {
    Bare(&'a str),
    /// In single quotes: nothing is put in.
    Literal(String),
    /// In double quotes, escapes resolved; a dollar sign that was escaped is doubled.
    Quoted(String),
}

impl<'a> Reader<'a> {
    /// Every round takes at least one character, or ends.
    fn file(&mut self) {
        loop {
            self.skip(|c| c.is_whitespace());
            if self.rest.is_empty() {
                return;
            }
            if self.rest.starts_with('#') {
                self.take_line();
                continue;
            }
            let line = self.line;
            if let Err(message) = self.statement() {
                self.told.error(line, message);
                // The rest of a line that is not understood is no statement of its own.
                if self.line == line {
                    self.take_line();
                }
            }
        }
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        let rest = self.rest.trim_start_matches(what);
        self.advance(self.rest.len() - rest.len());
    }

    /// The rest of the line, without its end.
    fn take_line(&mut self) -> &'a str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.advance(end);
        self.advance(usize::from(!self.rest.is_empty()));
        line
    }

    /// `[export] NAME=value`, `NAME: value`, or `NAME` alone, which is the caller's.
    fn statement(&mut self) -> Result<(), String> {
        let line = self.line;
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.advance("export".len());
            self.skip(is_blank);
        }
        let name = self.name()?;
        self.skip(is_blank);
        if !self.rest.starts_with(['=', ':']) {
            if !self.rest.is_empty() && !self.rest.starts_with(['\n', '#']) {
                return Err(format!("expected = after the name {}", brief(name)));
            }
            // The caller's environment lies over the file's, so there is nothing to take over.
            self.take_line();
            return Ok(());
        }
        self.advance(1);
        self.skip(is_blank);
        let written = self.value().map_err(|why| format!("{}: {why}", brief(name)))?;
        let value = self.expanded(name, written, line)?;
        if !self.shell.contains_key(name) {
            self.environment.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        let end = self.rest.find(|c| !fine(c)).unwrap_or(self.rest.len());
        match end {
            0 => Err("a line is NAME=value; a name has letters, digits, underscores, dots and dashes".to_owned()),
            end => Ok(self.advance(end)),
        }
    }

    fn value(&mut self) -> Result<Written<'a>, String> {
        let quote = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            Some('#') => {
                self.take_line();
                return Ok(Written::Bare(""));
            }
            Some(_) | None => {
                let line = self.take_line();
                let end = line.match_indices('#').find(|(at, _)| line[..*at].ends_with(is_blank));
                return Ok(Written::Bare(end.map_or(line, |(at, _)| &line[..at]).trim_end()));
            }
        };
        let Some((inside, bytes)) = quoted(&self.rest[1..], quote) else {
            // What follows is a part of the value, or not: nobody knows.
            self.advance(self.rest.len());
            return Err(format!("a {quote} is not closed; within the value write it as \\{quote}"));
        };
        self.advance(1 + bytes);
        self.skip(is_blank);
        let after = self.take_line();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(format!("\"{}\" comes after the closing {quote}", brief(after.trim_end())));
        }
        Ok(if quote == '"' { Written::Quoted(unescaped(&inside)) } else { Written::Literal(inside) })
    }

    fn expanded(&mut self, name: &str, written: Written<'_>, line: usize) -> Result<String, String> {
        let text = match written {
            Written::Literal(text) => return Ok(text),
            Written::Bare(text) => text.to_owned(),
            Written::Quoted(text) => text,
        };
        let mut unset = Vec::new();
        let value = expand(&text, self.environment, &mut unset).map_err(|why| format!("{}: {why}", brief(name)))?;
        for unset in unset {
            let message = format!("the variable {unset} is not set; an empty string is used");
            let note = self.told.note(line, name, message);
            self.told.warnings.push(Warning(note));
        }
        Ok(value)
    }
}

/// White space within a line.
fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

/// The text up to `quote`, with `\quote` as the quote and every other backslash kept; and how many bytes that is, the
/// closing quote among them.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, next) = chars.next()?;
                if next != quote {
                    out.push('\\');
                }
                out.push(next);
            }
            c if c == quote => return Some((out, at + c.len_utf8())),
            c => out.push(c),
        }
    }
    None
}

/// Escapes of a shell's `$'…'`: `\n`, `\t`, `\\`, `\0101` and so on; an unknown one stays as it is. A dollar sign that comes out of
/// one begins no variable, so it is doubled for what puts those in.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'c' | 'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '$' | '\\' | '"' => c,
            '0' => {
                let digits = rest[1..].bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                let code = u32::from_str_radix(&rest[..=digits], 8).ok().and_then(char::from_u32);
                rest = &rest[digits..];
                code.unwrap_or('\0')
            }
            c => {
                out.push('\\');
                c
            }
        };
        if plain == '$' {
            out.push('$');
        }
        out.push(plain);
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(texts: &[&str]) -> Vec<SourceFile> {
        texts.iter().map(|text| SourceFile { name: ".env".to_owned(), text: (*text).to_owned() }).collect()
    }

    fn shell() -> BTreeMap<String, String> {
        [("USER", "me"), ("BOTH", "shell"), ("VOID", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[track_caller]
    fn value(text: &str) -> String {
        match variables(&files(&[text]), &shell()) {
            Ok(Variables { environment, .. }) => environment.get("A").cloned().unwrap_or_else(|| "(none)".to_owned()),
            Err(errors) => panic!("refused: {errors:?}"),
        }
    }

    #[track_caller]
    fn errors(text: &str) -> Vec<String> {
        let told = variables(&files(&[text]), &shell()).expect_err("the file is wrong");
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_without_quotes_end_at_the_line_or_a_comment() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A = b  ", "b"),
            ("A: b", "b"),
            ("A=b=c:d", "b=c:d"),
            ("A=b # words", "b"),
            ("A=b#c", "b#c"),
            ("A=b\t# words", "b"),
            ("A= # words", ""),
            ("A=#c", ""),
            ("A=", ""),
            ("A=\nB=1", ""),
            ("A=b\r\nB=1", "b"),
            ("A=it's \"so\"", "it's \"so\""),
            ("A=a\\nb", "a\\nb"),
            ("A=a, b  c", "a, b  c"),
            ("\u{feff}A=b", "b"),
            ("A=1\nA=2", "2"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_may_be_exported_and_have_dots_and_dashes() {
        assert_eq!(value("export A=b"), "b");
        assert_eq!(value("  export\tA = b"), "b");
        let read = variables(&files(&["exported=1\nexport=2\nA.B-c_1=3"]), &BTreeMap::new()).expect("variables");
        let values: Vec<_> = read.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(values, ["A.B-c_1=3", "export=2", "exported=1"]);
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        assert_eq!(value("# A=1\n\n   # B=2\n\t\nA=3\n#"), "3");
        assert_eq!(variables(&files(&["", "#", "\n\n"]), &shell()).expect("variables").environment, shell());
    }

    #[test]
    fn single_quotes_are_literal() {
        for (text, expected) in [
            ("A='$USER ${X} # \"b\" \\n'", "$USER ${X} # \"b\" \\n"),
            ("A='it\\'s' # words", "it's"),
            ("A=''", ""),
            ("A='one\ntwo'\nB=1", "one\ntwo"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn double_quotes_have_escapes_variables_and_lines() {
        for (text, expected) in [
            ("A=\"a # b\" # words", "a # b"),
            ("A=\"a\\tb\\nc\\\\d\\\"e\\qf\"", "a\tb\nc\\d\"e\\qf"),
            ("A=\"one\ntwo\n\"\nB=1", "one\ntwo\n"),
            ("A=\"hello $USER\"", "hello me"),
            ("A=\"\\$USER $$USER \\${X}\"", "$USER $USER ${X}"),
            ("A=\"\\0101\\044USER\\0\"", "A$USER\0"),
            ("A=\"it's\"", "it's"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn variables_are_those_of_the_shell_and_those_above() {
        for (text, expected) in [
            ("A=$USER", "me"),
            ("B=1\nA=${B}2", "12"),
            ("A=${B:-${USER}}", "me"),
            ("A=${VOID:-empty}-${VOID-set}", "empty-"),
            ("A=${USER:+there}", "there"),
            ("BOTH=file\nA=$BOTH", "shell"),
            ("A=1\nA=${A}2", "12"),
            ("A=$$B", "$B"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_shell_wins_over_the_file_and_the_later_file_over_the_earlier() {
        let files = files(&["BOTH=file\nA=1\nB=$A\nUSER", "A=2\nC=$B$A"]);
        let read = variables(&files, &shell()).expect("variables").environment;
        let of = |name: &str| read[name].as_str();
        assert_eq!([of("BOTH"), of("A"), of("B"), of("C"), of("USER")], ["shell", "2", "1", "12", "me"]);
        assert_eq!(value("A"), "(none)");
    }

    #[test]
    fn an_unset_variable_is_empty_with_a_warning_at_its_line() {
        let read = variables(&files(&["\nA=\"x\n$NOPE\"\n"]), &shell()).expect("variables");
        assert_eq!(read.environment["A"], "x\n");
        let said: Vec<_> = read.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said, [".env:2:1: A: the variable NOPE is not set; an empty string is used"]);
    }

    #[test]
    fn what_is_no_line_of_variables_is_refused_with_its_place() {
        let name = "a line is NAME=value; a name has letters, digits, underscores, dots and dashes";
        assert_eq!(
            errors("A=1\nlol$wut\n=x\nB=2"),
            [".env:2:1: expected = after the name lol".to_owned(), format!(".env:3:1: {name}"),]
        );
        assert_eq!(errors("MY NAME=1"), [".env:1:1: expected = after the name MY"]);
        let open = errors("B=1\nA=\"x\ny");
        assert!(open[0].starts_with(".env:2:1: A: a \" is not closed"), "{open:?}");
        assert_eq!(
            errors("A='x' y\n=z"),
            [".env:1:1: A: \"y\" comes after the closing '".to_owned(), format!(".env:2:1: {name}"),]
        );
        assert_eq!(errors("A=${B:?set B}"), [".env:1:1: A: the required variable B is missing a value: set B"]);
        assert!(errors("A=$ 1")[0].starts_with(".env:1:1: A: \"$ 1\" has a $ that begins no variable"));
        let long = "A=1\n".repeat(FILE_BYTES_MAX / 4 + 1);
        assert!(errors(&long)[0].starts_with(".env: the file has "));
        let many = files(&vec![""; FILES_MAX + 1]);
        assert!(variables(&many, &shell()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([-A-C=: \n\t#'\"\\\\${}0-9é\r]|export ){0,60}") {
            if let Err(errors) = variables(&files(&[&text]), &shell()) {
                prop_assert!(!errors.is_empty());
            }
        }

        #[test]
        fn a_value_in_single_quotes_comes_back_as_it_is(value in "[^'\\\\\r]{0,40}") {
            let read = variables(&files(&[&format!("A='{value}'\nB=1")]), &BTreeMap::new()).expect("variables");
            prop_assert_eq!(&read.environment["A"], &value);
            prop_assert_eq!(&read.environment["B"], "1");
        }
    }
}
