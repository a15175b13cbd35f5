//! What consensus puts on disk and between managers, as protobuf. Opaque to storage and transport.
//!
//! Raft's own messages are those of `eraftpb.proto` (raft-rs). Ours around them:
//! ```proto
//! message Frame     { bytes raft = 1; uint64 removed = 2; uint64 asks = 3; bytes left = 4; } // one of them
//! message Left      { uint64 raft_id = 1; uint64 index = 2; uint64 term = 3; }
//! message Members   { repeated Member member = 1; repeated uint64 removed = 2; }
//! message Member    { uint64 raft_id = 1; bytes node = 2; }               // node: 16 bytes, big endian
//! message Meta      { uint64 index = 1; uint64 term = 2; bytes conf_state = 3; bytes members = 4; }
//! message Transfer  { bytes members = 1; bytes state = 2; }               // data of a sent snapshot
//! message Hard      { uint64 term = 1; uint64 vote = 2; uint64 commit = 3; }
//! message Floor     { uint64 index = 1; uint64 term = 2; }                // last entry cut from the log
//! ```
//! Fields this version does not know are skipped.

use super::members::Members;
use crate::ids::NodeId;
use bytes::Bytes;
use protobuf::wire_format::WireType;
use protobuf::{CodedInputStream, CodedOutputStream, Message as _, ProtobufResult};
use raft::eraftpb::{ConfState, Entry, HardState, Message};

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("a {what} cannot be read")]
pub struct CodecError {
    what: &'static str,
    #[source]
    source: Option<protobuf::ProtobufError>,
}

impl CodecError {
    fn missing(what: &'static str) -> Self {
        Self { what, source: None }
    }
}

fn bad(what: &'static str) -> impl FnOnce(protobuf::ProtobufError) -> CodecError {
    move |source| CodecError { what, source: Some(source) }
}

/// Writing into a `Vec` cannot fail; the result exists because the stream type also serves files.
fn write(fill: impl FnOnce(&mut CodedOutputStream<'_>) -> ProtobufResult<()>) -> Bytes {
    let mut bytes = Vec::new();
    let mut stream = CodedOutputStream::vec(&mut bytes);
    let done = fill(&mut stream).and_then(|()| stream.flush());
    assert!(done.is_ok(), "writing protobuf into memory failed: {done:?}");
    drop(stream);
    bytes.into()
}

/// Calls `field(number, wire type, stream)` for each field; a callback returning `false` gets the field skipped.
fn read(
    bytes: &Bytes,
    mut field: impl FnMut(u32, WireType, &mut CodedInputStream<'_>) -> ProtobufResult<bool>,
) -> ProtobufResult<()> {
    let mut stream = CodedInputStream::from_carllerche_bytes(bytes);
    while !stream.eof()? {
        let (number, wire) = stream.read_tag_unpack()?;
        if !field(number, wire, &mut stream)? {
            stream.skip_field(wire)?;
        }
    }
    Ok(())
}

/// What travels between two managers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    /// A message of raft.
    Raft(Box<Message>),
    /// The receiver, known by this raft id, is no member any more.
    Removed(u64),
    /// The sender, known by this raft id, hears no leader: is it still a member?
    Asks(u64),
    /// The sender, known by this raft id, was removed by the entry at this index and term, which is committed.
    Left { raft_id: u64, index: u64, term: u64 },
}

pub(super) fn encode_frame(message: &Message) -> Bytes {
    write(|out| {
        let len = message.compute_size();
        out.write_tag(1, WireType::WireTypeLengthDelimited)?;
        out.write_raw_varint32(len)?;
        message.write_to_with_cached_sizes(out)
    })
}

pub(super) fn encode_removed(raft_id: u64) -> Bytes {
    write(|out| out.write_uint64(2, raft_id))
}

pub(super) fn encode_asks(raft_id: u64) -> Bytes {
    write(|out| out.write_uint64(3, raft_id))
}

pub(super) fn encode_left(raft_id: u64, index: u64, term: u64) -> Bytes {
    let left = write(|out| {
        out.write_uint64(1, raft_id)?;
        out.write_uint64(2, index)?;
        out.write_uint64(3, term)
    });
    write(|out| out.write_bytes(4, &left))
}

fn decode_left(bytes: &Bytes) -> Result<Frame, CodecError> {
    let mut parts = [0; 3];
    read(bytes, |number, wire, input| {
        let part = number.checked_sub(1).and_then(|at| parts.get_mut(at as usize));
        let (WireType::WireTypeVarint, Some(part)) = (wire, part) else { return Ok(false) };
        *part = input.read_uint64()?;
        Ok(true)
    })
    .map_err(bad("message between managers"))?;
    let [raft_id, index, term] = parts;
    Ok(Frame::Left { raft_id, index, term })
}

pub(super) fn decode_frame(bytes: &Bytes) -> Result<Frame, CodecError> {
    let mut raft = None;
    let mut other = None;
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeLengthDelimited) => raft = Some(input.read_carllerche_bytes()?),
            (2, WireType::WireTypeVarint) => other = Some(Ok(Frame::Removed(input.read_uint64()?))),
            (3, WireType::WireTypeVarint) => other = Some(Ok(Frame::Asks(input.read_uint64()?))),
            (4, WireType::WireTypeLengthDelimited) => other = Some(decode_left(&input.read_carllerche_bytes()?)),
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("message between managers"))?;
    match (raft, other) {
        (Some(raft), None) => {
            let message = Message::parse_from_carllerche_bytes(&raft).map_err(bad("raft message"))?;
            Ok(Frame::Raft(Box::new(message)))
        }
        (None, Some(frame)) => frame,
        (None, None) | (Some(_), Some(_)) => Err(CodecError::missing("message between managers")),
    }
}

