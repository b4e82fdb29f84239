//! The machine that asks.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::Translation;
use super::{Allocation, Behavior, Filtering, Hairpin, MAX_SERVERS, Mapping, Sample, TOTAL};
use crate::stun::{
    BindingRequest, BindingResponse, ChangeRequest, Event, Message, Outgoing, Ownership, Timing,
    TransactionId, Transactions, Transmit,
};

/// Sent at 0, 250 and 750 ms and given up at 1 s: a third of [`TOTAL`]. RFC 8489 would wait
/// 500 ms and more; servers farther away than 250 ms get a request twice.
const TIMING: Timing = Timing {
    rto: Duration::from_millis(250),
    sendings: 3,
    patience: 1,
};

/// When the packet to ourselves is sent for the second time, and how long it is waited for after
/// that. It goes no farther than the NAT.
const HAIRPIN_WAIT: Duration = Duration::from_millis(250);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Ask this server, by index.
    Server(usize),
    /// Ask one of its other addresses; the number is the place among the samples.
    Other(usize),
    /// Ask to be answered from another place.
    Change(ChangeRequest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Servers,
    Filtering,
    Others,
    Done,
}

/// A packet to our own mapped address.
#[derive(Debug)]
struct SelfProbe {
    id: TransactionId,
    to: SocketAddr,
    due: Instant,
    sent: u8,
}

/// Finds out what NAT the socket is behind. Give it the datagrams that
/// [`is_stun`](crate::stun::is_stun), and send what it says, until it has a
/// [`result`](Self::result).
#[derive(Debug)]
pub struct Discovery {
    rng: ChaCha20Rng,
    /// Our own addresses and port.
    local: Vec<IpAddr>,
    port: u16,
    servers: Vec<SocketAddr>,
    phase: Phase,
    ends: Instant,
    transactions: Transactions,
    probes: BTreeMap<TransactionId, Probe>,
    /// In the order of asking; filled when answered.
    asked: Vec<(SocketAddr, Option<SocketAddr>)>,
    /// For each server the other address it has told.
    others: Vec<Option<SocketAddr>>,
    /// Which server was asked to answer from elsewhere, by index.
    changer: Option<usize>,
    changed_both: bool,
    changed_port: bool,
    refused: bool,
    self_probe: Option<SelfProbe>,
    hairpin: Hairpin,
    transmits: VecDeque<Transmit>,
    result: Option<Behavior>,
}

