//! One end of a simulated connection with the rules of QUIC: windows, stream limits, resets that
//! overtake data, streams that appear because a later one did, edge-triggered readiness.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dhtnet_channel_mux::{
    Link, LinkEvent, ReadError, SendDatagramError, Side, StreamId, WriteError,
};

/// What goes over the wire, of one stream or of the connection.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Bytes(Bytes),
    Fin,
    Reset(u32),
    Stop(u32),
    Credit(usize),
    FinAck,
    MoreStreams(u64),
    Datagram(Bytes),
}

/// Packets of one lane arrive in order; lanes overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Stream(StreamId),
    Signals(StreamId),
    Connection,
    Datagrams,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Bytes that a stream may have unread.
    pub(crate) window: usize,
    /// Streams that the peer may have open.
    pub(crate) streams: u64,
    /// Datagrams that may be unsent.
    pub(crate) datagrams: usize,
    /// Largest datagram; `None` for a connection without.
    pub(crate) datagram_size: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 64 << 10,
            streams: 4096,
            datagrams: 1024,
            datagram_size: Some(1200),
        }
    }
}

#[derive(Debug, Default)]
struct Stream {
    // sending
    credit: usize,
    write_blocked: bool,
    finished: bool,
    fin_acked: bool,
    reset: bool,
    stopped_by_peer: Option<u32>,
    // receiving
    received: VecDeque<Bytes>,
    fin: bool,
    reset_by_peer: Option<u32>,
    stopped: bool,
    read_over: bool,
    // bookkeeping
    released: bool,
    pub(crate) priority: i32,
}

#[derive(Debug)]
pub(crate) struct SimLink {
    settings: Settings,
    bit: u64,
    streams: BTreeMap<StreamId, Stream>,
    next_local: u64,
    may_open: u64,
    next_remote: u64,
    next_accept: u64,
    granted: u64,
    unsent_datagrams: usize,
    datagrams_blocked: bool,
    datagrams: VecDeque<Bytes>,
    /// What is on its way to the peer.
    pub(crate) wire: BTreeMap<Lane, VecDeque<Packet>>,
}

