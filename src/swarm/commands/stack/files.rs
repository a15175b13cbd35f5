//! The compose files of a stack, and what they refer to, read from this machine.

use crate::error::{CliError, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use swarm_core::compose::{ComposeError, Files, SourceFile, Warning};

/// Largest compose file or file it refers to, in bytes: secrets and configs are far smaller.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where the stack is described.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Compose file; - is standard input; later files override earlier ones (may be repeated)
    #[arg(short, long = "compose-file", value_name = "FILE", required = true)]
    pub compose_files: Vec<PathBuf>,
}

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
    pub env: BTreeMap<String, String>,
    pub disk: Disk,
}

impl FileArgs {
    pub fn of(compose_files: &[PathBuf]) -> Self {
        Self { compose_files: compose_files.to_vec() }
    }

    pub fn read(&self) -> Result<Sources> {
        let env = std::env::vars_os();
        let env = env.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        self.read_in(env.collect())
    }

    /// As if `env` were the environment.
    pub fn read_in(&self, env: BTreeMap<String, String>) -> Result<Sources> {
        let mut files = Vec::new();
        for path in &self.compose_files {
            let is_stdin = path == Path::new("-");
            let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
            let bytes = match is_stdin {
                true => bounded(std::io::stdin().lock()),
                false => std::fs::File::open(path).map_err(|error| words(&error)).and_then(bounded),
            };
            let bytes = bytes.map_err(|why| CliError::usage(format!("cannot read {name}: {why}")))?;
            let text = String::from_utf8(bytes).map_err(|_| CliError::usage(format!("{name} is not text in UTF-8")))?;
            files.push(SourceFile { name, text });
        }
        Ok(Sources { files, env, disk: Disk { directory: self.directory()? } })
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
