//! Opening holes in two NATs at once, by what is known of both.
//!
//! Where both mappings are endpoint-independent, [checks](crate::check) to the addresses that are
//! known open the holes, and there is nothing to do here. Where one or both depend on the remote,
//! the port that the peer will see is not known; [`Plan::new`] says what can be done:
//!
//! | mappings | own side does | why it meets |
//! |---|---|---|
//! | dependent × independent | opens [`OPEN_SOCKETS`] sockets, each sends once to the peer; [`FURTHER_SOCKETS`] more when nothing was hit | birthday: one of many ports is hit by one of many tries |
//! | independent × dependent | sends to up to [`MAX_ATTEMPTS`] ports of the peer's address | the same, seen from the other side |
//! | dependent × dependent, ports of both predictable | all new sockets send to *one* port that the peer will have among many | see [`Plan::Predict`] |
//! | dependent × dependent else | nothing | 1,024 entries a side meet in 1.6 % of the cases |
//!
//! A machine of its own: it says which socket sends a check where and when, and which further
//! sockets it needs; what a check is, and when it was answered, is for the
//! [session](crate::session). [`Budget`] bounds what all of them together may do to the NATs.

mod budget;
mod machine;
mod ports;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use self::budget::{
    Budget, ENTRY_LIFE, MAX_NAT_ENTRIES, MAX_PACKETS_PER_SECOND, NotNow, Purpose, RESERVED_ENTRIES,
};
pub use self::machine::Punch;
pub use self::ports::PortGuess;
use crate::behavior::{Allocation, Filtering};
use crate::candidate::{CandidateKind, SocketId, is_private};
use crate::offer::{NatProfile, Offer};

/// Sockets that the dependent side opens when its ports are random. With [`MAX_ATTEMPTS`] tries
/// of the other side over the 64,512 ports from 1024 up, nothing is hit with probability
/// e^(-384 · 960 / 64,512) = 0.3 %. Fewer than half of the descriptors that a process usually may
/// have (1,024).
pub const OPEN_SOCKETS: u16 = 384;

/// Sockets that it opens on top of those when nothing was hit after [`FURTHER_AFTER`]. The other
/// side has its [`MAX_ATTEMPTS`] entries by then, so none of them is hit either with probability
/// e^(-256 · 960 / 64,512) = 2.2 %, and with that of the first ones 0.007 %. Both together leave
/// 384 of 1,024 descriptors to others.
pub const FURTHER_SOCKETS: u16 = 256;

/// After how long. What both sides send first is through in 2.4 s, and one may begin a little later.
pub const FURTHER_AFTER: Duration = Duration::from_secs(3);

/// Ports that the independent side tries: what [`MAX_NAT_ENTRIES`] leaves after
/// [`RESERVED_ENTRIES`].
pub const MAX_ATTEMPTS: u16 = (MAX_NAT_ENTRIES - RESERVED_ENTRIES) as u16;

/// Sockets that the side with sequential ports opens against an independent one.
pub const SEQUENTIAL_SOCKETS: u16 = 64;

/// Sockets in a round of prediction when the own ports are sequential: as many ports in a row are
/// then ours, and the peer needs to name only one of them.
pub const ROUND_SOCKETS: u16 = 96;

/// The largest port block in which a port can be predicted: the side that has it opens about as
/// many sockets as the block has ports, and has to stay below [`MAX_ATTEMPTS`].
pub const MAX_BLOCK: u32 = 512;

/// A packet every 2.5 ms: 400 a second, so that checks and answers fit below
/// [`MAX_PACKETS_PER_SECOND`].
pub const PUNCH_INTERVAL: Duration = Duration::from_micros(2_500);

/// Longest time that many ports are tried. All are through in 2.4 s; the rest is for the other
/// side, which may begin later, and for answers.
pub const PUNCH_TIME: Duration = Duration::from_secs(10);

/// How long the ordinary checks are left alone where they may well do.
const HEAD_START: Duration = Duration::from_millis(1_500);

/// What the driver is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// That many further sockets of IPv4 on any port.
    Sockets(u16),
    /// This one is not needed any more.
    Release(SocketId),
}

/// What one side does beyond ordinary checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: checks of the known addresses find a path, or there is none.
    Checks,
    /// Nothing: both NATs give out ports that cannot be predicted.
    RelayOnly,
    /// Opens sockets that send to the peer's one address.
    OpenPorts {
        /// How many.
        sockets: u16,
        /// The peer.
        target: SocketAddr,
        /// After how long.
        delay: Duration,
    },
    /// Sends from the main socket to many ports of the peer.
    AimAtPorts {
        /// The peer's NAT.
        address: IpAddr,
        /// Which ports.
        ports: PortGuess,
        /// After how long.
        delay: Duration,
    },
    /// In each round, all sockets send to one port of the peer's NAT, while all sockets of the peer
    /// send to one of ours. Ours has the port that the peer aims at among those of a round, and so
    /// has the peer's: that entry of ours and that entry of the peer's are for each other.
    Predict {
        /// How many sockets.
        sockets: u16,
        /// Where all of them send to, round by round.
        targets: Vec<SocketAddr>,
        /// After how long.
        delay: Duration,
    },
}

