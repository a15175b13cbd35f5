//! QUIC settings: limits, timeouts, and the keys that let a restarted node be noticed at once.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
};
use ring::hmac;

use super::conversation::{CONVERSATIONS, Conversation};
use super::error::TransportError;
use crate::trust::tls::{self, FailureSlot};
use crate::trust::{NodeIdentity, TrustError, random_bytes};
use swarm_core::trust::CaDigest;

/// Streams a peer may have open at once on one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes in flight towards us on one connection before the peer must wait: the product of 10 Gbit/s
/// and 5 ms, rounded up.
const RECEIVE_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes in flight towards us on one stream.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// First guess of the round trip: nodes are on a LAN or close; a lost first packet is sent again
/// after three times this.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Idle timeout offered by the accepting side; the dialling side's shorter one wins.
const SERVER_IDLE: Duration = Duration::from_secs(60);
/// Length of our connection ids.
const CONNECTION_ID_BYTES: usize = 8;

/// Settings of the socket.
///
/// The stateless-reset key (RFC 9000 section 10.3) is derived from the node's private key: after a
/// crash the new process can tell peers at once that their old connections are dead, instead of
/// letting them wait for their idle timeout.
pub(super) fn endpoint_config(identity: Option<&NodeIdentity>) -> Result<EndpointConfig, TransportError> {
    let secret = match identity {
        Some(identity) => identity.key_pkcs8().expose().clone(),
        None => random_bytes::<32>()?.to_vec(),
    };
    let deriving = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let derived = hmac::sign(&deriving, b"swarm stateless reset");
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    Ok(config)
}

/// Connection ids that are plain random bytes. Ids with a per-process check, the library's default,
/// would make a restarted node ignore packets of its former life instead of resetting them.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; CONNECTION_ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

pub(super) fn server_config(identity: &NodeIdentity) -> Result<ServerConfig, TransportError> {
    let alpns: Vec<&[u8]> = CONVERSATIONS.iter().map(|one| one.alpn.as_bytes()).collect();
    let tls = tls::server_config(identity, &alpns)?;
    let quic = QuicServerConfig::try_from(tls).map_err(|_| no_initial_suite())?;
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    let mut transport = base_transport(SERVER_IDLE)?;
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    config.migration(false);
    Ok(config)
}

/// How a dialled node is to prove itself.
pub(super) enum DialTrust<'a> {
    /// By a certificate of the cluster; we show ours.
    Cluster(&'a NodeIdentity),
    /// By having the CA that a join token names; we have nothing to show.
    Pinned(CaDigest),
}

pub(super) fn client_config(
    trust: &DialTrust<'_>,
    conversation: &Conversation,
) -> Result<(ClientConfig, FailureSlot), TransportError> {
    let alpn = conversation.alpn.as_bytes();
    let (tls, failure) = match trust {
        DialTrust::Cluster(identity) => tls::client_config(identity, alpn)?,
        DialTrust::Pinned(digest) => tls::joining_client_config(*digest, alpn)?,
    };
    let quic = QuicClientConfig::try_from(tls).map_err(|_| no_initial_suite())?;
    let mut config = ClientConfig::new(Arc::new(quic));
    let mut transport = base_transport(conversation.idle_timeout)?;
    transport.keep_alive_interval(conversation.keep_alive);
    // The one stream by which the accepting side says that it accepts.
    transport.max_concurrent_uni_streams(VarInt::from_u32(1));
    config.transport_config(Arc::new(transport));
    Ok((config, failure))
}

fn base_transport(idle: Duration) -> Result<TransportConfig, TransportError> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(idle).map_err(|_| no_initial_suite())?;
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_CONNECTION_MAX))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(u64::from(RECEIVE_WINDOW_BYTES))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle));
    Ok(transport)
}

fn no_initial_suite() -> TransportError {
    TrustError::Tls { source: rustls::Error::General("no QUIC cipher suite".to_owned()) }.into()
}
