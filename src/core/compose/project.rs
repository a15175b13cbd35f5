//! The stack's own name as a variable of its files: `COMPOSE_PROJECT_NAME` (Compose specification, "name").

use super::interpolate::{Environment, expand};
use super::report::Report;
use super::value::Node;
use super::{SourceFile, parse};
use std::borrow::Cow;

const VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// The name that `env` gives.
pub(crate) fn name(env: &Environment) -> Option<&str> {
    env.get(VARIABLE).filter(|name| !name.is_empty()).map(String::as_str)
}

/// `env` with the name of the stack in it: the given one, else the variable as it is, else what the last file with a
/// `name:` says. Files that do
/// not use it, and bring in none that may, are not read for it.
pub(crate) fn with_name<'e>(given: Option<&str>, files: &[SourceFile], env: &'e Environment) -> Cow<'e, Environment> {
    let used = files.iter().any(|file| [VARIABLE, "extends", "include"].iter().any(|word| file.text.contains(word)));
    let known = name(env);
    let name = match given.or(known) {
        Some(name) if used => Some(name.to_owned()),
        None if used => files.iter().rev().find_map(|file| written(file, env)),
        Some(_) | None => None,
    };
    match name {
        Some(name) if known != Some(name.as_str()) => {
            let mut env = env.clone();
            env.insert(VARIABLE.to_owned(), name);
            Cow::Owned(env)
        }
        Some(_) | None => Cow::Borrowed(env),
    }
}

/// The name in a file; what is wrong with the file is told when it is read for good.
fn written(file: &SourceFile, env: &Environment) -> Option<String> {
    let root = parse::parse(&file.text, 0, &mut Report::default())?;
    let name = expand(root.get("name").and_then(Node::as_text)?, env, &mut Vec::new()).ok()?;
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{config, load};
    use super::*;
    use crate::compose::tests::{environment, memory, service, sources};

    const FILE: &str = "hostname: h-$COMPOSE_PROJECT_NAME";

    /// The name of the stack, and the variable as the files see it.
    fn names(given: Option<&str>, top: &str, variable: Option<&str>) -> (String, String) {
        let mut env = environment();
        env.extend(variable.map(|name| (VARIABLE.to_owned(), name.to_owned())));
        let files = sources(&[&format!("{top}\n{}", service(FILE))]);
        let loaded = load(given, &files, &env, &memory()).unwrap_or_else(|errors| panic!("{errors:?}"));
        let hostname = loaded.stack.services[0].spec.task.container.hostname.clone();
        (loaded.stack.name, hostname)
    }

    #[test]
    fn the_files_know_the_name_of_their_stack() {
        let is = |name: &str| (name.to_owned(), format!("h-{name}"));
        assert_eq!(names(Some("given"), "name: written", Some("called")), is("given"));
        assert_eq!(names(None, "name: written", Some("called")), is("called"));
        assert_eq!(names(None, "name: written", None), is("written"));
        assert_eq!(names(None, "name: written", Some("")), is("written"));
        assert_eq!(names(None, "name: ${COMPOSE_PROJECT_NAME:-own}", None), is("own"));
        assert_eq!(names(Some("given"), "name: ${COMPOSE_PROJECT_NAME:-own}", None), is("given"));
    }

    #[test]
    fn the_last_name_of_several_files_is_it() {
        let files = sources(&[&format!("name: one\n{}", service(FILE)), "name: two", "services: {}"]);
        let canonical = config(&files, &environment(), &memory()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(canonical.yaml.contains("hostname: h-two\n"), "{}", canonical.yaml);
    }
}
