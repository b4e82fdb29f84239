//! `dhtnode run --relay`: its flags, and what is said of it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use clap::Args;
use dhtnet_cli::{Failure, Talk};
use dhtnet_identity::{DeviceId, DeviceKey, PeerArgument};

use crate::dht::{Network, RelayState};
use crate::session::Place;

/// Clients of one relay at most: each has a socket and perhaps a stream, and 2,048 descriptors fit
/// the usual hard limit of 4,096.
const MAX_CLIENTS: i64 = 1_024;

/// TCP connections of one relay at most.
const MAX_STREAMS: usize = 512;

/// How often it is looked whether the relay was announced.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The flags of a relay.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Relay")]
pub(crate) struct RelayFlags {
    /// Relay for other devices whose networks let no direct connection through: a TURN server that
    /// sees ciphertext only
    #[arg(long)]
    pub(crate) relay: bool,

    /// Bits a second of one client, both directions together: a number with k, M or G
    #[arg(long, value_name = "BITS", requires = "relay", default_value = "10M", value_parser = parse_rate)]
    pub(crate) relay_rate: Rate,

    /// Bits a second of all clients together
    #[arg(long, value_name = "BITS", requires = "relay", default_value = "50M", value_parser = parse_rate)]
    pub(crate) relay_total_rate: Rate,

    /// Clients at once; one device may have three
    #[arg(
        long,
        value_name = "N",
        requires = "relay",
        default_value = "64",
        value_parser = clap::value_parser!(u16).range(1..=MAX_CLIENTS)
    )]
    pub(crate) relay_clients: u16,

    /// Device that may use it, repeatable: an id or the name of a contact [default: any device]
    #[arg(long, value_name = "PEER", requires = "relay")]
    pub(crate) relay_allow: Vec<PeerArgument>,

    /// Relay to private networks and this host's own as well: for a network of one's own
    #[arg(long, requires = "relay")]
    pub(crate) relay_private: bool,

    /// TCP port to listen at, repeatable [default: 443 and the number of the UDP port, each if it
    /// can be had]
    #[arg(long, value_name = "PORT", requires = "relay")]
    pub(crate) relay_tcp: Vec<NonZeroU16>,

    /// Address under which others reach this host, if a NAT maps all its ports one to one; one of
    /// each family [default: those of its interfaces]
    #[arg(long, value_name = "IP", requires = "relay")]
    pub(crate) relay_address: Vec<IpAddr>,
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u32);

impl Default for Rate {
    fn default() -> Self {
        Self(1_250_000)
    }
}

/// Reads bits a second: `800k`, `10M`, `2.5G`.
fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || "not a number of bits with k, M or G, as 10M".to_owned();
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let is_plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().map_err(|_| wrong())?;
    if !is_plain {
        return Err(wrong());
    }
    let bytes = number * unit / 8.0;
    // A second's bytes are the longest burst; less than one full payload would let none through.
    if (1_500.0..=f64::from(u32::MAX)).contains(&bytes) {
        Ok(Rate(bytes as u32))
    } else {
        Err("not between 12k and 34G".to_owned())
    }
}

/// What a relay is to be, in plain values.
pub(crate) struct RelayPlan {
    pub(crate) key: DeviceKey,
    pub(crate) bytes_per_second: NonZeroU32,
    pub(crate) total_bytes_per_second: NonZeroU32,
    pub(crate) clients: usize,
    /// Empty: anybody.
    pub(crate) allowed: Vec<DeviceId>,
    pub(crate) reach: Reach,
    /// Empty: those that can be had.
    pub(crate) tcp_ports: Vec<u16>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Where a relay sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Internet,
    PrivateToo,
}

impl RelayFlags {
    /// The relay of these flags, if one is wanted. The device gets a key if it has none.
    pub(crate) fn plan(&self, place: &Place, talk: &Talk) -> Result<Option<RelayPlan>, Failure> {
        if !self.relay {
            return Ok(None);
        }
        let [first, second] = [0, 1].map(|at| self.relay_address.get(at).map(IpAddr::is_ipv4));
        if self.relay_address.len() > 2 || first.is_some() && first == second {
            return Err(Failure::usage(
                "--relay-address takes one IPv4 and one IPv6 address",
            ));
        }
        let allowed = self.relay_allow.iter().map(|peer| place.peer(peer));
        let allowed = allowed.collect::<Result<Vec<_>, _>>()?;
        let rate = |rate: Rate| NonZeroU32::new(rate.0).unwrap_or(NonZeroU32::MIN);
        Ok(Some(RelayPlan {
            key: place.own_key(talk)?,
            bytes_per_second: rate(self.relay_rate),
            total_bytes_per_second: rate(self.relay_total_rate),
            clients: self.relay_clients.into(),
            allowed,
            reach: if self.relay_private {
                Reach::PrivateToo
            } else {
                Reach::Internet
            },
            tcp_ports: self.relay_tcp.iter().map(|port| port.get()).collect(),
            addresses: self.relay_address.clone(),
        }))
    }

