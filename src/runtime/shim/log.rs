//! The container's log, written by the shim so that it survives the daemon.
//!
//! Docker's json-file format, one object a line: `{"log":"text\n","stream":"stdout","time":"..."}`. A line longer
//! than 16 KiB becomes several entries of which only the last ends with a newline, as Docker does. Files are rotated
//! by size and bounded in number; a full disk loses lines, never the container.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::protocol::LOG_FILE;
use crate::spec::LogLimits;

/// Bytes of a line after which it is written in parts: Docker's.
const LINE_BYTES_MAX: usize = 16 << 10;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

impl Output {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The number in Docker's stream frames.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// Writes the log of one container.
pub(crate) struct LogWriter {
    dir: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    size: u64,
    /// Lines that could not be written since the last that could, and whether a part of one was.
    lost: u64,
    torn: bool,
    /// Bytes of a line whose end has not come.
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    pub(crate) fn open(dir: PathBuf, limits: LogLimits) -> io::Result<Self> {
        let mut log =
            Self { dir, limits, file: None, size: 0, lost: 0, torn: false, partial: [Vec::new(), Vec::new()] };
        log.reopen()?;
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(self.dir.join(LOG_FILE))?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes output as it comes and writes its whole lines.
    pub(crate) fn write(&mut self, output: Output, bytes: &[u8]) {
        let index = usize::from(output.number() - 1);
        let mut entries = Vec::new();
        let now = rfc3339_nanos(now_ns());
        let mut pending = std::mem::take(&mut self.partial[index]);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece);
            if pending.last() == Some(&b'\n') || pending.len() >= LINE_BYTES_MAX {
                entry(&mut entries, &pending, output, &now);
                pending.clear();
            }
        }
        pending.shrink_to(256);
        self.partial[index] = pending;
        self.append(&entries);
    }

    /// Writes what has no end of line.
    pub(crate) fn finish(&mut self) {
        for output in [Output::Stdout, Output::Stderr] {
            let pending = std::mem::take(&mut self.partial[usize::from(output.number() - 1)]);
            if !pending.is_empty() {
                let mut entries = Vec::new();
                entry(&mut entries, &pending, output, &rfc3339_nanos(now_ns()));
                self.append(&entries);
            }
        }
    }

    fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if self.limits.max_size > 0 && self.size > 0 && self.size + entries.len() as u64 > self.limits.max_size {
            self.rotate();
        }
        if self.file.is_none() {
            let _ = self.reopen(); // Or at the next line.
        }
        let mut bytes = self.notice();
        bytes.extend_from_slice(entries);
        match self.file.as_mut().map(|file| file.write_all(&bytes)) {
            Some(Ok(())) => {
                self.size += bytes.len() as u64;
                (self.lost, self.torn) = (0, false);
            }
            failed => {
                self.lost += entries.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.torn |= failed.is_some();
            }
        }
    }

    /// What a reader is told of lines that are missing here; empty when none are.
    fn notice(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.lost > 0 {
            if self.torn {
                out.push(b'\n');
            }
            let words = format!("{} lines before this one are lost: the log could not be written\n", self.lost);
            entry(&mut out, words.as_bytes(), Output::Stderr, &rfc3339_nanos(now_ns()));
        }
        out
    }

    /// log.json -> log.json.1 -> ... ; the oldest goes.
    fn rotate(&mut self) {
        let path = |number: u32| match number {
            0 => self.dir.join(LOG_FILE),
            number => self.dir.join(format!("{LOG_FILE}.{number}")),
        };
        let last = self.limits.max_files.max(1) - 1;
        if last == 0 {
            let _ = std::fs::remove_file(path(0));
        }
        for number in (0..last).rev() {
            let _ = std::fs::rename(path(number), path(number + 1));
        }
        // Nothing is rotated again before there is a log: that would push out the old ones.
        (self.file, self.size) = (None, 0);
        let _ = self.reopen(); // Or at the next line.
    }
}

fn entry(out: &mut Vec<u8>, line: &[u8], output: Output, time: &str) {
    out.extend_from_slice(b"{\"log\":");
    let text = String::from_utf8_lossy(line);
    // Writing into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, &*text);
    let _ = writeln!(out, ",\"stream\":\"{}\",\"time\":\"{time}\"}}", output.name());
}

pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// RFC 3339 in UTC with nine digits, as Docker writes it: a fixed width keeps lines comparable as text.
pub(crate) fn rfc3339_nanos(ns: u64) -> String {
    let (seconds, nanos) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Days since 1970-01-01 -> year, month, day in the Gregorian calendar, counted in 400-year eras that begin in
/// March, so that the leap day is the last of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`rfc3339_nanos`], for any number of fraction digits; `None` for anything else.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let nanos = format!("{fraction:0<9}").get(..9)?.parse::<u64>().ok()?;
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = u64::try_from(era * 146_097 + day_of_era - 719_468).ok()?;
    (((days * 24 + hour) * 60 + minute) * 60 + second).checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, limits: LogLimits) -> LogWriter {
        LogWriter::open(dir.to_owned(), limits).expect("open")
    }

    #[test]
    fn lines_are_written_when_they_end() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = writer(dir.path(), LogLimits::default());
        log.write(Output::Stdout, b"one\ntw");
        log.write(Output::Stderr, b"err \"x\"\n");
        log.write(Output::Stdout, b"o\nrest");
        log.finish();
        let text = std::fs::read_to_string(dir.path().join(LOG_FILE)).expect("read");
        let entries: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
        let logs: Vec<&str> = entries.iter().map(|entry| entry["log"].as_str().expect("text")).collect();
        assert_eq!(logs, ["one\n", "err \"x\"\n", "two\n", "rest"]);
        assert_eq!(entries[1]["stream"], "stderr");
    }

    #[test]
    fn an_endless_line_is_cut_in_parts() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = writer(dir.path(), LogLimits::default());
        for _ in 0..10 {
            log.write(Output::Stdout, &[b'x'; 4096]);
        }
        assert!(log.partial[0].len() < LINE_BYTES_MAX);
        let text = std::fs::read_to_string(dir.path().join(LOG_FILE)).expect("read");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = writer(dir.path(), LogLimits { max_size: 500, max_files: 3 });
        for number in 0..100 {
            log.write(Output::Stdout, format!("line {number}\n").as_bytes());
        }
        let mut files: Vec<_> = std::fs::read_dir(dir.path()).expect("dir").flatten().collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| file.metadata().expect("meta").len() <= 500));
        let newest = std::fs::read_to_string(dir.path().join(LOG_FILE)).expect("read");
        assert!(newest.contains("line 99"));
    }

    #[test]
    fn a_log_that_cannot_be_opened_after_a_rotation_goes_on_when_it_can() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = writer(dir.path(), LogLimits { max_size: 100, max_files: 2 });
        log.write(Output::Stdout, b"one\n");
        // Nothing can be made there: what was rotated away is in the way, and a directory in place of the log.
        std::fs::create_dir_all(dir.path().join("log.json.1/full")).expect("mkdir");
        std::fs::remove_file(dir.path().join(LOG_FILE)).expect("remove");
        std::fs::create_dir_all(dir.path().join(LOG_FILE).join("full")).expect("mkdir");
        for line in ["two\n", "three\n"] {
            log.write(Output::Stdout, line.as_bytes());
        }
        std::fs::remove_dir_all(dir.path().join("log.json.1")).expect("remove");
        std::fs::remove_dir_all(dir.path().join(LOG_FILE)).ok();
        for line in ["four\n", "five\n"] {
            log.write(Output::Stdout, line.as_bytes());
        }
        let texts = [format!("{LOG_FILE}.1"), LOG_FILE.to_owned()]
            .map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default());
        let entries = texts.concat();
        let logs: Vec<String> = entries
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("json"))
            .map(|entry| entry["log"].as_str().expect("text").to_owned())
            .collect();
        assert_eq!(
            logs,
            ["2 lines before this one are lost: the log could not be written\n", "four\n", "five\n"],
            "{entries}"
        );
    }

    #[test]
    fn times_are_written_and_read_back() {
        assert_eq!(rfc3339_nanos(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339_nanos(951_782_400_000_000_007), "2000-02-29T00:00:00.000000007Z");
        for ns in [0, 951_782_400_000_000_007, 1_782_345_678_912_345_678] {
            assert_eq!(parse_rfc3339(&rfc3339_nanos(ns)), Some(ns));
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
