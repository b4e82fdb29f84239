//! Named channels over one connection, sans-IO.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod channel;
pub mod codec;
mod control;
mod deadlines;
mod error;
mod event;
mod frame;
mod inbox;
pub mod limits;
mod link;
mod mux;
mod reason;
mod request;
pub mod reset_code;
mod stats;
mod table;
mod varint;

pub use error::{
    AnswerError, ChannelDatagramError, ChannelReadError, ChannelWriteError, OpenError, PingError,
};
pub use event::{ChannelId, Deadline, Event, Fault, Side};
pub use limits::Limits;
pub use link::{Link, LinkEvent, ReadError, SendDatagramError, StreamId, WriteError};
pub use mux::Mux;
pub use reason::{CloseCode, CloseReason, DeclineCode, DeclineReason};
pub use request::{ChannelKind, ChannelRequest, InvalidRequest, Priority};
pub use stats::{ChannelState, ChannelStats, DatagramStats, MuxStats, OpenedBy};
