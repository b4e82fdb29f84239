//! One allocation, from asking for it to deleting it.

mod asking;
mod clearing;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::{DelayedTransmitBuild, TurnClientApi};
use turn_client_proto::types::{AddressFamily, Instant as InnerInstant, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use self::clearing::Clearing;
use super::error::{AllocationError, PermitError, SendError, StreamError};
use super::event::{Event, Handled};
use super::framing::{Framer, pad, padded};
use super::liveness::{Due, Liveness};
use super::refresher::{Refresher, is_success};
use super::{Config, Families, GIVE_UP, Link, MAX_CHANNELS, MAX_PAYLOAD, MAX_PERMISSIONS};
use crate::stun::{TransactionId, Transmit, is_stun};

/// Bytes of the longest frame on a stream: a header and an IPv6 peer's longest datagram.
const MAX_FRAME: usize = 20 + 65_535;

/// Requests whose refusals are understood, the last ones: more are never under way than a
/// permission and a channel for each peer.
const MAX_REMEMBERED: usize = MAX_PERMISSIONS + MAX_CHANNELS + 8;

/// How long the deletion at the end waits for its answer.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Rounds of one drain of the protocol: more than it can have to say.
const MAX_ROUNDS: usize = 256;

/// The protocol counts nanoseconds from here.
const EPOCH: i64 = 1_000_000_000;

const ALLOCATE: u16 = 0x003;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Allocating,
    /// What an earlier allocation has left is deleted. Then it goes on.
    Clearing {
        again: Instant,
    },
    Ready,
    Closing(Instant),
    Ended,
}

/// A relayed address at one server.
pub struct Allocation {
    inner: TurnClientUdp,
    config: TurnConfig,
    refresher: Refresher,
    base: Instant,
    server: SocketAddr,
    local: SocketAddr,
    link: Link,
    state: State,
    wake: Option<Instant>,
    liveness: Liveness,
    rng: ChaCha20Rng,
    relayed: Vec<SocketAddr>,
    /// Admitted, or asked to be.
    permissions: BTreeSet<IpAddr>,
    /// Peers whose channels were asked for.
    channels: BTreeSet<SocketAddr>,
    /// Ids and methods of the last requests.
    requests: VecDeque<(TransactionId, u16)>,
    /// The requests for the allocation that were refused for their credentials.
    unauthenticated: BTreeSet<TransactionId>,
    last_code: Option<u16>,
    clearing: Option<Clearing>,
    framer: Framer,
    payloads: VecDeque<(SocketAddr, Bytes)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl fmt::Debug for Allocation {
    /// Without what the protocol holds: the password is in there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocation")
            .field("server", &self.server)
            .field("link", &self.link)
            .field("state", &self.state)
            .field("relayed", &self.relayed)
            .finish_non_exhaustive()
    }
}