/// Which side decides, as it follows from the ids: the smaller one controls, so that the roles
/// never conflict (RFC 8445 section 6.1.1 has a tie-breaker instead).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Chooses among paths of punched sockets.
    Controlling,
    /// Follows.
    Controlled,
}

impl Role {
    /// The role of `own` towards `peer`.
    #[must_use]
    pub fn of(own: &dhtnet_identity::DeviceId, peer: &dhtnet_identity::DeviceId) -> Self {
        if own.as_bytes() < peer.as_bytes() {
            Self::Controlling
        } else {
            Self::Controlled
        }
    }
}

impl Plan {
    /// What `own` does towards `peer`. Both sides come to plans that fit, since both know the same
    /// two offers. A mapping that was not measured counts as endpoint-independent, a filtering
    /// that was not as address-and-port-dependent.
    #[must_use]
    pub fn new(role: Role, own: &Offer, peer: &Offer) -> Self {
        let (Some(ours), Some(theirs)) = (outer_address(own), outer_address(peer)) else {
            return Self::Checks;
        };
        let delay = if checks_may_do(own, peer) || ours.ip() == theirs.ip() {
            HEAD_START
        } else {
            Duration::ZERO
        };
        match (own.nat.is_dependent(), peer.nat.is_dependent()) {
            (false, false) => Self::Checks,
            (true, false) if opens_by_itself(&peer.nat) => Self::Checks,
            (false, true) if opens_by_itself(&own.nat) => Self::Checks,
            (true, false) => Self::OpenPorts {
                sockets: sockets_to_open(&own.nat),
                target: theirs,
                delay,
            },
            (false, true) => Self::AimAtPorts {
                address: theirs.ip(),
                ports: PortGuess::new(&peer.nat),
                delay,
            },
            (true, true) => match predict(role, &own.nat, &peer.nat) {
                Some((sockets, ports)) => Self::Predict {
                    sockets,
                    targets: ports
                        .into_iter()
                        .map(|port| SocketAddr::new(theirs.ip(), port))
                        .collect(),
                    delay,
                },
                None => Self::RelayOnly,
            },
        }
    }
}

/// Where the peer's NAT was seen from outside, on IPv4: NATs of IPv6 are rare and keep ports.
fn outer_address(offer: &Offer) -> Option<SocketAddr> {
    let usable = |kind| {
        let mut all = offer.candidates.iter();
        all.find(|c| c.kind == kind && c.address.is_ipv4() && !is_private(c.address.ip()))
            .map(|c| c.address)
    };
    usable(CandidateKind::ServerReflexive).or_else(|| usable(CandidateKind::Host))
}

/// Whether there is something better than many ports: IPv6 on both sides, or a mapped port.
fn checks_may_do(own: &Offer, peer: &Offer) -> bool {
    let has = |offer: &Offer, wanted: fn(&crate::candidate::Candidate) -> bool| {
        offer.candidates.iter().any(wanted)
    };
    let both = |wanted| has(own, wanted) && has(peer, wanted);
    let mapped = |c: &crate::candidate::Candidate| c.kind == CandidateKind::Mapped;
    both(|c| c.address.is_ipv6() && c.kind != CandidateKind::Relayed)
        || has(own, mapped)
        || has(peer, mapped)
}

/// Whether whoever sends from any port of a known address gets in: a check is then answered to
/// the port it came from, whatever that is.
fn opens_by_itself(nat: &NatProfile) -> bool {
    let open = [
        Some(Filtering::EndpointIndependent),
        Some(Filtering::AddressDependent),
    ];
    open.contains(&nat.filtering)
}

fn sockets_to_open(own: &NatProfile) -> u16 {
    match own.allocation {
        Some(Allocation::Sequential { .. }) => SEQUENTIAL_SOCKETS,
        Some(Allocation::Block { .. }) | Some(Allocation::Random) | None => {
            // As many as make it unlikely (e^-8) that nothing is hit by as many tries.
            let ports = f64::from(PortGuess::new(own).size());
            ((8.0 * ports).sqrt().ceil() as u16).clamp(32, OPEN_SOCKETS)
        }
    }
}

/// How many sockets, and the port to aim at in each round; none where one side's ports cannot be
/// predicted.
fn predict(role: Role, own: &NatProfile, peer: &NatProfile) -> Option<(u16, Vec<u16>)> {
    let (ours, theirs) = (ports::predictable(own)?, ports::predictable(peer)?);
    // Each round costs an entry for each socket.
    let most = MAX_ATTEMPTS / ours.sockets().max(theirs.sockets());
    let rounds = ports::ROUNDS.len().min(usize::from(most));
    let aims = (0..rounds).map(|round| theirs.target(role, round));
    Some((ours.sockets(), aims.collect()))
}

#[cfg(test)]
mod tests;
