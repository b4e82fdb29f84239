//! STUN servers of the configuration: from where they see the shared sockets, beside what the
//! DHT's nodes report.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_dht_core::Family;
use dhtnet_nat_traversal::stun::{
    BindingRequest, Event, Outgoing, Ownership, Timing, TransactionId, Transactions,
};
use rand_chacha::ChaCha20Rng;
use tokio::task::JoinHandle;

use super::Sessions;
use crate::core::path::PathAddress;
use crate::interfaces::{Changes, next_change};
use crate::state::Shared;

/// Addresses of servers whose answers are kept; the oldest is forgotten. Two of each family tell a
/// NAT's kind.
pub(crate) const MAX_SERVERS: usize = 8;

/// How often they are asked again: below the two minutes for which a NAT should keep a mapping
/// (RFC 4787 section 4.3).
const AGAIN: Duration = Duration::from_secs(60);

/// A call does not wait longer than a few seconds for anything: three sendings within 1.5 s.
const TIMING: Timing = Timing {
    rto: Duration::from_millis(500),
    sendings: 3,
    patience: 2,
};

/// What they were asked and have answered.
pub(crate) struct StunServers {
    inner: Mutex<Inner>,
}

struct Inner {
    rng: ChaCha20Rng,
    transactions: Transactions,
    asked: Vec<(TransactionId, SocketAddr)>,
    /// Server, and our address as it sees it; the newest last.
    seen: Vec<(SocketAddr, SocketAddr)>,
}

impl StunServers {
    pub(crate) fn new(rng: ChaCha20Rng) -> Self {
        Self {
            inner: Mutex::new(Inner {
                rng,
                transactions: Transactions::new(),
                asked: Vec::new(),
                seen: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a server from the shared socket of its family.
    pub(crate) fn ask(&self, now: Instant, server: SocketAddr) {
        let mut inner = self.lock();
        let id = TransactionId::random(&mut inner.rng);
        let outgoing = Outgoing {
            to: server,
            answers_from: server,
            key: None,
            timing: TIMING,
        };
        let request = BindingRequest::new(id);
        if inner.asked.len() < MAX_SERVERS
            && inner
                .transactions
                .start_with(now, outgoing, &request)
                .is_ok()
        {
            inner.asked.push((id, server));
        }
    }

    /// Our addresses of a family as the servers see them, the newest last.
    pub(crate) fn seen(&self, family: Family) -> Vec<SocketAddr> {
        let inner = self.lock();
        let seen = inner.seen.iter().map(|(_, mapped)| *mapped);
        seen.filter(|mapped| Family::of(mapped) == family).collect()
    }

    /// A STUN message came in. Returns whether it was an answer to us.
    pub(super) fn on_datagram(&self, now: Instant, from: SocketAddr, datagram: &[u8]) -> bool {
        let mut inner = self.lock();
        if inner.asked.is_empty() {
            return false;
        }
        let taken = inner.transactions.handle_datagram(now, from, datagram);
        inner.settle();
        taken == Ownership::Ours
    }

    pub(super) fn on_time(&self, now: Instant) {
        let mut inner = self.lock();
        inner.transactions.handle_timeout(now);
        inner.settle();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.lock().transactions.poll_timeout()
    }

    pub(super) fn poll_transmit(&self) -> Option<(PathAddress, Bytes)> {
        let transmit = self.lock().transactions.poll_transmit()?;
        Some((PathAddress::to(transmit.destination), transmit.payload))
    }
}

impl Inner {
    fn settle(&mut self) {
        while let Some(event) = self.transactions.poll_event() {
            let (id, mapped) = match event {
                Event::Response { id, response, .. } => (id, Some(response.mapped)),
                Event::Refused { id, .. } | Event::TimedOut { id } => (id, None),
            };
            let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) else {
                continue;
            };
            let (_, server) = self.asked.remove(at);
            let Some(mapped) = mapped else {
                tracing::debug!(%server, "a STUN server does not tell our address");
                continue;
            };
            tracing::debug!(%server, %mapped, "a STUN server tells our address");
            self.seen.retain(|(known, _)| *known != server);
            if self.seen.len() >= MAX_SERVERS {
                self.seen.remove(0);
            }
            self.seen.push((server, mapped));
        }
    }
}

/// Asks the servers again and again until it is dropped.
pub(crate) struct StunAsker(JoinHandle<()>);

impl Drop for StunAsker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl StunAsker {
    /// Must be called inside a runtime; `servers` are `HOST:PORT`.
    pub(crate) fn start(
        (shared, sessions): (Arc<Shared>, Arc<Sessions>),
        servers: Vec<String>,
        mut changes: Option<Changes>,
    ) -> Self {
        Self(tokio::spawn(async move {
            loop {
                for server in &servers {
                    ask_by_name(&sessions, server).await;
                }
                shared.wake.wake();
                tokio::select! {
                    () = next_change(&mut changes) => {}
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }))
    }
}

/// Asks one address of each family.
async fn ask_by_name(sessions: &Sessions, server: &str) {
    let found = match tokio::net::lookup_host(server).await {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => {
            tracing::debug!(%server, %error, "a STUN server has no address");
            return;
        }
    };
    for family in Family::ALL {
        if let Some(address) = found.iter().find(|at| Family::of(at) == family) {
            sessions.stun().ask(Instant::now(), *address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)] // An instant to count from.

    use dhtnet_nat_traversal::stun::{Message, respond};
    use rand_core::SeedableRng;

    use super::*;

    fn server(number: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 3_478 + number as u16))
    }

    fn own(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 5], port))
    }

    /// What the server answers to the request that is under way.
    fn answer(servers: &StunServers, mapped: SocketAddr) -> (SocketAddr, Vec<u8>) {
        let (to, request) = servers.poll_transmit().unwrap();
        let Ok(Message::Request(request)) = Message::decode(&request) else {
            panic!("no request");
        };
        (to.remote, respond(&request, mapped))
    }

    #[test]
    fn an_answer_of_the_asked_server_tells_our_address_and_the_newest_stays() {
        let now = Instant::now();
        let servers = StunServers::new(ChaCha20Rng::from_seed([1; 32]));
        for port in [5_000, 6_000] {
            servers.ask(now, server(0));
            let (from, bytes) = answer(&servers, own(port));
            assert!(!servers.on_datagram(now, server(1), &bytes), "of another");
            assert!(servers.on_datagram(now, from, &bytes));
            assert!(!servers.on_datagram(now, from, &bytes), "once only");
        }
        assert_eq!(servers.seen(Family::V4), [own(6_000)]);
        assert_eq!(servers.seen(Family::V6), []);
    }

    #[test]
    fn a_silent_server_is_given_up_and_what_is_kept_is_bounded() {
        let mut now = Instant::now();
        let servers = StunServers::new(ChaCha20Rng::from_seed([1; 32]));
        servers.ask(now, server(0));
        while let Some(due) = servers.poll_timeout() {
            now = due;
            servers.on_time(now);
            while servers.poll_transmit().is_some() {}
        }
        assert!(servers.lock().asked.is_empty());
        for number in 0..=MAX_SERVERS {
            servers.ask(now, server(number));
            let (from, bytes) = answer(&servers, own(5_000 + number as u16));
            assert!(servers.on_datagram(now, from, &bytes));
        }
        let seen = servers.seen(Family::V4);
        assert_eq!(seen.len(), MAX_SERVERS);
        assert_eq!(seen.last(), Some(&own(5_000 + MAX_SERVERS as u16)));
        assert!(!seen.contains(&own(5_000)), "the oldest is forgotten");
    }
}
