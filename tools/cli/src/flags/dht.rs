//! Flags of tools that take part in the DHT.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::{DEFAULT_TIMEOUT, parse_seconds};
use crate::{Failure, Home, StateFile};

/// Longest name of a private network, in bytes; it is part of a file name.
const MAX_NETWORK_NAME_LEN: usize = 63;

/// Longest host name (RFC 1035, section 2.3.4), in bytes.
const MAX_HOST_LEN: usize = 253;

/// How the DHT is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct DhtFlags {
    /// UDP address of the node.
    // The help is apart: rustdoc takes its brackets for a link.
    #[arg(
        help = "UDP address to use; port 0 = any, [::] = IPv4 and IPv6",
        long,
        value_name = "ADDR:PORT",
        env = "DHTNET_BIND",
        default_value = "[::]:0",
        global = true
    )]
    pub bind: SocketAddr,

    /// Node to enter the DHT by, repeatable; "mainline" = the public BitTorrent routers, "none" =
    /// wait for others [default: mainline; none with --network]
    #[arg(
        short = 'b',
        long,
        value_name = "HOST:PORT",
        env = "DHTNET_BOOTSTRAP",
        value_delimiter = ' ',
        global = true
    )]
    pub bootstrap: Vec<BootstrapArgument>,

    /// Private network of this name; its nodes and all others ignore each other [default: public]
    #[arg(long, value_name = "NAME", env = "DHTNET_NETWORK", global = true)]
    pub network: Option<NetworkName>,

    /// Time limit for connecting, in seconds [default: 30]
    #[arg(
        short = 'w',
        long,
        value_name = "SECS",
        env = "DHTNET_TIMEOUT",
        value_parser = parse_seconds,
        global = true
    )]
    pub timeout: Option<Duration>,
}

/// Where a node enters the DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The public routers of BitTorrent's DHT.
    Mainline,
    /// One node, as `host:port`.
    Host(String),
}

impl DhtFlags {
    /// Time limit for connecting.
    pub fn connect_limit(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Where to enter the DHT; nowhere if the list is empty.
    ///
    /// # Errors
    /// Exit code 2 if the values contradict each other.
    pub fn seeds(&self) -> Result<Vec<Seed>, Failure> {
        let is_none = |argument: &BootstrapArgument| *argument == BootstrapArgument::None;
        if self.bootstrap.iter().any(is_none) {
            return if self.bootstrap.iter().all(is_none) {
                Ok(Vec::new())
            } else {
                Err(Failure::usage(
                    "--bootstrap none does not go with other nodes to enter by",
                ))
            };
        }
        let seeds: Vec<Seed> = match (self.bootstrap.as_slice(), &self.network) {
            ([], None) => vec![Seed::Mainline],
            (given, _) => given.iter().filter_map(BootstrapArgument::seed).collect(),
        };
        match &self.network {
            Some(name) if seeds.contains(&Seed::Mainline) => Err(Failure::usage(format!(
                "the public routers know nothing of the private network {name}"
            ))
            .advise("name one of its nodes with --bootstrap HOST:PORT")),
            _ => Ok(seeds),
        }
    }

    /// Name of the file in which tools that are no DHT daemon remember nodes of this network, in
    /// the state directory. No network's name has a plus sign.
    pub fn cache_file_name(&self) -> String {
        match &self.network {
            None => "dht+nodes.state".to_owned(),
            Some(name) => format!("dht-{name}+nodes.state"),
        }
    }

    /// Takes the file that remembers the nodes of this network: `dht.state`, or `dht-NAME.state`
    /// of a private one.
    ///
    /// # Errors
    /// As of [`StateFile::claim`].
    pub fn state_file(&self, home: &Home) -> Result<StateFile, Failure> {
        match &self.network {
            None => StateFile::claim(home, "dht"),
            Some(name) => StateFile::claim(home, &format!("dht-{name}")),
        }
    }
}

/// A value of `--bootstrap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapArgument {
    /// `mainline`.
    Mainline,
    /// `none`.
    None,
    /// `HOST:PORT`.
    Host(HostPort),
}

impl BootstrapArgument {
    fn seed(&self) -> Option<Seed> {
        match self {
            Self::Mainline => Some(Seed::Mainline),
            Self::None => None,
            Self::Host(host) => Some(Seed::Host(host.to_string())),
        }
    }
}

impl FromStr for BootstrapArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mainline" => Ok(Self::Mainline),
            "none" => Ok(Self::None),
            _ => text
                .parse()
                .map(Self::Host)
                .map_err(|error| format!("{error}; neither is it \"mainline\" or \"none\"")),
        }
    }
}

