//! Which relay is used: those of the configuration first, in their order, then those that
//! announce themselves in the DHT.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::turn::AllocationError;
use futures_util::StreamExt;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::refusals::{LEAST_LIFE, Refusals};
use super::{
    Doorway, Login, PathPreference, RelayError, RelayTransport, Relays, Target, TurnServer,
};
use crate::dht::Dht;
use crate::state::Shared;

/// Relays from the DHT that are tried, one after the other: each costs at most
/// [`GIVE_UP`](dhtnet_nat_traversal::turn::GIVE_UP) twice, and a call lasts half a minute.
const MAX_FOUND_TRIED: usize = 3;

/// Addresses of one configured host that are tried.
const MAX_ADDRESSES: usize = 4;

/// Relays from the DHT among which some are chosen.
const MAX_FOUND: usize = 64;

/// How long relays are collected from the DHT: most of a lookup's answers come within a second,
/// and a call should not wait for those of nodes that are gone.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// A relay of the configuration that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayFault {
    /// Its URI, without the user.
    pub relay: String,
    /// What is wrong.
    pub error: RelayError,
}

impl fmt::Display for RelayFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay {}: {}", self.relay, self.error)
    }
}

/// Finds a relay for whoever needs one.
pub(crate) struct RelayFinder {
    relays: Arc<Relays>,
    shared: Arc<Shared>,
    servers: Vec<TurnServer>,
    preference: PathPreference,
    dht: Option<Dht>,
    /// Held while a relay is looked for: who comes second uses what the first has found.
    chooser: tokio::sync::Mutex<Chooser>,
    faults: Mutex<Vec<RelayFault>>,
}

struct Chooser {
    rng: ChaCha20Rng,
    refused: Refusals,
}

impl RelayFinder {
    pub(crate) fn new(
        (relays, shared): (Arc<Relays>, Arc<Shared>),
        (servers, preference): (Vec<TurnServer>, PathPreference),
        dht: Option<Dht>,
        rng: ChaCha20Rng,
    ) -> Self {
        Self {
            relays,
            shared,
            servers,
            preference,
            dht,
            chooser: tokio::sync::Mutex::new(Chooser {
                rng,
                refused: Refusals::default(),
            }),
            faults: Mutex::default(),
        }
    }

    pub(crate) fn relays(&self) -> &Arc<Relays> {
        &self.relays
    }

