//! Two cores on a virtual clock, joined by simulated links.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dhtnet_channel_mux::{ChannelRequest, Event as MuxEvent, Limits};
use dhtnet_identity::DeviceKey;
use dhtnet_secure_transport::{NoiseConfig, TransportSettings};
use dhtnet_simnet::{Clock, Link, LinkConfig};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::path::{PathAddress, Route};
use super::*;
use crate::hello::Hello;

const SEGMENTS: usize = 64;

mod datagrams;
mod renewal;
mod roaming;
mod windows;

/// A datagram on its way: where from and by which end of the receiver, what.
type Packet = (PathAddress, Bytes);

struct Host {
    core: Core,
    address: SocketAddr,
    /// Further ends with addresses of their own.
    ends: Vec<(Via, SocketAddr)>,
    out: Link<Packet>,
    events: VecDeque<CoreEvent>,
    sent: usize,
}

impl Host {
    fn new(seed: u8, config: LinkConfig) -> Self {
        let key = DeviceKey::from_seed(&[seed; 32]);
        let hello = Bytes::from(
            Hello {
                instance: [seed; 16],
                wants: false,
                shows: false,
            }
            .encode(),
        );
        let rng = ChaCha20Rng::from_seed([seed; 32]);
        let noise = NoiseConfig::new(&key, hello, Box::new(rng)).unwrap();
        let settings = TransportSettings::default()
            .keep_alive(None)
            .max_bidi_streams(2_049);
        Self {
            core: Core::new(
                noise,
                settings,
                (8 << 20, Limits::default()),
                ChaCha20Rng::from_seed([seed + 100; 32]),
            )
            .unwrap(),
            address: SocketAddr::from(([192, 0, 2, seed], 4_433)),
            ends: Vec::new(),
            out: Link::new(config, u64::from(seed)),
            events: VecDeque::new(),
            sent: 0,
        }
    }

    fn receive(&mut self, now: Instant, (from, datagram): Packet) {
        if dhtnet_nat_traversal::stun::is_stun(&datagram) {
            self.core.handle_check(now, from, &datagram);
        } else {
            let datagram = BytesMut::from(&datagram[..]);
            self.core.handle_datagram(now, from, None, datagram);
        }
    }

    /// The address that others see behind one of its ends.
    fn address_of(&self, via: Via) -> Option<SocketAddr> {
        let mut further = self.ends.iter();
        match via {
            Via::Shared => Some(self.address),
            via => further.find(|(end, _)| *end == via).map(|(_, at)| *at),
        }
    }

    fn end_at(&self, address: SocketAddr) -> Option<Via> {
        let shared = (self.address == address).then_some(Via::Shared);
        let mut further = self.ends.iter();
        shared.or_else(|| further.find(|(_, at)| *at == address).map(|(via, _)| *via))
    }

    /// Sends what the core has; datagrams to an end of `peer` enter the link, others get lost, and
    /// those of a pair of addresses that is cut.
    fn flush(&mut self, now: Instant, peer: &Self, cut: &BTreeSet<(SocketAddr, SocketAddr)>) {
        let mut buffer = Vec::new();
        while let Some(outgoing) = self.core.poll_transmit(now, SEGMENTS, &mut buffer) {
            let step = outgoing.segment.unwrap_or(outgoing.len).max(1);
            for to in outgoing.destinations.as_slice() {
                for datagram in buffer[..outgoing.len].chunks(step) {
                    self.sent += 1;
                    let (Some(from), Some(via)) = (self.address_of(to.via), peer.end_at(to.remote))
                    else {
                        continue;
                    };
                    if !cut.contains(&(from, to.remote)) {
                        let seen = PathAddress {
                            via,
                            ..PathAddress::to(from)
                        };
                        let packet = (seen, Bytes::copy_from_slice(datagram));
                        self.out.send(now, datagram.len(), false, packet);
                    }
                }
            }
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push_back(event);
        }
    }
}

