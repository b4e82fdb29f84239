//! How a network stands: what `dvpn status` prints, for people, as JSON and as metrics.

mod metrics;
mod of_session;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::metrics::metrics;
pub(crate) use self::of_session::status_of;
pub use self::text::text;

/// One network of this device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name, under which `dvpn down` ends it.
    pub name: String,
    /// The interface.
    pub interface: String,
    /// This device.
    pub id: String,
    /// `server` or `client`.
    pub role: String,
    /// Addresses of the interface, with prefix length.
    pub addresses: Vec<String>,
    /// Largest packet of the interface, bytes.
    pub mtu: u16,
    /// Since when it is up, seconds.
    pub up_seconds: u64,
    /// Networks whose packets go into the tunnel.
    pub routes: Vec<String>,
    /// Everybody who is, or may be, there.
    pub peers: Vec<PeerStatus>,
    /// Packets that were not carried, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// One peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Device id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Addresses and networks that it owns.
    pub addresses: Vec<String>,
    /// Whether it can be reached now.
    pub is_connected: bool,
    /// The way to it.
    pub path: Option<PathStatus>,
    /// Since the last handshake, seconds; none when there was none.
    pub last_handshake_seconds: Option<u64>,
    /// Bytes of packets from it.
    pub received_bytes: u64,
    /// Bytes of packets to it, since it connected, as those from it.
    pub sent_bytes: u64,
}

/// The way to a peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// `direct`, `lan`, `relayed` or `loopback`.
    pub kind: String,
    /// Where its packets come from.
    pub address: String,
    /// Round trip, milliseconds.
    pub rtt_ms: Option<f64>,
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// A status with something in every field.
    pub(crate) fn status() -> Status {
        Status {
            name: "home".into(),
            interface: "dvpn0".into(),
            id: "a".repeat(56),
            role: "server".into(),
            addresses: vec!["10.80.77.1/24".into(), "fd5a::1/64".into()],
            mtu: 1_340,
            up_seconds: 3_661,
            routes: vec!["10.9.0.0/16".into()],
            drops: BTreeMap::from([("no_route".into(), 2), ("spoofed_source".into(), 3)]),
            peers: vec![
                PeerStatus {
                    id: "b".repeat(56),
                    name: Some("anna".into()),
                    addresses: vec!["10.80.77.2/32".into()],
                    is_connected: true,
                    path: Some(PathStatus {
                        kind: "direct".into(),
                        address: "192.0.2.7:4433".into(),
                        rtt_ms: Some(1.25),
                    }),
                    last_handshake_seconds: Some(75),
                    received_bytes: 1 << 20,
                    sent_bytes: 1_000,
                },
                PeerStatus {
                    id: "c".repeat(56),
                    ..PeerStatus::default()
                },
            ],
        }
    }
}
