//! A home router: a NAT that lets nobody in by itself, and the real miniupnpd that lets in who is
//! asked for, by UPnP or by NAT-PMP and PCP.
//!
//! Outside is a segment with addresses that look public, since miniupnpd refuses to map on others.
//! Inside is `192.168.1.0/24`, with the router at `.1`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::lab::{Families, Host, INTERFACE, Lab, LabError, Lan, Process, ProcessError};
use crate::ssh::find;

/// The router's address outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(11, 0, 1, 101);

/// The router's address inside.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// The router's IPv6 address inside, in `2001:db8:0:1::/64`.
pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);

/// Longest that the daemon or `nft` may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Longer than any test.
const LIFETIME: Duration = Duration::from_secs(300);

/// What devices inside can ask the router by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// UPnP IGD alone.
    Upnp,
    /// NAT-PMP and PCP, which miniupnpd has behind one switch.
    NatPmp,
    /// All of them.
    All,
    /// No question is answered, not even with an error.
    Nothing,
}

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// A program is not on this machine.
    #[error("{0} is missing: install miniupnpd-nftables and nftables (cargo xtask setup)")]
    Missing(&'static str),
    /// A rule set was refused.
    #[error("nft: {0}")]
    Rules(String),
    /// The network could not be set up.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The daemon did not get ready.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or a process cannot be made.
    #[error("start the router: {0}")]
    Io(#[from] io::Error),
}

/// A router with a network on each side. The daemon ends first, the networks last.
#[derive(Debug)]
pub struct HomeRouter {
    daemon: Option<Process>,
    host: Host,
    inside: Lan,
    speaks: Speaks,
}

impl HomeRouter {
    /// A router between `outside` and a new network.
    ///
    /// # Errors
    /// [`RouterError::Missing`] without miniupnpd or nft.
    pub fn new(lab: &Lab, outside: &Lan, speaks: Speaks) -> Result<Self, RouterError> {
        find("miniupnpd").ok_or(RouterError::Missing("miniupnpd"))?;
        find("nft").ok_or(RouterError::Missing("nft"))?;
        let (host, inside) = (lab.host("router")?, lab.lan()?);
        host.set_sysctl("net/ipv4/ip_forward", "1")?;
        host.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
        outside.attach(&host, Families::Both)?;
        rename(&host, "wan", &[format!("{OUTSIDE}/16")])?;
        inside.attach(&host, Families::Both)?;
        let addresses = [format!("{INSIDE}/24"), format!("{INSIDE_V6}/64 nodad")];
        rename(&host, "home", &addresses)?;
        load(&host, &rules(speaks))?;
        let mut router = Self {
            daemon: None,
            host,
            inside,
            speaks,
        };
        if speaks != Speaks::Nothing {
            router.daemon = Some(start_daemon(lab, &router.host, (speaks, 1))?);
        }
        Ok(router)
    }

    /// A new host inside with this last byte of its address.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn inside(&self, lab: &Lab, last: u8) -> Result<Host, LabError> {
        let host = lab.host("inside")?;
        self.inside.attach(&host, Families::V4)?;
        host.ip(&format!(
            "addr flush dev {INTERFACE}\naddr add 192.168.1.{last}/24 dev {INTERFACE}\n\
             route add default via {INSIDE}"
        ))?;
        Ok(host)
    }

    /// Gives a host inside a global IPv6 address with this last group, and the route out: by the
    /// router's link-local address, as advertised routes are, and by its global one where it
    /// speaks PCP alone, which answers that one only.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn give_v6(&self, host: &Host, last: u16) -> Result<(), LabError> {
        host.set_sysctl(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "0")?;
        let mut router = INSIDE_V6.to_string();
        if self.speaks != Speaks::NatPmp {
            let shown = self.host.ip("addr show dev home")?;
            let local = shown
                .split_whitespace()
                .find(|word| word.starts_with("fe80"));
            let local = local.and_then(|word| word.split('/').next());
            router = local.unwrap_or_default().to_owned();
        }
        host.ip(&format!(
            "addr add 2001:db8:0:1::{last:x}/64 dev {INTERFACE} nodad\n\
             route add default via {router} dev {INTERFACE}"
        ))
        .map(drop)
    }

    /// The rules of the holes in the IPv6 firewall, one for each.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn pinholes(&self) -> Result<Vec<String>, RouterError> {
        pinholes_of(&self.host)
    }

    /// The rules of the mappings that are there, one for each.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn mappings(&self) -> Result<Vec<String>, RouterError> {
        mappings_of(&self.host)
    }

    /// Waits until the mappings are as `wanted` says, and returns them; at most `limit`, then
    /// returns what is there.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn await_mappings(
        &self,
        limit: Duration,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Result<Vec<String>, RouterError> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.mappings()?;
            if wanted(&found) || Instant::now() >= deadline {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The router itself.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What the daemon logged.
    pub fn said(&self) -> String {
        self.daemon
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }
}

