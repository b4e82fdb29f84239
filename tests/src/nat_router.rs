//! Routers with NATs of every kind (RFC 4787), by nftables: rule sets that are measured from
//! both sides (`tests/tests/it/nat_kinds.rs`) before anything is tested behind them.
//!
//! ```text
//! outside 11.0.0.0/16   router N: wan 11.0.N.101   home 192.168.N.1/24   devices 192.168.N.x
//! double NAT            carrier N: wan 11.0.N.101, 100.64.N.1   router N: wan 100.64.N.11
//! IPv6 firewall         router N: wan 2001:db8::1:N, home 2001:db8:0:N::1/64, and IPv4 as above
//! ```

mod events;
mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::home_router::{
    RouterError, Speaks, load, mappings_of, nft, pinholes_of, rename, start_daemon,
};
use crate::lab::{Families, Host, INTERFACE, Lab, LabError, Lan, Link, LinkSpec, Process};
use crate::ssh::find;

/// What a NAT does with UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// One port for all remotes, open to everybody.
    FullCone,
    /// One port for all remotes, open to every port of the addresses that were sent to.
    AddressRestricted,
    /// One port for all remotes, open to those that were sent to.
    PortRestricted,
    /// As [`Nat::PortRestricted`], but with another port outside, of 20000 to 29999.
    PortNotKept,
    /// Two port-restricted NATs, one behind the other.
    Double,
    /// IPv6 without translation, open to those that were sent to; IPv4 is port-restricted.
    Ipv6Firewall,
    /// Another port for each remote, one after the other, round and round in 64.
    Sequential,
    /// Another port for each remote, one after the other, in 16,384.
    SequentialWide,
    /// Another port for each remote, at random in 64.
    Block,
    /// Another port for each remote, at random.
    Symmetric,
    /// No UDP at all, and of TCP port 443 alone.
    UdpBlocked,
}

impl Nat {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::PortNotKept,
        Self::Double,
        Self::Ipv6Firewall,
        Self::Sequential,
        Self::SequentialWide,
        Self::Block,
        Self::Symmetric,
        Self::UdpBlocked,
    ];

    fn families(self) -> Families {
        match self {
            Self::Ipv6Firewall => Families::Both,
            _ => Families::V4,
        }
    }
}

/// A router between the outside and a network of its own, `192.168.N.0/24`. A daemon that maps
/// ports ends first, the networks last.
#[derive(Debug)]
pub struct NatRouter {
    daemon: Option<Process>,
    host: Host,
    inside: Lan,
    /// The outer router of a double NAT, and the network between the two.
    carrier: Option<(Host, Lan)>,
    nat: Nat,
    number: u8,
}

impl NatRouter {
    /// The router number `number` (1 to 250), at `11.0.N.101` outside.
    ///
    /// # Errors
    /// [`RouterError::Missing`] without nft.
    pub fn new(lab: &Lab, outside: &Lan, (nat, number): (Nat, u8)) -> Result<Self, RouterError> {
        find("nft").ok_or(RouterError::Missing("nft"))?;
        let public = Ipv4Addr::new(11, 0, number, 101);
        let (carrier, own) = match nat {
            Nat::Double => {
                let (host, between) = (lab.host("carrier")?, lab.lan()?);
                let wan = [format!("{public}/16")];
                let home = [format!("100.64.{number}.1/24")];
                join(&host, (outside, &wan), (&between, &home), Families::V4)?;
                load(&host, &rules::of(nat, public))?;
                let own = Ipv4Addr::new(100, 64, number, 11);
                (Some((host, between)), own)
            }
            _ => (None, public),
        };
        let (host, inside) = (lab.host("router")?, lab.lan()?);
        let mut home = vec![format!("192.168.{number}.1/24")];
        let wan = match &carrier {
            None if nat == Nat::Ipv6Firewall => {
                home.push(format!("2001:db8:0:{number:x}::1/64 nodad"));
                vec![
                    format!("{own}/16"),
                    format!("2001:db8::1:{number:x}/64 nodad"),
                ]
            }
            None => vec![format!("{own}/16")],
            Some(_) => vec![format!("{own}/24")],
        };
        let around = carrier.as_ref().map_or(outside, |(_, between)| between);
        join(&host, (around, &wan), (&inside, &home), nat.families())?;
        if carrier.is_some() {
            host.ip(&format!("route add default via 100.64.{number}.1"))?;
        }
        load(&host, &rules::of(nat, own))?;
        Ok(Self {
            daemon: None,
            host,
            inside,
            carrier,
            nat,
            number,
        })
    }

    /// Has the router map ports for its devices by UPnP, NAT-PMP and PCP from now on.
    ///
    /// # Errors
    /// [`RouterError::Missing`] without miniupnpd.
    pub fn map_ports(&mut self, lab: &Lab) -> Result<(), RouterError> {
        self.daemon = Some(start_daemon(lab, &self.host, (Speaks::All, self.number))?);
        Ok(())
    }

