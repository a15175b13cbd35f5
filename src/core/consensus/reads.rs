//! Linearizable reads by read index (Raft thesis 6.4), batched: all reads that arrive while a round is under way
//! share the next one. Raft-rs drops a read silently when it cannot be served yet, so rounds are asked again.

use super::io::{ReadOutcome, RequestId};
use super::limits::{PENDING_READS_MAX, READ_RETRY_TICKS};
use crate::time::Mono;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: RequestId,
    deadline: Mono,
}

#[derive(Debug)]
struct Round {
    seq: u64,
    asked_tick: u64,
    reads: Vec<Waiting>,
}

#[derive(Debug)]
pub(super) struct Reads {
    raft_id: u64,
    /// Distinguishes this process from an earlier one of the same member: the leader answers a context it has seen
    /// with the index of the first time, which would be too old.
    nonce: u64,
    seq: u64,
    waiting: Vec<Waiting>,
    round: Option<Round>,
    /// Confirmed, until this node has applied the index.
    confirmed: Vec<(u64, Vec<Waiting>)>,
}

impl Reads {
    pub fn new(raft_id: u64, nonce: u64) -> Self {
        Self { raft_id, nonce, seq: 0, waiting: Vec::new(), round: None, confirmed: Vec::new() }
    }

    /// Takes a read, or refuses it when too many wait.
    pub fn push(&mut self, id: RequestId, deadline: Mono) -> Result<(), ReadOutcome> {
        if self.waiting.len() >= PENDING_READS_MAX {
            return Err(ReadOutcome::Overloaded);
        }
        self.waiting.push(Waiting { id, deadline });
        Ok(())
    }

    /// The context to ask raft with, when a round is due.
    pub fn start(&mut self, tick: u64) -> Option<Vec<u8>> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.seq += 1;
        self.round = Some(Round { seq: self.seq, asked_tick: tick, reads: std::mem::take(&mut self.waiting) });
        Some([self.raft_id, self.nonce, self.seq].iter().flat_map(|part| part.to_be_bytes()).collect())
    }

    /// Raft confirmed a context at `index`.
    pub fn confirm(&mut self, context: &[u8], index: u64) {
        let mine = |round: &mut Round| {
            let seq = [self.raft_id, self.nonce, round.seq];
            context == seq.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<_>>()
        };
        if let Some(round) = self.round.take_if(mine) {
            self.confirmed.push((index, round.reads));
        }
    }

    /// Puts an unanswered round back and ends reads past their deadline.
    pub fn tick(&mut self, tick: u64, now: Mono, out: &mut Vec<(RequestId, ReadOutcome)>) {
        if let Some(mut lost) = self.round.take_if(|round| tick >= round.asked_tick + READ_RETRY_TICKS) {
            lost.reads.append(&mut self.waiting);
            self.waiting = lost.reads;
        }
        let mut expire = |reads: &mut Vec<Waiting>| {
            reads.retain(|read| {
                let keep = now < read.deadline;
                if !keep {
                    out.push((read.id, ReadOutcome::TimedOut));
                }
                keep
            });
        };
        expire(&mut self.waiting);
        if let Some(round) = &mut self.round {
            expire(&mut round.reads);
        }
        for (_, reads) in &mut self.confirmed {
            expire(reads);
        }
    }

    /// Ends all reads: this node will not serve any.
    pub fn end(&mut self, out: &mut Vec<(RequestId, ReadOutcome)>) {
        let round = self.round.take().map(|round| round.reads).unwrap_or_default();
        let confirmed = self.confirmed.drain(..).flat_map(|(_, reads)| reads);
        let all = self.waiting.drain(..).chain(round).chain(confirmed);
        out.extend(all.map(|read| (read.id, ReadOutcome::TimedOut)));
    }

    /// Answers the reads whose index is applied.
    pub fn answer(&mut self, applied: u64, out: &mut Vec<(RequestId, ReadOutcome)>) {
        self.confirmed.retain(|(index, reads)| {
            if *index <= applied {
                out.extend(reads.iter().map(|read| (read.id, ReadOutcome::Ready { index: *index })));
            }
            *index > applied
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Mono = Mono(10_000);

    #[test]
    fn reads_that_arrive_during_a_round_wait_for_the_next() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), LATER).unwrap();
        let first = reads.start(0).unwrap();
        reads.push(RequestId(2), LATER).unwrap();
        assert_eq!(reads.start(0), None, "one round at a time");
        reads.confirm(&first, 5);
        reads.answer(4, &mut out);
        assert!(out.is_empty(), "index 5 is not applied yet");
        reads.answer(5, &mut out);
        assert_eq!(out, [(RequestId(1), ReadOutcome::Ready { index: 5 })]);
        let second = reads.start(1).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn an_answer_to_a_round_given_up_is_ignored() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), LATER).unwrap();
        let first = reads.start(0).unwrap();
        reads.tick(READ_RETRY_TICKS, Mono(0), &mut out);
        let second = reads.start(READ_RETRY_TICKS).unwrap();
        reads.confirm(&first, 3);
        reads.answer(100, &mut out);
        assert!(out.is_empty());
        reads.confirm(&second, 7);
        reads.answer(100, &mut out);
        assert_eq!(out, [(RequestId(1), ReadOutcome::Ready { index: 7 })]);
    }

    #[test]
    fn a_read_ends_at_its_deadline() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), Mono(50)).unwrap();
        reads.tick(1, Mono(50), &mut out);
        assert_eq!(out, [(RequestId(1), ReadOutcome::TimedOut)]);
    }
}
