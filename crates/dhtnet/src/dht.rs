//! The DHT: finding peers, items and values by key, with nobody in the middle.
//!
//! A [`Dht`] is a node of the BitTorrent Mainline DHT, or of a private network. It stands alone
//! ([`Dht::builder`]), or shares the socket of a [`Node`](crate::Node) that was built with
//! [`NodeBuilder::dht`](crate::NodeBuilder::dht).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dhtnet::dht::{Bootstrap, Dht};
//!
//! let dht = Dht::builder().bootstrap([Bootstrap::Mainline]).build().await?;
//! dht.ready().await?;
//! let stored = dht.put_immutable(b"5:hello").await?;
//! println!("{} nodes keep {}", stored.acknowledged, stored.target);
//! # Ok(())
//! # }
//! ```

mod bootstrap;
mod builder;
mod error;
mod handle;
mod moved;
mod operation;
pub(crate) mod presence;
mod relaying;
mod saving;
mod shared;
mod values;

pub use dhtnet_dht_core as core;
pub use dhtnet_dht_core::blocklist::Blocklist;
pub use dhtnet_dht_core::node::{
    AnnouncePort, Counters, Item, KnownNode, METHODS, Participation, Pong, Publication, Refusal,
    Sample,
};
pub use dhtnet_dht_core::{Contact, Family, Id, bencode, item, krpc, secure_id, value};

pub use self::bootstrap::Bootstrap;
pub use self::builder::{DhtBuilder, DhtSettings};
pub use self::error::{DhtBuildError, DhtError};
pub use self::handle::{At, Dht, LookupReport, Stats, StatsOfFamily, Stored};
pub use self::operation::{Peers, Subscription, ValueEvent, Values};
pub use self::values::FullValue;

pub(crate) use self::saving::saved_nodes;
pub(crate) use self::shared::DhtShared;
