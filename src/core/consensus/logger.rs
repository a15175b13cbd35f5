//! Raft-rs speaks slog; its warnings and milestones go to tracing.

use slog::{Drain, KV, Level, Logger, OwnedKVList, Record, Serializer};
use std::fmt::Write;

/// Forwards what is at least `Info`. Below that raft prints whole messages with the entries' data, which may be
/// secrets: they must never reach a log.
struct ToTracing;

struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}

impl Drain for ToTracing {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), slog::Never> {
        let level = record.level();
        if !level.is_at_least(Level::Info) {
            return Ok(());
        }
        let mut pairs = Pairs(String::new());
        // A pair that cannot be formatted is left out; the message itself still is worth having.
        let _ = record.kv().serialize(record, &mut pairs);
        match level {
            Level::Critical | Level::Error => tracing::error!("raft: {}{}", record.msg(), pairs.0),
            Level::Warning => tracing::warn!("raft: {}{}", record.msg(), pairs.0),
            Level::Info | Level::Debug | Level::Trace => tracing::debug!("raft: {}{}", record.msg(), pairs.0),
        }
        Ok(())
    }
}

pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}