/// Two hosts and the time.
struct Net {
    clock: Clock,
    one: Host,
    two: Host,
    /// Pairs of addresses between which nothing passes.
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Net {
    fn new(config: LinkConfig) -> Self {
        let clock = Clock::new(Instant::now());
        Self {
            clock,
            one: Host::new(1, config.clone()),
            two: Host::new(2, config),
            cut: BTreeSet::new(),
        }
    }

    fn fast() -> Self {
        Self::new(LinkConfig::default().with_delay(Duration::from_millis(10)))
    }

    /// Runs until nothing happens for `span`, or that time is over.
    fn run(&mut self, span: Duration) {
        let end = self.clock.now() + span;
        loop {
            let now = self.clock.now();
            self.one.flush(now, &self.two, &self.cut);
            self.two.flush(now, &self.one, &self.cut);
            let next = [
                self.one.core.poll_timeout(),
                self.two.core.poll_timeout(),
                self.one.out.next_delivery(),
                self.two.out.next_delivery(),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            // A deadline in the past is due now; time never runs back.
            self.clock.advance_to(next.max(now));
            self.deliver();
        }
        self.clock.advance_to(end);
    }

    fn deliver(&mut self) {
        let now = self.clock.now();
        while let Some(delivery) = self.one.out.poll_delivery(now) {
            self.two.receive(now, delivery.item);
        }
        while let Some(delivery) = self.two.out.poll_delivery(now) {
            self.one.receive(now, delivery.item);
        }
        for host in [&mut self.one, &mut self.two] {
            host.core.handle_timeout(now);
            host.core.drive_ready(now);
        }
    }

    /// Dials from the first host and gives the keys at both ends.
    fn connect(&mut self) -> (ConnectionKey, ConnectionKey) {
        let (key, now) = (DeviceKey::from_seed(&[2; 32]).id(), self.clock.now());
        let here = self.one.core.dial(now, &key).unwrap();
        self.one
            .core
            .add_candidate(now, here, Route::untried(PathAddress::to(self.two.address)));
        self.run(Duration::from_secs(2));
        let there = established(&mut self.two).expect("the other side is connected");
        assert_eq!(established(&mut self.one), Some(here));
        (here, there)
    }
}

fn established(host: &mut Host) -> Option<ConnectionKey> {
    host.events.drain(..).find_map(|event| match event {
        CoreEvent::Established { key, .. } => Some(key),
        _ => None,
    })
}

fn ended(host: &mut Host) -> Option<EndReason> {
    host.events.drain(..).find_map(|event| match event {
        CoreEvent::Ended { reason, .. } => Some(reason),
        _ => None,
    })
}

fn drained(host: &mut Host) -> bool {
    host.events.drain(..).any(|event| {
        matches!(
            event,
            CoreEvent::Mux {
                event: MuxEvent::Drained,
                ..
            }
        )
    })
}

fn open(host: &mut Host, now: Instant, key: ConnectionKey) -> mux::ChannelId {
    host.core
        .with_mux(key, |mux, link| {
            mux.open(link, now, ChannelRequest::stream("test"))
        })
        .unwrap()
        .unwrap()
}

/// A channel that the second host accepted.
fn open_accepted(net: &mut Net, here: ConnectionKey, there: ConnectionKey) {
    open(&mut net.one, net.clock.now(), here);
    net.run(Duration::from_secs(1));
    let (id, now) = (offered(&mut net.two), net.clock.now());
    net.two
        .core
        .with_mux(there, |mux, link| mux.accept(link, now, id).unwrap());
}

fn offered(host: &mut Host) -> mux::ChannelId {
    let id = host.events.drain(..).find_map(|event| match event {
        CoreEvent::Mux {
            event: MuxEvent::Incoming { id, .. },
            ..
        } => Some(id),
        _ => None,
    });
    id.expect("the other side asks for a channel")
}

#[test]
fn an_open_channel_keeps_the_connection_alive_for_as_long_as_it_is_open() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    open_accepted(&mut net, here, there);
    net.run(Duration::from_secs(600));
    assert_eq!((ended(&mut net.one), ended(&mut net.two)), (None, None));
    assert!(net.one.core.get(here).is_some() && net.two.core.get(there).is_some());
}

#[test]
fn a_connection_without_channels_is_closed_in_good_order() {
    let mut net = Net::fast();
    net.connect();
    net.run(Duration::from_secs(28));
    assert!(drained(&mut net.one));
    assert!(drained(&mut net.two));
}

#[test]
fn a_peer_that_falls_silent_is_given_up_after_the_idle_timeout() {
    let mut net = Net::fast();
    let (here, _) = net.connect();
    open(&mut net.one, net.clock.now(), here);
    net.run(Duration::from_secs(1));
    net.one.events.clear();
    // From here on nothing arrives.
    net.one
        .out
        .reconfigure(LinkConfig::default().with_loss(1.0));
    net.two
        .out
        .reconfigure(LinkConfig::default().with_loss(1.0));
    net.run(Duration::from_secs(60));
    assert_eq!(ended(&mut net.one), Some(EndReason::TimedOut));
    assert_eq!(net.one.core.connections().count(), 0);
}

#[test]
fn a_closed_port_ends_a_connection_in_seconds() {
    let mut net = Net::fast();
    let (here, _) = net.connect();
    open(&mut net.one, net.clock.now(), here);
    net.two
        .out
        .reconfigure(LinkConfig::default().with_loss(1.0));
    net.run(Duration::from_secs(1));
    let now = net.clock.now();
    net.one.core.handle_refused(now, net.two.address.ip());
    net.run(Duration::from_secs(9));
    assert_eq!(ended(&mut net.one), Some(EndReason::PortClosed));
}

#[test]
fn a_peer_that_moves_to_another_address_is_followed() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    open_accepted(&mut net, here, there);
    net.run(Duration::from_secs(2));
    // A NAT gives the first host another port; its next keepalive comes from there.
    net.one.address = SocketAddr::from(([198, 51, 100, 1], 999));
    net.run(Duration::from_secs(6));
    let path = net.two.core.get(there).unwrap().paths.current().unwrap();
    assert_eq!(path.remote, net.one.address);
    net.run(Duration::from_secs(120));
    assert_eq!(ended(&mut net.two), None);
}

