//! The configuration of a network: `-C FILE`, or `/etc/dhtnet/vpn/NAME.toml` for `dvpn up NAME`.
//!
//! ```toml
//! join = ["office"]                    # peers to join: ids, id@address, or contacts
//! listen = true                        # or: serve
//! allow = ["laptop"]                   # who may join, as --allow
//! network = "dvpn"                     # name of the network, the same on all its devices
//! interface = "dvpn0"                  # [default: the name of the file, or --interface]
//! mtu = 1400                           # the largest to use [default: what the path carries]
//! exit_node = true                     # peers may reach the internet through this device
//! full_tunnel = true                   # everything goes through the server
//! isolate = true                       # peers do not reach each other
//! kill_switch = true                   # nothing leaves outside the tunnel
//!
//! [address]
//! pool = "10.80.77.0/24"               # IPv4 addresses to give; the first is our own
//!
//! [routes]
//! offer = ["192.168.1.0/24"]           # networks behind this device
//! accept = ["10.0.0.0/8"]              # take offered ones within these alone [default: private ones]
//! nat = true                           # peers appear there under this device's address
//! inbound = false                      # hosts there may open connections to peers
//!
//! [dns]
//! names = true                         # have the system ask for NAME.dn here
//! servers = ["192.168.1.1"]            # resolvers for the rest
//! domains = ["office.example"]         # of these domains alone [default: all]
//! rewrite = false                      # rewrite /etc/resolv.conf where nothing manages it
//!
//! [[peer]]
//! id = "laptop"
//! name = "anna"                        # [default: its contact]
//! address = "10.80.77.9"               # always this one
//! allowed = ["192.168.5.0/24"]         # networks behind it
//! ```
//! The file is read and checked whole before anything starts; a mistake is named with file, line and
//! key.

mod settings;
mod values;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use dhtnet_cli::Failure;
use dhtnet_identity::target::Network;
use dhtnet_identity::{Alias, PeerArgument};
use dhtnet_vpn_core::address::NetworkName;
use dhtnet_vpn_core::control::{MAX_ADDRESSES, MAX_ROUTES};
use serde::Deserialize;

pub(crate) use self::settings::{Configured, configured};
use self::values::Text;
pub(crate) use self::values::domain;
use crate::plan::MIN_MTU;
use crate::system::privilege;

/// Where `dvpn up NAME` looks for `NAME.toml`.
pub const FOLDER: &str = "/etc/dhtnet/vpn";

/// Largest file that is read, bytes: some thousand peers.
const MAX_LEN: u64 = 1 << 20;

/// Peers that a file may name. Each costs a look at every packet's owner less than a microsecond.
pub const MAX_PEERS: usize = 4_096;

/// Networks that `accept` or one peer's `allowed` may name.
pub const MAX_NETWORKS: usize = 256;

/// Networks that `offer` may name: what peers take in one message, beside the two that an exit
/// node adds.
pub const MAX_OFFERED: usize = MAX_ROUTES - 2;

/// Resolvers and domains: what peers take in one message.
const MAX_SERVERS: usize = MAX_ADDRESSES;
const MAX_DOMAINS: usize = MAX_ADDRESSES;

/// Largest `mtu`, bytes (IPv4 and IPv6 packets without jumbograms).
const MAX_MTU: u16 = 65_535;

/// A configuration that has been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Peers to join.
    pub join: Vec<PeerArgument>,
    /// Whether to serve.
    pub listen: bool,
    /// Who may join, beside those of the command line.
    pub allow: Vec<PeerArgument>,
    /// Name of the network, from which its IPv6 addresses are made.
    pub network: NetworkName,
    /// Name of the interface.
    pub interface: Option<String>,
    /// Largest MTU to use, bytes.
    pub mtu: Option<u16>,
    /// Peers may reach the internet through this device.
    pub exit_node: bool,
    /// Everything goes through the server.
    pub full_tunnel: bool,
    /// Peers do not reach each other through this device.
    pub isolate: bool,
    /// Nothing leaves outside the tunnel.
    pub kill_switch: bool,
    /// IPv4 addresses to give.
    pub pool: Option<Network>,
    /// Routes.
    pub routes: RouteSettings,
    /// Names; `None` leaves the resolver of this machine alone.
    pub dns: Option<DnsSettings>,
    /// What is fixed for single peers.
    pub peers: Vec<PeerSettings>,
}

/// `[routes]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Networks behind this device.
    pub offer: Vec<Network>,
    /// Which offered networks are taken; `None`: the private ones.
    pub accept: Option<Vec<Network>>,
    /// Peers appear in the offered networks under this device's address.
    pub nat: bool,
    /// Hosts there may open connections to peers.
    pub inbound: bool,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            offer: Vec::new(),
            accept: None,
            nat: true,
            inbound: false,
        }
    }
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whether `NAME.dn` is answered.
    pub names: bool,
    /// Resolvers for other names.
    pub servers: Vec<IpAddr>,
    /// For which domains; empty for all.
    pub domains: Vec<String>,
    /// Whether `/etc/resolv.conf` may be rewritten.
    pub rewrite: bool,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            names: true,
            servers: Vec::new(),
            domains: Vec::new(),
            rewrite: false,
        }
    }
}

