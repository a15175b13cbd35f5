//! The compose files of a stack, and what they refer to, read from this machine.

use crate::error::{CliError, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use swarm_core::compose::{ComposeError, Files, SourceFile, Warning, variables};

/// Largest compose file or file it refers to, in bytes: secrets and configs are far smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where the stack is described.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Compose files, with commas between them or repeated; - is standard input; later files override earlier ones
    #[arg(short, long = "compose-file", value_name = "FILE", required = true, value_delimiter = ',')]
    pub compose_files: Vec<PathBuf>,
    /// File of variables for the compose files; later ones override earlier ones, the environment overrides all (may be
    /// repeated) [default: .env beside the first compose file, which docker stack does not read]
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// Turn a profile on: services that name profiles are left out unless one of theirs is on; * is all (may be
    /// repeated) [default: the variable COMPOSE_PROFILES, names with commas between them]
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
}

/// Where the files of variables are named when `--env-file` is not given; commas between them.
const ENV_FILES: &str = "COMPOSE_ENV_FILES";
/// Set to a true value: `.env` beside the compose file is not read.
const ENV_FILE_OFF: &str = "COMPOSE_DISABLE_ENV_FILE";
/// Which profiles are on when `--profile` is not given; commas between them.
const PROFILES: &str = "COMPOSE_PROFILES";

/// Files below the directory of the first compose file.
pub struct Disk {
    directory: String,
}

impl Files for Disk {
    fn directory(&self) -> &str {
        &self.directory
    }

    fn read(&self, path: &str) -> std::result::Result<Vec<u8>, String> {
        let file = std::fs::File::open(path).map_err(|error| words(&error))?;
        bounded(file)
    }
}

/// The reason alone, without the number of the error.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn bounded(file: impl std::io::Read) -> std::result::Result<Vec<u8>, String> {
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(|error| words(&error))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    Ok(content)
}

/// What `compose` is called with.
pub struct Sources {
    pub files: Vec<SourceFile>,
    /// The caller's environment over what the files of variables say.
    pub env: BTreeMap<String, String>,
    pub disk: Disk,
}

/// A file as it was named, or standard input.
fn source(path: &Path) -> Result<SourceFile> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let bytes = match is_stdin {
        true => bounded(std::io::stdin().lock()),
        false => std::fs::File::open(path).map_err(|error| words(&error)).and_then(bounded),
    };
    let bytes = bytes.map_err(|why| CliError::usage(format!("cannot read {name}: {why}")))?;
    let text = String::from_utf8(bytes).map_err(|_| CliError::usage(format!("{name} is not text in UTF-8")))?;
    Ok(SourceFile { name, text })
}

impl FileArgs {
    pub fn of(compose_files: &[PathBuf]) -> Self {
        Self { compose_files: compose_files.to_vec(), env_files: Vec::new(), profiles: Vec::new() }
    }

    pub fn read(&self) -> Result<Sources> {
        let env = std::env::vars_os();
        let env = env.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        self.read_in(env.collect())
    }

    /// As if `env` were the environment.
    pub fn read_in(&self, env: BTreeMap<String, String>) -> Result<Sources> {
        let files = self.compose_files.iter().map(|path| source(path)).collect::<Result<_>>()?;
        let directory = self.directory()?;
        let variables = variables(&self.env_sources(&env, &directory)?, &env).map_err(failure)?;
        warn(&variables.warnings);
        let mut env = variables.environment;
        if !self.profiles.is_empty() {
            env.insert(PROFILES.to_owned(), self.profiles.join(","));
        }
        Ok(Sources { files, env, disk: Disk { directory } })
    }

