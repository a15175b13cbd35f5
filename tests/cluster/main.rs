//! The real binary on three hosts made of network namespaces: what a user does, what breaks, and what
//! must hold then. Each scenario is one file and brings up its own cluster.
//!
//! Nothing here waits for a time to pass: every wait is for a condition, with a limit that fails.

mod acts;
mod canary;
mod carry;
mod contents;
mod daemon_kill;
mod deploy;
mod dev;
mod docker;
mod docker_py;
mod encryption;
mod harness;
mod leader_kill;
mod lease;
mod partition;
mod prometheus;
mod ready;
mod rejoin;
mod update;
