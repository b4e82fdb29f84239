//! Connect two devices by public key alone, through any network, with nobody in the middle.
//!
//! A device is an Ed25519 key. Its id, 56 characters, is all that another device needs: the id is
//! looked up, the connection is made to whoever holds the key, and nobody else can read it, answer
//! for it, or even find out that something listens.
//!
//! # A first conversation
//!
//! ```
//! use dhtnet::identity::policy::{Grant, Policy, Subject};
//! use dhtnet::{ChannelRequest, DeviceKey, Node, PeerAddress};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Keys come from a file (`identity::key_file`); two fixed ones will do here.
//! let (ada, bob) = (DeviceKey::from_seed(&[1; 32]), DeviceKey::from_seed(&[2; 32]));
//!
//! // Bob lets Ada open the channel "greet", and nobody else anything.
//! let policy = Policy::builder().grant(Subject::Peer(ada.id()), Grant::action("greet")).build();
//! let bob = Node::builder(bob).bind("127.0.0.1:0".parse()?).policy(policy).build().await?;
//! let mut listener = bob.listen("greet")?;
//! tokio::spawn(async move {
//!     while let Some(incoming) = listener.accept().await {
//!         let mut channel = incoming.accept();
//!         channel.write_all(b"hello").await?;
//!         channel.shutdown().await?;
//!     }
//!     Ok::<_, std::io::Error>(())
//! });
//!
//! // Ada knows Bob's id. On one network that is enough; here his address is given as a hint.
//! let ada = Node::builder(ada).bind("127.0.0.1:0".parse()?).build().await?;
//! let to = PeerAddress { id: bob.id(), hints: bob.local_addresses() };
//! let mut channel = ada.connect(&to, ChannelRequest::stream("greet")).await?;
//! let mut greeting = String::new();
//! channel.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "hello");
//! ada.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! - [`Node`]: one device on the network. It owns one UDP socket for each address family and makes
//!   one connection to each peer, shared by all who ask for it.
//! - [`Channel`]: what a connection is for. A request has a name, a kind (a reliable stream, or
//!   datagrams), metadata and a priority; the peer accepts it or declines with a reason. The two
//!   directions of a stream end separately.
//! - [`Listener`] and [`Incoming`]: the other side. The policy is asked first; a request that it
//!   denies is never seen by a listener.
//! - [`identity::policy::Policy`]: who may do what. Without one, nobody may connect. It can be
//!   replaced while connections live ([`Node::set_policy`]), and may ask for certificates and
//!   capabilities, which peers show inside the connection ([`NodeBuilder::credentials`]).
//! - [`Service`]: several programs may listen with one identity, each under a name of its own
//!   ([`NodeBuilder::service`]), by which peers find the one that they look for.
//! - [`discovery::Discovery`]: where addresses come from. Hints in the [`PeerAddress`] and multicast
//!   DNS on the local network are built in; all sources are asked at once.
//! - [`Event`]s and reports ([`Node::connections`], [`Node::channels`]): what happens.
//!
//! # How a connection comes up
//!
//! All addresses that the sources give are tried at once with the first packet of a Noise IK
//! handshake carried by QUIC; it is encrypted to the peer's key, so that only the peer can answer.
//! The first address that answers carries the connection. Two devices that dial each other at the
//! same moment end with one connection, chosen alike on both sides.
//!
//! # What is bounded
//!
//! | what | bound |
//! |---|---|
//! | connections of a node; unfinished handshakes of others | 4,096; 256 |
//! | connections of peers that only credentials could let in, until they are shown; of one peer | 64; 4 |
//! | time for a peer to show its credentials | 5 s |
//! | channels of a connection, both sides together | 2,048 |
//! | requests that wait for one listener | 256 |
//! | unread bytes of one channel; of one connection | 2 MiB; 16 MiB and 2 MiB for each open channel, 96 MiB at most |
//! | bytes on the way and unacknowledged, of one connection | 8 MiB |
//! | addresses tried for one peer | 32 |
//!
//! # Runtime
//!
//! A node needs a tokio runtime with network and time. One task moves all datagrams; the current
//! thread runtime gives one transfer its best speed, several threads serve many better.
//!
//! # Without this crate
//!
//! The layers can be used alone: `dhtnet-identity`, `dhtnet-secure-transport` (Noise in QUIC),
//! `dhtnet-channel-mux`. None of those knows sockets, clocks or tasks; this crate's driver does.
//!
//! # Through NATs
//!
//! With a DHT ([`dht`]) a peer is found by its id alone, called through it, and reached through the NATs of
//! both sides: by holes punched, by ports that routers map ([`Node::port_mappings`]), or by a relay.
//! A connection has several paths ([`ConnectionReport::paths`]); it uses the best, leaves a dead
//! one within a second while something waits, and survives changes of the network on both sides
//! ([`Event::PathChanged`] tells).

mod builder;
mod channel;
mod connect;
mod core;
pub mod dht;
pub mod discovery;
pub mod doctor;
mod driver;
mod error;
mod events;
mod hello;
mod interfaces;
mod knock;
mod listener;
mod node;
mod peers;
mod port_mapping;
pub mod relay_server;
mod relays;
mod report;
mod service;
mod signal;
mod state;
mod traversal;
mod upkeep;

pub use dhtnet_channel_mux::{ChannelKind, ChannelRequest, DeclineCode, DeclineReason, Priority};
pub use dhtnet_identity as identity;
pub use dhtnet_identity::{DeviceId, DeviceKey, PeerAddress};
pub use dhtnet_secure_transport as transport;

pub use crate::builder::NodeBuilder;
pub use crate::channel::{Channel, DatagramBatch, RecvHalf, SendHalf};
pub use crate::connect::ConnectOptions;
pub use crate::error::{
    BuildError, ChannelError, ConnectError, ConnectStep, EndReason, ListenError,
};
pub use crate::events::{Event, Events};
pub use crate::listener::{Incoming, Listener};
pub use crate::node::{Node, SHUTDOWN_LIMIT};
pub use crate::port_mapping::{MappingProtocol, PortMapping};
pub use crate::relays::finder::RelayFault;
pub use crate::relays::{
    MAX_URI_LEN, NotCertificates, PathPreference, RelayError, RelayTransport, TurnServer,
    TurnUriError,
};
pub use crate::report::{
    ChannelReport, ConnectionReport, DropReport, PathEvent, PathKind, PathReason, PathReport,
};
pub use crate::service::{InvalidService, MAX_SERVICE_LEN, Service};
