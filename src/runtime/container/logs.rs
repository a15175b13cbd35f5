//! Reading a container's log, also while it grows, without the shim.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::watch::Watch;
use super::{Containers, Output, Result, check_id, io_error};
use crate::shim::log::parse_rfc3339;
use crate::shim::protocol::{EXIT_FILE, LOG_FILE};

/// Bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Lines ahead of a reader: enough to keep it busy, little enough to stop when it stops.
const LINES_AHEAD: usize = 256;
/// Bytes of one stored entry: 16 KiB of text, each byte escaped to six at worst, and the rest of the object.
const ENTRY_BYTES_MAX: usize = 256 << 10;

/// Which part of a log (Docker API: `GET /containers/{id}/logs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written later, until the container ends.
    pub follow: bool,
    /// Only this many entries before the present.
    pub tail: Option<usize>,
    /// Nanoseconds since 1970, inclusive.
    pub since_ns: Option<u64>,
    /// Nanoseconds since 1970, inclusive.
    pub until_ns: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { follow: false, tail: None, since_ns: None, until_ns: None, stdout: true, stderr: true }
    }
}

/// One entry. A line longer than 16 KiB comes in parts, of which only the last ends with a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub stream: Output,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    pub bytes: Bytes,
}

/// Entries in the order in which they were written.
pub type LogStream = Pin<Box<dyn Stream<Item = io::Result<LogLine>> + Send>>;

impl Containers {
    /// Reads the log of a container, running or ended.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream> {
        check_id(id)?;
        let dir = self.state_dir(id);
        if !dir.is_dir() {
            return Err(super::Error::NotFound(id.to_owned()));
        }
        // Before the first look, so that nothing written meanwhile is missed.
        let watch =
            options.follow.then(|| self.inner.watches.add(&dir)).transpose().map_err(io_error("watch", &dir))?;
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        tokio::spawn(async move {
            let mut reader = Reader { dir, options, sender, file: None, rest: Vec::new() };
            if let Err(error) = reader.run(watch).await {
                let _ = reader.sender.send(Err(error)).await;
            }
        });
        Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|line| (line, receiver))
        })))
    }
}

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

struct Reader {
    dir: PathBuf,
    options: LogOptions,
    sender: mpsc::Sender<io::Result<LogLine>>,
    /// The file being read, and its number to know it again after a rotation.
    file: Option<(File, u64)>,
    /// Bytes behind the last whole entry.
    rest: Vec<u8>,
}

impl Reader {
    async fn run(&mut self, watch: Option<Watch>) -> io::Result<()> {
        match self.options.tail {
            Some(count) => {
                let dir = self.dir.clone();
                let options = self.options;
                let found = blocking(move || tail(&dir, &options, count)).await?;
                self.file = found.file;
                for line in found.lines {
                    if !self.give(line).await {
                        return Ok(());
                    }
                }
            }
            None => {
                if !self.next_file().await? {
                    return Ok(());
                }
            }
        }
        match watch {
            Some(watch) => self.follow(watch).await,
            None => Ok(()),
        }
    }

