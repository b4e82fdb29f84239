//! One QUIC connection that sends bulk from its client to its server, driven by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dhtnet_simnet::Link;
use quinn_proto::congestion::ControllerFactory;
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir,
    EcnCodepoint, Endpoint, EndpointConfig, Event, ServerConfig, StreamId, TransportConfig, VarInt,
};

use super::plaintext::Plaintext;

/// A datagram on a link, with the number of its flow.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) flow: usize,
    pub(crate) ecn: bool,
    pub(crate) bytes: Vec<u8>,
}

/// How the application writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// As much as the connection takes.
    Bulk,
    /// So many bytes at once, each time the pause has passed.
    Chunks(usize, Duration),
}

/// Settings of a connection beside its congestion controller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) source: Source,
    /// Packets per acknowledgement by the ack frequency extension; quinn's default without.
    pub(crate) ack_every: Option<u32>,
    pub(crate) begins: Duration,
    /// The pause between two keys, typed on a stream of their own that goes first.
    pub(crate) keys: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: Source::Bulk,
            ack_every: None,
            begins: Duration::ZERO,
            keys: None,
        }
    }
}

const WINDOW: u32 = 16 << 20;
const SEGMENTS: usize = 10;

/// One side: an endpoint with at most one connection.
struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    buf: Vec<u8>,
}

pub(crate) struct Flow {
    number: usize,
    settings: Settings,
    client: Side,
    server: Side,
    stream: Option<StreamId>,
    accepted: Option<StreamId>,
    next_write: Instant,
    left_to_write: usize,
    /// Bytes the server's application read.
    pub(crate) received: u64,
    pub(crate) keys: Keys,
}

/// Keys typed beside the bulk.
#[derive(Default)]
pub(crate) struct Keys {
    stream: Option<StreamId>,
    accepted: Option<StreamId>,
    next: Option<Instant>,
    typed: Vec<Instant>,
    /// How long each was on its way.
    pub(crate) delays: Vec<Duration>,
}

impl Keys {
    fn strike(&mut self, now: Instant, connection: &mut Connection, pause: Duration) {
        if self.stream.is_none() {
            self.stream = connection.streams().open(Dir::Uni);
        }
        let Some(id) = self.stream else { return };
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + pause);
        // The bulk may fill all of the window; a little beyond it is left to keys, as dhtnet does.
        connection.set_send_window(u64::from(WINDOW) + 1024);
        let mut stream = connection.send_stream(id);
        stream.set_priority(1).expect("the stream is open");
        assert_eq!(stream.write(b"k"), Ok(1), "a key is always taken");
        connection.set_send_window(u64::from(WINDOW));
        self.typed.push(now);
    }

    fn read(&mut self, now: Instant, connection: &mut Connection) {
        if self.accepted.is_none() {
            self.accepted = connection.streams().accept(Dir::Uni);
        }
        let Some(id) = self.accepted else { return };
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            for _ in chunk.bytes {
                let typed = self.typed[self.delays.len()];
                self.delays.push(now - typed);
            }
        }
        let _ = chunks.finalize();
    }
}

fn transport(
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    settings: Settings,
) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(factory)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .max_idle_timeout(Some(VarInt::from_u32(600_000).into()));
    if settings.keys.is_some() {
        // One stream may not use up what the connection may carry.
        config.receive_window(VarInt::from_u32(2 * WINDOW));
    }
    if let Some(packets) = settings.ack_every {
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(VarInt::from_u32(packets));
        config.ack_frequency_config(Some(acks));
    }
    Arc::new(config)
}

fn endpoint(server: Option<Arc<ServerConfig>>, seed: u8) -> Endpoint {
    let mut config = EndpointConfig::new(Arc::new(Plaintext));
    config.rng_seed(Some([seed; 32]));
    Endpoint::new(Arc::new(config), server, true, None)
}

impl Flow {
    pub(crate) fn new(
        number: usize,
        factory: Arc<dyn ControllerFactory + Send + Sync>,
        settings: Settings,
        now: Instant,
    ) -> Self {
        let transport = transport(factory, settings);
        let mut server = ServerConfig::new(Arc::new(Plaintext), Arc::new(Plaintext));
        server.transport_config(Arc::clone(&transport));
        let mut client = ClientConfig::new(Arc::new(Plaintext));
        client.transport_config(transport);
        let seed = u8::try_from(number).expect("few flows");
        let side = |endpoint| Side {
            endpoint,
            connection: None,
            buf: Vec::new(),
        };
        let mut flow = Self {
            number,
            settings,
            client: side(endpoint(None, seed * 2 + 1)),
            server: side(endpoint(Some(Arc::new(server)), seed * 2 + 2)),
            stream: None,
            accepted: None,
            next_write: now,
            left_to_write: 0,
            received: 0,
            keys: Keys::default(),
        };
        let connected = flow
            .client
            .endpoint
            .connect(now, client, address(2), "peer");
        flow.client.connection = Some(connected.expect("the configuration is complete"));
        flow
    }

