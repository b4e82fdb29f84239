//! The BitTorrent Mainline DHT, hardened, with values, listening and private networks.
//!
//! This crate has no socket, no clock and no thread.

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