pub(super) fn encode_entry(entry: &Entry) -> Bytes {
    write(|out| {
        entry.compute_size();
        entry.write_to_with_cached_sizes(out)
    })
}

pub(super) fn decode_entry(bytes: &Bytes) -> Result<Entry, CodecError> {
    Entry::parse_from_carllerche_bytes(bytes).map_err(bad("log entry"))
}

/// Index and kind of a log entry, read without raft's own parser, which refuses kinds it does not know.
fn entry_kind(bytes: &Bytes) -> ProtobufResult<(u64, u64)> {
    let (mut index, mut kind) = (0, 0);
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeVarint) => kind = input.read_uint64()?,
            (3, WireType::WireTypeVarint) => index = input.read_uint64()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((index, kind))
}

/// The kinds of eraftpb.proto: normal, ConfChange, ConfChangeV2.
const KNOWN_ENTRY_KINDS: u64 = 3;

/// Whether what could not be read is an entry of a later version's kind: its index and kind.
pub(super) fn unknown_entry(bytes: &Bytes) -> Option<(u64, u64)> {
    entry_kind(bytes).ok().filter(|(_, kind)| *kind >= KNOWN_ENTRY_KINDS)
}

/// The same for the entries of a raft message, given the bytes of the frame around it.
pub(super) fn unknown_entry_in_frame(frame: &Bytes) -> Option<(u64, u64)> {
    let mut found = None;
    let inner = |wanted: u32, bytes: &Bytes, each: &mut dyn FnMut(Bytes)| {
        read(bytes, |number, wire, input| {
            let take = number == wanted && wire == WireType::WireTypeLengthDelimited;
            if take {
                each(input.read_carllerche_bytes()?);
            }
            Ok(take)
        })
    };
    let mut entry = |bytes: Bytes| found = found.or_else(|| unknown_entry(&bytes));
    // A message that cannot even be scanned holds no entry to speak of.
    let _ = inner(1, frame, &mut |message| {
        let _ = inner(7, &message, &mut entry);
    });
    found
}

/// The kind of a membership change that raft's own parser refuses because it does not know it.
pub(super) fn unknown_change(bytes: &Bytes) -> Option<u64> {
    let mut kind = 0;
    let read_all = read(bytes, |number, wire, input| {
        let take = number == 2 && wire == WireType::WireTypeVarint;
        if take {
            kind = input.read_uint64()?;
        }
        Ok(take)
    });
    read_all.ok().map(|()| kind).filter(|kind| *kind >= KNOWN_ENTRY_KINDS)
}

pub(super) fn encode_members(members: &Members) -> Bytes {
    write(|out| {
        for (raft_id, node) in members.iter() {
            let member = write(|m| {
                m.write_uint64(1, raft_id)?;
                m.write_bytes(2, &node.to_bytes())
            });
            out.write_bytes(1, &member)?;
        }
        for id in members.removed() {
            out.write_uint64(2, id)?;
        }
        Ok(())
    })
}

pub(super) fn decode_members(bytes: &Bytes) -> Result<Members, CodecError> {
    let mut members = Members::default();
    let mut encoded = Vec::new();
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeLengthDelimited) => encoded.push(input.read_carllerche_bytes()?),
            (2, WireType::WireTypeVarint) => members.note_removed(input.read_uint64()?),
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("list of members"))?;
    for member in encoded {
        let (mut raft_id, mut node) = (0, None);
        read(&member, |number, wire, input| {
            match (number, wire) {
                (1, WireType::WireTypeVarint) => raft_id = input.read_uint64()?,
                (2, WireType::WireTypeLengthDelimited) => node = NodeId::from_bytes(&input.read_bytes()?),
                _ => return Ok(false),
            }
            Ok(true)
        })
        .map_err(bad("member"))?;
        members.insert(raft_id, node.ok_or_else(|| CodecError::missing("member"))?);
    }
    Ok(members)
}

/// Where a snapshot stands and who the members were there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Meta {
    pub index: u64,
    pub term: u64,
    pub conf_state: ConfState,
    pub members: Members,
}

pub(super) fn encode_meta(meta: &Meta) -> Bytes {
    write(|out| {
        out.write_uint64(1, meta.index)?;
        out.write_uint64(2, meta.term)?;
        out.write_bytes(3, &meta.conf_state.write_to_bytes()?)?;
        out.write_bytes(4, &encode_members(&meta.members))
    })
}

