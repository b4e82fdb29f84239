//! Our address as others see it, believed only when several agree (BEP 42).
//!
//! Every answer may say from where our query came. Each such report is a vote. A liar has one vote
//! however often it answers, and so has a whole subnet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::address::{Family, Subnet, canonical, is_local};

/// Votes that are remembered. Sixteen answers come in one look-up; more would only make a real
/// change of address slower to notice.
pub(crate) const MAX_VOTES: usize = 16;

/// Voters that must agree, where there are so many.
pub(crate) const MIN_VOTES: usize = 4;

/// Voters that must agree, where there are fewer than [`MIN_VOTES`], before a belief is given up.
const MIN_VOTES_FOR_CHANGE: usize = 2;

/// How long fewer than [`MIN_VOTES`] voters must have agreed without exception. Start-up brings
/// more voters in less time if there are any.
const SETTLING: Duration = Duration::from_secs(60);

/// After which time a vote counts no more: voters are heard again within it as BEP 5 pings them.
const VOTE_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How the network translates our port (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Fewer than two voters.
    Unknown,
    /// Most see the same port.
    EndpointIndependent,
    /// They see different ports.
    EndpointDependent,
}

/// Votes on the external address of one socket.
#[derive(Debug, Default)]
pub(crate) struct ExternalAddress {
    /// The newest last.
    votes: Vec<Vote>,
    believed: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Vote {
    voter: Voter,
    seen: SocketAddr,
    /// When the voter last said so.
    at: Instant,
    /// Since when it has said so.
    since: Instant,
}

/// Who has one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voter {
    /// Anyone in a subnet.
    Subnet(Subnet),
    /// A node at a local address.
    Local(SocketAddr),
}

impl ExternalAddress {
    /// Nothing is believed yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `voter` says that it saw us at `seen`. The new address, when another IP is believed than
    /// before this vote.
    pub(crate) fn on_vote(
        &mut self,
        now: Instant,
        voter: SocketAddr,
        seen: SocketAddr,
    ) -> Option<SocketAddr> {
        let (voter, seen) = (canonical(voter), canonical(seen));
        if !is_plausible(voter, seen) {
            return None;
        }
        self.count(now, voter, seen);
        let winner = self.winner(now, Reach::Public);
        let winner = winner.or_else(|| self.winner(now, Reach::Local))?;
        let before = self.believed.replace(winner);
        (before.map(|before| before.ip()) != Some(winner.ip())).then_some(winner)
    }

    /// The IP that most voters see, with the port that most of them see.
    pub(crate) fn believed(&self) -> Option<SocketAddr> {
        self.believed
    }

    /// Our addresses as voters see them, in the order in which the voters first said so: a NAT
    /// that counts took the ports in about this order.
    pub(crate) fn observed(&self) -> impl Iterator<Item = SocketAddr> {
        let mut votes: Vec<&Vote> = self.votes.iter().collect();
        votes.sort_by_key(|vote| vote.since);
        votes.into_iter().map(|vote| vote.seen)
    }

    /// Whether voters see the same port.
    pub(crate) fn mapping(&self) -> Mapping {
        let Some(believed) = self.believed else {
            return Mapping::Unknown;
        };
        let seen = self.votes.iter().map(|vote| vote.seen);
        let seen = seen.filter(|seen| seen.ip() == believed.ip());
        let (same, all) = seen.fold((0, 0), |(same, all), seen| {
            (same + usize::from(seen == believed), all + 1)
        });
        match all {
            0 | 1 => Mapping::Unknown,
            _ if same * 2 > all => Mapping::EndpointIndependent,
            _ => Mapping::EndpointDependent,
        }
    }

    /// Forgets votes and belief: the network has changed.
    pub(crate) fn on_network_change(&mut self) {
        *self = Self::new();
    }

    fn count(&mut self, now: Instant, voter: SocketAddr, seen: SocketAddr) {
        let voter = match is_local(voter.ip()) {
            true => Voter::Local(voter),
            false => Voter::Subnet(Subnet::of(voter.ip())),
        };
        let mut since = now;
        self.votes.retain(|vote| {
            let is_same = vote.voter == voter;
            if is_same && vote.seen.ip() == seen.ip() {
                since = vote.since;
            }
            !is_same && now.saturating_duration_since(vote.at) < VOTE_LIFETIME
        });
        if self.votes.len() == MAX_VOTES {
            self.votes.remove(0);
        }
        self.votes.push(Vote {
            voter,
            seen,
            at: now,
            since,
        });
    }

    /// The address that the votes of one reach agree on, if they do.
    fn winner(&self, now: Instant, reach: Reach) -> Option<SocketAddr> {
        let votes = || self.votes.iter().filter(|vote| Reach::of(vote) == reach);
        let all = votes().count();
        let for_ip = |seen: SocketAddr| votes().filter(move |vote| vote.seen.ip() == seen.ip());
        let first = votes().max_by_key(|vote| for_ip(vote.seen).count())?.seen;
        let agreeing = for_ip(first).count();
        let settled = || {
            let changes = self.believed.is_some_and(|old| old.ip() != first.ip());
            let enough = if changes { MIN_VOTES_FOR_CHANGE } else { 1 };
            let since = for_ip(first).map(|vote| vote.since).min();
            agreeing == all
                && agreeing >= enough
                && since.is_some_and(|since| now.saturating_duration_since(since) >= SETTLING)
        };
        // Two thirds: a clear majority, so that two camps of equal size do not take turns.
        let clear = agreeing >= MIN_VOTES && agreeing * 3 > all * 2;
        let confirmed =
            self.believed.is_some_and(|old| old.ip() == first.ip()) && agreeing * 2 > all;
        if !clear && !confirmed && !settled() {
            return None;
        }
        let ports = for_ip(first).map(|vote| vote.seen);
        ports.max_by_key(|seen| for_ip(first).filter(|vote| vote.seen == *seen).count())
    }
}

/// Whether an address can be used from everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Local,
}

impl Reach {
    fn of(vote: &Vote) -> Self {
        match is_local(vote.seen.ip()) {
            true => Self::Local,
            false => Self::Public,
        }
    }
}

/// Whether `voter` can have seen that at all: one family, an address that can be sent to, and
/// nobody far away sees a local address.
fn is_plausible(voter: SocketAddr, seen: SocketAddr) -> bool {
    let ip = seen.ip();
    let usable = seen.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
    let near = !is_local(ip) || is_local(voter.ip());
    Family::of(&voter) == Family::of(&seen) && usable && near
}

#[cfg(test)]
mod tests;
