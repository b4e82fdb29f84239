//! One allocation of the table, from its first message to its end.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_identity::DeviceKey;
use dhtnet_nat_traversal::relay::relay_of;
use dhtnet_nat_traversal::turn::{
    Allocation, AllocationError, Config, Event, Families, Inquiry, Link, Told,
};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::{Leg, RelayError, RelayTransport};

/// A server at one address, and how to prove oneself there.
pub(crate) struct Target {
    /// As in messages.
    pub(crate) name: String,
    pub(crate) door: Doorway,
    pub(crate) login: Login,
}

/// Where a server is and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doorway {
    pub(crate) address: SocketAddr,
    pub(crate) transport: RelayTransport,
    /// The name in its certificate.
    pub(crate) host: String,
    /// Certificates, in PEM, that are trusted beside the system's.
    pub(crate) authorities: Option<Arc<[u8]>>,
}

/// What proves who asks.
pub(crate) enum Login {
    Password {
        username: String,
        password: Zeroizing<String>,
    },
    /// A relay of this system: its realm tells its id, which with our key makes the password.
    Device,
}

/// An allocation and what belongs to it.
pub(super) struct Entry {
    pub(super) target: Target,
    pub(super) stage: Stage,
    /// Addresses of peers, admitted or to be.
    pub(super) admitted: BTreeSet<IpAddr>,
    /// Since when nobody uses it.
    pub(super) unused_since: Option<Instant>,
    /// Whether its end was told.
    pub(super) told: bool,
    /// Since when it can be used, or could be.
    pub(super) stood: Option<Instant>,
    /// For how long it could be used, once it has ended.
    pub(super) life: Duration,
    /// What is for addresses that are not admitted yet.
    pub(super) held: VecDeque<(SocketAddr, Bytes)>,
    /// What was held and can be sent now, wrapped.
    pub(super) released: VecDeque<Bytes>,
}

/// Where it is in its life.
pub(super) enum Stage {
    /// A stream is being made.
    Connecting,
    /// The realm is asked for.
    Asking(Box<Inquiry>),
    /// From the first request on.
    Live(Box<Allocation>),
    /// Over.
    Ended(RelayError),
}

/// What begins once there is a way to the server.
pub(super) fn first_stage(
    now: Instant,
    (target, key): (&Target, &DeviceKey),
    rng: &mut ChaCha20Rng,
) -> Stage {
    match &target.login {
        Login::Password { username, password } => {
            let config = target.config(username, password);
            tracing::debug!(relay = %target.name, user = %key.id().short(), "asking for an allocation");
            Stage::Live(Box::new(Allocation::new(now, &config, rng)))
        }
        Login::Device => {
            let server = (target.door.address, target.link());
            Stage::Asking(Box::new(Inquiry::new(now, server, rng)))
        }
    }
}

/// Which addresses a server is asked for: one that is reached by IPv6 may have both.
pub(crate) fn families_of(server: SocketAddr) -> Families {
    if server.is_ipv4() {
        Families::V4
    } else {
        Families::Both
    }
}

impl Target {
    pub(super) fn link(&self) -> Link {
        match self.door.transport {
            RelayTransport::Udp => Link::Datagrams,
            RelayTransport::Tcp | RelayTransport::Tls => Link::Stream,
        }
    }

    pub(super) fn config(&self, username: &str, password: &str) -> Config {
        Config::new(self.door.address, username, password)
            .link(self.link())
            .families(families_of(self.door.address))
    }
}

impl Entry {
    pub(super) fn relayed(&self) -> &[SocketAddr] {
        match &self.stage {
            Stage::Live(allocation) => allocation.relayed(),
            _ => &[],
        }
    }

    /// Whether its server may be dead.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(&self.stage, Stage::Live(allocation) if allocation.is_doubtful())
    }

    pub(super) fn leg(&self, number: u16) -> Leg {
        match self.target.door.transport {
            RelayTransport::Udp => Leg::Datagrams(self.target.door.address),
            RelayTransport::Tcp | RelayTransport::Tls => Leg::Stream(number),
        }
    }

    pub(super) fn permit(&mut self, now: Instant) {
        let Stage::Live(allocation) = &mut self.stage else {
            return;
        };
        if allocation.relayed().is_empty() {
            return;
        }
        for peer in &self.admitted {
            if let Err(error) = allocation.permit(now, *peer) {
                tracing::trace!(%peer, %error, "not admitted at the relay");
            }
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Live(allocation) => allocation.close(now),
            Stage::Connecting | Stage::Asking(_) => self.stage = Stage::Ended(RelayError::Closed),
            Stage::Ended(_) => {}
        }
    }

    /// Takes what the stage tells. Returns whether the allocation has come to stand, or ended.
    pub(super) fn settle(&mut self, now: Instant, key: &DeviceKey, rng: &mut ChaCha20Rng) -> bool {
        if let Stage::Asking(inquiry) = &self.stage
            && let Some(told) = inquiry.told()
        {
            let realm = match told {
                Told::Realm(realm) => relay_of(realm).ok_or(RelayError::NotOurs),
                Told::Silence => Err(AllocationError::Silent.into()),
                _ => Err(AllocationError::Protocol.into()),
            };
            match realm {
                Ok(relay) => {
                    tracing::debug!(relay = %relay.short(), "asking a relay of this system");
                    let password = key.password_at_relay(&relay);
                    let config = self.target.config(&key.id().to_string(), &password);
                    self.stage = Stage::Live(Box::new(Allocation::new(now, &config, rng)));
                }
                Err(error) => {
                    self.stage = Stage::Ended(error);
                    return true;
                }
            }
        }
        let Stage::Live(allocation) = &mut self.stage else {
            return false;
        };
        let mut changed = false;
        let mut ended = None;
        while let Some(event) = allocation.poll_event() {
            match event {
                Event::Allocated { relayed } => {
                    tracing::debug!(relay = %self.target.name, %relayed, "an allocation stands");
                    self.stood.get_or_insert(now);
                    changed = true;
                }
                Event::Permitted { peer } => {
                    for (to, datagram) in std::mem::take(&mut self.held) {
                        if to.ip() != peer {
                            self.held.push_back((to, datagram));
                            continue;
                        }
                        let mut wrapped = Vec::new();
                        if allocation
                            .send_into(now, (to, &datagram), &mut wrapped)
                            .is_ok()
                        {
                            self.released.push_back(wrapped.into());
                        }
                    }
                }
                Event::Refused { peer } => tracing::debug!(%peer, "refused by the relay"),
                Event::Failed(error) => ended = Some(RelayError::from(error)),
                Event::Closed => ended = Some(RelayError::Closed),
            }
        }
        if let Some(error) = ended {
            tracing::debug!(relay = %self.target.name, %error, "an allocation is over");
            self.stage = Stage::Ended(error);
            return true;
        }
        if changed {
            self.permit(now);
        }
        changed
    }
}
