//! Names of peers: `NAME.dn`, answered on this device's own address in the tunnel.
//!
//! The resolver of the system is told to ask there ([`dns_plan`]). Where it can be told so for
//! single domains (systemd-resolved), it asks for `dn` alone; where it cannot, it asks for
//! everything, and what is not ours is handed on to the resolvers that the system asked before.
//! Only this device itself is answered.

mod answer;
mod server;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::configuration::DnsSettings;
use crate::plan::{DnsPlan, ResolvConf};

pub use self::server::NameServer;

/// The domain of peers.
pub const DOMAIN: &str = "dn";

/// What is known about names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    by_name: BTreeMap<String, Vec<IpAddr>>,
    by_address: BTreeMap<IpAddr, String>,
    /// Resolvers of the configuration or of the server.
    servers: Vec<IpAddr>,
    /// Domains that they know; empty for all.
    domains: Vec<String>,
    /// Resolvers that the system asked before.
    present: Vec<IpAddr>,
}

impl Names {
    /// Nothing but where other names are looked up: `dns` as configured, `present` as the system
    /// had it before.
    pub fn new(dns: &DnsSettings, present: Vec<IpAddr>) -> Self {
        Self {
            servers: dns.servers.clone(),
            domains: dns.domains.clone(),
            present,
            ..Self::default()
        }
    }

    /// Adds a peer, or another name of one: `name` without the domain, letters of any case.
    pub fn add(&mut self, name: &str, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        for address in addresses {
            self.by_address
                .entry(*address)
                .or_insert_with(|| name.clone());
        }
        self.by_name.entry(name).or_default().extend(addresses);
    }

    /// Whether there is a peer of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Who is asked for `domain`, in lower case without a dot at its end.
    fn resolvers(&self, domain: &str) -> &[IpAddr] {
        let is_in = |zone: &String| {
            let before = domain.strip_suffix(zone.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let is_theirs = self.domains.is_empty() || self.domains.iter().any(is_in);
        match !self.servers.is_empty() && is_theirs {
            true => &self.servers,
            false => &self.present,
        }
    }
}

/// What the system's resolver is to be told when names are answered at `own`; `None` when the
/// configuration asks for neither names nor resolvers.
pub fn dns_plan(dns: &DnsSettings, own: &[IpAddr]) -> Option<DnsPlan> {
    if (!dns.names && dns.servers.is_empty()) || own.is_empty() {
        return None;
    }
    let domains = match dns.servers.is_empty() || !dns.domains.is_empty() {
        true => {
            let mut domains = vec![DOMAIN.to_owned()];
            domains.extend(dns.domains.iter().cloned());
            domains
        }
        false => Vec::new(),
    };
    // One address is enough, and what is down is then found out once.
    let first = own.iter().find(|own| own.is_ipv4()).or(own.first());
    Some(DnsPlan {
        servers: first.copied().into_iter().collect(),
        domains,
        resolv_conf: match dns.rewrite {
            true => ResolvConf::Rewrite,
            false => ResolvConf::Leave,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn resolvers_are_asked_for_their_domains_and_the_former_ones_for_the_rest() {
        let mut dns = DnsSettings {
            servers: vec![ip("192.168.1.1")],
            domains: vec!["office.example".into()],
            ..DnsSettings::default()
        };
        let names = Names::new(&dns, vec![ip("9.9.9.9")]);
        assert_eq!(names.resolvers("www.office.example"), [ip("192.168.1.1")]);
        assert_eq!(names.resolvers("office.example"), [ip("192.168.1.1")]);
        assert_eq!(names.resolvers("backoffice.example"), [ip("9.9.9.9")]);
        dns.domains.clear();
        let names = Names::new(&dns, vec![ip("9.9.9.9")]);
        assert_eq!(names.resolvers("example"), [ip("192.168.1.1")]);
    }

    #[test]
    fn the_system_is_told_no_more_than_was_configured() {
        let own = [ip("10.80.77.2")];
        let mut dns = DnsSettings::default();
        assert_eq!(dns_plan(&dns, &own).unwrap().domains, ["dn"]);
        assert_eq!(dns_plan(&dns, &own).unwrap().servers, own);
        assert_eq!(dns_plan(&dns, &[]), None);
        dns.domains = vec!["office.example".into()];
        dns.servers = vec![ip("192.168.1.1")];
        assert_eq!(
            dns_plan(&dns, &own).unwrap().domains,
            ["dn", "office.example"]
        );
        dns.domains.clear();
        assert_eq!(dns_plan(&dns, &own).unwrap().domains, [""; 0]);
        dns.servers.clear();
        dns.names = false;
        assert_eq!(dns_plan(&dns, &own), None);
    }
}
