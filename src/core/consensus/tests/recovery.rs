//! Starting from what a disk held; messages that are not what they should be.

use super::harness::{Cluster, Disk, node};
use crate::consensus::codec::{self, Frame};
use crate::consensus::*;
use crate::time::Mono;
use raft::eraftpb::{Entry, Message, MessageType};

fn start(disk: &Disk) -> Result<Effects, ConsensusError> {
    let mut out = Effects::default();
    let config = Config { raft_id: 1, node: node(1), seed: 1 };
    Consensus::new(Mono(0), config, disk.recovered(), &mut out).map(|_| out)
}

fn disk_of_one() -> Disk {
    let mut cluster = Cluster::new(51);
    for text in ["a", "b", "c"] {
        cluster.write(text);
    }
    cluster.members[&1].disk.clone()
}

#[test]
fn a_restart_restores_the_snapshot_and_then_the_entries() {
    let out = start(&disk_of_one()).unwrap();
    assert!(matches!(out.apply[0], Apply::Restore { index: 1, .. }));
}

#[test]
fn a_log_with_a_hole_is_refused() {
    let mut disk = disk_of_one();
    let hole = *disk.log.keys().nth(1).unwrap();
    disk.log.remove(&hole);
    let error = start(&disk).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&format!("entry {hole} is missing")), "{error}");
}

#[test]
fn a_log_that_ends_before_what_was_committed_is_refused() {
    let mut cluster = Cluster::of(2, 52);
    cluster.write("a");
    cluster.write("b");
    let mut disk = cluster.members[&1].disk.clone();
    disk.log.pop_last();
    disk.log.pop_last();
    let error = start(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(error, ConsensusError::Corrupt(_)), "{error}");
}

#[test]
fn the_state_of_another_node_is_refused() {
    let disk = disk_of_one();
    let config = Config { raft_id: 1, node: node(2), seed: 1 };
    let result = Consensus::new(Mono(0), config, disk.recovered(), &mut Effects::default());
    assert!(matches!(result, Err(ConsensusError::OtherNode { .. })));
}

/// An entry of a kind that does not exist yet: field 1, a varint.
fn later_entry(index: u64, term: u64) -> Vec<u8> {
    let mut bytes = codec::encode_entry(&Entry { index, term, ..Default::default() }).to_vec();
    bytes.extend([8, 77]);
    bytes
}

#[test]
fn an_entry_of_an_unknown_kind_in_the_log_is_refused() {
    let mut disk = disk_of_one();
    let index = *disk.log.keys().last().unwrap();
    disk.log.insert(index, later_entry(index, 2).into());
    let error = start(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(error, ConsensusError::UnknownEntry { kind: 77, .. }), "{error}");
}

/// A message that carries this entry, in its frame.
fn frame_with(entry: &[u8]) -> bytes::Bytes {
    let mut message = vec![7 << 3 | 2, u8::try_from(entry.len()).unwrap()];
    message.extend(entry);
    let mut frame = vec![1 << 3 | 2, u8::try_from(message.len()).unwrap()];
    frame.extend(message);
    frame.into()
}

#[test]
fn an_entry_of_an_unknown_kind_from_the_leader_stops_the_node() {
    let mut cluster = Cluster::of(2, 53);
    cluster.input(2, Input::Message { from: node(1), bytes: frame_with(&later_entry(9, 2)) });
    assert_eq!(cluster.members[&2].stopped, Some(Stop::UnknownEntry { index: 9, kind: 77 }));
}

#[test]
fn a_disk_that_went_back_in_time_is_noticed() {
    let mut cluster = Cluster::of(3, 54);
    cluster.run_until("all agree", 1_000, Cluster::settled);
    let old = cluster.members[&3].disk.clone();
    cluster.write("acknowledged by 3");
    cluster.run_until("all agree", 1_000, Cluster::settled);
    cluster.run(500);
    cluster.kill(3);
    cluster.start(3, old);
    cluster.run_until("it stops", 3_000, |c| c.members[&3].stopped.is_some());
    assert!(matches!(cluster.members[&3].stopped, Some(Stop::LostEntries { .. })));
}

fn frame(kind: MessageType, from: u64) -> Message {
    let mut message = Message { from, to: 1, term: 100, ..Default::default() };
    message.set_msg_type(kind);
    message
}

#[test]
fn messages_that_lie_or_make_no_sense_change_nothing() {
    let mut cluster = Cluster::of(3, 55);
    let before = cluster.status(1);
    let mut gap = frame(MessageType::MsgAppend, 2);
    gap.set_entries(vec![Entry { index: 900, ..Default::default() }].into());
    let lies = [
        (node(3), frame(MessageType::MsgHeartbeat, 2)),
        (node(2), gap),
        (node(2), frame(MessageType::MsgReadIndex, 2)),
        (node(2), frame(MessageType::MsgPropose, 2)),
        (node(2), frame(MessageType::MsgSnapshot, 2)),
        (node(2), frame(MessageType::MsgHup, 2)),
        (node(2), Message { to: 77, ..frame(MessageType::MsgHeartbeat, 2) }),
    ];
    for (from, message) in lies {
        cluster.input(1, Input::Message { from, bytes: codec::encode_frame(&message) });
    }
    cluster.input(1, Input::Message { from: node(2), bytes: bytes::Bytes::from_static(b"\xff\xff\xff") });
    cluster.input(1, Input::Message { from: node(9), bytes: codec::encode_removed(1) });
    assert_eq!(cluster.status(1), before);
    assert!(cluster.members[&1].stopped.is_none());
}

#[test]
fn a_stranger_stops_nobody() {
    let mut cluster = Cluster::of(3, 56);
    let before = cluster.status(1);
    let heartbeat = Message { commit: 900, ..frame(MessageType::MsgHeartbeat, 99) };
    let mut snapshot = frame(MessageType::MsgSnapshot, 99);
    snapshot.mut_snapshot().mut_metadata().index = 900;
    snapshot.mut_snapshot().data = bytes::Bytes::from_static(b"\xff\xff");
    for message in [heartbeat, snapshot] {
        cluster.input(1, Input::Message { from: node(99), bytes: codec::encode_frame(&message) });
    }
    cluster.input(1, Input::Message { from: node(99), bytes: frame_with(&later_entry(9, 2)) });
    assert!(cluster.members[&1].stopped.is_none());
    assert_eq!(cluster.status(1), before);
}

#[test]
fn a_message_survives_its_frame() {
    let message = frame(MessageType::MsgHeartbeat, 2);
    let frame = codec::decode_frame(&codec::encode_frame(&message)).unwrap();
    match frame {
        Frame::Raft(decoded) => assert_eq!(codec::encode_frame(&decoded), codec::encode_frame(&message)),
        Frame::Removed(_) | Frame::Asks(_) | Frame::Left { .. } => panic!("another frame"),
    }
}
