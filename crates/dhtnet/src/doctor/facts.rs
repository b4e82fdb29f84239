//! What the probes found out, before anybody judges it. Plain values: every verdict can be tested
//! without a network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dhtnet_nat_traversal::behavior::Behavior;
use dhtnet_nat_traversal::turn::AllocationError;

use crate::relays::RelayTransport;

/// All facts of one examination.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) home: HomeFacts,
    pub(crate) descriptors: Descriptors,
    pub(crate) clock: ClockFacts,
    pub(crate) seeds: Vec<Seed>,
    /// Nodes that were remembered from earlier runs.
    pub(crate) saved_nodes: usize,
    pub(crate) v4: FamilyFacts,
    pub(crate) v6: FamilyFacts,
    /// STUN servers that the user named, in that order.
    pub(crate) stun: Vec<Named>,
    pub(crate) routers: RouterFacts,
    /// Those that the user named, in that order.
    pub(crate) named_relays: Vec<RelayFacts>,
    /// Relays announced in the DHT, and those of them that answered.
    pub(crate) announced_relays: Vec<SocketAddr>,
    pub(crate) answering_relays: Vec<SocketAddr>,
    pub(crate) tcp: Vec<TcpTry>,
}

/// The user's files, as the tool found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HomeFacts {
    /// Where they are.
    pub directory: String,
    /// Why nothing can be kept there, if so.
    pub unusable: Option<String>,
    /// The device key.
    pub identity: IdentityFacts,
}

/// The device key, as the tool found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IdentityFacts {
    /// There is none yet; the first connection makes one.
    #[default]
    Missing,
    /// It can be read; this is its id.
    Usable(String),
    /// Others can read it as well, so it is refused; the command that ends that.
    Exposed(String),
    /// It cannot be used, for this reason.
    Unusable(String),
}

/// Limits of open files.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// What this process may raise its limit to; `None` is no limit.
    pub(crate) hard: Option<u64>,
}

/// What was compared with the clock.
#[derive(Debug, Default)]
pub(crate) struct ClockFacts {
    /// This host's time, since 1970.
    pub(crate) now: Duration,
    /// Whether the system says that it keeps its clock by the network's.
    pub(crate) is_kept: bool,
    /// Contacts that were asked for.
    pub(crate) asked: usize,
    /// Names of contacts, and when they signed their newest presence records by their own clocks,
    /// since 1970.
    pub(crate) witnesses: Vec<(String, Duration)>,
}

/// Something named on the command line, and what its name led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
}

/// A bootstrap node.
pub(crate) type Seed = Named;

/// What one address family showed.
#[derive(Debug, Default)]
pub(crate) struct FamilyFacts {
    /// The socket; none where `--bind` leaves this family out or the system has none.
    pub(crate) bound: Option<SocketAddr>,
    /// Addresses of interfaces that others could send to.
    pub(crate) local: Vec<IpAddr>,
    /// The own address from which packets to the Internet leave, if there is a route.
    pub(crate) source: Option<IpAddr>,
    pub(crate) gateway: Option<IpAddr>,
    /// Nodes of the DHT that were asked.
    pub(crate) asked: Vec<SocketAddr>,
    /// STUN servers that were asked.
    pub(crate) stun_asked: Vec<SocketAddr>,
    pub(crate) answers: Vec<Answer>,
    /// ICMP reports: who sent it, and what it says.
    pub(crate) reports: Vec<(IpAddr, Trouble)>,
    /// The system itself refused to send.
    pub(crate) unsendable: Option<Unsendable>,
    pub(crate) behavior: Option<Behavior>,
    /// Whether a packet to the own outside address came back; `None` when it was not tried.
    pub(crate) hairpin: Option<bool>,
    pub(crate) mtu: MtuFacts,
    /// Routers at these distances.
    pub(crate) hops: Vec<(u8, IpAddr)>,
}

/// A node of the DHT that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) from: SocketAddr,
    /// Its place in the order in which hosts were first sent to, which is the order in which a
    /// NAT gave out ports.
    pub(crate) order: usize,
    pub(crate) round_trip: Duration,
    /// Since the examination began.
    pub(crate) at: Duration,
    /// Under which address it saw this host.
    pub(crate) external: Option<SocketAddr>,
}

/// What a report (ICMP) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Nobody has that port.
    PortClosed,
    /// The host or network cannot be reached, or may not be.
    Unreachable,
}

/// Why the system did not even send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsendable {
    NoRoute,
    Forbidden,
    Other,
}

/// How long packets may be. Lengths are those of whole IP packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MtuFacts {
    /// Lengths that were tried, with whether they got through; the shortest first.
    pub(crate) tried: Vec<(u16, bool)>,
    /// What a router, or the own interface, says is the most.
    pub(crate) reported: Option<MtuReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MtuReport {
    Router { by: IpAddr, mtu: u32 },
    OwnInterface,
}

/// The routers of the local network.
#[derive(Debug, Default)]
pub(crate) struct RouterFacts {
    /// Whether there was anything to ask: not without an address that needs a mapping.
    pub(crate) asked: bool,
    pub(crate) answers: Vec<RouterAnswer>,
}

/// What one protocol came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouterAnswer {
    pub(crate) protocol: &'static str,
    pub(crate) claim: Claim,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This is the address outside.
    External(IpAddr),
    /// It answers; this protocol does not tell the address without mapping a port.
    Present,
    /// It answers that it cannot.
    Refused,
}

/// How a TURN server was tried.
#[derive(Debug)]
pub(crate) struct RelayFacts {
    pub(crate) server: String,
    pub(crate) outcome: RelayOutcome,
}

#[derive(Debug)]
pub(crate) enum RelayOutcome {
    /// Its name leads nowhere.
    NoAddress(String),
    Allocated {
        relayed: SocketAddr,
        transport: RelayTransport,
        took: Duration,
    },
    Failed {
        transport: RelayTransport,
        error: AllocationError,
    },
    /// The TCP connection did not come about.
    NotConnected(String),
    /// A relay of this system is there; whom it admits was not tried.
    Answers,
}

/// One try to connect to TCP port 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpTry {
    pub(crate) to: SocketAddr,
    pub(crate) outcome: TcpOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpOutcome {
    Connected,
    /// A reset came back: from the host, or from who guards the way.
    Refused,
    Failed,
}
