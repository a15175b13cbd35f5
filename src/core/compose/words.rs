//! A command line as words, and environment files.

/// Splits a command as a POSIX shell does: blanks separate, `'…'` is literal, in `"…"` a backslash escapes
/// `$ " \` and the backquote, outside it escapes anything. No expansion.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a ' is not closed"),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends in a backslash"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some('\n') => {}
                Some(c @ ('$' | '"' | '\\' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err("a \" is not closed"),
            },
            Some(c) => word.push(c),
            None => return Err("a \" is not closed"),
        }
    }
}

/// One line of an environment file: `KEY=value`, or `KEY` alone, which takes the value of the caller's environment.
pub(crate) type Variable = (String, Option<String>);

/// Reads `KEY=value` lines as docker does: no quoting, no expansion; blank lines and lines that begin with # are skipped.
/// The error has the line's number and what is wrong.
pub(crate) fn env_file(text: &str) -> Result<Vec<Variable>, (usize, String)> {
    let mut variables = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value.to_owned())));
        // Blanks before the equals sign are part of no name.
        if key.is_empty() || key.contains([' ', '\t']) {
            return Err((index + 1, "a line must be NAME=value, without blanks in the name".to_owned()));
        }
        variables.push((key.to_owned(), value));
    }
    Ok(variables)
}
