//! Prints the canonical form of compose files: `stack-config [--deploy NAME] -c FILE [-c FILE]...`.
//! With `--deploy` it prints the specifications a deployment would make instead. For looking at the compose module
//! without a cluster.
#![allow(clippy::disallowed_methods, reason = "an example is a shell: it reads the files that core is handed")]
#![allow(clippy::disallowed_types, reason = "an example is a shell: it reads the files that core is handed")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use swarm_core::compose::{self, Files, SourceFile};

struct Disk {
    directory: String,
}

impl Files for Disk {
    fn directory(&self) -> &str {
        &self.directory
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok((text, warnings)) => {
            let _ = write!(std::io::stderr(), "{warnings}");
            let written = std::io::stdout().write_all(text.as_bytes());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            let _ = write!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(String, String), String> {
    let mut names = Vec::new();
    let mut stack = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-c" => names.push(args.next().ok_or("-c needs a file\n")?),
            "--deploy" => stack = Some(args.next().ok_or("--deploy needs a name\n")?),
            other => return Err(format!("unknown argument {other}\n")),
        }
    }
    let mut files = Vec::new();
    for name in names {
        let bytes = std::fs::read(&name).map_err(|error| format!("{name}: {error}\n"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{name}: no UTF-8 text\n"))?;
        files.push(SourceFile { name, text });
    }
    let first = files.first().map_or("", |file| file.name.as_str());
    let full = std::path::absolute(first).map_err(|error| format!("{first}: {error}\n"))?;
    let directory = full.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let disk = Disk { directory };
    let lines =
        |errors: Vec<compose::ComposeError>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    let (text, warnings) = match stack {
        Some(name) => {
            let loaded = compose::load(Some(&name), &files, &env, &disk).map_err(lines)?;
            (format!("{:#?}\n", loaded.stack), loaded.warnings)
        }
        None => {
            let canonical = compose::config(&files, &env, &disk).map_err(lines)?;
            (canonical.yaml, canonical.warnings)
        }
    };
    Ok((text, warnings.iter().map(|warning| format!("{warning}\n")).collect()))
}
