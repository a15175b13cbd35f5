//! Forgets tracked connections of addresses that are gone, so that what comes next is not sent to
//! them (ctnetlink: include/uapi/linux/netfilter/nfnetlink_conntrack.h in the kernel).
//!
//! The kernel can filter by whole tuples only; so the table is listed and each match is deleted by its
//! own tuple and id. One namespace holds the connections of one network on one node; the host's holds
//! those to its ports.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use std::net::Ipv4Addr;

/// `NFNL_SUBSYS_CTNETLINK << 8` with `IPCTNL_MSG_CT_NEW`, `_GET`, `_DELETE`.
const CT_NEW: u16 = 0x0100;
const CT_GET: u16 = 0x0101;
const CT_DELETE: u16 = 0x0102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
/// Bits of an attribute's type that are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// Bytes of nlmsghdr and of nfgenmsg.
const HEADER: usize = 16;
const GENMSG: usize = 4;
/// Messages of one listing before we give up: the kernel ends it itself long before.
const MESSAGES_MAX: usize = 4 << 20;

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracked {
    pub orig_src: Ipv4Addr,
    pub orig_dst: Ipv4Addr,
    pub reply_src: Ipv4Addr,
    pub reply_dst: Ipv4Addr,
    /// Of UDP: the port it was sent to, and the port that answers.
    pub udp: Option<(u16, u16)>,
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes of `bytes`: type, whole attribute, payload.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let whole = bytes.get(..length).filter(|_| length >= 4)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, whole, &whole[4..]))
    })
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, ..)| *k == kind).map(|(.., payload)| payload)
}

fn pair(tuple: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = find(tuple, CTA_TUPLE_IP)?;
    let addr = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
    Some((addr(CTA_IP_V4_SRC)?, addr(CTA_IP_V4_DST)?))
}

/// A port of a tuple of UDP, which is in network order.
fn udp_port(tuple: &[u8], kind: u16) -> Option<u16> {
    let proto = find(tuple, CTA_TUPLE_PROTO)?;
    let udp = find(proto, CTA_PROTO_NUM)?.first().is_some_and(|n| i32::from(*n) == libc::IPPROTO_UDP);
    udp.then(|| Some(u16::from_be_bytes(find(proto, kind)?.try_into().ok()?))).flatten()
}

/// One entry, and the attributes that name it.
fn entry(attrs: &[u8]) -> Option<(Tracked, Vec<u8>)> {
    let (orig, reply) = (find(attrs, CTA_TUPLE_ORIG)?, find(attrs, CTA_TUPLE_REPLY)?);
    let ((orig_src, orig_dst), (reply_src, reply_dst)) = (pair(orig)?, pair(reply)?);
    let udp = udp_port(orig, CTA_PROTO_DST_PORT).zip(udp_port(reply, CTA_PROTO_SRC_PORT));
    let mut name = Vec::new();
    for (_, whole, _) in attributes(attrs).filter(|(k, ..)| [CTA_TUPLE_ORIG, CTA_ID].contains(k)) {
        name.extend_from_slice(whole);
        name.resize(name.len().next_multiple_of(4), 0);
    }
    Some((Tracked { orig_src, orig_dst, reply_src, reply_dst, udp }, name))
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut m = Vec::with_capacity(HEADER + GENMSG + body.len());
    m.extend(((HEADER + GENMSG + body.len()) as u32).to_ne_bytes());
    m.extend(kind.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend([0; 8]);
    m.extend([libc::AF_INET as u8, 0, 0, 0]);
    m.extend(body);
    m
}

/// Sends `request` and hands each answer to `each`: its type and what follows nfgenmsg.
fn exchange(socket: &Socket, request: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
    socket.send(request, 0)?;
    for _ in 0..MESSAGES_MAX {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
            let length = length as usize;
            let Some(body) = rest.get(HEADER..length) else { return Err(io::ErrorKind::InvalidData.into()) };
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    return match u32_at(body, 0).unwrap_or(0) as i32 {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => each(kind, body.get(GENMSG..).unwrap_or(&[])),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
    Err(io::Error::other("the listing of connections does not end"))
}

/// Deletes the connections of `place` that `gone` picks; returns how many.
pub(crate) fn forget(place: &Netns, gone: impl Fn(&Tracked) -> bool) -> Result<usize> {
    let err = |source| FabricError::Socket { what: "remove tracked connections".into(), source };
    let open = || {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(socket)
    };
    let socket = place.enter(open)?.map_err(err)?;
    let mut names = Vec::new();
    let dump = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    exchange(&socket, &message(CT_GET, dump, &[]), |kind, attrs| {
        if kind == CT_NEW
            && let Some((tracked, name)) = entry(attrs)
            && gone(&tracked)
        {
            names.push(name);
        }
    })
    .map_err(err)?;
    let acked = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    for name in &names {
        match exchange(&socket, &message(CT_DELETE, acked, name), |_, _| {}) {
            // It ended by itself in the meantime.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => other.map_err(err)?,
        }
    }
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft;
    use std::net::UdpSocket;

    #[test]
    fn connections_of_an_address_are_forgotten_and_others_stay() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ns");
        let place = Netns::create(&path).expect("a namespace: these tests need root");
        nft::apply(
            &place,
            "a test",
            "table ip t { chain c { type filter hook output priority 0; ct state new accept; }; }",
        )
        .expect("rules");
        place
            .enter(|| {
                std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
                let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
                for to in ["127.0.0.2:9", "127.0.0.3:9"] {
                    socket.send_to(b"x", to).expect("sent");
                }
            })
            .expect("entered");
        let gone = Ipv4Addr::new(127, 0, 0, 2);
        assert_eq!(forget(&place, |a| a.reply_src == gone).expect("forgotten"), 1);
        assert_eq!(forget(&place, |a| a.reply_src == gone).expect("forgotten"), 0);
        let other = |c: &Tracked| c.orig_dst == Ipv4Addr::new(127, 0, 0, 3) && c.udp == Some((9, 9));
        assert_eq!(forget(&place, other).expect("forgotten"), 1);
        Netns::remove(&path).expect("removed");
    }

    #[test]
    fn cut_off_entries_are_refused_without_panic() {
        for length in 0..64usize {
            assert!(entry(&vec![length as u8; length]).is_none());
        }
    }
}
