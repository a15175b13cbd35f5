//! Catches what libcontainer logs as an error, because its error values lose the cause.
//!
//! Installed only in helpers (see `create`), never in the shim: each line goes straight over the report descriptor,
//! also from the processes the library forks, which have no other way to say why they failed.

use std::fmt::Write;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::executor::{Report, report};

/// Bytes of one note: a path and an error; the rest is repetition.
const NOTE_BYTES_MAX: usize = 512;

pub(crate) struct Notes {
    fd: i32,
}

impl Notes {
    /// From here on errors logged in this process and its forks are reported.
    pub(crate) fn install(fd: i32) {
        // A second installation is impossible: a helper is forked from a shim that has none.
        let _ = tracing::subscriber::set_global_default(Self { fd });
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if self.0.len() >= NOTE_BYTES_MAX {
            return;
        }
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut end = text.0.len().min(NOTE_BYTES_MAX);
        while !text.0.is_char_boundary(end) {
            end -= 1;
        }
        text.0.truncate(end);
        report(self.fd, &Report::Note(text.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