/// Starts miniupnpd on a router with the tables and interfaces of [`rules`], for the devices of
/// `192.168.N.0/24`.
pub(crate) fn start_daemon(
    lab: &Lab,
    host: &Host,
    (speaks, network): (Speaks, u8),
) -> Result<Process, RouterError> {
    let program = find("miniupnpd").ok_or(RouterError::Missing("miniupnpd"))?;
    let folder = lab.folder();
    let file = folder.join(format!("miniupnpd-{network}.conf"));
    let leases = folder.join(format!("leases-{network}"));
    std::fs::write(&file, configuration((speaks, network), &leases))?;
    let command = host.command(program).arg("-d").arg("-f").arg(&file);
    let command = command
        .arg("-P")
        .arg(folder.join(format!("miniupnpd-{network}.pid")));
    let mut daemon = command.lifetime(LIFETIME).start()?;
    daemon.await_line("that it listens", LIMIT, |line| {
        (line.contains("istening") && line.contains("on port")).then_some(())
    })?;
    Ok(daemon)
}

/// The rules of the holes that the daemon has made in the IPv6 firewall, one for each.
pub(crate) fn pinholes_of(host: &Host) -> Result<Vec<String>, RouterError> {
    let mut rules = rules_in(host, "miniupnpd")?;
    // nft shows the address of a hole as the bytes that are compared.
    rules.retain(|rule| rule.contains("0x20010db8"));
    Ok(rules)
}

/// The rules of the mappings that the daemon has made, one for each.
pub(crate) fn mappings_of(host: &Host) -> Result<Vec<String>, RouterError> {
    let mut rules = rules_in(host, "prerouting_miniupnpd")?;
    rules.retain(|rule| rule.contains("dnat"));
    Ok(rules)
}

fn rules_in(host: &Host, chain: &str) -> Result<Vec<String>, RouterError> {
    let listed = nft(host, &["list", "chain", "inet", "upnp", chain])?;
    Ok(listed.lines().map(|l| l.trim().to_owned()).collect())
}

/// Runs `nft` with these words on a router and returns what it prints.
pub(crate) fn nft(host: &Host, words: &[&str]) -> Result<String, RouterError> {
    let ended = host.command("nft").args(words).start()?.finish(LIMIT)?;
    match ended.code() {
        Some(0) => Ok(ended.text()),
        _ => Err(RouterError::Rules(ended.stderr)),
    }
}

pub(crate) fn rename(host: &Host, name: &str, addresses: &[String]) -> Result<(), LabError> {
    let mut batch = format!(
        "link set {INTERFACE} down\nlink set {INTERFACE} name {name}\naddr flush dev {name}\n\
         link set {name} up\n"
    );
    for address in addresses {
        batch += &format!("addr add {address} dev {name}\n");
    }
    host.ip(&batch).map(drop)
}

pub(crate) fn load(host: &Host, rules: &str) -> Result<(), RouterError> {
    let nft = host.command("nft").args(["-f", "-"]).stdin_bytes(rules);
    let loaded = nft.start()?.finish(LIMIT)?;
    match loaded.code() {
        Some(0) => Ok(()),
        _ => Err(RouterError::Rules(loaded.stderr)),
    }
}

/// A port-restricted NAT with room for the daemon's rules. The drop at the router itself keeps an
/// uninvited packet from becoming a connection to it.
fn rules(speaks: Speaks) -> String {
    let deaf = match speaks {
        Speaks::Nothing => "iifname \"home\" drop",
        _ => "",
    };
    format!(
        "table inet upnp {{
  chain forward {{
    type filter hook forward priority filter
    policy accept
    ct state established,related accept
    jump miniupnpd
    iifname \"wan\" drop
  }}
  chain inp {{
    type filter hook input priority filter
    iifname \"wan\" meta l4proto {{ tcp, udp }} ct state new,invalid drop
    {deaf}
  }}
  chain miniupnpd {{
  }}
  chain prerouting_miniupnpd {{
  }}
  chain postrouting_miniupnpd {{
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    jump prerouting_miniupnpd
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    jump postrouting_miniupnpd
    oifname \"wan\" masquerade
  }}
}}
"
    )
}

fn configuration((speaks, network): (Speaks, u8), leases: &std::path::Path) -> String {
    let switch = |on: bool| if on { "yes" } else { "no" };
    format!(
        "ext_ifname=wan\nlistening_ip=home\nhttp_port=5000\n\
         enable_upnp={}\nenable_natpmp={}\n\
         secure_mode=yes\nuuid=6f1e4a52-0b6c-4d0a-9d3e-5b8f7c2a1d90\nlease_file={}\n\
         upnp_table_name=upnp\nupnp_nat_table_name=upnp\n\
         upnp_forward_chain=miniupnpd\nupnp_nat_chain=prerouting_miniupnpd\n\
         upnp_nat_postrouting_chain=postrouting_miniupnpd\n\
         allow 1024-65535 192.168.{network}.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
        switch(speaks != Speaks::NatPmp),
        switch(speaks != Speaks::Upnp),
        leases.display()
    )
}
