//! A VPN by key, as tables and functions over bytes: no socket, clock, task or interface.
//!
//! ```text
//! interface ─ split ─► packets ─ classify ─► Table: who owns the destination ─► frame ─► datagram
//! datagram ─ frame ─► packet ─ classify ─► Table: does the sender own the source ─ join ─► interface
//! ```
//! - [`address`] derives a device's IPv6 address from its key, [`pool`] gives IPv4 addresses that
//!   stay with a device;
//! - [`packet`] reads IPv4 and IPv6 headers and says what it drops ([`DropReason`]);
//! - [`table`] is the cryptokey routing: each address has one owner, packets come only from the
//!   owner of their source and go only to the owner of their destination;
//! - [`offload`] cuts the large packets that the kernel hands over with a `virtio_net_hdr` into
//!   packets of the path's size, and joins received ones again;
//! - [`frame`] puts a packet into one datagram, or into two where the path is too small for
//!   1,280 bytes;
//! - [`mss`] and [`too_big`] keep senders to the size of the path;
//! - [`control`] is what client and server say to each other beside the packets.
//!
//! Several small packets in one UDP datagram are QUIC's business: it puts as many DATAGRAM frames
//! into a packet as fit.
//!
//! Left out: IPv6 flow labels are carried and not used; ESP and other protocols are carried as they
//! are; a jumbogram (RFC 2675) is malformed here.

pub mod address;
mod bytes_at;
pub mod checksum;
pub mod control;
mod drop_reason;
pub mod frame;
pub mod mss;
pub mod offload;
pub mod packet;
pub mod pool;
pub mod table;
pub mod too_big;
mod ttl;

pub use drop_reason::{DropCounters, DropReason};
pub use ttl::decrement_hop_limit;

/// Largest packet that every path of the network carries, bytes: what IPv6 asks of a link
/// (RFC 8200, section 5).
pub const MIN_MTU: u16 = 1280;

/// Largest MTU of the interface, bytes: two datagrams of the smallest path carry it.
pub const MAX_MTU: u16 = 2200;