/// `[[peer]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// Which peer.
    pub id: PeerArgument,
    /// Its name in `.dn`.
    pub name: Option<Alias>,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Networks behind it.
    pub allowed: Vec<Network>,
}

impl Configuration {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Exit code 2, naming file, line and key.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let unreadable =
            |why: String| Failure::usage(format!("cannot read the configuration {name}: {why}"));
        let length = fs::metadata(path)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if length > MAX_LEN {
            return Err(unreadable(format!("it is larger than {MAX_LEN} bytes")));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::check(&text, &name.to_string())
    }

    /// The file of the network `name`.
    ///
    /// # Errors
    /// Exit code 2 for what can be no name.
    pub fn path_of(name: &str) -> Result<PathBuf, Failure> {
        privilege::check_name(name)?;
        Ok(Path::new(FOLDER).join(format!("{name}.toml")))
    }

    fn check(text: &str, file: &str) -> Result<Self, Failure> {
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            mistake(text, file, at, error.message())
        })?;
        let fault = |(at, what): (usize, String)| mistake(text, file, at, &what);
        let at = |key: &str| place_of(text, key);
        let interface = raw.interface.map(|name| name.0);
        if let Some(name) = &interface {
            privilege::check_name(name)
                .map_err(|error| fault((at("interface"), error.to_string())))?;
        }
        let configuration = Self {
            join: texts(raw.join),
            listen: raw.listen,
            allow: texts(raw.allow),
            network: raw.network.map(|name| name.0).unwrap_or_default(),
            interface,
            mtu: raw.mtu,
            exit_node: raw.exit_node,
            full_tunnel: raw.full_tunnel,
            isolate: raw.isolate,
            kill_switch: raw.kill_switch,
            pool: raw.address.pool.map(|pool| pool.0),
            routes: RouteSettings {
                offer: texts(raw.routes.offer),
                accept: raw.routes.accept.map(texts),
                nat: raw.routes.nat,
                inbound: raw.routes.inbound,
            },
            dns: raw.dns.map(|dns| DnsSettings {
                names: dns.names,
                servers: dns.servers,
                domains: dns.domains,
                rewrite: dns.rewrite,
            }),
            peers: raw.peer.into_iter().map(RawPeer::checked).collect(),
        };
        configuration
            .check_bounds()
            .map_err(|(key, what)| fault((at(key), what)))?;
        configuration
            .check_sense()
            .map_err(|(key, what)| fault((at(key), what)))?;
        configuration.check_peers(text).map_err(fault)?;
        Ok(configuration)
    }

    fn check_bounds(&self) -> Result<(), (&'static str, String)> {
        let dns = self.dns.as_ref();
        let counts = [
            ("offer", self.routes.offer.len(), MAX_OFFERED),
            (
                "accept",
                self.routes.accept.as_ref().map_or(0, Vec::len),
                MAX_NETWORKS,
            ),
            (
                "servers",
                dns.map_or(0, |dns| dns.servers.len()),
                MAX_SERVERS,
            ),
            (
                "domains",
                dns.map_or(0, |dns| dns.domains.len()),
                MAX_DOMAINS,
            ),
            ("[[peer]]", self.peers.len(), MAX_PEERS),
            ("join", self.join.len(), MAX_PEERS),
            ("allow", self.allow.len(), MAX_PEERS),
        ];
        for (key, count, most) in counts {
            if count > most {
                return Err((key, format!("{key}: {count} entries; at most {most}")));
            }
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err((
                "mtu",
                format!("mtu: {mtu} is not between {MIN_MTU} and {MAX_MTU}"),
            ));
        }
        for domain_name in dns.iter().flat_map(|dns| &dns.domains) {
            if !domain(domain_name) {
                return Err(("domains", format!("domains: {domain_name:?} is no domain")));
            }
        }
        Ok(())
    }

    /// What contradicts itself.
    fn check_sense(&self) -> Result<(), (&'static str, String)> {
        if self.pool.is_some_and(|pool| pool.address().is_ipv6()) {
            let what = "pool: only IPv4 addresses are given out; IPv6 addresses come from keys";
            return Err(("pool", what.to_owned()));
        }
        if self.exit_node && self.full_tunnel {
            let what = "full_tunnel: an exit node cannot send everything to another one";
            return Err(("full_tunnel", what.to_owned()));
        }
        if let Some(everything) = self.routes.offer.iter().find(|net| net.prefix_len() == 0) {
            let what = format!("offer: {everything} is everything; say exit_node = true instead");
            return Err(("offer", what));
        }
        for (index, network) in self.routes.offer.iter().enumerate() {
            let before = &self.routes.offer[..index];
            if let Some(other) = before.iter().find(|other| overlap(other, network)) {
                return Err(("offer", format!("offer: {network} overlaps {other}")));
            }
            // What overlaps a pool that is not named here is found when one is needed.
            if let Some(pool) = self.pool.filter(|pool| overlap(pool, network)) {
                return Err((
                    "offer",
                    format!("offer: {network} overlaps the pool {pool}"),
                ));
            }
        }
        Ok(())
    }

    fn check_peers(&self, text: &str) -> Result<(), (usize, String)> {
        let place = |index: usize| {
            let tables = text.match_indices("[[peer]]").nth(index);
            tables.map_or(0, |(at, _)| at)
        };
        for (index, peer) in self.peers.iter().enumerate() {
            let fault = |what: String| Err((place(index), format!("peer: {what}")));
            if peer.allowed.len() > MAX_NETWORKS {
                return fault(format!("more than {MAX_NETWORKS} networks are allowed"));
            }
            if let (Some(pool), Some(address)) = (self.pool, peer.address)
                && !pool.contains(address.into())
            {
                return fault(format!("{address} is not in the pool {pool}"));
            }
            for other in &self.peers[..index] {
                if other.id == peer.id {
                    return fault(format!("{} stands here twice", peer.id));
                }
                if peer.name.is_some() && other.name == peer.name {
                    return fault("two peers have this name".to_owned());
                }
                if let Some(address) = peer.address.filter(|_| other.address == peer.address) {
                    return fault(format!("{address} is fixed for two peers"));
                }
                let mut clashes = peer.allowed.iter().flat_map(|network| {
                    let others = other.allowed.iter();
                    others
                        .filter(|theirs| overlap(theirs, network))
                        .map(move |theirs| (network, theirs))
                });
                if let Some((network, theirs)) = clashes.next() {
                    return fault(format!(
                        "{network} overlaps {theirs}, which {} has",
                        other.id
                    ));
                }
            }
        }
        Ok(())
    }
}

