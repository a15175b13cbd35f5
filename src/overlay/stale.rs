//! Tracked UDP connections that do not lead where a new one would. A sender that never pauses never
//! gets a new one: a port that is published, changed or taken back would pass it by for ever. Pure.
//!
//! TCP needs none of this: a refused connection is forgotten, an open one goes on where it is.

use crate::conntrack::Tracked;
use crate::plan::Transport;
use crate::rules::{HostContent, NetworkContent};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

impl NetworkContent {
    /// Whether `c` came in at the uplink, at `link`, and a new connection would go elsewhere. One to a
    /// task that takes no new ones goes on: its end is told by its address.
    pub fn misleads(&self, c: &Tracked, link: Ipv4Addr) -> bool {
        let Some((asked, answers)) = c.udp else { return false };
        if c.orig_dst != link {
            return false;
        }
        let at = (Transport::Udp, asked);
        if let Some(backends) = self.published.get(&at) {
            return !backends.addrs.is_empty()
                && (c.reply_src == link || backends.port.is_some_and(|port| port != answers));
        }
        match self.host_ports.get(&at) {
            Some(target) => (c.reply_src, answers) != *target,
            None => c.reply_src != link,
        }
    }

    /// Whether any connection may mislead after a change to `new`.
    pub fn moves_ports_in(&self, new: &Self) -> bool {
        self.published != new.published || self.host_ports != new.host_ports
    }
}

impl HostContent {
    /// Whether `c` came in at an address of the host, one of `local`, and a new connection would go
    /// elsewhere. `links` are the uplinks before this content: what leads there is of our making.
    pub fn misleads(&self, c: &Tracked, local: &BTreeSet<Ipv4Addr>, links: &BTreeSet<Ipv4Addr>) -> bool {
        let Some((asked, answers)) = c.udp else { return false };
        if !c.orig_dst.is_loopback() && !local.contains(&c.orig_dst) {
            return false;
        }
        let at = |ip| self.ports.get(&(ip, Transport::Udp, asked));
        match at(Some(c.orig_dst)).or_else(|| at(None)) {
            Some(target) => (c.reply_src, answers) != *target,
            None => links.contains(&c.reply_src) || self.links.contains(&c.reply_src),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Backends;

    const LINK: Ipv4Addr = Ipv4Addr::new(169, 254, 192, 2);
    const TASK: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 11);
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

    fn tracked(to: (Ipv4Addr, u16), answers: (Ipv4Addr, u16)) -> Tracked {
        Tracked {
            orig_src: CLIENT,
            orig_dst: to.0,
            reply_src: answers.0,
            reply_dst: CLIENT,
            udp: Some((to.1, answers.1)),
        }
    }

    #[test]
    fn a_connection_of_a_network_misleads_when_its_port_leads_elsewhere() {
        let mut content = NetworkContent::default();
        let of = |answers| tracked((LINK, 8080), answers);
        assert!(content.misleads(&of((TASK, 80)), LINK), "the port was taken back");
        assert!(!content.misleads(&of((LINK, 8080)), LINK));
        let backends = Backends { addrs: vec![TASK], port: Some(80) };
        content.published.insert((Transport::Udp, 8080), backends);
        assert!(content.misleads(&of((LINK, 8080)), LINK), "the port came");
        assert!(content.misleads(&of((TASK, 81)), LINK), "the port of the task changed");
        assert!(!content.misleads(&of((TASK, 80)), LINK));
        assert!(!content.misleads(&of((Ipv4Addr::new(10, 0, 9, 12), 80)), LINK), "a task on its way out");
        content.host_ports.insert((Transport::Udp, 53), (TASK, 5353));
        assert!(content.misleads(&tracked((LINK, 53), (LINK, 53)), LINK));
        assert!(content.misleads(&tracked((LINK, 53), (Ipv4Addr::new(10, 0, 9, 12), 5353)), LINK));
        assert!(!content.misleads(&tracked((LINK, 53), (TASK, 5353)), LINK));
        assert!(!content.misleads(&tracked((TASK, 53), (TASK, 53)), LINK), "not by the uplink");
        assert!(!content.misleads(&Tracked { udp: None, ..of((LINK, 8080)) }, LINK), "not UDP");
    }

    #[test]
    fn a_connection_of_the_host_misleads_when_its_port_leads_elsewhere() {
        let mut content = HostContent::default();
        let (local, links) = (BTreeSet::from([HOST]), BTreeSet::from([LINK]));
        let misleads = |content: &HostContent, c: &Tracked| content.misleads(c, &local, &links);
        assert!(misleads(&content, &tracked((HOST, 53), (LINK, 53))), "the port was taken back");
        assert!(!misleads(&content, &tracked((HOST, 53), (HOST, 53))));
        content.ports.insert((None, Transport::Udp, 53), (LINK, 53));
        assert!(misleads(&content, &tracked((HOST, 53), (HOST, 53))), "the port came");
        assert!(!misleads(&content, &tracked((HOST, 53), (LINK, 53))));
        let resolver = Ipv4Addr::new(198, 51, 100, 1);
        assert!(!misleads(&content, &tracked((resolver, 53), (resolver, 53))), "a question of this host to others");
        content.ports.insert((Some(HOST), Transport::Udp, 53), (LINK, 60000));
        assert!(misleads(&content, &tracked((HOST, 53), (LINK, 53))), "the address has a service of its own");
        assert!(!misleads(&content, &tracked((Ipv4Addr::LOCALHOST, 53), (LINK, 53))));
    }
}