impl SimLink {
    pub(crate) fn new(side: Side, settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            bit: u64::from(side == Side::Responder),
            streams: BTreeMap::new(),
            next_local: 0,
            may_open: settings.streams,
            next_remote: 0,
            next_accept: 0,
            granted: settings.streams,
            unsent_datagrams: 0,
            datagrams_blocked: false,
            datagrams: VecDeque::new(),
            wire: BTreeMap::new(),
        }
    }

    /// Takes the first packet of a lane off the wire.
    pub(crate) fn pop(&mut self, lane: Lane) -> Option<Packet> {
        let queue = self.wire.get_mut(&lane)?;
        let packet = queue.pop_front();
        if queue.is_empty() {
            self.wire.remove(&lane);
        }
        packet
    }

    /// A datagram of ours left the send buffer.
    pub(crate) fn on_datagram_sent(&mut self) -> Option<LinkEvent> {
        self.unsent_datagrams -= 1;
        std::mem::take(&mut self.datagrams_blocked).then_some(LinkEvent::DatagramsUnblocked)
    }

    /// Takes in what the peer sent.
    pub(crate) fn deliver(&mut self, lane: Lane, packet: Packet) -> Vec<LinkEvent> {
        match (lane, packet) {
            (Lane::Connection, Packet::MoreStreams(limit)) => {
                self.may_open = self.may_open.max(limit);
                vec![LinkEvent::StreamsAvailable]
            }
            (Lane::Datagrams, Packet::Datagram(datagram)) => {
                self.datagrams.push_back(datagram);
                vec![LinkEvent::DatagramReceived]
            }
            (Lane::Stream(id) | Lane::Signals(id), packet) => {
                let opened = self.appear(id);
                let mut events = Vec::new();
                if opened {
                    events.push(LinkEvent::StreamOpened);
                }
                match self.deliver_to(id, packet) {
                    // A stream that is new is read by whoever accepts it.
                    Some(LinkEvent::Readable(_)) if opened => {}
                    event => events.extend(event),
                }
                self.release(id);
                events
            }
            (lane, packet) => panic!("{packet:?} in {lane:?}"),
        }
    }

    pub(crate) fn priority(&self, id: StreamId) -> i32 {
        self.streams[&id].priority
    }

    /// Bytes received and not read.
    pub(crate) fn unread(&self) -> usize {
        self.streams
            .values()
            .flat_map(|s| &s.received)
            .map(Bytes::len)
            .sum()
    }

    /// Streams that are not over in both directions.
    pub(crate) fn live_streams(&self) -> usize {
        self.streams
            .values()
            .filter(|stream| !stream.is_over())
            .count()
    }

    /// The peer's stream, and all before it, begin to be.
    fn appear(&mut self, id: StreamId) -> bool {
        if id.0 & 1 == self.bit || id.0 >> 2 < self.next_remote {
            return false;
        }
        while self.next_remote <= id.0 >> 2 {
            let id = StreamId(self.next_remote << 2 | (self.bit ^ 1));
            self.streams.insert(id, Stream::new(self.settings.window));
            self.next_remote += 1;
        }
        true
    }

    fn deliver_to(&mut self, id: StreamId, packet: Packet) -> Option<LinkEvent> {
        let stream = self.streams.get_mut(&id).unwrap();
        match packet {
            Packet::Bytes(bytes) => {
                if stream.stopped {
                    return None;
                }
                stream.received.push_back(bytes);
                Some(LinkEvent::Readable(id))
            }
            Packet::Fin => {
                stream.fin = true;
                push(&mut self.wire, Lane::Signals(id), Packet::FinAck);
                (!stream.stopped).then_some(LinkEvent::Readable(id))
            }
            Packet::Reset(code) => {
                stream.received.clear();
                stream.reset_by_peer = Some(code);
                (!stream.stopped).then_some(LinkEvent::Readable(id))
            }
            Packet::Stop(code) => {
                if stream.reset || stream.fin_acked {
                    return None;
                }
                stream.stopped_by_peer = Some(code);
                Some(LinkEvent::Stopped(id, code))
            }
            Packet::Credit(credit) => {
                stream.credit += credit;
                std::mem::take(&mut stream.write_blocked).then_some(LinkEvent::Writable(id))
            }
            Packet::FinAck => {
                if stream.reset {
                    return None;
                }
                stream.fin_acked = true;
                Some(LinkEvent::Finished(id))
            }
            Packet::MoreStreams(_) | Packet::Datagram(_) => panic!("{packet:?} on a stream"),
        }
    }

    /// Lets the peer open one more stream when one of its streams is over.
    fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if id.0 & 1 != self.bit && stream.is_over() && !stream.released {
            stream.released = true;
            self.granted += 1;
            push(
                &mut self.wire,
                Lane::Connection,
                Packet::MoreStreams(self.granted),
            );
        }
    }
}

impl Stream {
    fn new(credit: usize) -> Self {
        Self {
            credit,
            ..Self::default()
        }
    }

    fn is_over(&self) -> bool {
        let sent = self.reset || self.fin_acked;
        let received =
            self.read_over || (self.stopped && (self.fin || self.reset_by_peer.is_some()));
        sent && received
    }
}

fn push(wire: &mut BTreeMap<Lane, VecDeque<Packet>>, lane: Lane, packet: Packet) {
    wire.entry(lane).or_default().push_back(packet);
}

impl Link for SimLink {
    fn open_stream(&mut self) -> Option<StreamId> {
        if self.next_local >= self.may_open {
            return None;
        }
        let id = StreamId(self.next_local << 2 | self.bit);
        self.next_local += 1;
        self.streams.insert(id, Stream::new(self.settings.window));
        Some(id)
    }

