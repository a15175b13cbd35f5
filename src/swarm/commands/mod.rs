//! One file per group of commands: arguments, requests, output.

pub mod cluster;
pub mod common;
pub mod image;
pub mod node;
pub mod service;
pub mod tasks;
