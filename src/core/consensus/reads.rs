//! Linearizable reads by read index (Raft thesis 6.4), batched: all reads that arrive while a round is under way
//! share the next one. Raft-rs drops a read silently when it cannot be served yet, so a round is asked again; the
//! answer to any of its askings serves, for all were asked after its reads had come.

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
    /// Of its first asking; `Reads::seq` is that of its last.
    first_seq: u64,
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

    /// The context to ask raft with, when a round is due: a new one, or one that got no answer for some ticks.
    pub fn start(&mut self, tick: u64) -> Option<Vec<u8>> {
        match &mut self.round {
            Some(round) if tick < round.asked_tick + READ_RETRY_TICKS => return None,
            Some(round) => round.asked_tick = tick,
            None if self.waiting.is_empty() => return None,
            None => {
                let reads = std::mem::take(&mut self.waiting);
                self.round = Some(Round { first_seq: self.seq + 1, asked_tick: tick, reads });
            }
        }
        self.seq += 1;
        Some(self.context(self.seq))
    }

    fn context(&self, seq: u64) -> Vec<u8> {
        [self.raft_id, self.nonce, seq].iter().flat_map(|part| part.to_be_bytes()).collect()
    }

    /// Raft confirmed a context at `index`.
    pub fn confirm(&mut self, context: &[u8], index: u64) {
        let Some(first) = self.round.as_ref().map(|round| round.first_seq) else { return };
        if (first..=self.seq).any(|seq| context == self.context(seq))
            && let Some(round) = self.round.take()
        {
            self.confirmed.push((index, round.reads));
        }
    }

    /// Ends reads past their deadline.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<(RequestId, ReadOutcome)>) {
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
        // With nobody left who waits for it there is nothing to ask again.
        self.round.take_if(|round| round.reads.is_empty());
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
    fn an_answer_that_takes_longer_than_the_next_asking_serves_the_reads_of_the_first() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), LATER).unwrap();
        let first = reads.start(0).unwrap();
        assert_eq!(reads.start(READ_RETRY_TICKS - 1), None);
        reads.push(RequestId(2), LATER).unwrap();
        let second = reads.start(READ_RETRY_TICKS).unwrap();
        assert_ne!(first, second);
        reads.confirm(&first, 3);
        reads.answer(100, &mut out);
        assert_eq!(out, [(RequestId(1), ReadOutcome::Ready { index: 3 })], "the second came after the first asking");
        reads.confirm(&second, 7);
        reads.answer(100, &mut out);
        assert_eq!(out.len(), 1, "that round is over");
        let third = reads.start(READ_RETRY_TICKS).unwrap();
        reads.confirm(&third, 8);
        reads.answer(100, &mut out);
        assert_eq!(out.last(), Some(&(RequestId(2), ReadOutcome::Ready { index: 8 })));
    }

    #[test]
    fn an_answer_to_a_round_whose_reads_have_ended_is_ignored() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), Mono(50)).unwrap();
        let first = reads.start(0).unwrap();
        reads.tick(Mono(50), &mut out);
        assert_eq!(std::mem::take(&mut out), [(RequestId(1), ReadOutcome::TimedOut)]);
        reads.push(RequestId(2), LATER).unwrap();
        let second = reads.start(1).unwrap();
        reads.confirm(&first, 3);
        reads.answer(100, &mut out);
        assert!(out.is_empty());
        reads.confirm(&second, 7);
        reads.answer(100, &mut out);
        assert_eq!(out, [(RequestId(2), ReadOutcome::Ready { index: 7 })]);
    }

    #[test]
    fn a_read_ends_at_its_deadline() {
        let mut reads = Reads::new(1, 2);
        let mut out = Vec::new();
        reads.push(RequestId(1), Mono(50)).unwrap();
        reads.tick(Mono(50), &mut out);
        assert_eq!(out, [(RequestId(1), ReadOutcome::TimedOut)]);
    }
}
