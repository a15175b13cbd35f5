//! Packets: a version byte, a kind byte, then bincode.
//!
//! Packets live for one hop, so this is not protobuf; nodes of different versions of this format
//! do not hear each other, which the version byte makes visible instead of mysterious.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::{DecodeError, EncodeError};
use bytes::{Buf, BufMut, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::{Horizon, MemberIdentity, NAME_BYTES_MAX};
use crate::NodeId;

/// Version of everything below.
const VERSION: u8 = 1;
/// Largest packet handed to or taken from the shell, in bytes. With the shell's seal (29 bytes) it
/// stays below the 1,232 bytes that cross any IPv6 path unfragmented (RFC 8200 section 5).
pub const PACKET_BYTES_MAX: usize = 1_200;
/// Bytes before a packet's body.
const ENVELOPE_BYTES: usize = 2;
/// What is left for foca.
pub(super) const BODY_BYTES_MAX: usize = PACKET_BYTES_MAX - ENVELOPE_BYTES;

const FOCA: u8 = 0;
const HELLO: u8 = 1;
const HELLO_REPLY: u8 = 2;
const DIGEST: u8 = 3;
const MEMBERS: u8 = 4;

/// What a packet is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// foca's own.
    Foca(Bytes),
    /// "Who is at this address?", from someone who knows only the address.
    Hello(MemberIdentity),
    /// The answer.
    HelloReply(HelloReply),
    /// "This is the digest of the members I know: send me yours if it differs."
    Digest(u64),
    /// Some of the members the sender knows.
    Members(Vec<foca::Member<MemberIdentity>>),
}

/// Who is at an address, and what it knows of the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HelloReply {
    pub identity: MemberIdentity,
    /// The asker's latest generation as far as the answering member knows; 0 if it knows none.
    pub your_generation: u64,
}

/// Why a packet was dropped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("packet of gossip version {0}, this is {VERSION} (run the same version of swarm on all nodes)")]
    Version(u8),
    #[error("malformed packet")]
    Malformed,
    #[error("the generation of node {0} lies in the future (set the clocks of both hosts, e.g. with an NTP client)")]
    Generation(NodeId),
}

pub(super) fn seal_foca(body: &[u8]) -> Bytes {
    let mut packet = Vec::with_capacity(ENVELOPE_BYTES + body.len());
    packet.extend_from_slice(&[VERSION, FOCA]);
    packet.extend_from_slice(body);
    packet.into()
}

pub(super) fn encode_hello(identity: &MemberIdentity) -> Option<Bytes> {
    encode_packet(HELLO, identity)
}

pub(super) fn encode_hello_reply(reply: &HelloReply) -> Option<Bytes> {
    encode_packet(HELLO_REPLY, reply)
}

pub(super) fn encode_digest(digest: u64) -> Option<Bytes> {
    encode_packet(DIGEST, &digest)
}

/// Packets that hold all of `members`, as many in each as fit.
pub(super) fn encode_members<'a>(members: impl Iterator<Item = &'a foca::Member<MemberIdentity>>) -> Vec<Bytes> {
    let mut packets = Vec::new();
    let mut packet = vec![VERSION, MEMBERS];
    for member in members {
        let Ok(bytes) = encode(member) else { continue };
        if packet.len() + bytes.len() > PACKET_BYTES_MAX {
            packets.push(std::mem::replace(&mut packet, vec![VERSION, MEMBERS]).into());
        }
        packet.extend(bytes);
    }
    if packet.len() > ENVELOPE_BYTES {
        packets.push(packet.into());
    }
    packets
}

/// Members whose generation cannot be true are left out: the sender may have heard of them from others.
fn decode_members(mut body: &[u8], horizon: &Horizon) -> Result<Vec<foca::Member<MemberIdentity>>, PacketError> {
    let mut members = Vec::new();
    while !body.is_empty() {
        let (member, used): (foca::Member<MemberIdentity>, usize) = decode(body).map_err(|_| PacketError::Malformed)?;
        check_name(member.id())?;
        if horizon.allows(member.id().generation) {
            members.push(member);
        }
        body = body.get(used..).ok_or(PacketError::Malformed)?;
    }
    Ok(members)
}

fn encode_packet(kind: u8, body: &impl Serialize) -> Option<Bytes> {
    let mut packet = vec![VERSION, kind];
    packet.extend(encode(body).ok()?);
    (packet.len() <= PACKET_BYTES_MAX).then(|| packet.into())
}

