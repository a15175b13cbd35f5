//! Between DNS messages (RFC 1035) and the answers of `swarm_core::dns`.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;
use swarm_core::NetworkId;
use swarm_core::dns::{Answer, Question, Zones};

/// Bytes of an answer over UDP unless the client says more (RFC 1035, section 4.2.1).
const UDP_BYTES_DEFAULT: usize = 512;
/// Bytes of a DNS header, and the bit in its third that tells a response from a question.
const HEADER_BYTES: usize = 12;
const RESPONSE_BIT: u8 = 0x80;

/// A well-formed question.
#[derive(Debug)]
pub(super) struct Request {
    message: Message,
}

/// What to send back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Records {
        data: Vec<RData>,
        ttl_seconds: u32,
    },
    NoData,
    NoName,
    /// Nobody who was asked has answered.
    Failed,
    /// Not ours: ask others.
    Forward,
}

impl Request {
    /// Reads a question.
    ///
    /// # Errors
    /// The answer to something that is none. Empty: there must be none, because not even that can be
    /// said, or because it is a response itself, and two servers would talk for ever.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<u8>> {
        let refuse = |id, code| Message::error_msg(id, OpCode::Query, code).to_vec().unwrap_or_default();
        let Some([a, b, flags]) = bytes.first_chunk::<3>().filter(|_| bytes.len() >= HEADER_BYTES) else {
            return Err(Vec::new());
        };
        if flags & RESPONSE_BIT != 0 {
            return Err(Vec::new());
        }
        let id = u16::from_be_bytes([*a, *b]);
        let Ok(message) = Message::from_vec(bytes) else {
            return Err(refuse(id, ResponseCode::FormErr));
        };
        if message.metadata.message_type != MessageType::Query || message.metadata.op_code != OpCode::Query {
            return Err(refuse(id, ResponseCode::NotImp));
        }
        if message.queries.len() != 1 {
            return Err(refuse(id, ResponseCode::FormErr));
        }
        Ok(Self { message })
    }

    /// Bytes the client takes over UDP.
    pub fn udp_bytes(&self) -> usize {
        self.message.edns.as_ref().map_or(UDP_BYTES_DEFAULT, |_| usize::from(self.message.max_payload()))
    }

    /// What `zones` know for a container in `networks`.
    pub fn answer(&self, zones: &Zones, networks: &[NetworkId], rotation: usize) -> Reply {
        let Some(query) = self.message.queries.first() else { return Reply::Failed };
        if query.query_class() != DNSClass::IN {
            return Reply::Forward;
        }
        let name = query.name();
        let reverse = (query.query_type() == RecordType::PTR).then(|| name.parse_arpa_name().ok()).flatten();
        let answer = match reverse {
            Some(net) if net.prefix_len() == net.max_prefix_len() => zones.reverse(networks, net.addr()),
            Some(_) => Answer::Forward,
            None => {
                let question = match query.query_type() {
                    RecordType::A => Question::A,
                    RecordType::AAAA => Question::Aaaa,
                    _ => Question::Other,
                };
                zones.answer(networks, &name.to_utf8(), question, rotation)
            }
        };
        match answer {
            Answer::Addresses { addresses, ttl_seconds } => Reply::Records {
                data: addresses
                    .into_iter()
                    .map(|addr| match addr {
                        IpAddr::V4(addr) => RData::A(A(addr)),
                        IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
                    })
                    .collect(),
                ttl_seconds,
            },
            Answer::Name { name, ttl_seconds } => match Name::from_utf8(format!("{name}.")) {
                Ok(name) => Reply::Records { data: vec![RData::PTR(PTR(name))], ttl_seconds },
                // A name that is none in DNS (a label over 63 bytes) cannot be told.
                Err(_) => Reply::NoName,
            },
            Answer::NoData => Reply::NoData,
            Answer::NoName => Reply::NoName,
            Answer::Forward => Reply::Forward,
        }
    }

    /// The message that says `reply`, cut to a mere "too long" (asked again over TCP) above `bytes_max`.
    pub fn encode(&self, reply: &Reply, bytes_max: usize) -> Vec<u8> {
        let asked = &self.message.metadata;
        let mut out = Message::response(asked.id, OpCode::Query);
        out.metadata.recursion_desired = asked.recursion_desired;
        out.metadata.recursion_available = true;
        out.queries.clone_from(&self.message.queries);
        match reply {
            Reply::Records { data, ttl_seconds } => {
                for data in data {
                    if let Some(query) = self.message.queries.first() {
                        out.add_answer(Record::from_rdata(query.name().clone(), *ttl_seconds, data.clone()));
                    }
                }
            }
            Reply::NoData => {}
            Reply::NoName => out.metadata.response_code = ResponseCode::NXDomain,
            Reply::Failed | Reply::Forward => out.metadata.response_code = ResponseCode::ServFail,
        }
        // What cannot be encoded was not decoded either: an empty answer makes the client ask again.
        let encoded = out.to_vec().unwrap_or_default();
        if encoded.len() <= bytes_max {
            return encoded;
        }
        out.truncate().to_vec().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use swarm_core::fabric::{FabricEndpoint, FabricNetwork, FabricService, FabricState};
    use swarm_core::model::{EndpointMode, TaskAttachment};
    use swarm_core::{NodeId, ServiceId, TaskId};

    fn zones(tasks: u8) -> Zones {
        let mut state = FabricState::default();
        let network = FabricNetwork {
            name: "n".into(),
            subnet: "10.0.1.0/24".parse().expect("subnet"),
            gateway: IpAddr::from([10, 0, 1, 1]),
            overlay_id: 1,
            internal: false,
            ingress: false,
        };
        state.networks.insert(NetworkId(1), network);
        let service = FabricService {
            name: "kv".into(),
            mode: EndpointMode::Dnsrr,
            vips: Vec::new(),
            aliases: Default::default(),
            ports: Vec::new(),
        };
        state.services.insert(ServiceId(1), service);
        for n in 0..tasks {
            let addr = IpAddr::from([10, 0, 1, 10 + n]);
            let endpoint = FabricEndpoint {
                service: ServiceId(1),
                node: NodeId(1),
                name: format!("kv.{n}"),
                attachments: vec![TaskAttachment { network: NetworkId(1), addr, aliases: Vec::new() }],
                receives: true,
                host_ports: Vec::new(),
            };
            state.endpoints.insert(TaskId(n.into()), endpoint);
        }
        Zones::new(&state)
    }

    fn ask(name: &str, kind: RecordType, tasks: u8, bytes_max: usize) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
        let request = Request::parse(&message.to_vec().expect("encoded")).expect("a question");
        let reply = request.answer(&zones(tasks), &[NetworkId(1)], 0);
        let answer = Message::from_vec(&request.encode(&reply, bytes_max)).expect("decoded");
        assert_eq!((answer.metadata.id, &answer.queries), (message.metadata.id, &message.queries));
        answer
    }

    #[test]
    fn addresses_come_as_records_of_the_name_asked_for() {
        let answer = ask("KV.", RecordType::A, 2, 512);
        assert_eq!(answer.answers.len(), 2);
        assert_eq!(answer.answers[0].data, RData::A(A::new(10, 0, 1, 10)));
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    }

    #[test]
    fn an_answer_too_long_for_udp_asks_for_tcp() {
        let answer = ask("kv.", RecordType::A, 100, 512);
        assert!(answer.metadata.truncation && answer.answers.is_empty());
        assert_eq!(ask("kv.", RecordType::A, 100, 65535).answers.len(), 100);
    }

    #[test]
    fn a_known_name_without_ipv6_is_no_error() {
        let answer = ask("kv.", RecordType::AAAA, 1, 512);
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    }

    #[test]
    fn an_address_of_the_network_names_its_task() {
        let answer = ask("10.1.0.10.in-addr.arpa.", RecordType::PTR, 1, 512);
        assert_eq!(answer.answers[0].data, RData::PTR(PTR(Name::from_ascii("kv.0.").expect("name"))));
        let stranger = ask("99.1.0.10.in-addr.arpa.", RecordType::PTR, 1, 512);
        assert_eq!(stranger.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn rubbish_is_answered_as_such_or_not_at_all() {
        for silent in [&b""[..], b"short", &[0xff; 40], &[0x80; 12]] {
            assert!(Request::parse(silent).expect_err("refused").is_empty(), "{silent:?}");
        }
        let refusal = Request::parse(&[0x7f; 40]).expect_err("refused");
        let refusal = Message::from_vec(&refusal).expect("decoded");
        assert_eq!(refusal.metadata.id, 0x7f7f);
        assert_ne!(refusal.metadata.response_code, ResponseCode::NoError);
    }
}
