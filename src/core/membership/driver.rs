//! What the machine needs around foca: the queue's entries, and a collector of its wishes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::codec::seal_foca;
use super::identity::MemberIdentity;
use crate::Mono;

/// Something due at a time; equal times keep their order.
#[derive(Debug)]
pub(super) struct Timed {
    pub due: Mono,
    pub count: u64,
    pub event: Event,
    /// It was put off once because this process had not run.
    pub deferred: bool,
}

#[derive(Debug)]
pub(super) enum Event {
    Foca(foca::Timer<MemberIdentity>),
    /// Look for members if there are none.
    Seek,
    /// Compare what is known with another member.
    Sync,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.count) == (other.due, other.count)
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.count).cmp(&(other.due, other.count))
    }
}

/// What foca wants done during one call.
#[derive(Default)]
pub(super) struct Collected {
    pub sends: Vec<(SocketAddr, Bytes)>,
    pub timers: Vec<(foca::Timer<MemberIdentity>, Duration)>,
    pub notifications: Vec<foca::OwnedNotification<MemberIdentity>>,
}

impl foca::Runtime<MemberIdentity> for Collected {
    fn notify(&mut self, notification: foca::Notification<'_, MemberIdentity>) {
        self.notifications.push(notification.to_owned());
    }

    fn send_to(&mut self, to: MemberIdentity, data: &[u8]) {
        self.sends.push((to.info.gossip, seal_foca(data)));
    }

    fn submit_after(&mut self, event: foca::Timer<MemberIdentity>, after: Duration) {
        self.timers.push((event, after));
    }
}