    /// The relays of the configuration that failed last, each once.
    pub(crate) fn faults(&self) -> Vec<RelayFault> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clone()
    }

    /// Which paths may be used.
    pub(super) fn preference(&self) -> PathPreference {
        self.preference
    }

    /// An allocation that can be used: the one there is, or a new one. `None` when no relay is
    /// known that gives one now, or none may be used.
    pub(crate) async fn obtain(&self) -> Option<u16> {
        if self.preference == PathPreference::Direct {
            return None;
        }
        let none = BTreeSet::new();
        tokio::select! {
            // First, so that what it has just got is not taken for somebody else's.
            biased;
            found = self.search(&none) => found,
            // By whatever way, for instance by TCP where datagrams are blocked.
            standing = self.relays.one_stands() => Some(standing),
        }
    }

    /// An allocation at a relay that is none of these, to be there when those die.
    pub(crate) async fn obtain_beside(&self, others: &BTreeSet<IpAddr>) -> Option<u16> {
        if self.preference == PathPreference::Direct {
            return None;
        }
        self.search(others).await
    }

    /// Whoever is among `others` is left out.
    async fn search(&self, others: &BTreeSet<IpAddr>) -> Option<u16> {
        let mut chooser = self.chooser.lock().await;
        let mut standing = self.relays.all_standing().into_iter();
        let beside = |number: &u16| self.relays.hosts(*number).is_disjoint(others);
        if let Some(number) = standing.find(beside) {
            return Some(number);
        }
        for server in &self.servers {
            let name = server.to_string();
            if chooser.refused.contains(Instant::now(), &name) {
                continue;
            }
            match self.try_server(server, others).await {
                Ok(Some(number)) => {
                    self.forget_fault(server);
                    return Some(number);
                }
                Ok(None) => {}
                Err(error) => {
                    let now = Instant::now();
                    chooser.refused.add(now, name, &error, Duration::ZERO);
                    self.note_fault(server, error);
                }
            }
        }
        self.obtain_found(&mut chooser, others).await
    }

    /// The configured servers by TCP, those for datagrams too.
    pub(super) async fn targets_by_tcp(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for server in self.servers.iter().filter(|s| !s.lacks_password()) {
            if let Ok(found) = targets_of(&server.clone().by_tcp()).await {
                targets.extend(found);
            }
        }
        targets
    }

    /// `None` for one that is among `others`.
    async fn try_server(
        &self,
        server: &TurnServer,
        others: &BTreeSet<IpAddr>,
    ) -> Result<Option<u16>, RelayError> {
        if server.lacks_password() {
            return Err(RelayError::NoPassword);
        }
        let mut last = RelayError::Name {
            reason: "no address".to_owned(),
        };
        for target in targets_of(server).await? {
            if others.contains(&target.door.address.ip()) {
                return Ok(None);
            }
            match self.try_target(target).await {
                Ok(number) => return Ok(Some(number)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) async fn try_target(&self, target: Target) -> Result<u16, RelayError> {
        let number = self.relays.begin(Instant::now(), target);
        let number = number.ok_or(RelayError::Closed)?;
        // Who stops waiting has no use for it.
        let mut unwanted = Unwanted(Some((self, number)));
        self.shared.wake.wake();
        self.relays.settled(number).await?;
        unwanted.0 = None;
        Ok(number)
    }

    /// Asks relays that announce themselves in the DHT, at random.
    async fn obtain_found(&self, chooser: &mut Chooser, others: &BTreeSet<IpAddr>) -> Option<u16> {
        let dht = self.dht.as_ref()?;
        dht.ready().await.ok()?;
        let found = dht.find_relays().await.ok()?;
        let found = found
            .take(MAX_FOUND)
            .take_until(tokio::time::sleep(LOOKUP_LIMIT));
        let mut addresses: Vec<SocketAddr> = found.collect().await;
        addresses.retain(|address| !others.contains(&address.ip()));
        tracing::debug!(relays = addresses.len(), "relays in the DHT");
        let mut tried = 0;
        while tried < MAX_FOUND_TRIED && !addresses.is_empty() {
            let at = chooser.rng.next_u64() as usize % addresses.len();
            let address = addresses.swap_remove(at);
            let target = found_target(address, RelayTransport::Udp);
            let name = target.name.clone();
            if chooser.refused.contains(Instant::now(), &name) {
                continue;
            }
            tried += 1;
            match self.try_target(target).await {
                Ok(number) => return Some(number),
                Err(error) => {
                    tracing::debug!(relay = %name, %error, "a relay from the DHT is no use");
                    let now = Instant::now();
                    chooser.refused.add(now, name, &error, Duration::ZERO);
                }
            }
        }
        None
    }

    fn note_fault(&self, server: &TurnServer, error: RelayError) {
        if error == RelayError::Closed {
            return;
        }
        let advice = error.next_step();
        let fault = RelayFault {
            relay: server.to_string(),
            error,
        };
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.contains(&fault) {
            // It was told before, and nothing has changed.
            tracing::debug!("{fault}; {advice}");
            return;
        }
        tracing::warn!("{fault}; {advice}");
        faults.retain(|other| other.relay != fault.relay);
        faults.push(fault);
    }

    fn forget_fault(&self, server: &TurnServer) {
        let relay = server.to_string();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|fault| fault.relay != relay);
    }

    /// Waits until an allocation has ended; its server is not the next one to be asked, unless it is
    /// there and has only lost the allocation.
    pub(crate) async fn until_ended(&self, number: u16) {
        let Some(name) = self.relays.name(number) else {
            return;
        };
        let (error, life) = self.relays.ended(number).await;
        if error == RelayError::Closed {
            return;
        }
        if error == AllocationError::Expired.into() && life >= LEAST_LIFE {
            tracing::warn!("relay {name}: {error}; asking it for another one");
            return;
        }
        tracing::warn!("relay {name}: {error}; looking for another one");
        let mut chooser = self.chooser.lock().await;
        chooser.refused.add(Instant::now(), name, &error, life);
    }

    /// Waits until a relay that has failed may be asked again; a minute where none has.
    pub(crate) async fn until_worth_asking(&self) {
        let wait = self.chooser.lock().await.refused.wait(Instant::now());
        tokio::time::sleep(wait).await;
    }
}

/// Ends an allocation that nobody waits for any more.
struct Unwanted<'a>(Option<(&'a RelayFinder, u16)>);

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        if let Some((finder, number)) = self.0.take() {
            finder.relays.close_one(Instant::now(), number);
            finder.shared.wake.wake();
        }
    }
}

/// The addresses of a server, with what is needed there.
async fn targets_of(server: &TurnServer) -> Result<Vec<Target>, RelayError> {
    let addresses = tokio::net::lookup_host((server.host(), server.port())).await;
    let addresses = addresses.map_err(|error| RelayError::Name {
        reason: error.to_string(),
    })?;
    let login = || match server.credentials() {
        Some((username, password)) => Login::Password {
            username: username.to_owned(),
            password: password.clone(),
        },
        None => Login::Device,
    };
    let target = |address| Target {
        name: server.to_string(),
        door: Doorway {
            address,
            transport: server.transport(),
            host: server.host().to_owned(),
            authorities: server.authorities(),
        },
        login: login(),
    };
    Ok(addresses.take(MAX_ADDRESSES).map(target).collect())
}

/// A relay of this system at an address.
pub(super) fn found_target(address: SocketAddr, transport: RelayTransport) -> Target {
    let way = match transport {
        RelayTransport::Udp => "",
        RelayTransport::Tcp | RelayTransport::Tls => "?transport=tcp",
    };
    Target {
        name: format!("turn:{address}{way}"),
        door: Doorway {
            address,
            transport,
            host: address.ip().to_string(),
            authorities: None,
        },
        login: Login::Device,
    }
}