/// `HOST:PORT`: a name or an address with a port, `[…]` around an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

impl HostPort {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_address = || "not HOST:PORT or [IPV6]:PORT".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(no_address)?;
        if !matches!(port.parse::<u16>(), Ok(1..)) {
            return Err(format!("{port:?} is no port, which is 1 to 65535"));
        }
        if host.starts_with('[') || host.contains(':') {
            return match text.parse::<SocketAddr>() {
                Ok(_) => Ok(Self(text.to_owned())),
                Err(_) => Err(no_address()),
            };
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > MAX_HOST_LEN || !host.chars().all(is_name) {
            return Err(no_address());
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a private network: 1 to 63 of `a-z A-Z 0-9` and, after the first, `. _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkName(String);

impl NetworkName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first_fits = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let rest_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if first_fits && text.len() <= MAX_NETWORK_NAME_LEN && text.chars().all(rest_fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a network's name is 1 to {MAX_NETWORK_NAME_LEN} of a-z A-Z 0-9 and, after the \
                 first, also . _ -"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        dht: DhtFlags,
    }

    fn seeds(words: &str) -> Result<Vec<Seed>, String> {
        let tool = Tool::try_parse_from(["t"].into_iter().chain(words.split_whitespace()))
            .map_err(|error| error.to_string())?;
        tool.dht.seeds().map_err(|failure| {
            assert_eq!(failure.code(), crate::ExitCode::Usage);
            failure.to_string()
        })
    }

    #[test]
    fn the_default_is_mainline_and_nothing_for_a_private_network() {
        assert_eq!(seeds(""), Ok(vec![Seed::Mainline]));
        assert_eq!(seeds("--network lab"), Ok(vec![]));
        assert_eq!(seeds("-b none"), Ok(vec![]));
        assert_eq!(seeds("-b none --network lab"), Ok(vec![]));
        assert_eq!(
            seeds("-b a.example:6881 -b [2001:db8::1]:1 -b mainline"),
            Ok(vec![
                Seed::Host("a.example:6881".to_owned()),
                Seed::Host("[2001:db8::1]:1".to_owned()),
                Seed::Mainline,
            ])
        );
    }

    #[test]
    fn contradicting_seeds_are_named() {
        assert_eq!(
            seeds("-b none -b a:1").unwrap_err(),
            "--bootstrap none does not go with other nodes to enter by"
        );
        assert_eq!(
            seeds("-b mainline --network lab").unwrap_err(),
            "the public routers know nothing of the private network lab; \
             name one of its nodes with --bootstrap HOST:PORT"
        );
    }

    #[test]
    fn a_seed_is_a_name_or_an_address_with_a_port() {
        for right in ["a:1", "router.example:65535", "192.0.2.1:6881", "[::1]:7"] {
            assert_eq!(right.parse::<HostPort>().unwrap().as_str(), right);
        }
        for wrong in [
            "", "a", ":1", "a:", "a:0", "a:65536", "::1:7", "[::1]", "[::1:7", "a b:1", "é:1",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
        let long = format!("{}:1", "a".repeat(MAX_HOST_LEN + 1));
        assert!(long.parse::<HostPort>().is_err());
        assert!(long[1..].parse::<HostPort>().is_ok());
        assert_eq!(
            "mainlin".parse::<BootstrapArgument>().unwrap_err(),
            "not HOST:PORT or [IPV6]:PORT; neither is it \"mainline\" or \"none\""
        );
    }

    #[test]
    fn a_network_name_is_fit_for_a_file_name() {
        for right in ["a", "Lab-1_x.y", &"n".repeat(63)] {
            assert_eq!(right.parse::<NetworkName>().unwrap().as_str(), right);
        }
        for wrong in ["", ".a", "-a", "a/b", "a b", "é", &"n".repeat(64)] {
            assert!(wrong.parse::<NetworkName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_network_remembers_its_nodes_in_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let file = |words: &[&str]| {
            let flags = Tool::try_parse_from(words).unwrap().dht;
            flags.state_file(&home).unwrap().path().to_owned()
        };
        assert_eq!(file(&["t"]), home.state().join("dht.state"));
        let cache = |words: &[&str]| Tool::try_parse_from(words).unwrap().dht.cache_file_name();
        assert_eq!(cache(&["t"]), "dht+nodes.state");
        assert_eq!(cache(&["t", "--network", "lab"]), "dht-lab+nodes.state");
        assert_eq!(
            file(&["t", "--network", "lab"]),
            home.state().join("dht-lab.state")
        );
    }
}
