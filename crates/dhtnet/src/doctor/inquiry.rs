//! Everything that is asked from one socket: the DHT, a STUN server, the own outside address, and
//! the longest packet. Datagrams, reports and time go in, datagrams come out.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_dht_core::krpc::{Method, NetworkTag};
use dhtnet_dht_core::{Family, Id};
use dhtnet_nat_traversal::behavior::Discovery;
use dhtnet_nat_traversal::stun::is_stun;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::facts::{FamilyFacts, Trouble, Unsendable};
use super::path_mtu::PathMtu;
use super::survey::{Company, Outgoing, Survey, Wanted, query};

/// When the socket is given up, whatever is still waited for: STUN takes three seconds at most,
/// and its server's name has to be found first.
pub(crate) const INQUIRY_LIMIT: Duration = Duration::from_millis(3_800);

/// The packet to the own outside address is sent this often,
const HAIRPIN_SENDINGS: u8 = 2;

/// with this time between. It goes no farther than the NAT.
const HAIRPIN_PAUSE: Duration = Duration::from_millis(300);

/// Reports kept. Each says the same as a rule.
const MAX_REPORTS: usize = 32;

/// A packet to ourselves.
#[derive(Debug)]
struct Hairpin {
    to: SocketAddr,
    payload: Vec<u8>,
    sent: u8,
    due: Instant,
    came_back: bool,
    given_up: bool,
}

/// A report that came instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Trouble(Trouble),
    TooBig { mtu: u32 },
}

/// The inquiry of one family.
#[derive(Debug)]
pub(crate) struct Inquiry {
    rng: ChaCha20Rng,
    network: Option<NetworkTag>,
    bound: SocketAddr,
    local: Vec<IpAddr>,
    ends: Instant,
    survey: Survey,
    mtu: PathMtu,
    hairpin: Option<Hairpin>,
    stun: Option<Discovery>,
    stun_asked: Vec<SocketAddr>,
    reports: Vec<(IpAddr, Trouble)>,
    unsendable: Option<Unsendable>,
}

impl Inquiry {
    /// For a socket bound to `bound` on a host with these addresses.
    pub(crate) fn new(
        now: Instant,
        (bound, local): (SocketAddr, &[IpAddr]),
        company: &Company,
        wanted: &[Wanted],
        mut rng: ChaCha20Rng,
    ) -> Self {
        let family = Family::of(&bound);
        let network = company.network;
        let survey = Survey::new(now, family, company.clone(), wanted, &mut rng);
        let transaction = rng.next_u32();
        let mtu = PathMtu::new(family, Id::random(&mut rng), network, transaction);
        Self {
            rng,
            network,
            bound,
            local: local.to_vec(),
            ends: now + INQUIRY_LIMIT,
            survey,
            mtu,
            hairpin: None,
            stun: None,
            stun_asked: Vec::new(),
            reports: Vec::new(),
            unsendable: None,
        }
    }

    /// Somebody of the DHT to ask.
    pub(crate) fn add_node(&mut self, now: Instant, address: SocketAddr) {
        if !self.is_over(now) {
            self.survey.add(now, address);
        }
    }