impl Allocation {
    /// Begins to ask the server for an address.
    #[must_use]
    pub fn new(now: Instant, config: &Config, rng: &mut impl Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let mut local = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        if config.server.is_ipv4() {
            local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        }
        let inner = inner_config(config);
        let mut allocation = Self {
            inner: TurnClientUdp::allocate(local, config.server, inner.clone()),
            refresher: Refresher::new(&inner),
            config: inner,
            base: now,
            server: config.server,
            local,
            link: config.link,
            state: State::Allocating,
            wake: None,
            liveness: Liveness::new(now),
            rng: ChaCha20Rng::from_seed(seed),
            relayed: Vec::new(),
            permissions: BTreeSet::new(),
            channels: BTreeSet::new(),
            requests: VecDeque::new(),
            unauthenticated: BTreeSet::new(),
            last_code: None,
            clearing: None,
            framer: Framer::default(),
            payloads: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        allocation.drain(now);
        allocation
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The relayed addresses: none before [`Event::Allocated`] and after the end.
    #[must_use]
    pub fn relayed(&self) -> &[SocketAddr] {
        &self.relayed
    }

    /// Whether the server may be dead: half a second after it was first asked whether it lives, it
    /// has not answered. Who looks for a relay then looks for another.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.state == State::Ready && self.liveness.is_doubtful()
    }

    /// Whether it ended: failed or closed. It then does nothing more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Admits a peer's address, whatever its port. Doing so again does nothing.
    ///
    /// # Errors
    /// [`PermitError`].
    pub fn permit(&mut self, now: Instant, peer: IpAddr) -> Result<(), PermitError> {
        let peer = peer.to_canonical();
        if self.permissions.contains(&peer) {
            return Ok(());
        }
        let family = |relayed: &SocketAddr| relayed.is_ipv4() == peer.is_ipv4();
        if self.state != State::Ready || !self.relayed.iter().any(family) {
            return Err(PermitError::NoAllocation);
        }
        if self.permissions.len() >= MAX_PERMISSIONS {
            return Err(PermitError::TooMany);
        }
        let at = self.at(now);
        self.inner
            .create_permission(self.inner.transport(), peer, at)
            .map_err(|_| PermitError::NoAllocation)?;
        self.permissions.insert(peer);
        self.drain(now);
        Ok(())
    }

    /// What carries `payload` to a peer: 4 bytes longer once a channel is bound, and 36 or, for
    /// IPv6, 48 before that. The first call for a peer asks for its channel.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_to(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        payload: &[u8],
    ) -> Result<Transmit, SendError> {
        let frame = self.wrap(now, peer, payload)?.build();
        self.liveness.on_sent(now);
        Ok(self.transmit(frame))
    }

