//! Routers with NATs of every kind (RFC 4787), by nftables: rule sets that were measured from
//! both sides before anything is tested behind them.

mod events;

use std::net::Ipv4Addr;

use crate::home_router::{RouterError, load, rename};
use crate::lab::{Families, Host, INTERFACE, Lab, LabError, Lan};
use crate::ssh::find;

/// What a NAT does with UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// One port for all remotes, open to everybody.
    FullCone,
    /// One port for all remotes, open to those that were sent to.
    PortRestricted,
    /// Another port for each remote, at random.
    Symmetric,
    /// Another port for each remote, one after the other.
    Sequential,
}

/// A router between the outside and a network of its own, `192.168.N.0/24`.
#[derive(Debug)]
pub struct NatRouter {
    host: Host,
    inside: Lan,
    number: u8,
}

impl NatRouter {
    /// The router number `number` (1 to 250), at `11.0.N.101` outside.
    ///
    /// # Errors
    /// [`RouterError::Missing`] without nft.
    pub fn new(lab: &Lab, outside: &Lan, (nat, number): (Nat, u8)) -> Result<Self, RouterError> {
        find("nft").ok_or(RouterError::Missing("nft"))?;
        let (host, inside) = (lab.host("router")?, lab.lan()?);
        host.set_sysctl("net/ipv4/ip_forward", "1")?;
        let own = Ipv4Addr::new(11, 0, number, 101);
        outside.attach(&host, Families::V4)?;
        rename(&host, "wan", &[format!("{own}/16")])?;
        inside.attach(&host, Families::V4)?;
        rename(&host, "home", &[format!("192.168.{number}.1/24")])?;
        load(&host, &rules(nat, own))?;
        Ok(Self {
            host,
            inside,
            number,
        })
    }

    /// A new host inside with this last byte of its address.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn inside(&self, lab: &Lab, last: u8) -> Result<Host, LabError> {
        let (host, net) = (lab.host("inside")?, self.number);
        self.inside.attach(&host, Families::V4)?;
        host.ip(&format!(
            "addr flush dev {INTERFACE}\naddr add 192.168.{net}.{last}/24 dev {INTERFACE}\n\
             route add default via 192.168.{net}.1"
        ))?;
        Ok(host)
    }

    /// The router itself.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// The drop at the router itself keeps an uninvited packet from becoming a connection to it,
/// which would take the port from the host inside.
fn rules(nat: Nat, own: Ipv4Addr) -> String {
    let drop_new = |hook: &str| {
        format!(
            "chain {hook}_filter {{\n type filter hook {hook} priority filter\n \
             iifname \"wan\" meta l4proto {{ tcp, udp }} ct state new,invalid drop\n }}\n"
        )
    };
    let translate = match nat {
        Nat::FullCone | Nat::PortRestricted => "oifname \"wan\" masquerade".to_owned(),
        Nat::Symmetric => {
            "oifname \"wan\" meta l4proto udp masquerade random\n oifname \"wan\" masquerade"
                .to_owned()
        }
        Nat::Sequential => {
            let ports: Vec<String> = (0..64).map(|n| format!("{n}: {}", 40_000 + n)).collect();
            let ports = ports.join(", ");
            format!("meta l4proto udp snat ip to {own} : numgen inc mod 64 map {{ {ports} }}")
        }
    };
    let cone = match nat {
        Nat::FullCone => CONE,
        _ => "",
    };
    let forward = match nat {
        Nat::FullCone => String::new(),
        _ => drop_new("forward"),
    };
    let input = drop_new("input");
    format!(
        "table ip nat {{\n{cone}\n chain post {{\n type nat hook postrouting priority srcnat\n \
         {translate}\n }}\n}}\ntable ip guard {{\n{input}{forward}}}\n"
    )
}

/// Each port that a host inside was given leads back to it, whoever asks. It is learnt after the
/// translation, where it is known.
const CONE: &str = "map cone {
  type inet_service : ipv4_addr . inet_service
  flags dynamic,timeout
  timeout 300s
  size 65535
 }
 chain pre {
  type nat hook prerouting priority dstnat
  iifname \"wan\" meta l4proto udp dnat ip to udp dport map @cone
 }
 chain learn {
  type filter hook postrouting priority srcnat + 1
  oifname \"wan\" meta l4proto udp ct direction original update @cone { ct reply proto-dst : ct original ip saddr . ct original proto-src }
  oifname \"wan\" meta l4proto udp ct direction reply update @cone { ct original proto-dst : ct reply ip saddr . ct reply proto-src }
 }";