impl Discovery {
    /// Begins for a socket that is bound to `port`, on a host with these addresses. Of the servers
    /// the first [`MAX_SERVERS`] are used; all must be of the socket's family.
    #[must_use]
    pub fn new(
        now: Instant,
        (local, port): (&[IpAddr], u16),
        servers: &[SocketAddr],
        rng: &mut impl Rng,
    ) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut unique: Vec<SocketAddr> = Vec::new();
        for &server in servers {
            if !unique.contains(&server) && unique.len() < MAX_SERVERS {
                unique.push(server);
            }
        }
        let mut discovery = Self {
            rng: ChaCha20Rng::from_seed(seed),
            local: local.iter().map(IpAddr::to_canonical).collect(),
            port,
            others: vec![None; unique.len()],
            servers: unique,
            phase: Phase::Servers,
            ends: now + TOTAL,
            transactions: Transactions::new(),
            probes: BTreeMap::new(),
            asked: Vec::new(),
            changer: None,
            changed_both: false,
            changed_port: false,
            refused: false,
            self_probe: None,
            hairpin: Hairpin::NotTried,
            transmits: VecDeque::new(),
            result: None,
        };
        for index in 0..discovery.servers.len() {
            let server = discovery.servers[index];
            discovery.asked.push((server, None));
            discovery.ask(now, Probe::Server(index), server, server);
        }
        discovery.advance(now);
        discovery
    }

    /// Takes a STUN message. What is not an answer to one of our requests is not ours.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Ownership {
        if self.on_self_probe(datagram) {
            self.advance(now);
            return Ownership::Ours;
        }
        let ownership = self.transactions.handle_datagram(now, from, datagram);
        if ownership == Ownership::Ours {
            self.advance(now);
        }
        ownership
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        self.repeat_self_probe(now);
        self.advance(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits
            .pop_front()
            .or_else(|| self.transactions.poll_transmit())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when it is done.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.result.is_some() {
            return None;
        }
        let probe = self.self_probe.as_ref().map(|probe| probe.due);
        [Some(self.ends), self.transactions.poll_timeout(), probe]
            .into_iter()
            .flatten()
            .min()
    }

    /// What was found, once it is known: at most [`TOTAL`] after the beginning.
    #[must_use]
    pub fn result(&self) -> Option<&Behavior> {
        self.result.as_ref()
    }

    fn ask(&mut self, now: Instant, probe: Probe, to: SocketAddr, answers_from: SocketAddr) {
        let mut request = BindingRequest::new(TransactionId::random(&mut self.rng));
        if let Probe::Change(change) = probe {
            request.change = Some(change);
        }
        let outgoing = Outgoing {
            to,
            answers_from,
            key: None,
            timing: TIMING,
        };
        // Fewer requests than a table of transactions holds, with ids that do not repeat.
        if self
            .transactions
            .start_with(now, outgoing, &request)
            .is_ok()
        {
            self.probes.insert(request.transaction_id, probe);
        }
    }

    /// Takes what ended, and begins the next phase when nothing is left to wait for.
    fn advance(&mut self, now: Instant) {
        while let Some(event) = self.transactions.poll_event() {
            self.on_event(event);
        }
        loop {
            let waiting = match self.phase {
                Phase::Servers => {
                    // One server with another address is enough to go on.
                    !self.transactions.is_empty() && self.others.iter().all(Option::is_none)
                }
                Phase::Filtering => self
                    .probes
                    .values()
                    .any(|probe| matches!(probe, Probe::Change(_))),
                Phase::Others => !self.probes.is_empty() || self.self_probe.is_some(),
                Phase::Done => return,
            };
            if waiting && now < self.ends {
                return;
            }
            self.phase = match self.phase {
                Phase::Servers => {
                    self.begin_filtering(now);
                    Phase::Filtering
                }
                Phase::Filtering => {
                    self.begin_others(now);
                    Phase::Others
                }
                Phase::Others | Phase::Done => {
                    self.finish();
                    Phase::Done
                }
            };
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Response { id, response, .. } => match self.probes.remove(&id) {
                Some(Probe::Server(index)) => {
                    self.asked[index].1 = Some(response.mapped);
                    self.others[index] = self.usable_other(index, &response);
                }
                Some(Probe::Other(at)) => self.asked[at].1 = Some(response.mapped),
                Some(Probe::Change(ChangeRequest::Port)) => self.changed_port = true,
                Some(Probe::Change(_)) => self.changed_both = true,
                None => {}
            },
            Event::Refused { id, .. } => {
                if let Some(Probe::Change(_)) = self.probes.remove(&id) {
                    self.refused = true;
                }
            }
            Event::TimedOut { id } => {
                self.probes.remove(&id);
            }
        }
    }

    /// The other address of a server, if it is another in both parts and a plausible one.
    fn usable_other(&self, index: usize, response: &BindingResponse) -> Option<SocketAddr> {
        let server = self.servers[index];
        response.other.filter(|other| {
            let ip = other.ip();
            ip.is_ipv4() == server.ip().to_canonical().is_ipv4()
                && ip != server.ip().to_canonical()
                && other.port() != server.port()
                && other.port() != 0
                && !ip.is_unspecified()
                && !ip.is_multicast()
                && ip.is_loopback() == server.ip().is_loopback()
        })
    }

    fn mapped(&self) -> Option<SocketAddr> {
        self.asked.iter().find_map(|(_, mapped)| *mapped)
    }

    fn is_local(&self, mapped: SocketAddr) -> bool {
        mapped.port() == self.port && self.local.contains(&mapped.ip())
    }

    fn begin_filtering(&mut self, now: Instant) {
        let Some(mapped) = self.mapped() else {
            return;
        };
        if !self.is_local(mapped) {
            self.hairpin = Hairpin::Fails;
            self.self_probe = Some(SelfProbe {
                id: TransactionId::random(&mut self.rng),
                to: mapped,
                due: now,
                sent: 0,
            });
            self.repeat_self_probe(now);
        }
        let Some(index) = self.others.iter().position(Option::is_some) else {
            return;
        };
        let (server, Some(other)) = (self.servers[index], self.others[index]) else {
            return;
        };
        self.changer = Some(index);
        let other_port = SocketAddr::new(server.ip(), other.port());
        for (change, answers_from) in [
            (ChangeRequest::AddressAndPort, other),
            (ChangeRequest::Port, other_port),
        ] {
            self.ask(now, Probe::Change(change), server, answers_from);
        }
    }

    fn begin_others(&mut self, now: Instant) {
        for index in 0..self.servers.len() {
            let Some(other) = self.others[index] else {
                continue;
            };
            let server = self.servers[index];
            for to in [
                SocketAddr::new(other.ip(), server.port()),
                other,
                SocketAddr::new(server.ip(), other.port()),
            ] {
                if self.asked.iter().any(|(asked, _)| *asked == to) {
                    continue;
                }
                self.asked.push((to, None));
                self.ask(now, Probe::Other(self.asked.len() - 1), to, to);
            }
        }
    }

    /// Whether this is our own request to ourselves.
    fn on_self_probe(&mut self, datagram: &[u8]) -> bool {
        let ours = self.self_probe.as_ref().is_some_and(|probe| {
            matches!(Message::decode(datagram), Ok(Message::Request(request))
                if request.transaction_id == probe.id)
        });
        if ours {
            self.self_probe = None;
            self.hairpin = Hairpin::Works;
        }
        ours
    }

    fn repeat_self_probe(&mut self, now: Instant) {
        let Some(probe) = self.self_probe.as_mut().filter(|probe| probe.due <= now) else {
            return;
        };
        if probe.sent == 2 {
            self.self_probe = None;
            return;
        }
        probe.sent += 1;
        probe.due = now + HAIRPIN_WAIT;
        if let Ok(payload) = BindingRequest::new(probe.id).encode(None) {
            self.transmits.push_back(Transmit {
                destination: probe.to,
                payload: Bytes::from(payload),
            });
        }
    }

    fn finish(&mut self) {
        self.transactions = Transactions::new();
        self.probes.clear();
        self.self_probe = None;
        let samples: Vec<Sample> = self
            .asked
            .iter()
            .filter_map(|&(asked, mapped)| mapped.map(|mapped| Sample { asked, mapped }))
            .collect();
        let mapped = samples.first().map(|sample| sample.mapped);
        let translation = match mapped {
            None => Translation::UdpBlocked,
            Some(mapped) if self.is_local(mapped) => Translation::None,
            Some(_) => Translation::Nat,
        };
        let mapping = mapping_of(&samples);
        let ports: Vec<u16> = samples.iter().map(|sample| sample.mapped.port()).collect();
        self.result = Some(Behavior {
            translation,
            mapped,
            mapping,
            filtering: self.filtering(&samples),
            port_kept: mapped.map(|mapped| mapped.port() == self.port),
            hairpin: self.hairpin,
            allocation: mapping
                .filter(|mapping| *mapping != Mapping::EndpointIndependent)
                .and_then(|_| Allocation::of(&ports)),
            samples,
        });
    }

    /// Silence means a filter only when the other addresses answer at all.
    fn filtering(&self, samples: &[Sample]) -> Option<Filtering> {
        let index = self.changer?;
        let (server, other) = (self.servers[index], self.others[index]?);
        let answers = |ip: IpAddr, port: u16| {
            samples
                .iter()
                .any(|sample| sample.asked == SocketAddr::new(ip, port))
        };
        if self.changed_both {
            Some(Filtering::EndpointIndependent)
        } else if self.changed_port {
            Some(Filtering::AddressDependent)
        } else if !self.refused
            && answers(other.ip(), other.port())
            && answers(server.ip(), other.port())
        {
            Some(Filtering::AddressAndPortDependent)
        } else {
            None
        }
    }
}

/// The mapping that these samples show.
fn mapping_of(samples: &[Sample]) -> Option<Mapping> {
    let mut by_address: BTreeMap<IpAddr, Vec<SocketAddr>> = BTreeMap::new();
    for sample in samples {
        by_address
            .entry(sample.asked.ip())
            .or_default()
            .push(sample.mapped);
    }
    let uniform = |seen: &[SocketAddr]| seen.windows(2).all(|pair| pair[0] == pair[1]);
    if by_address.values().any(|seen| !uniform(seen)) {
        return Some(Mapping::AddressAndPortDependent);
    }
    if by_address.len() < 2 {
        return None;
    }
    let firsts: Vec<SocketAddr> = by_address.values().map(|seen| seen[0]).collect();
    if uniform(&firsts) {
        Some(Mapping::EndpointIndependent)
    } else if by_address.values().any(|seen| seen.len() > 1) {
        Some(Mapping::AddressDependent)
    } else {
        Some(Mapping::AddressAndPortDependent)
    }
}
