//! Addresses as people write them: `IP`, `IP:port`, `interface`, `interface:port`, or nothing.

use api::ports::Failure;
use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Where to listen: all IPv4 addresses unless said otherwise.
pub fn listen(text: &str, default_port: u16) -> Result<SocketAddr, Failure> {
    if text.is_empty() {
        return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), default_port));
    }
    one(text, default_port, "listen address")
}

/// The address others reach this node at; `None` when nothing was said.
pub fn advertise(text: &str) -> Result<Option<IpAddr>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let addr = one(text, 0, "advertise address")?.ip();
    if addr.is_unspecified() {
        return Err(Failure::Invalid(
            "the advertise address must be one that other nodes can reach, not 0.0.0.0".to_owned(),
        ));
    }
    Ok(Some(addr))
}

/// A manager to join through: `host[:port]`.
pub fn remote(text: &str, default_port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(vec![addr]);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, default_port)]);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| bad("manager address", text))?),
        None => (text, default_port),
    };
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|error| Failure::Invalid(format!("cannot find host {host}: {error}")))?.collect();
    if found.is_empty() { Err(bad("manager address", text)) } else { Ok(found) }
}

/// The only address of this host that others could reach, or words on why there is no such choice.
pub fn only_own() -> Result<IpAddr, Failure> {
    let mut found: Vec<(String, Ipv4Addr)> = Vec::new();
    let interfaces = getifaddrs().map_err(|error| Failure::Internal(format!("cannot list interfaces: {error}")))?;
    for interface in interfaces {
        let up = interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
        let loopback = interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK);
        let virtual_link = ["docker", "br-", "veth", "swarm", "virbr"];
        let ours = virtual_link.iter().any(|prefix| interface.interface_name.starts_with(prefix));
        let addr = interface.address.and_then(|address| address.as_sockaddr_in().map(|v4| v4.ip()));
        if let Some(addr) = addr.filter(|addr| up && !loopback && !ours && !addr.is_link_local()) {
            found.push((interface.interface_name, addr));
        }
    }
    match &found[..] {
        [(_, only)] => Ok(IpAddr::V4(*only)),
        [] => Err(Failure::Invalid(
            "this host has no address that others could reach - specify one with --advertise-addr".to_owned(),
        )),
        [(name, addr), (other, another), ..] => Err(Failure::Invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on different interfaces ({addr} on {name} and {another} on {other}) - specify one with --advertise-addr"
        ))),
    }
}

fn one(text: &str, default_port: u16, what: &str) -> Result<SocketAddr, Failure> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default_port));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| bad(what, text))?),
        None => (text, default_port),
    };
    let interfaces = getifaddrs().map_err(|error| Failure::Internal(format!("cannot list interfaces: {error}")))?;
    let named = interfaces.filter(|interface| interface.interface_name == name);
    let mut addresses = named.filter_map(|i| i.address.and_then(|address| address.as_sockaddr_in().map(|v4| v4.ip())));
    match addresses.next() {
        Some(ip) => Ok(SocketAddr::new(ip.into(), port)),
        None => Err(bad(what, text)),
    }
}

fn bad(what: &str, text: &str) -> Failure {
    Failure::Invalid(format!(
        "invalid {what} \"{text}\": give an IP address, IP:port, or the name of an interface with an IPv4 address"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        assert_eq!(listen("", 2377).unwrap().to_string(), "0.0.0.0:2377");
        assert_eq!(listen("10.0.0.1", 2377).unwrap().to_string(), "10.0.0.1:2377");
        assert_eq!(listen("10.0.0.1:99", 2377).unwrap().to_string(), "10.0.0.1:99");
        assert_eq!(listen("lo:5", 2377).unwrap().to_string(), "127.0.0.1:5");
        assert_eq!(remote("10.0.0.1", 2377).unwrap()[0].to_string(), "10.0.0.1:2377");
        assert_eq!(advertise("").unwrap(), None);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let error = listen("no-such-link", 1).unwrap_err();
        assert!(error.to_string().contains("no-such-link"), "{error}");
        assert!(advertise("0.0.0.0").is_err());
    }
}
