//! Connects that are under way: one attempt a peer, whoever waits for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dhtnet_identity::DeviceId;
use tokio::sync::{Notify, oneshot};

use crate::core::ConnectionKey;
use crate::core::path::{MAX_CANDIDATES, Route};
use crate::error::EndReason;
use crate::service::{MAX_SERVICES, Service};

/// Callers that may wait for the connection to one peer.
pub(crate) const MAX_WAITERS: usize = 4_096;

/// Why an attempt is over without a connection.
#[derive(Debug, Clone)]
pub(crate) enum DialFailure {
    /// Nothing gave an address, or no address answered.
    NotReached {
        addresses: Vec<SocketAddr>,
        /// Other services of the peer that were found meanwhile.
        others: Vec<Service>,
    },
    /// It was answered and failed.
    Handshake(EndReason),
    /// A bound of this node.
    AtLimit(String),
    ShuttingDown,
}

/// What a waiter hears.
pub(crate) type DialOutcome = Result<ConnectionKey, DialFailure>;

#[derive(Debug)]
struct Dial {
    attempt: Option<ConnectionKey>,
    addresses: Vec<SocketAddr>,
    /// At most [`MAX_SERVICES`].
    others: Vec<Service>,
    fault: Option<EndReason>,
    waiters: Vec<oneshot::Sender<DialOutcome>>,
    /// Ways that a connection is begun on at this time, unless the old one is heard before. At
    /// most as many as an attempt tries.
    aside: Vec<(Instant, Route)>,
    changed: Arc<Notify>,
}

/// All attempts, by peer.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    dials: BTreeMap<DeviceId, Dial>,
}

/// What a caller gets who wants a connection.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) outcome: oneshot::Receiver<DialOutcome>,
    /// Given to the first caller, who has to run the attempt.
    pub(crate) lead: Option<Arc<Notify>>,
}

impl Dials {
    /// Waits for the connection to `peer` together with all others who do. `None` when
    /// [`MAX_WAITERS`] wait already.
    pub(crate) fn join(&mut self, peer: DeviceId) -> Option<Joined> {
        let (sender, outcome) = oneshot::channel();
        let mut lead = None;
        let dial = self.dials.entry(peer).or_insert_with(|| {
            let changed = Arc::new(Notify::new());
            lead = Some(changed.clone());
            Dial {
                attempt: None,
                addresses: Vec::new(),
                others: Vec::new(),
                fault: None,
                waiters: Vec::new(),
                aside: Vec::new(),
                changed,
            }
        });
        dial.waiters.retain(|w| !w.is_closed());
        if dial.waiters.len() >= MAX_WAITERS {
            return None;
        }
        dial.waiters.push(sender);
        Some(Joined { outcome, lead })
    }

    /// Whether somebody still waits for `peer`.
    pub(crate) fn is_wanted(&self, peer: &DeviceId) -> bool {
        self.dials
            .get(peer)
            .is_some_and(|d| d.waiters.iter().any(|w| !w.is_closed()))
    }

    /// Notes an address that was found; returns the attempt that runs, if one does.
    pub(crate) fn on_address(
        &mut self,
        peer: &DeviceId,
        address: SocketAddr,
    ) -> Option<ConnectionKey> {
        let dial = self.dials.get_mut(peer)?;
        if !dial.addresses.contains(&address) {
            dial.addresses.push(address);
        }
        dial.attempt
    }

    pub(crate) fn set_attempt(&mut self, peer: &DeviceId, key: ConnectionKey) {
        if let Some(dial) = self.dials.get_mut(peer) {
            dial.attempt = Some(key);
            dial.fault = None;
        }
    }

    /// Keeps a way for later, if somebody waits.
    pub(crate) fn set_aside(&mut self, due: Instant, peer: &DeviceId, route: Route) {
        self.on_address(peer, route.path.remote);
        let Some(dial) = self.dials.get_mut(peer) else {
            return;
        };
        let mut known = dial.aside.iter();
        let is_known = known.any(|(_, known)| known.path.is_same_path(&route.path));
        if !is_known && dial.aside.len() < MAX_CANDIDATES {
            dial.aside.push((due, route));
            dial.changed.notify_one();
        }
    }

    /// A way that was kept until now.
    pub(crate) fn take_due(&mut self, now: Instant, peer: &DeviceId) -> Option<Route> {
        let dial = self.dials.get_mut(peer)?;
        let due = dial.aside.iter().position(|(due, _)| *due <= now)?;
        Some(dial.aside.remove(due).1)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self, peer: &DeviceId) -> Option<Instant> {
        let dial = self.dials.get(peer)?;
        dial.aside.iter().map(|(due, _)| *due).min()
    }

    /// The addresses known so far.
    pub(crate) fn addresses(&self, peer: &DeviceId) -> Vec<SocketAddr> {
        self.dials
            .get(peer)
            .map(|d| d.addresses.clone())
            .unwrap_or_default()
    }

    /// Notes that another service of the peer seems to run.
    pub(crate) fn on_other(&mut self, peer: &DeviceId, service: Service) {
        let Some(dial) = self.dials.get_mut(peer) else {
            return;
        };
        if dial.others.len() < MAX_SERVICES && !dial.others.contains(&service) {
            dial.others.push(service);
        }
    }

    /// The other services of a peer that are known so far.
    pub(crate) fn others(&self, peer: &DeviceId) -> Vec<Service> {
        let dial = self.dials.get(peer);
        dial.map(|dial| dial.others.clone()).unwrap_or_default()
    }

    /// What ended the last attempt, when none runs now.
    pub(crate) fn fault(&self, peer: &DeviceId) -> Option<EndReason> {
        self.dials.get(peer)?.fault.clone()
    }

