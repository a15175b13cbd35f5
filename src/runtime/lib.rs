//! runtime: containers of one host.

pub mod caps;
pub mod cgroup;
pub mod clock;
pub mod container;
pub mod image;
pub mod seccomp;
pub mod shim;
pub mod signals;
pub mod spec;
pub mod volumes;

pub use container::{Containers, ContainersOptions};
pub use signals::signal_number;
pub use volumes::{Volume, VolumeError, Volumes};