pub(super) fn decode_packet(mut packet: Bytes, horizon: &Horizon) -> Result<Packet, PacketError> {
    if packet.len() < ENVELOPE_BYTES || packet.len() > PACKET_BYTES_MAX {
        return Err(PacketError::Malformed);
    }
    let (version, kind) = (packet.get_u8(), packet.get_u8());
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    match kind {
        FOCA => Ok(Packet::Foca(packet)),
        HELLO => {
            let identity: MemberIdentity = decode_all(&packet)?;
            check_name(&identity)?;
            check_generation(&identity, horizon)?;
            Ok(Packet::Hello(identity))
        }
        HELLO_REPLY => {
            let reply: HelloReply = decode_all(&packet)?;
            check_name(&reply.identity)?;
            check_generation(&reply.identity, horizon)?;
            if !horizon.allows(reply.your_generation) {
                return Err(PacketError::Generation(reply.identity.node));
            }
            Ok(Packet::HelloReply(reply))
        }
        DIGEST => Ok(Packet::Digest(decode_all(&packet)?)),
        MEMBERS => Ok(Packet::Members(decode_members(&packet, horizon)?)),
        _ => Err(PacketError::Malformed),
    }
}

fn check_name(identity: &MemberIdentity) -> Result<(), PacketError> {
    (identity.info.name.len() <= NAME_BYTES_MAX).then_some(()).ok_or(PacketError::Malformed)
}

fn check_generation(identity: &MemberIdentity, horizon: &Horizon) -> Result<(), PacketError> {
    horizon.allows(identity.generation).then_some(()).ok_or(PacketError::Generation(identity.node))
}

/// bincode's settings: variable-length integers, and never more than a packet.
type Settings = Configuration<LittleEndian, Varint, Limit<PACKET_BYTES_MAX>>;
const SETTINGS: Settings = bincode::config::standard().with_limit::<PACKET_BYTES_MAX>();

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    bincode::serde::encode_to_vec(value, SETTINGS)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::serde::decode_from_slice(bytes, SETTINGS)
}

/// Decodes a value that must use up the bytes.
pub(super) fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PacketError> {
    match decode(bytes) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok(_) | Err(_) => Err(PacketError::Malformed),
    }
}

/// foca's codec over bincode.
///
/// It counts the members it encodes: foca encodes a member whenever it takes in news about one (to
/// pass it on), so an unchanged count means unchanged beliefs, and the machine need not look at
/// every member after every packet.
#[derive(Debug, Clone, Default)]
pub(super) struct Codec {
    members_encoded: Arc<AtomicU64>,
    horizon: Horizon,
}

impl Codec {
    /// A codec that refuses lives beyond `horizon`.
    pub(super) fn new(horizon: Horizon) -> Self {
        Self { members_encoded: Arc::default(), horizon }
    }

    /// The count, for the machine, which has given the codec itself to foca.
    pub(super) fn members_encoded(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.members_encoded)
    }
}

