//! Questions before what cannot be undone.

use crate::error::{CliError, Result};
use std::io::BufRead as _;

/// Asks on standard error, so that standard output stays data; only `y` is yes. What answers may be no terminal.
pub fn confirm(question: &str) -> Result<bool> {
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| CliError::usage(format!("cannot read the answer: {error}")))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    answer.trim().eq_ignore_ascii_case("y")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_is_yes() {
        assert!(is_yes("y\n") && is_yes("Y"));
        assert!(!is_yes("\n") && !is_yes("yes!\n") && !is_yes("n"));
    }
}
