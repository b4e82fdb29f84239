//! Connect two devices by public key alone.

mod builder;
mod channel;
mod connect;
mod core;
pub mod discovery;
mod driver;
mod error;
mod events;
mod hello;
mod interfaces;
mod listener;
mod node;
mod peers;
mod report;
mod state;

pub use dhtnet_channel_mux::{ChannelKind, ChannelRequest, DeclineCode, DeclineReason, Priority};
pub use dhtnet_identity as identity;
pub use dhtnet_identity::{DeviceId, DeviceKey, PeerAddress};
pub use dhtnet_secure_transport::TransportSettings;

pub use crate::builder::NodeBuilder;
pub use crate::channel::{Channel, RecvHalf, SendHalf};
pub use crate::connect::ConnectOptions;
pub use crate::error::{
    BuildError, ChannelError, ConnectError, ConnectStep, EndReason, ListenError,
};
pub use crate::events::{Event, Events};
pub use crate::listener::{Incoming, Listener};
pub use crate::node::{Node, SHUTDOWN_LIMIT};
pub use crate::report::{ChannelReport, ConnectionReport, DropReport, PathKind, PathReport};