    fn wrap<'a>(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        payload: &'a [u8],
    ) -> Result<impl DelayedTransmitBuild + use<'a>, SendError> {
        if self.state != State::Ready {
            return Err(SendError::NoAllocation);
        }
        if payload.len() > MAX_PAYLOAD {
            return Err(SendError::TooLong);
        }
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let at = self.at(now);
        let transport = self.inner.transport();
        if !self.inner.have_permission(transport, peer.ip()) {
            return Err(SendError::NoPermission);
        }
        self.bind_channel(now, peer);
        let built = self
            .inner
            .send_to(transport, peer, payload, at)
            .map_err(|_| SendError::NoPermission)?
            .ok_or(SendError::NoAllocation)?;
        Ok(built.data)
    }

    /// As [`send_to`](Self::send_to), written to the end of `out`: nothing is allocated where it
    /// has room.
    ///
    /// # Errors
    /// [`SendError`]; `out` is then as before.
    pub fn send_into(
        &mut self,
        now: Instant,
        (peer, payload): (SocketAddr, &[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let built = self.wrap(now, peer, payload)?;
        let start = out.len();
        let len = built.len();
        out.resize(start + len, 0);
        let written = built.write_into(&mut out[start..]);
        out.truncate(start + written);
        if self.link == Link::Stream {
            pad(out, start);
        }
        self.liveness.on_sent(now);
        Ok(())
    }

    /// Takes a datagram from the one socket.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Handled {
        if self.link != Link::Datagrams || from != self.server || self.state == State::Ended {
            return Handled::NotOurs;
        }
        self.handle_frame(now, datagram)
    }

    /// Takes bytes from the stream. Payloads in it are then given by
    /// [`poll_payload`](Self::poll_payload).
    ///
    /// # Errors
    /// [`StreamError`]: the stream is to be closed, and the allocation has failed.
    pub fn handle_stream(&mut self, now: Instant, bytes: &[u8]) -> Result<(), StreamError> {
        if self.link != Link::Stream || self.state == State::Ended {
            return Ok(());
        }
        self.framer.push(bytes);
        loop {
            match self.framer.next(MAX_FRAME) {
                Ok(Some(frame)) => {
                    if let Handled::Payload { peer, range } = self.handle_frame(now, &frame) {
                        let payload = Bytes::from(frame).slice(range);
                        self.payloads.push_back((peer, payload));
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.fail(AllocationError::Protocol);
                    return Err(error);
                }
            }
        }
    }

    /// The stream was closed by the other side, or broke.
    pub fn handle_disconnected(&mut self) {
        if let State::Closing(_) = self.state {
            self.end(Event::Closed);
        } else {
            self.fail(AllocationError::Disconnected);
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closing(until) if until <= now => return self.end(Event::Closed),
            State::Ready => match self.liveness.handle_timeout(now) {
                Due::Nothing => {}
                Due::Ask => self.ask_for_life(),
                Due::Dead => return self.fail(AllocationError::Silent),
            },
            State::Clearing { again } if again <= now => return self.go_on_clearing(now),
            State::Clearing { .. } => return,
            State::Ended => return,
            State::Allocating | State::Closing(_) => {}
        }
        self.drain(now);
    }

    /// Deletes the allocation. [`Event::Closed`] follows within a second; what is to be sent
    /// until then should be.
    pub fn close(&mut self, now: Instant) {
        if self.state != State::Ready {
            if matches!(self.state, State::Allocating | State::Clearing { .. }) {
                self.end(Event::Closed);
            }
            return;
        }
        self.state = State::Closing(now + CLOSE_WAIT);
        let at = self.at(now);
        if self.inner.delete(at).is_err() {
            return self.end(Event::Closed);
        }
        self.drain(now);
    }

    /// The next thing to send: a datagram, or bytes for the stream.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next payload that came over the stream, with its sender.
    pub fn poll_payload(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.payloads.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ended => None,
            State::Allocating => self.wake,
            State::Clearing { again } => Some(again),
            State::Ready => Some(
                self.wake
                    .map_or(self.liveness.due(), |wake| wake.min(self.liveness.due())),
            ),
            State::Closing(until) => Some(self.wake.map_or(until, |wake| wake.min(until))),
        }
    }

    fn at(&self, now: Instant) -> InnerInstant {
        let elapsed = now.saturating_duration_since(self.base).as_nanos();
        InnerInstant::from_nanos(EPOCH.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX)))
    }

    fn transmit(&self, frame: Vec<u8>) -> Transmit {
        let frame = match self.link {
            Link::Datagrams => frame,
            Link::Stream => padded(frame),
        };
        Transmit {
            destination: self.server,
            payload: Bytes::from(frame),
        }
    }

    /// With two relayed addresses the protocol would give both families the same channel numbers,
    /// so only one family gets any.
    fn bind_channel(&mut self, now: Instant, peer: SocketAddr) {
        let other_family = |bound: &SocketAddr| bound.is_ipv4() != peer.is_ipv4();
        if self.channels.contains(&peer)
            || self.channels.len() >= MAX_CHANNELS
            || self.channels.iter().any(other_family)
        {
            return;
        }
        let at = self.at(now);
        if self
            .inner
            .bind_channel(self.inner.transport(), peer, at)
            .is_ok()
        {
            self.channels.insert(peer);
            self.drain(now);
        }
    }

    fn handle_frame(&mut self, now: Instant, frame: &[u8]) -> Handled {
        use turn_client_proto::api::Transmit as InnerTransmit;
        let at = self.at(now);
        if is_stun(frame) && self.on_message(now, frame) {
            return Handled::Consumed;
        }
        let transport = self.inner.transport();
        let received = InnerTransmit::new(frame, transport, self.server, self.local);
        let handled = match self.inner.recv(received, at) {
            TurnRecvRet::PeerData(payload) => {
                let start = payload.data().as_ptr() as usize - frame.as_ptr() as usize;
                Handled::Payload {
                    peer: payload.peer,
                    range: start..start + payload.data().len(),
                }
            }
            TurnRecvRet::Handled | TurnRecvRet::PeerIcmp { .. } => Handled::Consumed,
            // An answer that came twice, or too late.
            TurnRecvRet::Ignored(_) if self.is_known(frame) => return Handled::Consumed,
            TurnRecvRet::Ignored(_) => return Handled::NotOurs,
        };
        if matches!(handled, Handled::Payload { .. }) {
            self.liveness.on_heard(now);
            return handled;
        }
        // A refusal, or an answer to Binding, says nothing about the allocation.
        if is_success(frame) {
            self.liveness.on_heard(now);
        }
        self.drain(now);
        handled
    }

    /// Takes everything the protocol has to send and to say, and asks when it wants to be woken.
    fn drain(&mut self, now: Instant) {
        if matches!(self.state, State::Ended | State::Clearing { .. }) {
            return;
        }
        let at = self.at(now);
        for _ in 0..MAX_ROUNDS {
            let mut quiet = true;
            while let Some(transmit) = self.inner.poll_transmit(at) {
                quiet = false;
                let frame = transmit.data.as_ref().to_vec();
                self.remember(&frame);
                let transmit = self.transmit(frame);
                self.transmits.push_back(transmit);
            }
            while let Some(event) = self.inner.poll_event() {
                quiet = false;
                self.on_event(&event);
            }
            if self.unauthenticated.len() > 1 {
                return self.fail(AllocationError::WrongCredentials);
            }
            match self.inner.poll(at) {
                TurnPollRet::WaitUntil(wake) if wake > at => {
                    let after = wake.as_nanos().saturating_sub(at.as_nanos());
                    let after = Duration::from_nanos(u64::try_from(after).unwrap_or(0));
                    self.wake = Some(now + after);
                    return;
                }
                TurnPollRet::Closed => return self.on_closed(now),
                _ if quiet => break,
                _ => {}
            }
        }
        // It wants to go on but says nothing.
        self.wake = Some(now + Duration::from_millis(50));
    }

    fn on_event(&mut self, event: &TurnEvent) {
        match *event {
            TurnEvent::AllocationCreated(_, relayed)
                if self.state == State::Allocating || self.state == State::Ready =>
            {
                self.state = State::Ready;
                self.relayed.push(relayed);
                self.events.push_back(Event::Allocated { relayed });
            }
            TurnEvent::PermissionCreated(_, peer) => {
                self.events.push_back(Event::Permitted { peer });
            }
            TurnEvent::PermissionCreateFailed(_, peer) => {
                self.permissions.remove(&peer);
                self.events.push_back(Event::Refused { peer });
            }
            // Send indications do as well; it is not asked for again.
            TurnEvent::ChannelCreateFailed(..) | TurnEvent::ChannelCreated(..) => {}
            _ => {}
        }
    }

    fn on_closed(&mut self, now: Instant) {
        match self.state {
            State::Closing(_) => self.end(Event::Closed),
            State::Allocating if self.last_code == Some(437) => self.clear(now),
            State::Allocating => {
                let error = match self.last_code {
                    Some(401) if self.unauthenticated.len() < 2 => AllocationError::Protocol,
                    Some(code) => AllocationError::of_code(code),
                    None => AllocationError::Silent,
                };
                self.fail(error);
            }
            State::Ready => self.fail(AllocationError::Expired),
            State::Clearing { .. } | State::Ended => {}
        }
    }

    fn fail(&mut self, error: AllocationError) {
        if self.state != State::Ended {
            self.end(Event::Failed(error));
        }
    }

    fn end(&mut self, event: Event) {
        self.state = State::Ended;
        self.wake = None;
        self.relayed.clear();
        self.events.push_back(event);
    }
}

fn inner_config(config: &Config) -> TurnConfig {
    let credentials = TurnCredentials::new(&config.username, &config.password);
    let mut inner = TurnConfig::new(credentials);
    match config.families {
        Families::V4 => {}
        Families::V6 => inner.set_address_family(AddressFamily::IPV6),
        Families::Both => inner.add_address_family(AddressFamily::IPV6),
    }
    let second = Duration::from_secs(1);
    match config.link {
        Link::Datagrams => {
            inner.set_request_retransmits(Duration::from_millis(500), second, 4, second);
        }
        // Nothing is lost on a stream, so nothing is sent twice.
        Link::Stream => inner.set_request_retransmits(second, second, 1, GIVE_UP),
    }
    inner
}