    /// A new host inside with this last byte of its address.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn inside(&self, lab: &Lab, last: u8) -> Result<Host, LabError> {
        let (host, net) = (lab.host("inside")?, self.number);
        self.inside.attach(&host, self.nat.families())?;
        host.ip(&format!(
            "addr flush dev {INTERFACE} scope global\naddr add 192.168.{net}.{last}/24 dev {INTERFACE}\n\
             route add default via 192.168.{net}.1"
        ))?;
        if self.nat == Nat::Ipv6Firewall {
            // By the link-local address of the router, as advertised routes are.
            let shown = self.host.ip("addr show dev home")?;
            let mut words = shown.split_whitespace();
            let local = words.find(|word| word.starts_with("fe80"));
            let local = local.and_then(|word| word.split('/').next());
            host.ip(&format!(
                "addr add 2001:db8:0:{net:x}::{last:x}/64 dev {INTERFACE} nodad\n\
                 route add default via {} dev {INTERFACE}",
                local.unwrap_or_default()
            ))?;
        }
        Ok(host)
    }

    /// A host inside that is joined to the router by a link of its own, `172.16.N.10`. With the
    /// link it loses its network.
    ///
    /// # Errors
    /// As [`Lab::link`].
    pub fn far_away(&self, lab: &Lab, spec: LinkSpec) -> Result<(Host, Link), LabError> {
        let (host, net) = (lab.host("far")?, self.number);
        let link = lab.link(&host, &self.host, Families::V4, spec)?;
        for (end, last) in [(&host, 10), (&self.host, 1)] {
            end.ip(&format!(
                "addr flush dev {INTERFACE} scope global\naddr add 172.16.{net}.{last}/24 dev {INTERFACE}"
            ))?;
        }
        host.ip(&format!("route add default via 172.16.{net}.1"))?;
        Ok((host, link))
    }

    /// The router itself; of two in a row the inner one.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The address that others see.
    #[must_use]
    pub fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::new(11, 0, self.number, 101)
    }

    /// Lets IPv6 through to the devices of the other router, and no IPv4: of two homes whose
    /// providers have nothing but IPv6 in common.
    ///
    /// # Errors
    /// When `ip` or `nft` refuses.
    pub fn join_by_v6_alone(&self, other: &Self) -> Result<(), RouterError> {
        for (near, far) in [(self, other), (other, self)] {
            let net = far.number;
            near.host.ip(&format!(
                "route add 2001:db8:0:{net:x}::/64 via 2001:db8::1:{net:x} dev wan"
            ))?;
            near.insert(&format!("forward ip daddr {} drop", far.outside()))?;
        }
        Ok(())
    }

    /// From now on [`NatRouter::sent_to_watched`] counts what devices send to this address.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn watch(&self, address: IpAddr) -> Result<(), RouterError> {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        self.insert(&format!(
            "counting iifname home oifname wan {family} daddr {address} counter name watched"
        ))
    }

    fn insert(&self, rule: &str) -> Result<(), RouterError> {
        let words = ["insert", "rule", "inet", "upnp"];
        let words: Vec<&str> = words.into_iter().chain(rule.split_whitespace()).collect();
        nft(&self.host, &words).map(drop)
    }

    /// UDP and TCP packets of devices that have left the router so far.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn sent(&self) -> Result<u64, RouterError> {
        self.counter("leaving")
    }

    /// Of those, what went to addresses that are [watched](NatRouter::watch).
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn sent_to_watched(&self) -> Result<u64, RouterError> {
        self.counter("watched")
    }

    fn counter(&self, name: &str) -> Result<u64, RouterError> {
        let shown = nft(&self.host, &["list", "counter", "inet", "upnp", name])?;
        let mut words = shown.split_whitespace();
        let count = words.find(|word| *word == "packets").and(words.next());
        count
            .and_then(|count| count.parse().ok())
            .ok_or(RouterError::Rules(shown))
    }

    /// The routers that hold entries: itself, and the outer one of a double NAT.
    pub fn translators(&self) -> impl Iterator<Item = &Host> {
        let carrier = self.carrier.as_ref().map(|(host, _)| host);
        std::iter::once(&self.host).chain(carrier)
    }

    /// The mappings and pinholes that devices have asked for and not given back.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn opened(&self) -> Result<Vec<String>, RouterError> {
        let mut opened = mappings_of(&self.host)?;
        opened.extend(pinholes_of(&self.host)?);
        Ok(opened)
    }

    /// What the daemon that maps ports logged.
    #[must_use]
    pub fn said(&self) -> String {
        self.daemon
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }

    /// Waits until a device has a port or a pinhole; at most `limit`. Returns whether one has.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn await_opened(&self, limit: Duration) -> Result<bool, RouterError> {
        let deadline = Instant::now() + limit;
        loop {
            let opened = !self.opened()?.is_empty();
            if opened || Instant::now() >= deadline {
                return Ok(opened);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The entries of a router's table of connections.
///
/// # Errors
/// When the kernel does not tell.
pub fn entries(router: &Host) -> std::io::Result<u32> {
    let count = "/proc/sys/net/netfilter/nf_conntrack_count";
    let text = router.run(|| std::fs::read_to_string(count))??;
    text.trim().parse().map_err(std::io::Error::other)
}

/// The IPv6 address of a device behind router `number`, by its last group.
#[must_use]
pub fn inside_v6(number: u8, last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, number.into(), 0, 0, 0, last.into())
}

/// Puts a router between two networks, with these addresses on either side.
fn join(
    host: &Host,
    (outer, wan): (&Lan, &[String]),
    (inner, home): (&Lan, &[String]),
    families: Families,
) -> Result<(), RouterError> {
    host.set_sysctl("net/ipv4/ip_forward", "1")?;
    if families == Families::Both {
        host.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    outer.attach(host, families)?;
    rename(host, "wan", wan)?;
    inner.attach(host, families)?;
    rename(host, "home", home)?;
    Ok(())
}