    /// Descriptors that the relay may need: a socket for each client, streams, listeners.
    pub(crate) fn files(&self) -> usize {
        if self.relay {
            2 * usize::from(self.relay_clients) + MAX_STREAMS + 16
        } else {
            0
        }
    }
}

/// Says where the relay is, as whom, and what is risky.
pub(crate) fn tell(network: &Network, plan: (DeviceId, Reach), talk: &Talk) {
    let Some(relay) = network.relay() else {
        return;
    };
    let list = |addresses: &[std::net::SocketAddr]| {
        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        all.join(", ")
    };
    let tcp = if relay.tcp.is_empty() {
        "no TCP port, since none could be had".to_owned()
    } else {
        format!("TCP {}", list(&relay.tcp))
    };
    let (id, reach) = plan;
    talk.note(format_args!(
        "relays for others at UDP {} and {tcp}, as {id}",
        list(&relay.udp)
    ));
    if reach == Reach::PrivateToo {
        talk.warn(
            "--relay-private: whoever may use the relay reaches the private networks around it",
        );
    }
}

/// Says whether the relay can be found, each time that changes. Never ends.
pub(crate) async fn tell_announcements(network: Option<&Network>, talk: &Talk) -> Infallible {
    let mut last = RelayState::Waiting;
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        let Some(relay) = network.and_then(Network::relay) else {
            return std::future::pending().await;
        };
        if relay.state == last {
            continue;
        }
        last = relay.state;
        match last {
            RelayState::Waiting => {}
            RelayState::Elsewhere(seen) => talk.warn(format_args!(
                "the relay is not announced: others see this host as {seen}, which is no address \
                 of its own; if a NAT maps all its ports one to one, use --relay-address {}",
                seen.ip()
            )),
            RelayState::Announced(nodes) => {
                talk.note(format_args!("the relay is announced at {nodes} nodes"));
            }
            RelayState::NotAnnounced => {
                talk.warn("no node took the announcement of the relay; it is tried again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::flags::{Command, Flags};

    fn flags(words: &str) -> Result<RelayFlags, String> {
        let words = ["dhtnode", "run"]
            .into_iter()
            .chain(words.split_whitespace());
        match Flags::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .command
        {
            Some(Command::Run(run)) => Ok(run.relay),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rate_is_in_bits_with_a_unit() {
        for (text, bytes) in [
            ("10M", 1_250_000),
            ("800k", 100_000),
            ("2.5G", 312_500_000),
            ("12000", 1_500),
            ("34G", 4_250_000_000),
        ] {
            assert_eq!(parse_rate(text), Ok(Rate(bytes)), "{text}");
        }
        for wrong in [
            "", "M", "10m", "10MB", "-1M", "1e3M", "inf", "NaN", "11.9k", "35G", "1,5M", "1 M",
        ] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let flags = flags("--relay").unwrap();
        assert_eq!(flags.relay_rate, Rate::default());
        assert_eq!(flags.relay_total_rate, Rate(6_250_000));
        assert_eq!(flags.relay_clients, 64);
        assert!(flags.relay_allow.is_empty() && !flags.relay_private);
    }

    #[test]
    fn what_shapes_a_relay_needs_one() {
        for words in [
            "--relay-rate 1M",
            "--relay-clients 5",
            "--relay-private",
            "--relay-tcp 443",
            "--relay-address 203.0.113.1",
        ] {
            assert!(flags(words).is_err(), "{words}");
            assert!(flags(&format!("--relay {words}")).is_ok(), "{words}");
        }
        for wrong in ["--relay-clients 0", "--relay-clients 1025", "--relay-tcp 0"] {
            assert!(flags(&format!("--relay {wrong}")).is_err(), "{wrong}");
        }
    }
}