#[test]
fn unfinished_handshakes_are_bounded_for_each_host_and_time_out() {
    let mut net = Net::fast();
    let peer = DeviceKey::from_seed(&[2; 32]).id();
    // The answers are lost: every attempt stays unfinished at the other side.
    net.two
        .out
        .reconfigure(LinkConfig::default().with_loss(1.0));
    for _ in 0..MAX_PENDING_FROM_ONE_HOST + 1 {
        let key = net.one.core.dial(net.clock.now(), &peer).unwrap();
        net.one.core.add_candidate(
            net.clock.now(),
            key,
            Route::untried(PathAddress::to(net.two.address)),
        );
        net.run(Duration::from_millis(20));
    }
    assert_eq!(
        net.two.core.connections().count(),
        MAX_PENDING_FROM_ONE_HOST
    );
    assert_eq!(net.two.core.dropped().over_limit, 1);
    for key in net.one.core.keys() {
        net.one.core.close(net.clock.now(), key, 0);
    }
    net.run(Duration::from_secs(40));
    assert_eq!(net.two.core.connections().count(), 0);
    assert_eq!(net.two.core.pending_handshakes, 0);
}

#[test]
fn unfinished_handshakes_are_bounded_in_total() {
    let mut net = Net::fast();
    let peer = DeviceKey::from_seed(&[2; 32]).id();
    net.two
        .out
        .reconfigure(LinkConfig::default().with_loss(1.0));
    for n in 0..MAX_PENDING_HANDSHAKES + 1 {
        net.one.address = SocketAddr::from(([10, 0, (n / 200) as u8, (n % 200) as u8], 1));
        let key = net.one.core.dial(net.clock.now(), &peer).unwrap();
        net.one.core.add_candidate(
            net.clock.now(),
            key,
            Route::untried(PathAddress::to(net.two.address)),
        );
        net.run(Duration::from_millis(15));
    }
    assert_eq!(net.two.core.pending_handshakes, MAX_PENDING_HANDSHAKES);
    assert!(net.two.core.dropped().over_limit >= 1);
}

#[test]
fn foreign_datagrams_are_dropped_counted_and_not_answered() {
    let mut net = Net::fast();
    let from = PathAddress::to(net.one.address);
    let quic_v1 = [&[0xc0, 0, 0, 0, 1, 8][..], &[7; 1_300]].concat();
    for datagram in [&b""[..], b"\x00\x01\x00\x00", b"d1:ad2:id20:", &quic_v1] {
        net.two
            .core
            .handle_datagram(net.clock.now(), from, None, BytesMut::from(datagram));
    }
    net.run(Duration::from_secs(1));
    assert_eq!(net.two.sent, 0);
    assert!(net.two.core.dropped().foreign >= 1);
}

#[test]
fn what_had_arrived_can_be_read_after_the_connection_ended() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    let channel = open(&mut net.one, net.clock.now(), here);
    let now = net.clock.now();
    net.one.core.with_mux(here, |mux, link| {
        let mut chunks = [Bytes::from_static(b"the last words")];
        assert_eq!(mux.write(link, now, channel, &mut chunks), Ok(14));
        mux.finish(link, now, channel).unwrap();
    });
    net.run(Duration::from_secs(1));
    let offered = offered(&mut net.two);
    net.two.core.hold(there);
    net.one.core.close(net.clock.now(), here, 0);
    net.run(Duration::from_secs(30));
    assert_eq!(ended(&mut net.two), Some(EndReason::Closed));
    assert_eq!(net.two.core.connections().count(), 0);
    let now = net.clock.now();
    let read = net.two.core.with_mux(there, |mux, link| {
        mux.accept(link, now, offered).unwrap();
        mux.read(link, now, offered, usize::MAX)
    });
    assert_eq!(read, Some(Ok(Some(Bytes::from_static(b"the last words")))));
    net.two.core.release(there);
    assert!(net.two.core.get(there).is_none());
}
