//! The library's relay, in the plain values of this tool.

use std::net::SocketAddr;

use dhtnet::relay_server::{Announcement, Limits, Peers, RelaySettings};

use super::Network;
use crate::relay::{Reach, RelayPlan};
use crate::stats::Relayed;

/// Whether a relay can be found by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayState {
    /// Not known yet.
    Waiting,
    /// Others see this host under another address than its own.
    Elsewhere(SocketAddr),
    /// So many nodes tell of it.
    Announced(usize),
    /// No node took it.
    NotAnnounced,
}

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) state: RelayState,
    pub(crate) traffic: Relayed,
}

/// What the library is told.
pub(super) fn settings(plan: RelayPlan) -> RelaySettings {
    let limits = Limits {
        clients: plan.clients,
        bytes_per_second: plan.bytes_per_second.get(),
        total_bytes_per_second: plan.total_bytes_per_second.get(),
        ..Limits::default()
    };
    let allowed = plan.allowed;
    let mut settings = RelaySettings::new(plan.key)
        .limits(limits)
        .admission(move |id| allowed.is_empty() || allowed.contains(id))
        .peers(match plan.reach {
            Reach::Internet => Peers::Public,
            Reach::PrivateToo => Peers::DangerPrivateToo,
        });
    if !plan.tcp_ports.is_empty() {
        settings = settings.tcp_ports(plan.tcp_ports);
    }
    for address in plan.addresses {
        settings = settings.address(address);
    }
    settings
}

impl Network {
    /// The relay, if this node is one.
    pub(crate) fn relay(&self) -> Option<Relay> {
        let report = self.dht.relay_report()?;
        let traffic = report.traffic;
        Some(Relay {
            udp: report.udp,
            tcp: report.tcp,
            state: match report.announcement {
                Announcement::Unreachable { seen } => RelayState::Elsewhere(seen),
                Announcement::Stored { nodes } => RelayState::Announced(nodes),
                Announcement::NotStored => RelayState::NotAnnounced,
                _ => RelayState::Waiting,
            },
            traffic: Relayed {
                clients: traffic.clients as u64,
                streams: traffic.streams as u64,
                payloads: traffic.payloads,
                bytes: traffic.bytes,
                over_quota: traffic.over_quota,
                refused: traffic.refused,
                lost: traffic.lost,
            },
        })
    }
}
