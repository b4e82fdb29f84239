//! Why a packet was not carried, and how many were not.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $text])+ $name,)+
        }

        impl DropReason {
            /// All reasons, in the order of the counters.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The reason as a word, for status and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// Shorter than its header, or than the header says.
    Truncated = "truncated",
    /// Neither IPv4 nor IPv6.
    UnknownVersion = "unknown_version",
    /// A header that contradicts itself.
    Malformed = "malformed",
    /// More IPv6 extension headers than are looked through.
    TooManyExtensions = "too_many_extensions",
    /// The source address belongs to another device, or to none.
    SpoofedSource = "spoofed_source",
    /// Nobody owns the destination.
    NoRoute = "no_route",
    /// The owner of the destination is not connected.
    PeerAway = "peer_away",
    /// To another peer, through a server that keeps them apart.
    Isolated = "isolated",
    /// The policy does not let the peer there.
    NotAllowed = "not_allowed",
    /// A source or destination that no unicast packet of a tunnel has: loopback, unspecified.
    NotUnicast = "not_unicast",
    /// Multicast and broadcast, which the tunnel does not carry.
    Multicast = "multicast",
    /// Larger than the path, with a sender that was told.
    TooBig = "too_big",
    /// The hop limit was used up.
    HopLimit = "hop_limit",
    /// The queue to the peer was full.
    QueueFull = "queue_full",
    /// A datagram of the tunnel that is none.
    BadFrame = "bad_frame",
    /// Half of a packet whose other half did not come.
    LostHalf = "lost_half",
    /// A large packet of the kernel that cannot be cut.
    BadOffload = "bad_offload",
    /// The interface did not take it.
    Interface = "interface",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many packets were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl DropCounters {
    /// Counts one packet.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several packets.
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        self.0[reason as usize] += packets;
    }

    /// Packets dropped for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Packets dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that have occurred, each with its number of packets.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let all = DropReason::ALL.into_iter().zip(self.0);
        all.filter(|(_, packets)| *packets > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_word_of_its_own() {
        let mut counters = DropCounters::default();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            counters.add(reason, index as u64 + 1);
        }
        let words: std::collections::BTreeSet<_> = DropReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        assert_eq!(words.len(), DropReason::ALL.len());
        for (index, (reason, packets)) in counters.iter().enumerate() {
            assert_eq!(packets, index as u64 + 1, "{reason}");
            assert_eq!(counters.of(reason), packets);
        }
        let len = DropReason::ALL.len() as u64;
        assert_eq!(counters.total(), len * (len + 1) / 2);
    }
}
