//! Two ends of one simulated connection on a virtual clock, joined by a wire that reorders.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_channel_mux::{
    ChannelId, ChannelReadError, ChannelRequest, ChannelWriteError, CloseReason, DeclineReason,
    Event, Limits, Link, LinkEvent, Mux, Side, StreamId,
};

use crate::link::{Lane, Packet, Settings, SimLink};

/// One end. A mute end has no mux behind its link: the test speaks in its place.
pub(crate) struct End {
    pub(crate) mux: Mux,
    pub(crate) link: SimLink,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) mute: bool,
}

pub(crate) struct Pair {
    /// The initiator.
    pub(crate) a: End,
    /// The responder.
    pub(crate) b: End,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    A,
    B,
}

impl Pair {
    /// A connection that is up, both Hellos read.
    pub(crate) fn new() -> Self {
        Self::with(&Settings::default(), &Limits::default(), 1)
    }

    pub(crate) fn with(settings: &Settings, limits: &Limits, seed: u64) -> Self {
        let mut pair = Self::unconnected(settings, limits, seed);
        pair.connect();
        pair.run();
        pair
    }

    /// As [`Pair::with`], with limits of the responder alone.
    pub(crate) fn with_responder(settings: &Settings, limits: &Limits) -> Self {
        let mut pair = Self::unconnected(settings, limits, 1);
        pair.a.mux = Mux::new(Side::Initiator, Limits::default(), pair.a.now);
        pair.connect();
        pair.run();
        pair
    }

    pub(crate) fn unconnected(settings: &Settings, limits: &Limits, seed: u64) -> Self {
        // An `Instant` has no other origin; from here on the clock is virtual.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        Self {
            a: End::new(Side::Initiator, settings, limits, now),
            b: End::new(Side::Responder, settings, limits, now),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub(crate) fn connect(&mut self) {
        self.a.feed(LinkEvent::Connected);
        self.b.feed(LinkEvent::Connected);
    }

    pub(crate) fn end(&mut self, who: Who) -> &mut End {
        match who {
            Who::A => &mut self.a,
            Who::B => &mut self.b,
        }
    }

    /// Delivers one packet, of any lane that has one. `false` when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let lanes: Vec<(Who, Lane)> = self
            .a
            .link
            .wire
            .keys()
            .map(|lane| (Who::A, *lane))
            .chain(self.b.link.wire.keys().map(|lane| (Who::B, *lane)))
            .collect();
        if lanes.is_empty() {
            return false;
        }
        let (from, lane) = lanes[self.pick(lanes.len())];
        self.deliver(from, lane);
        true
    }

    /// Delivers the first packet of one lane.
    pub(crate) fn deliver(&mut self, from: Who, lane: Lane) {
        let (sender, receiver) = match from {
            Who::A => (&mut self.a, &mut self.b),
            Who::B => (&mut self.b, &mut self.a),
        };
        let packet = sender.link.pop(lane).unwrap();
        if matches!(packet, Packet::Datagram(_))
            && let Some(event) = sender.link.on_datagram_sent()
        {
            sender.feed(event);
        }
        for event in receiver.link.deliver(lane, packet) {
            receiver.feed(event);
        }
    }

    /// Delivers until nothing is on the wire.
    pub(crate) fn run(&mut self) {
        while self.step() {}
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        for end in [&mut self.a, &mut self.b] {
            end.now += by;
            if end.mux.poll_timeout().is_some_and(|(_, at)| at <= end.now) {
                end.mux.handle_timeout(&mut end.link, end.now);
                end.drain();
            }
        }
    }

    /// A channel from `a` to `b`, accepted; its id at either end.
    pub(crate) fn channel(&mut self, request: ChannelRequest) -> (ChannelId, ChannelId) {
        let at_a = self.a.open(request);
        self.run();
        let (at_b, _) = self.b.incoming();
        self.b.accept(at_b);
        self.run();
        assert!(
            self.a.take(&Event::Accepted { id: at_a }),
            "not accepted: {:?}",
            self.a.events
        );
        (at_a, at_b)
    }

    pub(crate) fn stream(&mut self) -> (ChannelId, ChannelId) {
        let ids = self.channel(ChannelRequest::stream("test"));
        self.a.events.clear();
        self.b.events.clear();
        ids
    }

    /// xorshift64 (Marsaglia 2003): which lane is next.
    fn pick(&mut self, among: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % among as u64) as usize
    }
}

impl End {
    fn new(side: Side, settings: &Settings, limits: &Limits, now: Instant) -> Self {
        Self {
            mux: Mux::new(side, limits.clone(), now),
            link: SimLink::new(side, settings),
            now,
            events: Vec::new(),
            mute: false,
        }
    }

