//! runtime: containers of one host.

pub mod caps;
pub mod cgroup;
pub mod container;
pub mod image;
pub mod seccomp;
pub mod shim;
pub mod spec;

pub use container::{Containers, ContainersOptions};
