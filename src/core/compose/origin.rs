//! What each file of a stack has around it: a directory that its paths start from, and variables.
//!
//! Filled by `read`, one entry for each file in the order of [`Pos::file`]; asked by whatever meets a value with a place.

use super::interpolate::Environment;
use super::value::Pos;
use crate::model::clean_path;
use std::sync::Arc;

/// What is around the files that are read together.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Absolute.
    pub directory: String,
    pub env: Arc<Environment>,
    /// Which files are read together: those of the command line, or those of one include.
    pub set: usize,
}

impl Surroundings {
    /// The absolute form of `path` as a file here writes it.
    pub fn path(&self, path: &str) -> String {
        if path == "~" || path.starts_with("~/") {
            let home = self.env.get("HOME").map_or("", String::as_str);
            return clean_path(&format!("{home}/{}", &path[1..]));
        }
        if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
            return path.to_owned();
        }
        clean_path(&format!("{}/{path}", self.directory))
    }
}

/// The directory that the file at the absolute `path` is in.
pub(crate) fn directory(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
    }
}

/// Paths that name something on another host: none is fetched.
pub(crate) fn is_remote(path: &str) -> bool {
    let address = path.split('/').next().unwrap_or_default();
    path.contains("://") || address.split_once('@').is_some_and(|(_, host)| host.contains(':'))
}

/// The surroundings of every file.
#[derive(Debug)]
pub(crate) struct Origins {
    /// Those of the command line's files.
    pub first: Arc<Surroundings>,
    files: Vec<Arc<Surroundings>>,
}

impl Origins {
    pub fn new(first: Surroundings) -> Self {
        Self { first: Arc::new(first), files: Vec::new() }
    }

    pub fn add(&mut self, around: Arc<Surroundings>) {
        self.files.push(around);
    }

    /// What is around the file that `pos` is in.
    pub fn of(&self, pos: Pos) -> &Arc<Surroundings> {
        self.files.get(pos.file).unwrap_or(&self.first)
    }

    /// Whether the file that `pos` is in has another directory than the stack.
    pub fn is_elsewhere(&self, pos: Pos) -> bool {
        self.of(pos).directory != self.first.directory
    }
}