    async fn follow(&mut self, mut watch: Watch) -> io::Result<()> {
        loop {
            // First the record, then the log: what is in the log by now is all there will be.
            let dir = self.dir.clone();
            let over = blocking(move || Ok(dir.join(EXIT_FILE).exists() || !dir.exists())).await?;
            if !self.drain().await? || !self.next_file().await? {
                return Ok(());
            }
            if over {
                return Ok(());
            }
            tokio::select! {
                changed = watch.changed() => changed?,
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Reads on behind the present file, as often as the log was rotated. False when nobody listens.
    async fn next_file(&mut self) -> io::Result<bool> {
        loop {
            let (dir, current) = (self.dir.clone(), self.file.as_ref().map(|(_, number)| *number));
            let Some(next) = blocking(move || successor(&dir, current)).await? else { return Ok(true) };
            // The rest of the old one, written between the last look and its rotation.
            if !self.drain().await? {
                return Ok(false);
            }
            self.file = Some(next);
            self.rest.clear();
            if !self.drain().await? {
                return Ok(false);
            }
        }
    }

    /// Reads to the end of the file. False when nobody listens or `until` has passed.
    async fn drain(&mut self) -> io::Result<bool> {
        loop {
            let Some((mut file, number)) = self.file.take() else { return Ok(true) };
            let reading = blocking(move || {
                let mut piece = Vec::new();
                file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
                Ok((file, piece))
            });
            let (file, piece) = reading.await?;
            self.file = Some((file, number));
            if piece.is_empty() {
                return Ok(true);
            }
            self.rest.extend_from_slice(&piece);
            let mut rest = std::mem::take(&mut self.rest);
            let mut begin = 0;
            while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                if let Some(line) = parse(&rest[begin..begin + length])
                    && !self.offer(line).await
                {
                    return Ok(false);
                }
                begin += length + 1;
            }
            rest.drain(..begin);
            if rest.len() > ENTRY_BYTES_MAX {
                rest.clear(); // Not written by a shim; the next newline puts us right again.
            }
            self.rest = rest;
        }
    }

    /// Gives a line if it is wanted. False when the rest is not.
    async fn offer(&mut self, line: LogLine) -> bool {
        if self.options.until_ns.is_some_and(|until| line.time_ns > until) {
            return false;
        }
        if wanted(&self.options, &line) { self.give(line).await } else { true }
    }

    async fn give(&mut self, line: LogLine) -> bool {
        self.sender.send(Ok(line)).await.is_ok()
    }
}

fn wanted(options: &LogOptions, line: &LogLine) -> bool {
    let stream = match line.stream {
        Output::Stdout => options.stdout,
        Output::Stderr => options.stderr,
    };
    stream
        && options.since_ns.is_none_or(|since| line.time_ns >= since)
        && options.until_ns.is_none_or(|until| line.time_ns <= until)
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let stream = match entry.stream.as_str() {
        "stdout" => Output::Stdout,
        "stderr" => Output::Stderr,
        _ => return None,
    };
    Some(LogLine { stream, time_ns: parse_rfc3339(&entry.time)?, bytes: entry.log.into_bytes().into() })
}

/// Disks may be slow: their work is on threads of its own, one piece at a time, so that a slow reader holds none.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Existing log files, oldest first.
fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut numbered: Vec<(u32, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let suffix = name.strip_prefix(LOG_FILE)?;
            let number = if suffix.is_empty() { 0 } else { suffix.strip_prefix('.')?.parse().ok()? };
            Some((number, entry.path()))
        })
        .collect();
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// A log file and its number; `None` when it was rotated away since it was listed.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => {
            let number = file.metadata()?.ino();
            Ok(Some((file, number)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file behind the one of this number: the oldest, when that has been removed or there is none yet.
fn successor(dir: &Path, current: Option<u64>) -> io::Result<Option<(File, u64)>> {
    let look = || -> Vec<(PathBuf, u64)> {
        let numbered = |path: PathBuf| Some((path.clone(), std::fs::metadata(path).ok()?.ino()));
        log_files(dir).into_iter().filter_map(numbered).collect()
    };
    let mut files = look();
    loop {
        // Names change during a rotation, one after the other: only what is seen twice is true.
        let again = look();
        if again == files {
            let position = files.iter().position(|(_, number)| Some(*number) == current);
            let Some((path, number)) = files.get(position.map_or(0, |position| position + 1)) else { return Ok(None) };
            if let Some(next) = open(path)?.filter(|(_, opened)| opened == number) {
                return Ok(Some(next));
            }
        }
        files = again;
    }
}

struct Tail {
    lines: VecDeque<LogLine>,
    /// The newest file, positioned behind what was read.
    file: Option<(File, u64)>,
}

/// The last `count` wanted entries, read backwards from the newest file.
fn tail(dir: &Path, options: &LogOptions, count: usize) -> io::Result<Tail> {
    let mut out = Tail { lines: VecDeque::new(), file: None };
    let mut seen = Vec::new();
    for path in log_files(dir).iter().rev() {
        let Some((mut file, number)) = open(path)? else { continue };
        if seen.contains(&number) {
            continue; // Renamed since the look at the one before.
        }
        seen.push(number);
        let end = whole_entries_end(&mut file)?;
        if count > out.lines.len() {
            backwards(&mut file, end, options, count, &mut out.lines)?;
        }
        if out.file.is_none() {
            file.seek(SeekFrom::Start(end))?;
            out.file = Some((file, number));
        }
        if out.lines.len() >= count {
            break;
        }
    }
    Ok(out)
}

/// Offset behind the last newline: an entry that is being written is left for the following.
fn whole_entries_end(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(PIECE_BYTES as u64);
        let piece = read_range(file, begin, end)?;
        if let Some(position) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + position as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn backwards(
    file: &mut File,
    end: u64,
    options: &LogOptions,
    count: usize,
    lines: &mut VecDeque<LogLine>,
) -> io::Result<()> {
    let mut end = end;
    let mut carry: Vec<u8> = Vec::new();
    while end > 0 && lines.len() < count {
        let begin = end.saturating_sub(PIECE_BYTES as u64);
        let mut piece = read_range(file, begin, end)?;
        piece.extend_from_slice(&carry);
        // The first line of the piece may begin before it.
        let whole =
            if begin == 0 { 0 } else { piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |at| at + 1) };
        for line in piece[whole..].split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
            if lines.len() >= count {
                return Ok(());
            }
            if let Some(line) = parse(line).filter(|line| wanted(options, line)) {
                lines.push_front(line);
            }
        }
        piece.truncate(whole);
        carry = piece;
        if carry.len() > ENTRY_BYTES_MAX {
            carry.clear();
        }
        end = begin;
    }
    Ok(())
}

fn read_range(file: &mut File, begin: u64, end: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(begin))?;
    let mut out = Vec::new();
    file.take(end - begin).read_to_end(&mut out)?;
    Ok(out)
}
