//! Reaching a peer through NATs and firewalls, sans-IO.
//!
//! Two devices that know each other's key and can pass each other a message (over the DHT, or
//! through a relay) find the paths between them, and keep to the best. No socket, clock, task or
//! global randomness is in here: each machine takes time and datagrams as arguments and gives back
//! what to send, when to be called again, and what has happened.
//!
//! | module | what it holds |
//! |---|---|
//! | [`candidate`] | addresses where a peer may be reached, with the priorities of RFC 8445 |
//! | [`stun`] | messages and transactions of RFC 8489 |
//! | [`behavior`] | what the NAT does (RFC 4787), found out from the socket in use (RFC 5780) |
//! | [`turn`], [`relay`] | a client of relays and a relay for others (RFC 8656) |
//! | [`offer`] | what two peers tell each other first; offers that are old or were seen are refused |
//! | [`check`] | authenticated checks of a pair of addresses |
//! | [`punch`] | opening holes where the ports are not known; the bounds of politeness |
//! | [`session`] | one attempt: candidates and the peer's offer in, paths out |
//! | [`path`] | which of the paths is used, keepalive, noticing a dead one |
//! | [`retry`] | when the next attempt begins, and when there is silence |
//!
//! # In short
//! ```text
//! candidates, NAT ─┐                            ┌─ offer to the peer (sealed, signed elsewhere)
//!                  ├─ Session ── checks, punch ─┤
//! peer's offer ────┘                            └─ PathWorks ─► Paths ─► use this one
//!                                                  GaveUp ────► Ladder ─► again then, or silence
//! ```
//! Every pair of own socket and peer's address is asked with a STUN request that proves the
//! attempt's password, direct and relayed ones side by side. A NAT whose ports depend on the
//! remote is met by many ports at once or by prediction, within 1,024 entries and 500 packets a
//! second that all sessions of a node share ([`punch::Budget`]). `docs/nat-traversal.md` says why
//! the numbers are what they are, and what came of each pair of NATs.
//!
//! What differs from ICE (RFC 8445): roles follow from the ids; pairs are not frozen, for there is
//! one component; every path that works may carry data at once, and nomination only decides
//! between punched ones; aggressive first retransmissions, because few pairs are checked.
//!
//! # Left out
//! Port mapping (UPnP, NAT-PMP, PCP) speaks to the router and belongs to the driver; its result
//! is a candidate. TCP candidates; NATs of IPv6 that change ports.
//!
//! # Example
//! ```
//! use std::net::SocketAddr;
//! use std::time::{Instant, SystemTime};
//! use dhtnet_nat_traversal::candidate::{Candidate, CandidateKind, SocketId};
//! use dhtnet_nat_traversal::offer::{Offer, SessionId, Wish};
//! use dhtnet_nat_traversal::punch::{Budget, Role};
//! use dhtnet_nat_traversal::session::{Event, Session};
//!
//! let now = Instant::now();
//! let id = SessionId(*b"attempt1");
//! let addresses: [SocketAddr; 2] = ["11.0.0.1:1".parse()?, "11.0.0.2:2".parse()?];
//! // The seeds are 32 random bytes each, the roles come from `Role::of` the two ids.
//! let mut a = Session::new(now, Role::Controlling, id, [1; 32]);
//! let mut b = Session::new(now, Role::Controlled, id, [2; 32]);
//! a.add_candidate(Candidate::new(CandidateKind::Host, addresses[0]), SocketId::MAIN);
//! b.add_candidate(Candidate::new(CandidateKind::Host, addresses[1]), SocketId::MAIN);
//!
//! // Each tells the other, by whatever way there is.
//! let call = a.offer(SystemTime::now(), Wish::Connect).encode();
//! let answer = b.offer(SystemTime::now(), Wish::Answer).encode();
//! b.handle_offer(now, Offer::decode(&call)?);
//! a.handle_offer(now, Offer::decode(&answer)?);
//!
//! // The driver's part: datagrams from one to the other.
//! let (mut budget_a, mut budget_b) = (Budget::default(), Budget::default());
//! let found = loop {
//!     while let Some(transmit) = a.poll_transmit(now, &mut budget_a) {
//!         b.handle_datagram(now, (SocketId::MAIN, addresses[0]), &transmit.payload);
//!     }
//!     while let Some(transmit) = b.poll_transmit(now, &mut budget_b) {
//!         a.handle_datagram(now, (SocketId::MAIN, addresses[1]), &transmit.payload);
//!     }
//!     if let Some(Event::PathWorks { remote, .. }) = a.poll_event() {
//!         break remote;
//!     }
//! };
//! assert_eq!(found, addresses[1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod behavior;
pub mod candidate;
pub mod check;
pub mod offer;
pub mod path;
pub mod punch;
pub mod relay;
pub mod retry;
pub mod session;
pub mod stun;
pub mod turn;