    /// The files of variables: those that are named, else `.env` where there is one.
    fn env_sources(&self, env: &BTreeMap<String, String>, directory: &str) -> Result<Vec<SourceFile>> {
        let listed =
            env.get(ENV_FILES).map(|paths| paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from));
        let named = match self.env_files.is_empty() {
            true => listed.into_iter().flatten().collect(),
            false => self.env_files.clone(),
        };
        if !named.is_empty() {
            return named.iter().map(|path| source(path)).collect();
        }
        let off =
            env.get(ENV_FILE_OFF).is_some_and(|off| matches!(off.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE"));
        let default = Path::new(directory).join(".env");
        if off || !default.try_exists().unwrap_or(true) {
            return Ok(Vec::new());
        }
        Ok(vec![source(&default)?])
    }

    /// The absolute directory of the first file; of standard input, the current one.
    fn directory(&self) -> Result<String> {
        let current = std::env::current_dir()
            .map_err(|error| CliError::usage(format!("the current directory is gone: {}", words(&error))))?;
        let first = self.compose_files.first().filter(|path| *path != Path::new("-"));
        let directory = first.and_then(|path| path.parent()).map_or(current.clone(), |parent| current.join(parent));
        let not_text = |path: PathBuf| CliError::usage(format!("the path {} is not text in UTF-8", path.display()));
        directory.into_os_string().into_string().map_err(|path| not_text(PathBuf::from(path)))
    }
}

/// Warnings go to standard error, one a line.
pub fn warn(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// All errors, one a line.
pub fn failure(errors: Vec<ComposeError>) -> CliError {
    CliError::usage(errors.iter().map(ComposeError::to_string).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files, of which `stack.yml` is the compose file.
    fn read(files: &[(&str, &str)], env_files: &[&str], env: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files.iter().chain(&[("stack.yml", "services: {}")]) {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        let compose_files = vec![directory.path().join("stack.yml")];
        let env_files = env_files.iter().map(|name| directory.path().join(name)).collect();
        let env = env.iter().map(|(name, value)| {
            (name.to_string(), value.replace("DIR", directory.path().to_str().expect("a path in UTF-8")))
        });
        Ok(FileArgs { env_files, ..FileArgs::of(&compose_files) }.read_in(env.collect())?.env)
    }

    #[test]
    fn variables_come_from_the_env_file_beside_the_compose_file_unless_others_are_named() {
        let files = [(".env", "A=default\nB=default"), ("one", "A=one"), ("two", "A=two\nC=$A")];
        let value = |env_files: &[&str], env: &[(&str, &str)], name: &str| {
            read(&files, env_files, env).expect("variables").get(name).cloned()
        };
        let is = |value: &str| Some(value.to_owned());
        assert_eq!(value(&[], &[], "A"), is("default"));
        assert_eq!(value(&[], &[("A", "shell")], "A"), is("shell"));
        assert_eq!(value(&["one"], &[], "A"), is("one"));
        assert_eq!(value(&["one"], &[], "B"), None);
        assert_eq!(value(&["one", "two"], &[], "C"), is("two"));
        assert_eq!(value(&[], &[("COMPOSE_ENV_FILES", "DIR/two,DIR/one")], "A"), is("one"));
        assert_eq!(value(&["two"], &[("COMPOSE_ENV_FILES", "DIR/one")], "A"), is("two"));
        assert_eq!(value(&[], &[("COMPOSE_DISABLE_ENV_FILE", "1")], "A"), None);
        assert_eq!(value(&["one"], &[("COMPOSE_DISABLE_ENV_FILE", "1")], "A"), is("one"));
    }

    #[test]
    fn a_default_file_may_be_missing_and_a_named_one_may_not() {
        assert_eq!(read(&[], &[], &[]).expect("no variables"), BTreeMap::new());
        let said = read(&[], &["none"], &[]).expect_err("it is missing").to_string();
        assert!(said.starts_with("cannot read ") && said.ends_with("none: No such file or directory"), "{said}");
        let said = read(&[(".env", "A=1\nB C=2")], &[], &[]).expect_err("it is wrong").to_string();
        assert!(said.ends_with(".env:2:1: expected = after the name B"), "{said}");
    }

    #[test]
    fn profiles_that_are_named_go_before_those_of_the_environment_and_of_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let stack = directory.path().join("stack.yml");
        std::fs::write(&stack, "services: {}").expect("a file");
        std::fs::write(directory.path().join(".env"), "COMPOSE_PROFILES=file").expect("a file");
        let of = |profiles: &[&str], env: &[(&str, &str)]| {
            let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
            let args = FileArgs { profiles, ..FileArgs::of(std::slice::from_ref(&stack)) };
            let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            args.read_in(env).expect("sources").env.get(PROFILES).cloned()
        };
        let is = |value: &str| Some(value.to_owned());
        assert_eq!(of(&[], &[]), is("file"));
        assert_eq!(of(&[], &[(PROFILES, "a,b")]), is("a,b"));
        assert_eq!(of(&["c", "d"], &[(PROFILES, "a,b")]), is("c,d"));
    }

    #[test]
    fn one_option_names_several_files() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            files: FileArgs,
        }
        let line = Line::parse_from(["stack", "-c", "a.yml,b.yml", "--compose-file", "c.yml"]);
        assert_eq!(line.files.compose_files, ["a.yml", "b.yml", "c.yml"].map(PathBuf::from));
    }
}