    pub(crate) fn feed(&mut self, event: LinkEvent) {
        if !self.mute {
            self.mux.handle_link_event(&mut self.link, self.now, event);
            self.drain();
        }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.mux.poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn open(&mut self, request: ChannelRequest) -> ChannelId {
        let id = self.mux.open(&mut self.link, self.now, request).unwrap();
        self.drain();
        id
    }

    pub(crate) fn accept(&mut self, id: ChannelId) {
        self.mux.accept(&mut self.link, self.now, id).unwrap();
        self.drain();
    }

    pub(crate) fn decline(&mut self, id: ChannelId, reason: impl Into<DeclineReason>) {
        self.mux
            .decline(&mut self.link, self.now, id, reason)
            .unwrap();
        self.drain();
    }

    pub(crate) fn try_write(
        &mut self,
        id: ChannelId,
        bytes: &[u8],
    ) -> Result<usize, ChannelWriteError> {
        let mut chunks = [Bytes::copy_from_slice(bytes)];
        let result = self.mux.write(&mut self.link, self.now, id, &mut chunks);
        self.drain();
        result
    }

    /// Writes all of it, which must fit.
    pub(crate) fn write(&mut self, id: ChannelId, bytes: &[u8]) {
        assert_eq!(self.try_write(id, bytes), Ok(bytes.len()));
    }

    pub(crate) fn try_read(
        &mut self,
        id: ChannelId,
        max: usize,
    ) -> Result<Option<Bytes>, ChannelReadError> {
        let result = self.mux.read(&mut self.link, self.now, id, max);
        self.drain();
        result
    }

    /// Reads until nothing more comes: the bytes, and why no more came.
    pub(crate) fn read(&mut self, id: ChannelId) -> (Vec<u8>, Result<(), ChannelReadError>) {
        let mut all = Vec::new();
        loop {
            match self.try_read(id, usize::MAX) {
                Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    pub(crate) fn finish(&mut self, id: ChannelId) {
        self.mux.finish(&mut self.link, self.now, id).unwrap();
        self.drain();
    }

    pub(crate) fn reset(&mut self, id: ChannelId, code: u32) {
        self.mux.reset(&mut self.link, self.now, id, code).unwrap();
        self.drain();
    }

    pub(crate) fn stop(&mut self, id: ChannelId, code: u32) {
        self.mux.stop(&mut self.link, self.now, id, code).unwrap();
        self.drain();
    }

    pub(crate) fn abandon(&mut self, id: ChannelId, code: u32) {
        self.mux.abandon(&mut self.link, self.now, id, code);
        self.drain();
    }

    pub(crate) fn send_datagram(&mut self, id: ChannelId, payload: &[u8]) {
        self.mux
            .send_datagram(&mut self.link, self.now, id, payload)
            .unwrap();
    }

    pub(crate) fn recv_datagram(
        &mut self,
        id: ChannelId,
    ) -> Result<Option<Bytes>, ChannelReadError> {
        let result = self.mux.recv_datagram(&mut self.link, self.now, id);
        self.drain();
        result
    }

    pub(crate) fn close(&mut self, reason: impl Into<CloseReason>) {
        self.mux.close(&mut self.link, self.now, reason.into());
        self.drain();
    }

    /// Takes the next request out of the events.
    pub(crate) fn incoming(&mut self) -> (ChannelId, ChannelRequest) {
        self.try_incoming().expect("no request came")
    }

    pub(crate) fn try_incoming(&mut self) -> Option<(ChannelId, ChannelRequest)> {
        let at = self
            .events
            .iter()
            .position(|e| matches!(e, Event::Incoming { .. }))?;
        match self.events.remove(at) {
            Event::Incoming { id, request } => Some((id, request)),
            _ => None,
        }
    }

    /// Takes this event out of the events; `false` if it is not there.
    pub(crate) fn take(&mut self, event: &Event) -> bool {
        let at = self.events.iter().position(|e| e == event);
        at.map(|at| self.events.remove(at)).is_some()
    }

    /// Takes the reason out of the `Declined` of this channel.
    pub(crate) fn declined(&mut self, channel: ChannelId) -> DeclineReason {
        let at = self
            .events
            .iter()
            .position(|e| matches!(e, Event::Declined { id, .. } if *id == channel));
        match self.events.remove(at.expect("not declined")) {
            Event::Declined { reason, .. } => reason,
            _ => panic!("another event"),
        }
    }

    /// How often this channel was closed.
    pub(crate) fn closed(&self, channel: ChannelId) -> usize {
        let closed = |e: &&Event| matches!(e, Event::Closed { id, .. } if *id == channel);
        self.events.iter().filter(closed).count()
    }

    pub(crate) fn drained(&self) -> usize {
        self.events
            .iter()
            .filter(|e| matches!(e, Event::Drained))
            .count()
    }

    /// Neither the mux nor the link holds anything, the control stream aside.
    pub(crate) fn assert_empty(&self) {
        let stats = self.mux.stats();
        assert_eq!(
            stats.channels,
            0,
            "{:?}",
            self.mux.channels().collect::<Vec<_>>()
        );
        assert_eq!(
            (
                stats.pending_requests,
                stats.awaiting_answer,
                stats.queued_opens
            ),
            (0, 0, 0)
        );
        assert_eq!(stats.buffered_bytes, 0);
        assert_eq!(
            self.link.live_streams(),
            1,
            "more than the control stream is left"
        );
    }

    /// Writes raw bytes on a stream of a mute end.
    pub(crate) fn raw(&mut self, stream: StreamId, bytes: &[u8]) {
        let mut chunks = [Bytes::copy_from_slice(bytes)];
        assert_eq!(self.link.write(stream, &mut chunks), Ok(bytes.len()));
    }
}
