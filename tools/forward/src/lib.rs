//! Streams and ports joined to channels: what `dnc` and `dsh` share.
//!
//! - [`join`]: two directions of bytes between a local stream and a channel, each ended on its own;
//!   [`stdio`] is the local stream of a terminal user.
//! - [`forward`]: `-L`, `-R` and `-D`, over one connection to one peer; [`serve`] is the other side,
//!   [`flags`] is how a user asks for it.
//! - [`session`]: what all of it needs: the node, the contacts, the way to tell the user something,
//!   and what the tool's channels are called ([`Names`]).
//!
//! What a peer may open is asked of the policy before anything here sees it.

mod asked;
mod bound;
mod carry;
mod datagrams;
pub mod flags;
pub mod forward;
pub mod forward_spec;
pub mod give_up;
pub mod join;
pub mod paths;
pub mod probe;
pub mod report;
pub mod retry;
mod reverse;
pub mod serve;
pub mod session;
mod socket;
mod socks;
pub mod stdio;
pub mod stream;
mod target;

pub use session::{Names, Opening, Session};