    /// Begins to ask these STUN servers, those of the family.
    pub(crate) fn add_stun(&mut self, now: Instant, servers: &[SocketAddr]) {
        let is_ours = |server: &&SocketAddr| server.is_ipv4() == self.bound.is_ipv4();
        let servers: Vec<SocketAddr> = servers.iter().filter(is_ours).copied().collect();
        if !servers.is_empty() && self.stun.is_none() {
            let own = (self.local.as_slice(), self.bound.port());
            self.stun = Some(Discovery::new(now, own, &servers, &mut self.rng));
            self.stun_asked = servers;
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if is_stun(datagram) {
            if let Some(stun) = &mut self.stun {
                stun.handle_datagram(now, from, datagram);
            }
            return;
        }
        if let Some(hairpin) = self.hairpin.as_mut().filter(|h| h.payload == datagram) {
            hairpin.came_back = true;
            return;
        }
        if self.mtu.handle_datagram(now, from, datagram) {
            return;
        }
        if self.survey.handle_datagram(now, from, datagram) {
            self.mtu.add(now, from);
            self.try_hairpin(now);
        }
    }

    /// Takes a report about something that was sent.
    pub(crate) fn handle_report(&mut self, by: IpAddr, heard: Heard) {
        match heard {
            Heard::TooBig { mtu } => self.mtu.on_too_big(by, mtu),
            Heard::Trouble(trouble) => {
                if self.reports.len() < MAX_REPORTS && !self.reports.contains(&(by, trouble)) {
                    self.reports.push((by, trouble));
                }
            }
        }
    }

    /// The own system refused to send.
    pub(crate) fn on_unsendable(&mut self, why: Unsendable) {
        self.unsendable.get_or_insert(why);
    }

    /// The own system says that this is too long to be sent in one piece.
    pub(crate) fn on_too_long(&mut self, payload: &[u8]) {
        self.mtu.on_unsendable(payload);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.survey.handle_timeout(now);
        self.mtu.handle_timeout(now);
        if let Some(stun) = &mut self.stun {
            stun.handle_timeout(now);
        }
        if let Some(hairpin) = self.hairpin.as_mut().filter(|hairpin| hairpin.due <= now) {
            hairpin.given_up = hairpin.sent >= HAIRPIN_SENDINGS;
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        let hairpin = self.hairpin.as_mut().filter(|hairpin| {
            !hairpin.came_back && hairpin.sent < HAIRPIN_SENDINGS && hairpin.due <= now
        });
        if let Some(hairpin) = hairpin {
            hairpin.sent += 1;
            hairpin.due = now + HAIRPIN_PAUSE;
            return Some(Outgoing {
                to: hairpin.to,
                payload: hairpin.payload.clone(),
            });
        }
        let of_stun = |stun: &mut Discovery| {
            let transmit = stun.poll_transmit()?;
            Some(Outgoing {
                to: transmit.destination,
                payload: transmit.payload.to_vec(),
            })
        };
        self.survey
            .poll_transmit()
            .or_else(|| self.mtu.poll_transmit())
            .or_else(|| self.stun.as_mut().and_then(of_stun))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let stun = self.stun.as_ref().and_then(Discovery::poll_timeout);
        let hairpin = self.hairpin.as_ref().filter(|hairpin| hairpin.is_waiting());
        let hairpin = hairpin.map(|hairpin| hairpin.due);
        let all = [self.survey.poll_timeout(), self.mtu.poll_timeout(), stun];
        let all = all.into_iter().chain([hairpin, Some(self.ends)]);
        all.flatten().min()
    }

    /// A node of the other family that was told of.
    pub(crate) fn poll_foreign(&mut self) -> Option<SocketAddr> {
        self.survey.poll_foreign()
    }

    /// Whether nothing is left to wait for, or the time is over.
    pub(crate) fn is_done(&self, now: Instant) -> bool {
        let hairpin = self.hairpin.as_ref();
        let quiet = self.survey.is_done()
            && self.mtu.is_done()
            && !hairpin.is_some_and(Hairpin::is_waiting)
            && self
                .stun
                .as_ref()
                .is_none_or(|stun| stun.result().is_some());
        quiet || self.is_over(now)
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    pub(crate) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// What was found so far.
    pub(crate) fn facts(&self) -> FamilyFacts {
        FamilyFacts {
            bound: Some(self.bound),
            local: self.local.clone(),
            asked: self.survey.asked(),
            stun_asked: self.stun_asked.clone(),
            answers: self.survey.answers().to_vec(),
            reports: self.reports.clone(),
            unsendable: self.unsendable,
            behavior: self.stun.as_ref().and_then(|stun| stun.result().cloned()),
            hairpin: self.hairpin.as_ref().map(|hairpin| hairpin.came_back),
            mtu: self.mtu.facts(),
            ..FamilyFacts::default()
        }
    }

    /// Sends to the own outside address as soon as it is known, where there is a NAT.
    fn try_hairpin(&mut self, now: Instant) {
        let external = self.survey.answers().iter().find_map(|a| a.external);
        let Some(to) = external.filter(|to| !self.local.contains(&to.ip())) else {
            return;
        };
        if self.hairpin.is_none() {
            let parts = (self.rng.next_u32(), Method::Ping, 0);
            self.hairpin = Some(Hairpin {
                to,
                payload: query(Id::random(&mut self.rng), self.network, parts),
                sent: 0,
                due: now,
                came_back: false,
                given_up: false,
            });
        }
    }
}

impl Hairpin {
    fn is_waiting(&self) -> bool {
        !self.came_back && !self.given_up
    }
}

#[cfg(test)]
mod tests;
