//! The event log: one line for each event, hashed as it is written, so that two runs can be compared.

use std::collections::VecDeque;

/// Lines kept for the report on a violation.
const TAIL: usize = 120;

/// FNV-1a (Fowler, Noll, Vo): no cipher, but the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(pub u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Where lines go besides into the hash.
pub type Sink = Box<dyn FnMut(&str)>;

/// Hash, tail and count of the lines so far.
#[derive(Default)]
pub struct Log {
    hash: Fnv,
    lines: u64,
    tail: VecDeque<String>,
    sink: Option<Sink>,
}

impl Log {
    /// Every line is also given to `sink`.
    pub fn with_sink(sink: Sink) -> Self {
        Self { sink: Some(sink), ..Self::default() }
    }

    /// Writes a line: number, virtual time in milliseconds, text. Of the many that only say that a message came, none
    /// is in the tail.
    pub fn line(&mut self, now_us: u64, text: &str, minor: bool) {
        self.lines += 1;
        let line = format!("{} {}.{:03} {text}", self.lines, now_us / 1000, now_us % 1000);
        self.hash.write(line.as_bytes());
        self.hash.write(b"\n");
        if let Some(sink) = &mut self.sink {
            sink(&line);
        }
        if minor {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Of all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}
