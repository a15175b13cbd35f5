//! Packets inside the tunnel: our 20-byte header, and what the data path must know of the packet behind.
//!
//! The header is an IPv4 header (RFC 791) because the tunnel carries nothing else: its source address
//! field holds the network id, its destination nothing. Both ends are authenticated by the tunnel.

use std::net::Ipv4Addr;

/// Bytes of our header.
pub(crate) const HEADER_BYTES: usize = 20;
/// Protocol number of a packet in a packet (IP in IP, RFC 2003).
const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Writes the header for a packet of `inner_bytes` of network `overlay_id` to the start of `out`.
/// `inner_bytes` + 20 must fit 16 bits.
pub(crate) fn write_header(out: &mut [u8; HEADER_BYTES], overlay_id: u32, inner_bytes: usize) {
    let total = (HEADER_BYTES + inner_bytes) as u16;
    *out = [0; HEADER_BYTES];
    out[0] = 0x45;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out[8] = 64;
    out[9] = PROTOCOL_IPIP;
    out[12..16].copy_from_slice(&overlay_id.to_be_bytes());
}

/// The network id and the packet behind the header; `None` if this is not our header.
pub(crate) fn split(packet: &[u8]) -> Option<(u32, &[u8])> {
    let (header, inner) = packet.split_at_checked(HEADER_BYTES)?;
    // The type of service is where later versions will carry flags: what we cannot honour we drop.
    if header[0] != 0x45 || header[1] != 0 || header[9] != PROTOCOL_IPIP {
        return None;
    }
    Some((u32::from_be_bytes([header[12], header[13], header[14], header[15]]), inner))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn addr(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let b = bytes.get(at..at + 4)?;
    Some(Ipv4Addr::new(b[0], b[1], b[2], b[3]))
}

/// One end of a flow and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    pub client: Ipv4Addr,
    pub task: Ipv4Addr,
    pub protocol: u8,
    pub client_port: u16,
    pub task_port: u16,
}

/// What a packet's place in its datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    Whole,
    /// The first of several; it has the ports.
    First(u16),
    /// A later one, known by the datagram's identification only.
    Later(u16),
}

/// An IPv4 packet, looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner<'a> {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub fragment: Fragment,
    protocol: u8,
    body: &'a [u8],
}

impl<'a> Inner<'a> {
    /// `None` unless `packet` is IPv4 with a whole header.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header < 20 || packet.len() < header {
            return None;
        }
        let fragment = be16(packet, 6)?;
        let id = be16(packet, 4)?;
        Some(Self {
            src: addr(packet, 12)?,
            dst: addr(packet, 16)?,
            fragment: match (fragment & 0x1fff, fragment & 0x2000) {
                (0, 0) => Fragment::Whole,
                (0, _) => Fragment::First(id),
                _ => Fragment::Later(id),
            },
            protocol: packet[9],
            body: &packet[header..],
        })
    }

    /// The flow of a packet from a client to a task. `None` without ports.
    pub fn request(&self) -> Option<FlowKey> {
        let (client_port, task_port) = self.ports()?;
        Some(FlowKey { client: self.src, task: self.dst, protocol: self.protocol, client_port, task_port })
    }

    /// The flow a packet from a task to a client answers; for an ICMP error (RFC 792) the flow of the
    /// packet it complains about.
    pub fn reply(&self) -> Option<FlowKey> {
        if self.protocol == PROTOCOL_ICMP {
            return match self.body.first()? {
                3 | 11 | 12 => Inner::parse(self.body.get(8..)?)?.request(),
                _ => None,
            };
        }
        let (task_port, client_port) = self.ports()?;
        Some(FlowKey { client: self.dst, task: self.src, protocol: self.protocol, client_port, task_port })
    }

    fn ports(&self) -> Option<(u16, u16)> {
        if !matches!(self.protocol, PROTOCOL_TCP | PROTOCOL_UDP) || matches!(self.fragment, Fragment::Later(_)) {
            return None;
        }
        Some((be16(self.body, 0)?, be16(self.body, 2)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), fragment: u16) -> Vec<u8> {
        let mut p = vec![0x45, 0, 0, 28, 0, 9, 0, 0, 64, 17, 0, 0];
        p[6..8].copy_from_slice(&fragment.to_be_bytes());
        p.extend(src);
        p.extend(dst);
        p.extend(ports.0.to_be_bytes());
        p.extend(ports.1.to_be_bytes());
        p.extend([0, 8, 0, 0]);
        p
    }

    #[test]
    fn a_header_gives_back_its_network_and_packet() {
        let inner = udp([10, 0, 0, 1], [10, 0, 0, 2], (1, 2), 0);
        let mut packet = vec![0; HEADER_BYTES];
        packet.extend(&inner);
        write_header(packet.first_chunk_mut().expect("20 bytes"), 0x00fe_0102, inner.len());
        assert_eq!(split(&packet), Some((0x00fe_0102, inner.as_slice())));
    }

    #[test]
    fn a_header_with_unknown_flags_or_cut_short_is_refused() {
        let mut packet = vec![0; HEADER_BYTES];
        write_header(packet.first_chunk_mut().expect("20 bytes"), 1, 0);
        assert!(split(&packet[..19]).is_none());
        packet[1] = 1;
        assert!(split(&packet).is_none());
    }

    #[test]
    fn a_reply_names_the_flow_of_its_request() {
        let there = udp([192, 0, 2, 1], [10, 0, 0, 2], (5000, 80), 0);
        let back = udp([10, 0, 0, 2], [192, 0, 2, 1], (80, 5000), 0);
        let request = Inner::parse(&there).and_then(|p| p.request());
        assert!(request.is_some());
        assert_eq!(Inner::parse(&back).and_then(|p| p.reply()), request);
    }

    #[test]
    fn an_icmp_error_names_the_flow_it_complains_about() {
        let there = udp([192, 0, 2, 1], [10, 0, 0, 2], (5000, 80), 0);
        let mut error = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1];
        error.extend([3, 3, 0, 0, 0, 0, 0, 0]);
        error.extend(&there);
        assert_eq!(Inner::parse(&error).and_then(|p| p.reply()), Inner::parse(&there).and_then(|p| p.request()));
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let later = udp([10, 0, 0, 2], [192, 0, 2, 1], (80, 5000), 100);
        let later = Inner::parse(&later).expect("IPv4");
        assert_eq!(later.fragment, Fragment::Later(9));
        assert!(later.reply().is_none());
    }

    #[test]
    fn rubbish_is_refused_without_panic() {
        for length in 0..64 {
            for first in [0x00, 0x45, 0x46, 0x4f, 0x60] {
                let mut packet = vec![0xff; length];
                if let Some(byte) = packet.first_mut() {
                    *byte = first;
                }
                if let Some(inner) = Inner::parse(&packet) {
                    let _ = (inner.request(), inner.reply());
                }
                let _ = split(&packet);
            }
        }
    }
}
