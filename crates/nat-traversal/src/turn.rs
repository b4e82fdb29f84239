//! A client of TURN relays (RFC 8656).
//!
//! [`Allocation`] is one relayed address (two with IPv6) on one server, from the first request to
//! its deletion. Over UDP it shares the one socket; over TCP it takes and gives the bytes of one
//! stream, which the driver may wrap in TLS.
//!
//! ```text
//! new ─► Allocated ─► permit(peer's address) ─► Permitted ─► send_to / handle_datagram ─► close
//!                         at any time: Failed(AllocationError), which ends it
//! ```
//! Channels are bound by themselves for peers that are sent to. Allocation, permissions and
//! channels are refreshed until the end. A server that dies is noticed within
//! [`SILENCE`] + [`GIVE_UP`] when something is being sent and [`KEEPALIVE`] + [`GIVE_UP`]
//! otherwise; one that was restarted and has lost the allocation, within a few round trips after
//! [`SILENCE`] or [`KEEPALIVE`]: it is asked by a Refresh, to which only a server with the
//! allocation says yes. What a process before this one has left at the server for the same socket
//! is deleted, and another one asked for.
//!
//! [`Inquiry`] asks a server for its realm, where that tells what the password is made with.
//!
//! The protocol is turn-client-proto's, none of whose types shows. Around it stand: what went
//! wrong, by the codes of the server's refusals; liveness; bounds; the framing over TCP with its
//! padding (RFC 8656 section 12.5), which it leaves out. Its transaction ids come from the
//! system's generator, not from the injected one. It does not wipe the password, so this client
//! cannot either.
//!
//! Left out: allocations of TCP ports (RFC 6062), reservation of even ports, redirection to
//! another server (300), ICMP reports, DTLS. A server that grants less than ten minutes, which
//! RFC 8656 section 7.2 does not allow, is asked for another allocation when those are over.

mod allocation;
mod error;
mod event;
mod framing;
mod inquiry;
mod liveness;
mod refresher;

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

pub use allocation::Allocation;
pub use error::{AllocationError, Fault, PermitError, SendError, StreamError};
pub use event::{Event, Handled};
pub(crate) use framing::{Framer, channel_payload_len, padded};
pub use inquiry::{Inquiry, Told};

/// Addresses that may send to one allocation at once. Each costs one request every four minutes.
pub const MAX_PERMISSIONS: usize = 64;

/// Peers with a channel; the others are reached by the longer Send indications. As many as there
/// can be permissions, for peers with one port.
pub const MAX_CHANNELS: usize = 64;

/// Bytes of the longest payload: what UDP over IPv4 can carry, less the longest header of TURN.
pub const MAX_PAYLOAD: usize = 65_507 - 56;

/// Time without a sign of the allocation (a payload, or a request that was granted) after which the
/// server is asked for one. It is also what keeps the NAT's mapping open (RFC 8445 section 11: Tr).
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// The same when something was sent since: whoever is sent to nearly always answers. No question
/// follows another one that was granted in less than this, whatever is sent: at most one in a
/// second, about 150 bytes. Shorter, and a peer across the world that is slow to acknowledge would
/// cost questions; longer, and a stream would wait longer for another path.
pub const SILENCE: Duration = Duration::from_secs(1);

/// Time after which an unanswered question ends the allocation: sent at 0, 0.5, 1.5 and 2.5
/// seconds and waited for one more. RFC 8489 would wait 39.5 s; a relay that takes longer is no
/// use, and another one can be tried.
pub const GIVE_UP: Duration = Duration::from_millis(3500);

/// How the server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Datagrams of the one socket.
    Datagrams,
    /// One TCP connection, with TLS or without.
    Stream,
}

/// Which relayed addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4.
    V4,
    /// IPv6 (RFC 8656 section 7.1).
    V6,
    /// Both; one of them is enough.
    Both,
}

/// A server and how to use it.
#[derive(Clone)]
pub struct Config {
    pub(crate) server: SocketAddr,
    pub(crate) link: Link,
    pub(crate) families: Families,
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
}

impl Config {
    /// A server with long-term credentials, reached by datagrams, for an IPv4 address.
    #[must_use]
    pub fn new(server: SocketAddr, username: &str, password: &str) -> Self {
        Self {
            server,
            link: Link::Datagrams,
            families: Families::V4,
            username: username.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        }
    }

    /// How the server is reached. Default: [`Link::Datagrams`].
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Which addresses are asked for. Default: [`Families::V4`].
    #[must_use]
    pub fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.server)
            .field("link", &self.link)
            .field("families", &self.families)
            .finish_non_exhaustive()
    }
}
