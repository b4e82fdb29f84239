//! Named channels over one connection, without I/O.
//!
//! A connection that offers streams and datagrams (the trait [`Link`]; QUIC is the model) is
//! shared by everything that two peers do with each other. Each use asks for a *channel* by name:
//! the peer accepts it, or declines it with a reason. A channel is two byte streams, one each way,
//! that end on their own ([`ChannelKind::Stream`]), or a flow of datagrams
//! ([`ChannelKind::Datagrams`]).
//!
//! # The protocol
//!
//! Every channel is one bidirectional stream. The opener's first frame is the request (name, kind,
//! priority, metadata), the acceptor's first frame is the answer; after these, the stream carries
//! payload and nothing else, so that a payload byte costs a look-up and two counters. The opener
//! may write before it has the answer, and saves a round trip; after a no, that payload is thrown
//! away at both ends. A datagram channel's stream carries no payload: its end is the channel's end.
//! Its datagrams begin with the channel number of the request. The initiator's first stream is the
//! control stream: Hello, Ping, Pong, and at the end GoAway and Bye. `docs/wire-format/channels.md`
//! has the bytes.
//!
//! # The rules
//!
//! - [`Mux`] has no socket, clock, task, or randomness: the driver hands in the [`Link`], the time
//!   and what happened, and drains [`Mux::poll_event`] after each call.
//! - Flow control is the link's, one window for each stream: what the application does not read
//!   stays in the link, stalls its own sender and no other channel.
//! - All that a peer can make grow has a bound in [`limits`]. What breaks the protocol costs the
//!   peer that channel; on the control stream, the connection ([`Event::Fault`]).
//! - An accepted channel is over when both its directions are; each channel ends with exactly one
//!   [`Event::Closed`].
//!
//! Left out: encryption and authentication (the link has them), who may open what (the application
//! declines), keepalive of the connection (the link's), credit between the windows of the link,
//! ordering or repetition of datagrams, and fragments of them.
//!
//! # Example
//!
//! The calls that an application's request leads to, generic over the link:
//!
//! ```
//! use std::time::Instant;
//! use bytes::Bytes;
//! use dhtnet_channel_mux::{
//!     ChannelRequest, DeclineCode, Event, Link, LinkEvent, Mux, OpenError,
//! };
//!
//! /// The opener asks, and writes and finishes at once.
//! fn say(mux: &mut Mux, link: &mut impl Link, now: Instant, text: Bytes) -> Result<(), OpenError> {
//!     let id = mux.open(link, now, ChannelRequest::stream("hello").metadata("v1"))?;
//!     // A large text would be `Blocked` at some point and go on after `Event::Writable`.
//!     let _ = mux.write(link, now, id, &mut [text]);
//!     let _ = mux.finish(link, now, id);
//!     Ok(())
//! }
//!
//! /// The acceptor's driver passes on what happened, and reads.
//! fn hear(mux: &mut Mux, link: &mut impl Link, now: Instant, event: LinkEvent) -> Vec<Bytes> {
//!     let mut heard = Vec::new();
//!     mux.handle_link_event(link, now, event);
//!     while let Some(event) = mux.poll_event() {
//!         match event {
//!             Event::Incoming { id, request } if request.name == "hello" => {
//!                 let _ = mux.accept(link, now, id);
//!             }
//!             Event::Incoming { id, .. } => {
//!                 let _ = mux.decline(link, now, id, DeclineCode::NoListener);
//!             }
//!             Event::Readable { id } => {
//!                 while let Ok(Some(bytes)) = mux.read(link, now, id, usize::MAX) {
//!                     heard.push(bytes);
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//!     heard
//! }
//! ```

mod channel;
#[doc(hidden)]
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

pub use codec::DecodeError;
pub use error::{
    AnswerError, ChannelDatagramError, ChannelReadError, ChannelWriteError, NoteError, OpenError,
    PingError,
};
pub use event::{ChannelId, Deadline, Event, Fault, Side};
pub use limits::Limits;
pub use link::{Link, LinkEvent, ReadError, SendDatagramError, StreamId, WriteError};
pub use mux::Mux;
pub use reason::{CloseCode, CloseReason, DeclineCode, DeclineReason};
pub use request::{ChannelKind, ChannelRequest, InvalidRequest, Priority};
pub use stats::{ChannelState, ChannelStats, DatagramStats, MuxStats, OpenedBy};
