//! The BitTorrent Mainline DHT, hardened, with values, listening and private networks.
//!
//! A [`Node`] turns a key into what lies under it, and holds what others put under keys near its
//! own id. It has no socket, no clock and no thread: the owner hands in datagrams and the time,
//! and takes out datagrams, events and the next deadline. One owner can drive one node, or
//! a hundred thousand on a virtual clock.
//!
//! # The protocol in short
//!
//! Messages are bencoded dictionaries in UDP datagrams ([`krpc`]). Ids of nodes and keys are 160
//! bits, near is what XOR makes small ([`Id`], [`Distance`]). A lookup asks the nearest nodes it
//! knows for nearer ones, until the nearest eight have answered; what is stored is stored there.
//!
//! | from | what | here |
//! |---|---|---|
//! | BEP 5 | `ping`, `find_node`, `get_peers`, `announce_peer`, write tokens | [`Node::find_node`], [`Node::find_peers`], [`Node::announce`] |
//! | BEP 32 | IPv6: a table of its own, `want` | [`Family`], [`Config::families`] |
//! | BEP 42 | ids that follow from the address, by the vote of others | [`secure_id`], [`Node::external_address`] |
//! | BEP 43 | nodes that only ask | [`node::Participation`] |
//! | BEP 44 | immutable and signed items of 1,000 bytes | [`item`], [`Node::find_item`], [`Node::put_mutable`] |
//! | BEP 45 | one id for each address, answers from the one that was asked | [`Node::id`], [`node::Transmit::local_ip`] |
//! | BEP 51 | samples of the keys that a node holds | [`Node::sample`] |
//! | `dn_…` | many values under a key, queries, listening with push | [`value`], [`Node::put_value`], [`Node::find_values`], [`Node::listen`] |
//!
//! The last row is an extension, spoken with nodes whose messages carry `dn`; others ignore it.
//! `docs/wire-format/dht-messages.md` and `docs/wire-format/values.md` have the bytes. A private
//! network ([`Config::network`]) is the same with a tag in each message.
//!
//! # What holds whatever comes in
//!
//! - An answer counts once, from the address that was asked, with the transaction that was drawn
//!   for it. Items and values count by their hash or signature, whoever sends them.
//! - To an address that has not shown that it receives goes at most three times what came from it.
//! - Whatever others can make grow has a bound `MAX_…`; tables and lookups take one node of a /24
//!   or /64 where there is a choice.
//! - [`node::Outcome`] counts acknowledgements, refusals with their codes, and silence:
//!   nothing else is called stored.
//!
//! # Left out
//!
//! Republishing by the nodes that store (the owner publishes again, see [`Node::publish`]),
//! several addresses of one family in one node, `scrape` (BEP 33), TCP, resolving names, and
//! writing the saved state to a file ([`saved`] is the codec).
//!
//! # Example
//!
//! Two nodes; one stores an item, the other fetches it.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! use dhtnet_dht_core::item::immutable_target;
//! use dhtnet_dht_core::node::{Item, Scope};
//! use dhtnet_dht_core::{Config, Event, Node};
//!
//! const ADDRESSES: [&str; 2] = ["203.0.113.1:6881", "198.51.100.2:6881"];
//!
//! /// Passes datagrams from one to the other for two seconds; what both tell meanwhile.
//! fn run(nodes: &mut [Node; 2], now: &mut Instant) -> Vec<Event> {
//!     let mut events = Vec::new();
//!     for _ in 0..200 {
//!         *now += Duration::from_millis(10);
//!         for (from, to) in [(0, 1), (1, 0)] {
//!             nodes[from].handle_timeout(*now);
//!             while let Some(sent) = nodes[from].poll_transmit() {
//!                 let source: SocketAddr = ADDRESSES[from].parse().unwrap();
//!                 nodes[to].handle_datagram(*now, source, None, &sent.payload);
//!             }
//!             events.extend(std::iter::from_fn(|| nodes[from].poll_event()));
//!         }
//!     }
//!     events
//! }
//!
//! let (mut now, wall) = (Instant::now(), Duration::from_secs(1_800_000_000));
//! let config = Arc::new(Config::default());
//! // The seeds must be secret and fresh.
//! let mut nodes = [1, 2].map(|seed| Node::new(config.clone(), now, wall, [seed; 32]));
//! nodes[0].add_bootstrap(now, ADDRESSES[1].parse()?);
//! run(&mut nodes, &mut now);
//!
//! let put = nodes[0].put_immutable(now, b"5:hello", Scope::Network)?;
//! let told = run(&mut nodes, &mut now);
//! let stored = |event: &Event| matches!(event, Event::Done(id, outcome) if *id == put && outcome.acknowledged == 1);
//! assert!(told.iter().any(stored));
//!
//! let get = nodes[1].find_item(now, immutable_target(b"5:hello"), b"", Scope::Network);
//! let told = run(&mut nodes, &mut now);
//! assert!(told.contains(&Event::Item(get, Item::Immutable(b"5:hello".to_vec()))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod address;
pub mod bencode;
pub mod blocklist;
mod external_address;
pub mod id;
pub mod item;
pub mod krpc;
mod lookup;
pub mod node;
mod proved;
mod rate_limit;
mod round_trip;
mod routing;
pub mod saved;
pub mod secure_id;
mod server;
mod store;
mod transactions;
pub mod value;
mod write_token;

pub use self::address::{Contact, Family};
pub use self::id::{Distance, Id};
pub use self::node::{Config, Event, Node, OperationId};