fn overlap(one: &Network, other: &Network) -> bool {
    one.includes(other) || other.includes(one)
}

fn texts<T>(values: Vec<Text<T>>) -> Vec<T> {
    values.into_iter().map(|value| value.0).collect()
}

/// One line: file, line, key, what is wrong.
fn mistake(text: &str, file: &str, at: usize, what: &str) -> Failure {
    let before = text.get(..at).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let what = what.trim().replace('\n', ", ");
    let what = match what.strip_prefix("unknown field `") {
        Some(rest) => format!("unknown key {}", rest.replacen('`', "", 1)),
        None => what,
    };
    let is_about_a_key = what.starts_with("unknown key");
    match key_at(text, at).filter(|_| !is_about_a_key) {
        Some(key) if !what.starts_with(&format!("{key}: ")) => {
            Failure::usage(format!("{file}:{line}: {key}: {what}"))
        }
        _ => Failure::usage(format!("{file}:{line}: {what}")),
    }
}

/// Where the line of `key`, or the table called so, begins.
fn place_of(text: &str, key: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start().strip_prefix(key);
        if rest.is_some_and(|rest| key.starts_with('[') || rest.trim_start().starts_with('=')) {
            return at;
        }
        at += line.len();
    }
    0
}

/// The key whose value is at `at`.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let end = text
        .get(at..)?
        .find('\n')
        .map_or(text.len(), |length| at + length);
    let lines = text.get(..end)?.lines().rev();
    let mut keys = lines.map_while(|line| {
        let line = line.trim();
        (!line.starts_with('[') || line.starts_with("[\"")).then_some(line)
    });
    keys.find_map(|line| {
        let (key, _) = line.split_once('=')?;
        let key = key.trim();
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!key.is_empty() && key.chars().all(is_key)).then_some(key)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct RawFile {
    join: Vec<Text<PeerArgument>>,
    listen: bool,
    allow: Vec<Text<PeerArgument>>,
    network: Option<Text<NetworkName>>,
    interface: Option<Text<String>>,
    mtu: Option<u16>,
    exit_node: bool,
    full_tunnel: bool,
    isolate: bool,
    kill_switch: bool,
    address: RawAddress,
    routes: RawRoutes,
    dns: Option<RawDns>,
    peer: Vec<RawPeer>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAddress {
    pool: Option<Text<Network>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRoutes {
    offer: Vec<Text<Network>>,
    accept: Option<Vec<Text<Network>>>,
    nat: bool,
    inbound: bool,
}

impl Default for RawRoutes {
    fn default() -> Self {
        let RouteSettings { nat, inbound, .. } = RouteSettings::default();
        Self {
            offer: Vec::new(),
            accept: None,
            nat,
            inbound,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDns {
    names: bool,
    servers: Vec<IpAddr>,
    domains: Vec<String>,
    rewrite: bool,
}

impl Default for RawDns {
    fn default() -> Self {
        let DnsSettings { names, rewrite, .. } = DnsSettings::default();
        Self {
            names,
            servers: Vec::new(),
            domains: Vec::new(),
            rewrite,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    id: Text<PeerArgument>,
    name: Option<Text<Alias>>,
    address: Option<Ipv4Addr>,
    #[serde(default)]
    allowed: Vec<Text<Network>>,
}

impl RawPeer {
    fn checked(self) -> PeerSettings {
        PeerSettings {
            id: self.id.0,
            name: self.name.map(|name| name.0),
            address: self.address,
            allowed: texts(self.allowed),
        }
    }
}

#[cfg(test)]
mod tests;