    /// From now on the application writes as much as the connection takes.
    pub(crate) fn turn_to_bulk(&mut self) {
        self.settings.source = Source::Bulk;
    }

    /// The sending connection.
    pub(crate) fn sender(&self) -> &Connection {
        &self.client.connection.as_ref().expect("made in new").1
    }

    pub(crate) fn deliver_to_server(&mut self, now: Instant, datagram: &Datagram, marked: bool) {
        self.server.deliver(now, datagram, marked, address(1));
    }

    pub(crate) fn deliver_to_client(&mut self, now: Instant, datagram: &Datagram, marked: bool) {
        self.client.deliver(now, datagram, marked, address(2));
    }

    /// Lets the applications and both connections act.
    pub(crate) fn act(
        &mut self,
        now: Instant,
        there: &mut Link<Datagram>,
        back: &mut Link<Datagram>,
    ) {
        for side in [&mut self.client, &mut self.server] {
            side.exchange_events();
            if let Some((_, connection)) = &mut side.connection
                && connection.poll_timeout().is_some_and(|due| due <= now)
            {
                connection.handle_timeout(now);
            }
            side.exchange_events();
        }
        self.read(now);
        self.write(now);
        self.client.transmit(now, self.number, there);
        self.server.transmit(now, self.number, back);
    }

    /// When [`act`](Self::act) is due without a delivery.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        let mut due = [&mut self.client, &mut self.server]
            .into_iter()
            .filter_map(|side| side.connection.as_mut()?.1.poll_timeout())
            .min();
        if let Source::Chunks(..) = self.settings.source {
            due = Some(due.map_or(self.next_write, |due| due.min(self.next_write)));
        }
        due.into_iter().chain(self.keys.next).min()
    }

    fn read(&mut self, now: Instant) {
        let Some((_, connection)) = &mut self.server.connection else {
            return;
        };
        while connection.poll().is_some() {}
        if self.accepted.is_none() {
            self.accepted = connection.streams().accept(Dir::Uni);
        }
        let Some(id) = self.accepted else { return };
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.received += chunk.bytes.len() as u64;
        }
        let _ = chunks.finalize();
        if self.settings.keys.is_some() {
            self.keys.read(now, connection);
        }
    }

    fn write(&mut self, now: Instant) {
        const ZEROS: &[u8] = &[0; 65_536];
        let Some((_, connection)) = &mut self.client.connection else {
            return;
        };
        while let Some(event) = connection.poll() {
            if let Event::ConnectionLost { reason } = event {
                panic!("flow {} lost its connection: {reason}", self.number);
            }
        }
        if connection.is_handshaking() {
            self.next_write = now + Duration::from_millis(1);
            return;
        }
        if self.stream.is_none() {
            self.stream = connection.streams().open(Dir::Uni);
        }
        let Some(id) = self.stream else { return };
        if let Some(pause) = self.settings.keys {
            self.keys.strike(now, connection, pause);
        }
        match self.settings.source {
            Source::Bulk => self.left_to_write = usize::MAX,
            Source::Chunks(size, pause) => {
                if self.next_write <= now {
                    self.left_to_write = self.left_to_write.saturating_add(size);
                    self.next_write = now + pause;
                }
            }
        }
        while self.left_to_write > 0 {
            let piece = &ZEROS[..self.left_to_write.min(ZEROS.len())];
            match connection.send_stream(id).write(piece) {
                Ok(written) if written > 0 => self.left_to_write -= written,
                _ => break,
            }
        }
    }
}

impl Side {
    fn exchange_events(&mut self) {
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(answer) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(answer);
            }
        }
    }

    fn deliver(&mut self, now: Instant, datagram: &Datagram, marked: bool, from: SocketAddr) {
        let ecn = datagram.ecn.then_some(if marked {
            EcnCodepoint::Ce
        } else {
            EcnCodepoint::Ect0
        });
        let bytes = BytesMut::from(&datagram.bytes[..]);
        match self
            .endpoint
            .handle(now, from, None, ecn, bytes, &mut self.buf)
        {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut self.buf, None);
                self.connection = Some(accepted.map_err(|error| error.cause).expect("accepted"));
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
        self.buf.clear();
    }

    fn transmit(&mut self, now: Instant, flow: usize, link: &mut Link<Datagram>) {
        let Some((_, connection)) = &mut self.connection else {
            return;
        };
        while let Some(transmit) = connection.poll_transmit(now, SEGMENTS, &mut self.buf) {
            let ecn = transmit.ecn.is_some();
            let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
            for bytes in self.buf[..transmit.size].chunks(segment) {
                let datagram = Datagram {
                    flow,
                    ecn,
                    bytes: bytes.to_vec(),
                };
                link.send(now, bytes.len(), ecn, datagram);
            }
            self.buf.clear();
        }
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 443))
}
