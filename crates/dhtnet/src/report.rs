//! What a node says about its connections and channels when it is asked.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_channel_mux::{ChannelKind, ChannelState, OpenedBy};
use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::path::Reason;

use crate::core::path::{PathAddress, PathKind as Through, Standing, Via};
use crate::core::{Connection, ConnectionKey, Phase};
use crate::interfaces;
use crate::state::State;

/// What kind of way the datagrams of a connection take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathKind {
    /// Inside this machine.
    Loopback,
    /// Inside one network: an interface of this machine is in it, or the address is link-local or
    /// private (RFC 1918, RFC 4193).
    Lan,
    /// Through the internet, without a relay.
    Direct,
    /// Through a relay, which sees ciphertext only.
    Relayed,
}

impl PathKind {
    /// The kind that an address tells.
    pub fn of(remote: IpAddr) -> Self {
        let private = match remote {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match (remote.is_loopback(), private) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Lan,
            (false, false) => Self::Direct,
        }
    }

    /// The kind on this machine, whose interfaces tell which networks it is in.
    fn here(path: &PathAddress) -> Self {
        let remote = path.remote.ip();
        match (path.via, Self::of(remote)) {
            (Via::Relay(_), _) => Self::Relayed,
            (_, Self::Direct) if interfaces::is_on_link(remote) => Self::Lan,
            (_, kind) => kind,
        }
    }

    /// One word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Lan => "lan",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
        }
    }
}

/// One path to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathReport {
    /// What kind it is.
    pub kind: PathKind,
    /// The peer's address; through a relay, as the relay sees it.
    pub remote: SocketAddr,
    /// Our address on it, when the system told it.
    pub local: Option<IpAddr>,
    /// Time of one check and its answer, smoothed; `None` before the handshake is done.
    pub rtt: Option<Duration>,
    /// Whether it carries the data.
    pub in_use: bool,
}

impl PathReport {
    fn of(standing: &Standing) -> Self {
        Self {
            rtt: standing.route.round_trip,
            in_use: standing.in_use,
            ..Self::bare(&standing.route.path, Some(standing.route.kind))
        }
    }

    /// The path alone; `kind` is what a connection has found out.
    pub(crate) fn bare(path: &PathAddress, kind: Option<Through>) -> Self {
        let kind = match kind {
            Some(Through::Relayed) => PathKind::Relayed,
            _ => PathKind::here(path),
        };
        Self {
            kind,
            remote: path.remote,
            local: path.local_ip,
            rtt: None,
            in_use: true,
        }
    }
}

/// Why a path is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathReason {
    /// It answered first.
    First,
    /// It is better than the one before: direct instead of relayed, or shorter.
    Better,
    /// The one before fell silent.
    Silent,
    /// The one before is gone, with its socket or its relay.
    Gone,
    /// The peer changed to it.
    PeerMoved,
}

impl PathReason {
    pub(crate) fn of(reason: Reason) -> Self {
        match reason {
            Reason::Better => Self::Better,
            Reason::Silent => Self::Silent,
            Reason::Gone => Self::Gone,
            Reason::PeerMoved => Self::PeerMoved,
            _ => Self::First,
        }
    }

    /// A few words for people, which read after the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "it answered first",
            Self::Better => "it is better than the one before",
            Self::Silent => "the one before fell silent",
            Self::Gone => "the one before is gone",
            Self::PeerMoved => "the peer changed to it",
        }
    }
}

/// What has happened to the paths of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathEvent {
    /// Data takes this path from now on.
    Changed {
        /// Which.
        path: PathReport,
        /// Why.
        reason: PathReason,
    },
    /// The peer is silent on every path; all that are known are tried until one answers or the
    /// connection times out.
    Silent,
    /// A path answers again.
    Back,
}

/// One connection, at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// The device at the other end.
    pub peer: DeviceId,
    /// Whether this node began it.
    pub initiated: bool,
    /// The path in use.
    pub path: Option<PathReport>,
    /// Why it is, and for how long it has been.
    pub path_reason: Option<(PathReason, Duration)>,
    /// All paths that work, the one in use among them; none while the peer is silent on all.
    pub paths: Vec<PathReport>,
    /// Smoothed round trip time.
    pub rtt: Duration,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// Packets sent that were lost.
    pub lost_packets: u64,
    /// Largest UDP payload that the path carries, in bytes.
    pub mtu: u16,
    /// Congestion window, in bytes.
    pub congestion_window: u64,
    /// Time since the handshake.
    pub age: Duration,
    /// Channels open on it.
    pub channels: usize,
}

impl ConnectionReport {
    pub(crate) fn of(state: &State, key: ConnectionKey, now: Instant) -> Option<Self> {
        Self::from_connection(state.core.get(key)?, now)
    }

    pub(crate) fn from_connection(connection: &Connection, now: Instant) -> Option<Self> {
        if connection.phase != Phase::Established {
            return None;
        }
        let stats = connection.stats();
        Some(Self {
            peer: connection.peer?,
            initiated: connection.initiated,
            path: connection.paths.current().map(|path| {
                let standing = connection.paths.standings().find(|s| s.in_use);
                standing.map_or_else(
                    || PathReport::bare(&path, connection.paths.kind()),
                    |standing| PathReport::of(&standing),
                )
            }),
            path_reason: connection.paths.reason().map(|(reason, since)| {
                let age = now.saturating_duration_since(since);
                (PathReason::of(reason), age)
            }),
            paths: connection
                .paths
                .standings()
                .map(|standing| PathReport::of(&standing))
                .collect(),
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            mtu: stats.path.current_mtu,
            congestion_window: stats.path.cwnd,
            age: now.saturating_duration_since(connection.since),
            channels: connection.mux().stats().channels,
        })
    }
}

/// What a node dropped because of a bound or because it is not for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DropReport {
    /// Datagrams that are not of this protocol's version, or not QUIC at all.
    pub foreign: u64,
    /// First packets beyond the bound of connections or of unfinished handshakes.
    pub over_limit: u64,
}

/// One channel, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelReport {
    /// The device at the other end.
    pub peer: DeviceId,
    /// The name in the request.
    pub name: String,
    /// Stream or datagrams.
    pub kind: ChannelKind,
    /// Who asked for it.
    pub opened_by: OpenedBy,
    /// Where it is in its life.
    pub state: ChannelState,
    /// Payload bytes sent.
    pub sent: u64,
    /// Payload bytes received and read.
    pub received: u64,
    /// Time since it was asked for.
    pub age: Duration,
}

impl ChannelReport {
    pub(crate) fn all(connection: &Connection, now: Instant) -> Vec<Self> {
        let Some(peer) = connection.peer else {
            return Vec::new();
        };
        let report = |stats: dhtnet_channel_mux::ChannelStats| Self {
            peer,
            name: stats.name,
            kind: stats.kind,
            opened_by: stats.opened_by,
            state: stats.state,
            sent: stats.sent,
            received: stats.received,
            age: now.saturating_duration_since(stats.opened_at),
        };
        connection.mux().channels().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_tells_the_kind_of_its_path() {
        for (address, kind) in [
            ("127.0.0.1", PathKind::Loopback),
            ("::1", PathKind::Loopback),
            ("10.1.2.3", PathKind::Lan),
            ("192.168.0.7", PathKind::Lan),
            ("fe80::1", PathKind::Lan),
            ("fd00::1", PathKind::Lan),
            ("198.51.100.7", PathKind::Direct),
            ("2001:db8::1", PathKind::Direct),
        ] {
            assert_eq!(PathKind::of(address.parse().unwrap()), kind, "{address}");
        }
    }
}