/// Why foca's codec failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    #[error("cannot encode")]
    Encode(#[source] EncodeError),
    #[error("cannot decode")]
    Decode(#[source] DecodeError),
    #[error("a member's name is too long")]
    Name,
    #[error("the sender's generation lies in the future")]
    Generation,
    #[error("no room left in the packet")]
    Full,
}

fn put(value: &impl Serialize, mut buffer: impl BufMut) -> Result<(), CodecError> {
    let bytes = encode(value).map_err(CodecError::Encode)?;
    if buffer.remaining_mut() < bytes.len() {
        return Err(CodecError::Full);
    }
    buffer.put_slice(&bytes);
    Ok(())
}

fn take<T: DeserializeOwned>(mut buffer: impl Buf) -> Result<T, CodecError> {
    let (value, used) = decode(buffer.chunk()).map_err(CodecError::Decode)?;
    buffer.advance(used);
    Ok(value)
}

fn name_fits(identity: &MemberIdentity) -> Result<(), CodecError> {
    (identity.info.name.len() <= NAME_BYTES_MAX).then_some(()).ok_or(CodecError::Name)
}

impl foca::Codec<MemberIdentity> for Codec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &foca::Header<MemberIdentity>, buffer: impl BufMut) -> Result<(), CodecError> {
        put(header, buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<foca::Header<MemberIdentity>, CodecError> {
        let header: foca::Header<MemberIdentity> = take(buffer)?;
        name_fits(&header.src)?;
        if !self.horizon.allows(header.src.generation) {
            return Err(CodecError::Generation);
        }
        Ok(header)
    }

    fn encode_member(&mut self, member: &foca::Member<MemberIdentity>, buffer: impl BufMut) -> Result<(), CodecError> {
        self.members_encoded.fetch_add(1, Ordering::Relaxed);
        put(member, buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<foca::Member<MemberIdentity>, CodecError> {
        let member: foca::Member<MemberIdentity> = take(buffer)?;
        name_fits(member.id())?;
        if self.horizon.allows(member.id().generation) {
            return Ok(member);
        }
        // The sender may have heard of it from others, and an error would lose the whole packet. Whatever is true of
        // that node wins over its first life.
        let first = MemberIdentity { generation: 0, ..member.id().clone() };
        Ok(foca::Member::new(first, member.incarnation(), member.state()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::MemberInfo;
    use super::*;
    use crate::WallTime;
    use crate::model::NodeRole;
    use foca::Codec as _;
    use proptest::prelude::*;

    fn largest() -> MemberIdentity {
        let address = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        MemberIdentity {
            node: NodeId(u128::MAX),
            generation: u64::MAX,
            info: MemberInfo {
                gossip: address,
                control_port: u16::MAX,
                overlay: address,
                wireguard_key: [255; 32],
                role: NodeRole::Manager,
                name: "x".repeat(NAME_BYTES_MAX),
            },
        }
    }

    #[test]
    fn the_largest_header_leaves_room_for_three_updates() {
        let message = foca::Message::PingReq { target: largest(), probe_number: 255 };
        let header = foca::Header { src: largest(), src_incarnation: u16::MAX, dst: largest(), message };
        let member = foca::Member::new(largest(), u16::MAX, foca::State::Suspect);
        let mut codec = Codec::default();
        let mut packet = Vec::new();
        codec.encode_header(&header, &mut packet).unwrap();
        for _ in 0..3 {
            codec.encode_member(&member, &mut packet).unwrap();
        }
        assert!(packet.len() <= BODY_BYTES_MAX, "{}", packet.len());
        let mut rest = packet.as_slice();
        assert_eq!(codec.decode_header(&mut rest).unwrap(), header);
        assert_eq!(codec.decode_member(&mut rest).unwrap(), member);
    }

    #[test]
    fn a_full_packet_is_left_clean() {
        let mut space = [0u8; 20];
        let mut rest = &mut space[..];
        let member = foca::Member::alive(largest());
        let mut codec = Codec::default();
        assert!(matches!(codec.encode_member(&member, &mut rest), Err(CodecError::Full)));
        assert_eq!(rest.len(), 20);
    }

    #[test]
    fn hello_and_its_reply_survive_the_packet() {
        let packet = encode_hello(&largest()).unwrap();
        assert_eq!(decode_packet(packet, &Horizon::default()), Ok(Packet::Hello(largest())));
        let reply = HelloReply { identity: largest(), your_generation: 7 };
        let packet = encode_hello_reply(&reply).unwrap();
        assert_eq!(decode_packet(packet, &Horizon::default()), Ok(Packet::HelloReply(reply)));
    }

    #[test]
    fn lives_far_in_the_future_are_not_believed() {
        let horizon = Horizon::default();
        horizon.set(WallTime(1_000));
        let (far, near) = (largest(), MemberIdentity { generation: 2_000, ..largest() });
        let refused = Err(PacketError::Generation(far.node));
        assert_eq!(decode_packet(encode_hello(&far).unwrap(), &horizon), refused);
        let told = HelloReply { identity: near.clone(), your_generation: u64::MAX };
        assert_eq!(decode_packet(encode_hello_reply(&told).unwrap(), &horizon), refused);
        let members = [foca::Member::alive(far.clone()), foca::Member::alive(near.clone())];
        let packet = encode_members(members.iter()).remove(0);
        assert_eq!(decode_packet(packet, &horizon), Ok(Packet::Members(vec![members[1].clone()])));

        let mut codec = Codec::new(horizon);
        let mut bytes = Vec::new();
        let header = foca::Header { src: far, src_incarnation: 1, dst: near.clone(), message: foca::Message::Ping(1) };
        codec.encode_header(&header, &mut bytes).unwrap();
        assert!(matches!(codec.decode_header(bytes.as_slice()), Err(CodecError::Generation)));
        let mut bytes = Vec::new();
        for member in &members {
            codec.encode_member(member, &mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        assert_eq!(codec.decode_member(&mut rest).unwrap().id().generation, 0);
        assert_eq!(codec.decode_member(&mut rest).unwrap(), members[1]);
    }

    #[test]
    fn members_are_spread_over_as_many_packets_as_they_need() {
        let sent: Vec<_> = (0..100).map(|at| foca::Member::new(largest(), at, foca::State::Alive)).collect();
        let mut received = Vec::new();
        for packet in encode_members(sent.iter()) {
            assert!(packet.len() <= PACKET_BYTES_MAX);
            let Ok(Packet::Members(members)) = decode_packet(packet, &Horizon::default()) else {
                panic!("not members")
            };
            received.extend(members);
        }
        assert_eq!(received, sent);
        assert!(encode_members([].iter()).is_empty());
    }

    #[test]
    fn another_version_is_named() {
        let error = decode_packet(Bytes::from_static(&[9, 0, 0]), &Horizon::default()).unwrap_err();
        assert_eq!(error, PacketError::Version(9));
    }

    proptest! {
        #[test]
        fn junk_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut codec = Codec::default();
            let _ = decode_packet(Bytes::from(bytes.clone()), &Horizon::default());
            for kind in 0..6 {
                let _ = decode_packet(Bytes::from([&[VERSION, kind], bytes.as_slice()].concat()), &Horizon::default());
            }
            let _ = codec.decode_header(bytes.as_slice());
            let _ = codec.decode_member(bytes.as_slice());
        }
    }
}
