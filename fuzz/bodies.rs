//! Bodies of requests: JSON becomes a specification or is refused, and what was read can be written and read again.
#![no_main]

use api::json::{Object, read_content, read_network_spec, read_node_spec, read_service_spec, write_service_spec};
use libfuzzer_sys::fuzz_target;
use swarm_core::store::Store;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let object = || Object::root(value.clone());
    let view = Store::new().view();
    if let Ok(reading) = object().and_then(|object| read_service_spec(object, &view)) {
        let written = Object::root(write_service_spec(&reading.spec));
        let again = written.and_then(|object| read_service_spec(object, &view)).map(|again| again.spec);
        assert!(again.as_ref().is_ok_and(|again| *again == reading.spec), "{again:?} {:?}", reading.spec);
    }
    let _ = object().and_then(read_network_spec);
    let _ = object().and_then(read_content);
    let _ = object().and_then(read_node_spec);
    let _ = object().and_then(|object| api::json::merge_cluster_spec(object, Default::default()));
});
