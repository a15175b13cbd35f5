//! Repair of lost updates: members compare digests of what they know, and who differs gets a list.
//!
//! Updates ride on probes a limited number of times; with hundreds of members that start at once,
//! some miss some. A random comparison now and then finds that out (anti-entropy), and gives a new
//! member the whole list at once.

use crate::Mono;

use super::random::Sequence;
use super::timing::{SYNC_ANSWERS_MAX, SYNC_WINDOW};
use super::view::{MemberState, Members};
use super::{Member, MemberIdentity};

/// A number that is equal for members that know the same lives of the same active members.
/// Whatever order they are in, as every member counts itself among them.
pub(super) fn digest(own: &MemberIdentity, members: &Members) -> u64 {
    let active = |member: &&Member| member.state != MemberState::Down;
    let lives = members.values().filter(active).map(|member| &member.identity);
    lives.chain([own]).map(mixed).fold(0, u64::wrapping_add)
}

fn mixed(identity: &MemberIdentity) -> u64 {
    let node = identity.node.0;
    let mut mix = Sequence::new(node as u64);
    let high = mix.next() ^ (node >> 64) as u64;
    let mut mix = Sequence::new(high ^ identity.generation.rotate_left(32));
    mix.next()
}

/// How many lists were sent lately.
#[derive(Debug, Default)]
pub(super) struct Answers {
    window: Mono,
    count: u32,
}

impl Answers {
    /// Whether one more may be sent now; if so it is counted.
    pub(super) fn allow(&mut self, now: Mono) -> bool {
        if now.since(self.window) >= SYNC_WINDOW {
            *self = Self { window: now, count: 0 };
        }
        self.count += 1;
        self.count <= SYNC_ANSWERS_MAX
    }
}
