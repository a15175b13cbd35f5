//! What consensus wants done, in its order: to the disk, over the network, to the state, and what of it comes back.

use crate::call::Packet;
use crate::disk::Job;
use crate::log::Fnv;
use crate::manager::{ManagerWake, ReadFor, Written};
use crate::net::HostId;
use crate::settings::{MS, SECOND};
use crate::world::{Event, World};
use bytes::Bytes;
use swarm_core::NodeId;
use swarm_core::consensus::{Apply, Effects, Input, Outcome, ReadOutcome, Send, Stop};

/// A dial that fails.
const DIAL_US: u64 = 2 * SECOND;

impl World {
    pub fn carry_out(&mut self, host: HostId, out: Effects) {
        if let Some(batch) = out.persist {
            self.hosts[host].disk.persist(batch);
            self.disk_begin(host);
        }
        for send in out.sends {
            self.send_raft(host, send);
        }
        for apply in out.apply {
            match apply {
                Apply::Restore { index, state, .. } => self.restore(host, index, &state),
                Apply::Entry { index, term, data, reply_to } => self.apply(host, index, term, &data, reply_to),
            }
        }
        for (id, outcome) in out.replies {
            let Some(waiter) = self.manager(host).and_then(|manager| manager.waiters.remove(&id)) else { continue };
            let written = match outcome {
                Outcome::Committed { index } => Written::Done(index, Ok(())),
                Outcome::Dropped(_) => Written::NotDone,
                Outcome::Unknown => Written::Uncertain,
            };
            self.written(host, waiter, written);
        }
        for (id, outcome) in out.reads {
            let ready = matches!(outcome, ReadOutcome::Ready { .. });
            match self.manager(host).and_then(|manager| manager.reads.remove(&id)) {
                Some(ReadFor::Wish(read)) => self.read_answered(host, read, ready),
                Some(ReadFor::Confirm { term }) => self.sessions_confirmed(host, term, ready),
                None => {}
            }
        }
        if let Some(role) = out.role {
            self.role_changed(host, role);
        }
        if let Some(request) = out.snapshot {
            let Some(store) = self.manager(host).map(|manager| manager.store.clone()) else { return };
            let state = self.tables.pack(&store);
            self.note(&format!("h{host} snapshot at {}", request.index));
            let after = self.draw(5 * MS, 80 * MS);
            self.wake_manager(host, after, ManagerWake::Encoded { request, state });
        }
        match out.stop {
            None => {}
            Some(Stop::Removed) => self.manager_ended(host, true),
            Some(stop) => {
                self.check.fail(crate::check::NOTHING_LOST, format!("h{host} stops: {stop}"));
                self.manager_ended(host, false);
            }
        }
    }

    pub fn disk_begin(&mut self, host: HostId) {
        if self.hosts[host].disk.begin() {
            let (least, most) = self.hosts[host].sync_us;
            let after = self.draw(least, most);
            self.wake_manager(host, after, ManagerWake::DiskDone);
        }
    }

    pub fn disk_done(&mut self, host: HostId) {
        if self.hosts[host].disk_fails {
            self.note(&format!("h{host} disk fails"));
            self.manager_ended(host, false);
            return;
        }
        let done = self.hosts[host].disk.done();
        self.disk_begin(host);
        match done {
            Some(Job::Persist(batch)) => {
                self.input(host, Input::Persisted { number: batch.number });
                self.voted(host, &batch.hard_state);
            }
            Some(Job::Snapshot(request, state)) => {
                self.input(host, Input::SnapshotStored { index: request.index, state });
            }
            None => {}
        }
    }

    /// What is on the disk now may be a vote for another, which was answered with that.
    fn voted(&mut self, host: HostId, hard_state: &Bytes) {
        let own = self.hosts[host].raft_id;
        let Some((term, vote)) = crate::disk::vote(hard_state) else { return };
        let Some(manager) = self.manager(host) else { return };
        if std::mem::replace(&mut manager.voted_in, term) == term {
            return;
        }
        self.note(&format!("h{host} votes for {vote} in term {term}"));
        if Some(vote) != own {
            self.promised(host);
        }
    }

    fn send_raft(&mut self, host: HostId, send: Send) {
        let from = self.hosts[host].node;
        let Some(epoch) = self.manager(host).map(|manager| manager.epoch) else { return };
        let Some(to) = self.nodes.get(&send.to).copied() else { return };
        let packet = Packet::Raft { from, send: send.clone(), epoch };
        if !self.send_packet(host, to, &packet) && (send.snapshot || self.chance(50)) {
            self.raft_not_delivered(from, epoch, &send, DIAL_US);
        }
    }

    /// Tells the sender, who may have noticed.
    pub fn raft_not_delivered(&mut self, from: NodeId, epoch: u64, send: &Send, after: u64) {
        let Some(host) = self.nodes.get(&from).copied() else { return };
        let wake = ManagerWake::Lost { raft_id: send.raft_id, snapshot: send.snapshot };
        self.push(after, Event::Manager { host, epoch, wake });
    }

    pub fn raft_arrives(&mut self, host: HostId, from: NodeId, epoch: u64, send: Send) {
        let sender = self.nodes.get(&from).copied();
        let Send { bytes, raft_id, snapshot, .. } = send;
        if let (true, Some(sender)) = (snapshot, sender) {
            let wake = ManagerWake::Delivered { raft_id };
            self.push(MS, Event::Manager { host: sender, epoch, wake });
        }
        if self.manager(host).is_none() {
            return;
        }
        let mut fnv = Fnv::default();
        fnv.write(&bytes[..bytes.len().min(64)]);
        self.note_minor(&format!("h{host} hears {sender:?} {} {:08x}", bytes.len(), fnv.0 >> 32));
        self.input(host, Input::Message { from, bytes });
    }
}