    fn accept_stream(&mut self) -> Option<StreamId> {
        if self.next_accept >= self.next_remote {
            return None;
        }
        let id = StreamId(self.next_accept << 2 | (self.bit ^ 1));
        self.next_accept += 1;
        Some(id)
    }

    fn write(&mut self, id: StreamId, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        let stream = self.streams.get_mut(&id).ok_or(WriteError::Closed)?;
        if stream.reset || stream.finished {
            return Err(WriteError::Closed);
        }
        if let Some(code) = stream.stopped_by_peer {
            return Err(WriteError::Stopped(code));
        }
        if stream.credit == 0 {
            stream.write_blocked = true;
            return Err(WriteError::Blocked);
        }
        let mut written = 0;
        for chunk in chunks {
            let part = chunk.split_to(chunk.len().min(stream.credit));
            stream.credit -= part.len();
            written += part.len();
            if !part.is_empty() {
                push(&mut self.wire, Lane::Stream(id), Packet::Bytes(part));
            }
        }
        Ok(written)
    }

    fn read(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError> {
        let stream = self.streams.get_mut(&id).ok_or(ReadError::Closed)?;
        if stream.stopped || stream.read_over {
            return Err(ReadError::Closed);
        }
        let result = if let Some(code) = stream.reset_by_peer {
            stream.read_over = true;
            Err(ReadError::Reset(code))
        } else if let Some(front) = stream.received.front_mut() {
            let bytes = front.split_to(front.len().min(max));
            if front.is_empty() {
                stream.received.pop_front();
            }
            push(
                &mut self.wire,
                Lane::Signals(id),
                Packet::Credit(bytes.len()),
            );
            Ok(Some(bytes))
        } else if stream.fin {
            stream.read_over = true;
            Ok(None)
        } else {
            Err(ReadError::Blocked)
        };
        self.release(id);
        result
    }

    fn finish(&mut self, id: StreamId) {
        let stream = self.streams.get_mut(&id).unwrap();
        assert!(!stream.finished && !stream.reset, "finish after the end");
        stream.finished = true;
        push(&mut self.wire, Lane::Stream(id), Packet::Fin);
    }

    fn reset(&mut self, id: StreamId, code: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        assert!(!stream.reset, "reset twice");
        if stream.fin_acked {
            return;
        }
        stream.reset = true;
        // The harshest that QUIC allows: nothing of what is on its way arrives.
        self.wire.remove(&Lane::Stream(id));
        push(&mut self.wire, Lane::Stream(id), Packet::Reset(code));
        self.release(id);
    }

    fn stop(&mut self, id: StreamId, code: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.read_over || stream.stopped {
            return;
        }
        stream.stopped = true;
        stream.received.clear();
        push(&mut self.wire, Lane::Signals(id), Packet::Stop(code));
        self.release(id);
    }

    fn set_priority(&mut self, id: StreamId, priority: i32) {
        self.streams.get_mut(&id).unwrap().priority = priority;
    }

    fn send_datagram(&mut self, datagram: Bytes) -> Result<(), SendDatagramError> {
        let max = self
            .settings
            .datagram_size
            .ok_or(SendDatagramError::Unsupported)?;
        if datagram.len() > max {
            return Err(SendDatagramError::TooLarge { max });
        }
        if self.unsent_datagrams >= self.settings.datagrams {
            self.datagrams_blocked = true;
            return Err(SendDatagramError::Blocked);
        }
        self.unsent_datagrams += 1;
        push(&mut self.wire, Lane::Datagrams, Packet::Datagram(datagram));
        Ok(())
    }

    fn recv_datagram(&mut self) -> Option<Bytes> {
        self.datagrams.pop_front()
    }

    fn max_datagram_size(&self) -> Option<usize> {
        self.settings.datagram_size
    }
}