    /// The peer is connected: tells all waiters. Returns our own attempt if another connection,
    /// one that the peer began, was faster.
    pub(crate) fn on_connected(
        &mut self,
        peer: &DeviceId,
        key: ConnectionKey,
    ) -> Option<ConnectionKey> {
        let dial = self.dials.remove(peer)?;
        for waiter in dial.waiters {
            // A caller that gave up is no error.
            let _ = waiter.send(Ok(key));
        }
        dial.changed.notify_one();
        dial.attempt.filter(|attempt| *attempt != key)
    }

    /// An attempt is over without success.
    pub(crate) fn on_attempt_failed(
        &mut self,
        peer: &DeviceId,
        key: ConnectionKey,
        reason: &EndReason,
    ) {
        if let Some(dial) = self.dials.get_mut(peer)
            && dial.attempt == Some(key)
        {
            dial.attempt = None;
            dial.fault = Some(reason.clone());
            dial.changed.notify_one();
        }
    }

    /// Gives up: tells all waiters. Returns the attempt that still runs.
    pub(crate) fn fail(&mut self, peer: &DeviceId, failure: &DialFailure) -> Option<ConnectionKey> {
        let dial = self.dials.remove(peer)?;
        for waiter in dial.waiters {
            let _ = waiter.send(Err(failure.clone()));
        }
        dial.changed.notify_one();
        dial.attempt
    }

    /// Gives up on all peers; returns the attempts that still run.
    pub(crate) fn fail_all(&mut self, failure: &DialFailure) -> Vec<ConnectionKey> {
        let peers: Vec<DeviceId> = self.dials.keys().copied().collect();
        peers
            .iter()
            .filter_map(|peer| self.fail(peer, failure))
            .collect()
    }

    pub(crate) fn contains(&self, peer: &DeviceId) -> bool {
        self.dials.contains_key(peer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use dhtnet_identity::DeviceKey;

    use super::*;

    fn peer() -> DeviceId {
        DeviceKey::from_seed(&[3; 32]).id()
    }

    fn key(generation: u64) -> ConnectionKey {
        ConnectionKey {
            slot: 0,
            generation,
        }
    }

    #[test]
    fn one_caller_leads_and_all_hear_the_outcome() {
        let mut dials = Dials::default();
        let mut first = dials.join(peer()).unwrap();
        let mut second = dials.join(peer()).unwrap();
        assert!(first.lead.is_some() && second.lead.is_none());
        assert_eq!(dials.on_connected(&peer(), key(1)), None);
        assert_eq!(first.outcome.try_recv().unwrap().unwrap(), key(1));
        assert_eq!(second.outcome.try_recv().unwrap().unwrap(), key(1));
        assert!(!dials.contains(&peer()));
    }

    #[test]
    fn an_incoming_connection_ends_the_own_attempt() {
        let mut dials = Dials::default();
        let joined = dials.join(peer()).unwrap();
        dials.set_attempt(&peer(), key(1));
        assert_eq!(dials.on_connected(&peer(), key(2)), Some(key(1)));
        drop(joined);
    }

    #[test]
    fn nobody_waiting_is_noticed_and_a_failed_attempt_is_remembered() {
        let mut dials = Dials::default();
        let joined = dials.join(peer()).unwrap();
        dials.set_attempt(&peer(), key(1));
        dials.on_attempt_failed(&peer(), key(9), &EndReason::TimedOut);
        assert_eq!(dials.fault(&peer()), None);
        dials.on_attempt_failed(&peer(), key(1), &EndReason::TimedOut);
        assert_eq!(dials.fault(&peer()), Some(EndReason::TimedOut));
        assert!(dials.is_wanted(&peer()));
        drop(joined);
        assert!(!dials.is_wanted(&peer()));
    }

    #[test]
    fn ways_that_are_set_aside_come_when_they_are_due_and_are_bounded() {
        let (now, mut dials) = (Instant::now(), Dials::default());
        let way = |port: usize| {
            let address = SocketAddr::from(([192, 0, 2, 1], port as u16));
            Route::untried(crate::core::path::PathAddress::to(address))
        };
        dials.set_aside(now, &peer(), way(0));
        assert_eq!(dials.take_due(now, &peer()), None, "nobody waits");
        let _joined = dials.join(peer()).unwrap();
        let due = now + std::time::Duration::from_millis(1);
        for port in 0..=MAX_CANDIDATES {
            dials.set_aside(due, &peer(), way(port));
            dials.set_aside(due, &peer(), way(port));
        }
        assert_eq!(dials.take_due(now, &peer()), None);
        assert_eq!(dials.next_due(&peer()), Some(due));
        let all = std::iter::from_fn(|| dials.take_due(due, &peer()));
        assert!(all.eq((0..MAX_CANDIDATES).map(way)));
        assert_eq!(dials.next_due(&peer()), None);
    }

    #[test]
    fn other_services_are_kept_once_each_and_bounded() {
        let mut dials = Dials::default();
        let service = |n: usize| Service::new(format!("s{n}")).unwrap();
        dials.on_other(&peer(), service(0));
        assert_eq!(dials.others(&peer()), [], "nobody waits");
        let _joined = dials.join(peer()).unwrap();
        for n in 0..=MAX_SERVICES {
            dials.on_other(&peer(), service(n));
            dials.on_other(&peer(), service(n));
        }
        let first = (0..MAX_SERVICES).map(service);
        assert!(dials.others(&peer()).into_iter().eq(first));
    }

    #[test]
    fn the_waiters_of_one_peer_are_bounded() {
        let mut dials = Dials::default();
        let all: Vec<_> = (0..MAX_WAITERS)
            .map(|_| dials.join(peer()).unwrap())
            .collect();
        assert!(dials.join(peer()).is_none());
        drop(all);
        assert!(dials.join(peer()).is_some());
    }
}
