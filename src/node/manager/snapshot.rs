//! The store as the bytes of a snapshot: protobuf, compressed (zstd, RFC 8878), for most of it is the same
//! specification over and over.

use crate::raft::ApplyError;
use bytes::Bytes;
use std::io::Read as _;
use swarm_core::store::Store;
use wire::{decode_snapshot, encode_snapshot};

/// The fastest: it takes the repetition out, and that is what there is.
const LEVEL: i32 = 1;
/// Bytes of a store decoded: more than a manager could work with, and an end to what damaged bytes can ask for.
const STORE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Packs a store. Takes some milliseconds per megabyte.
pub fn pack(store: &Store) -> Bytes {
    let plain = encode_snapshot(store);
    // Memory to memory at a fixed level: the only error is a lack of memory, which ends the process anyway.
    zstd::bulk::compress(&plain, LEVEL).expect("compression in memory does not fail").into()
}

/// The store that was packed.
pub fn unpack(bytes: &[u8]) -> Result<Store, ApplyError> {
    let broken = |error: std::io::Error| ApplyError(format!("it does not unpack: {error}"));
    let mut plain = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::new(bytes).map_err(broken)?.take(STORE_BYTES_MAX + 1);
    decoder.read_to_end(&mut plain).map_err(broken)?;
    if plain.len() as u64 > STORE_BYTES_MAX {
        return Err(ApplyError(format!("it unpacks to more than {STORE_BYTES_MAX} bytes")));
    }
    decode_snapshot(&plain).map_err(|error| ApplyError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use swarm_core::ConfigId;
    use swarm_core::model::{Config, ConfigSpec, Labels, Meta};
    use swarm_core::store::Object;

    fn config(id: u128) -> Object {
        let spec = ConfigSpec {
            name: format!("config-{id}"),
            labels: Labels::new(),
            data: b"the same ".repeat(30),
            templated: false,
        };
        Object::Config(Arc::new(Config {
            id: ConfigId(id),
            meta: Meta::default(),
            spec,
            content_version: 1,
            older: Vec::new(),
        }))
    }

    #[test]
    fn a_store_survives_and_its_repetition_takes_no_room() {
        let store = Store::restore(7, (1..2000).map(config));
        let packed = pack(&store);
        let copy = unpack(&packed).expect("unpacks");
        assert_eq!(copy.view().index(), 7);
        assert_eq!(copy.objects(), store.objects());
        assert!(packed.len() * 3 < encode_snapshot(&store).len(), "{}", packed.len());
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            assert!(unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
        assert!(unpack(&encode_snapshot(&store)).is_err(), "what is not packed is no snapshot");
    }
}
