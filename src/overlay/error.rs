//! What can go wrong with a node's network. Every variant says the place; the cause is the source.

use std::io;
use std::net::IpAddr;

/// An error of the fabric. Unless a variant says otherwise, what was already there is unchanged and
/// the same call may be made again: everything is level-triggered.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// Making, entering or removing a network namespace.
    #[error("network namespace {path}: cannot {what}")]
    Netns {
        path: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change of links, addresses, routes or rules.
    #[error("cannot {what}")]
    Netlink {
        what: String,
        #[source]
        source: rtnetlink::Error,
    },
    /// A link that was just made or is needed is not there.
    #[error("link {name} is missing in {place}")]
    NoLink { name: String, place: String },
    /// `nft` refused a rule set.
    #[error("nft refused the rules of {what}: {message}")]
    Nft { what: String, message: String },
    /// Another firewall of the host does not take our rules: what its chain drops does not pass.
    #[error(
        "the firewall chain {chain} cannot be changed to pass the packets of containers: let it accept forwarded \
         packets from and to the links {links} (firewalld: NftablesTableOwner=no in /etc/firewalld/firewalld.conf, \
         then restart it)"
    )]
    Firewall {
        chain: String,
        links: String,
        #[source]
        source: Box<FabricError>,
    },
    /// `nft` is needed and not there.
    #[error("the program nft is missing: install the package nftables")]
    NftMissing(#[source] io::Error),
    /// A tunnel device cannot be opened.
    #[error("tunnel device {name}: cannot {what}; is the module tun loaded?")]
    Tun {
        name: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// A socket of the fabric.
    #[error("cannot {what}")]
    Socket {
        what: String,
        #[source]
        source: io::Error,
    },
    /// A published port is taken by another process of this host; it stays unpublished here until
    /// that process lets go.
    #[error("port {port}/{protocol} of {addr} is in use on this node")]
    PortInUse {
        port: u16,
        protocol: &'static str,
        addr: IpAddr,
        #[source]
        source: io::Error,
    },
    /// A kernel setting cannot be written.
    #[error("cannot write {path}")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
    /// A file of the fabric's own.
    #[error("{path}: cannot {what}")]
    File {
        path: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// A file of the fabric's own with contents that make no sense.
    #[error("{path}: {what}")]
    Corrupt { path: String, what: String },
    /// Asked for something this version cannot do.
    #[error("{0} is not supported by the overlay")]
    Unsupported(String),
    /// An attachment to a network nobody described.
    #[error("{id} is attached to network {network}, which is not known on this node")]
    UnknownNetwork { id: String, network: String },
    /// The same id with other networks or addresses.
    #[error("{0} is attached already, with other networks: detach it first")]
    AttachedOtherwise(String),
    /// An id that cannot be a file name.
    #[error("\"{0}\" cannot name an attachment: use 1 to 64 of A-Z a-z 0-9 . _ -")]
    BadId(String),
    /// A host-mode port for a task that has no way out.
    #[error("{0} publishes ports in host mode but all its networks are internal")]
    NoWayOut(String),
    /// All link addresses of this host are taken.
    #[error("no free address left in {0} for the links of this node")]
    NoLinkAddress(String),
    /// The fabric was shut down, or its thread died.
    #[error("the network of this node has stopped")]
    Stopped,
}

/// The result of everything here.
pub type Result<T, E = FabricError> = std::result::Result<T, E>;

/// The error with all its causes, on one line: for logs and task statuses.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
