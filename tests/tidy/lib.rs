//! Reads the source tree for the `tidy` test: manifests, source files and where they are.
//!
//! Owns no rule: the rules are in `main.rs`. Uses nothing but the standard library, so that the
//! shape of the tree can be checked before anything of it is built.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One text file: path relative to the root, and its text.
#[derive(Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Generated code is checked in but not written by hand: limits on size do not apply to it.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.text.lines().take(3).any(|l| l.contains("@generated"))
    }

    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Every file below `root` that git would keep and that is text, sorted by path.
///
/// # Errors
/// When a directory or a file cannot be read.
pub fn sources(root: &Path) -> io::Result<Vec<Source>> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !matches!(name.as_ref(), ".git" | "node_modules" | ".vagrant") && !name.starts_with("target") {
                    todo.push(path);
                }
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(std::fs::read(&path)?)
            {
                let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                out.push(Source { path, text });
            }
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// The dependencies a manifest names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// `[dependencies]` and `[target.*.dependencies]`: linked into what we ship.
    pub normal: BTreeSet<String>,
    /// `[dev-dependencies]` and `[build-dependencies]`.
    pub dev: BTreeSet<String>,
}

/// Reads the dependency tables of a `Cargo.toml`: `name = ...`, `name.workspace = true` and
/// `[dependencies.name]`. Knows no other TOML: the manifests are ours.
#[must_use]
pub fn manifest(text: &str) -> Manifest {
    let mut m = Manifest::default();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(head) = line.strip_prefix('[') {
            section = head.trim_matches(|c| c == '[' || c == ']').to_owned();
            if let Some((table, name)) = section.rsplit_once('.')
                && let Some(set) = m.table(table)
            {
                set.insert(name.trim_matches('"').to_owned());
            }
        } else if let Some((key, _)) = line.split_once('=')
            && let Some(set) = m.table(&section)
        {
            let name = key.trim().split('.').next().unwrap_or("").trim_matches('"');
            set.insert(name.to_owned());
        }
    }
    m
}

impl Manifest {
    fn table(&mut self, section: &str) -> Option<&mut BTreeSet<String>> {
        let last = section.rsplit('.').next().unwrap_or("");
        match last {
            "dependencies" if section == last || section.starts_with("target.") => Some(&mut self.normal),
            "dev-dependencies" | "build-dependencies" => Some(&mut self.dev),
            _ => None,
        }
    }
}