pub(super) fn decode_meta(bytes: &Bytes) -> Result<Meta, CodecError> {
    let mut meta = Meta::default();
    let (mut conf_state, mut members) = (Bytes::new(), Bytes::new());
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeVarint) => meta.index = input.read_uint64()?,
            (2, WireType::WireTypeVarint) => meta.term = input.read_uint64()?,
            (3, WireType::WireTypeLengthDelimited) => conf_state = input.read_carllerche_bytes()?,
            (4, WireType::WireTypeLengthDelimited) => members = input.read_carllerche_bytes()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("snapshot's description"))?;
    meta.conf_state = ConfState::parse_from_carllerche_bytes(&conf_state).map_err(bad("list of voters"))?;
    meta.members = decode_members(&members)?;
    Ok(meta)
}

pub(super) fn encode_transfer(members: &Members, state: &Bytes) -> Bytes {
    write(|out| {
        out.write_bytes(1, &encode_members(members))?;
        out.write_bytes(2, state)
    })
}

/// Members and state machine bytes of a snapshot that was sent.
pub(super) fn decode_transfer(bytes: &Bytes) -> Result<(Members, Bytes), CodecError> {
    let (mut members, mut state) = (Bytes::new(), Bytes::new());
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeLengthDelimited) => members = input.read_carllerche_bytes()?,
            (2, WireType::WireTypeLengthDelimited) => state = input.read_carllerche_bytes()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("snapshot"))?;
    Ok((decode_members(&members)?, state))
}

pub(super) fn encode_hard(hard: &HardState) -> Bytes {
    write(|out| {
        out.write_uint64(1, hard.term)?;
        out.write_uint64(2, hard.vote)?;
        out.write_uint64(3, hard.commit)
    })
}

pub(super) fn decode_hard(bytes: &Bytes) -> Result<HardState, CodecError> {
    let mut hard = HardState::default();
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeVarint) => hard.term = input.read_uint64()?,
            (2, WireType::WireTypeVarint) => hard.vote = input.read_uint64()?,
            (3, WireType::WireTypeVarint) => hard.commit = input.read_uint64()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("hard state"))?;
    Ok(hard)
}

pub(super) fn encode_floor(index: u64, term: u64) -> Bytes {
    write(|out| {
        out.write_uint64(1, index)?;
        out.write_uint64(2, term)
    })
}

/// Index and term of the last entry cut from the log.
pub(super) fn decode_floor(bytes: &Bytes) -> Result<(u64, u64), CodecError> {
    let (mut index, mut term) = (0, 0);
    read(bytes, |number, wire, input| {
        match (number, wire) {
            (1, WireType::WireTypeVarint) => index = input.read_uint64()?,
            (2, WireType::WireTypeVarint) => term = input.read_uint64()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(bad("log's floor"))?;
    Ok((index, term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members() -> Members {
        let mut members = Members::default();
        members.insert(7, NodeId(1));
        members.insert(9, NodeId(u128::MAX));
        members.note_removed(3);
        members
    }

    #[test]
    fn a_snapshots_description_and_transfer_survive_a_round_trip() {
        let meta = Meta { index: 12, term: 3, conf_state: ConfState::from((vec![7], vec![9])), members: members() };
        assert_eq!(decode_meta(&encode_meta(&meta)).unwrap(), meta);
        let state = Bytes::from_static(b"state");
        assert_eq!(decode_transfer(&encode_transfer(&members(), &state)).unwrap(), (members(), state));
        assert_eq!(decode_floor(&encode_floor(4, 2)).unwrap(), (4, 2));
    }

    #[test]
    fn an_entry_kind_of_a_later_version_is_named() {
        let later = write(|out| {
            out.write_uint64(1, 9)?;
            out.write_uint64(2, 1)?;
            out.write_uint64(3, 5)
        });
        assert!(decode_entry(&later).is_err());
        assert_eq!(unknown_entry(&later), Some((5, 9)));
        let message = write(|out| out.write_bytes(7, &later));
        let frame = write(|out| out.write_bytes(1, &message));
        assert!(decode_frame(&frame).is_err());
        assert_eq!(unknown_entry_in_frame(&frame), Some((5, 9)));
        assert_eq!(unknown_entry(&encode_entry(&Entry { index: 5, ..Default::default() })), None);
        assert_eq!(unknown_change(&write(|out| out.write_uint64(2, 4))), Some(4));
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut bytes = encode_hard(&HardState { term: 4, vote: 7, commit: 2, ..Default::default() }).to_vec();
        bytes.extend_from_slice(&write(|out| out.write_string(99, "later")));
        let hard = decode_hard(&bytes.into()).unwrap();
        assert_eq!((hard.term, hard.vote, hard.commit), (4, 7, 2));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = decode_frame(&bytes);
            let _ = decode_meta(&bytes);
            let _ = decode_transfer(&bytes);
            let _ = decode_entry(&bytes);
            let _ = decode_hard(&bytes);
            let _ = decode_floor(&bytes);
            let _ = unknown_entry_in_frame(&bytes);
        }
    }
}
