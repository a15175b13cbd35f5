//! The Engine API's JSON and what it means in `swarm_core::model`, both ways.
//!
//! Reading refuses, by its path, whatever would be dropped; writing never shows a secret. Both
//! directions are checked against the published types and against each other in tests.

mod cluster;
mod container;
mod content;
mod fields;
mod network;
mod node;
mod object;
mod service;
mod task;
mod time;

pub use cluster::{cluster_info, merge_cluster_spec, pem, write_cluster, write_cluster_spec};
pub use container::{write_health, write_ulimit};
pub use content::{read_content, write_config, write_secret};
pub use fields::{Fields, Written, strings};
pub use network::{read_network_spec, scope_name, write_network};
pub use node::{parse_availability, read_node_spec, role_name, state_name, write_node};
pub use object::Object;
pub use service::{
    ServiceReading, keep_extension, read_service_spec, write_service, write_service_spec, write_spec_contents,
};
pub use task::{Shared, desired_word, write_port, write_task};
pub use time::{ZERO_TIME, parse_moment_ns, parse_timestamp_ns, rfc3339_ms, rfc3339_ns};
