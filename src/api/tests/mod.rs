//! The API over a real unix socket, in front of ports kept in memory.

mod acts;
mod carry;
mod client;
mod clients;
mod compatibility;
mod containers;
mod docker_cli;
mod endpoints;
mod fake;
mod fake_containers;
mod lists;
mod roundtrip;
mod schema;
mod streams;
mod versions;
mod wild;
