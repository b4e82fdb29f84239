//! Our TURN client on real sockets, for tests of relays.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet::{DeviceId, DeviceKey};
use dhtnet_nat_traversal::turn::{
    Allocation, AllocationError, Config, Event, Families, Handled, Link,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::lab::Host;

/// How long a socket is waited for before the client's clock is looked at.
const TICK: Duration = Duration::from_millis(5);

enum Carrier {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// A client of a relay.
pub struct TurnClient {
    allocation: Allocation,
    carrier: Carrier,
    server: SocketAddr,
    /// What peers sent, in order.
    pub received: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
}

/// How a client is to be.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its key.
    pub key: &'a DeviceKey,
    /// The relay's id, of which the password is made.
    pub relay: DeviceId,
    /// The relay's address.
    pub server: SocketAddr,
    /// Datagrams or a stream.
    pub link: Link,
    /// Relayed addresses.
    pub families: Families,
}

impl TurnClient {
    /// A client on this host, which begins to ask for an address.
    ///
    /// # Errors
    /// When it has no socket.
    pub fn start(host: &Host, wanted: Wanted<'_>) -> io::Result<Self> {
        let Wanted {
            key,
            relay,
            server,
            link,
            families,
        } = wanted;
        let carrier = host.run(|| open(server, link))??;
        let password = key.password_at_relay(&relay);
        let config = Config::new(server, &key.id().to_string(), &password)
            .link(link)
            .families(families);
        let mut rng = ChaCha20Rng::from_seed(*key.id().as_bytes());
        Ok(Self {
            allocation: Allocation::new(Instant::now(), &config, &mut rng),
            carrier,
            server,
            received: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Waits for the relayed addresses.
    ///
    /// # Errors
    /// Why there are none.
    pub fn allocated(&mut self, limit: Duration) -> Result<Vec<SocketAddr>, AllocationError> {
        let until = Instant::now() + limit;
        while self.allocation.relayed().is_empty() && Instant::now() < until {
            self.step();
            for event in self.events.drain(..) {
                if let Event::Failed(error) = event {
                    return Err(error);
                }
            }
        }
        Ok(self.allocation.relayed().to_vec())
    }

    /// Asks for a permission; whether it was given.
    pub fn permit(&mut self, peer: IpAddr, limit: Duration) -> bool {
        let now = Instant::now();
        if self.allocation.permit(now, peer).is_err() {
            return false;
        }
        let until = now + limit;
        while Instant::now() < until {
            self.step();
            for event in self.events.drain(..) {
                match event {
                    Event::Permitted { peer: found } if found == peer => return true,
                    Event::Refused { peer: found } if found == peer => return false,
                    _ => {}
                }
            }
        }
        false
    }

    /// Sends a payload to a peer.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        if let Ok(transmit) = self.allocation.send_to(Instant::now(), peer, payload) {
            self.write(&transmit.payload);
        }
        self.flush();
    }

    /// Lets this much time pass.
    pub fn run(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.step();
        }
    }

    /// Waits until so many payloads came.
    pub fn await_received(&mut self, count: usize, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.received.len() < count && Instant::now() < until {
            self.step();
        }
        self.received.len() >= count
    }

    /// Takes what has come, and does what is due.
    pub fn step(&mut self) {
        self.flush();
        let mut buffer = [0; 65_536];
        let read = match &mut self.carrier {
            Carrier::Datagrams(socket) => socket.recv(&mut buffer),
            Carrier::Stream(stream) => stream.read(&mut buffer),
        };
        let now = Instant::now();
        match (&self.carrier, read) {
            (Carrier::Stream(_), Ok(0)) => self.allocation.handle_disconnected(),
            (Carrier::Stream(_), Ok(len)) => {
                // A broken stream is told as an event.
                let _ = self.allocation.handle_stream(now, &buffer[..len]);
                while let Some((peer, payload)) = self.allocation.poll_payload() {
                    self.received.push((peer, payload.to_vec()));
                }
            }
            (Carrier::Datagrams(_), Ok(len)) => {
                let handled = self
                    .allocation
                    .handle_datagram(now, self.server, &buffer[..len]);
                if let Handled::Payload { peer, range } = handled {
                    self.received.push((peer, buffer[range].to_vec()));
                }
            }
            (_, Err(error)) if is_pause(&error) => {}
            (_, Err(_)) => self.allocation.handle_disconnected(),
        }
        if self.allocation.poll_timeout().is_some_and(|due| due <= now) {
            self.allocation.handle_timeout(now);
        }
        self.flush();
        while let Some(event) = self.allocation.poll_event() {
            self.events.push(event);
        }
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.allocation.poll_transmit() {
            self.write(&transmit.payload);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // What is lost is sent again by who needs it.
        let _ = match &mut self.carrier {
            Carrier::Datagrams(socket) => socket.send(bytes).map(|_| ()),
            Carrier::Stream(stream) => stream.write_all(bytes),
        };
    }
}

fn open(server: SocketAddr, link: Link) -> io::Result<Carrier> {
    match link {
        Link::Datagrams => {
            let any: IpAddr = if server.is_ipv4() {
                [0, 0, 0, 0].into()
            } else {
                [0_u16; 8].into()
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(TICK))?;
            Ok(Carrier::Datagrams(socket))
        }
        Link::Stream => {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            Ok(Carrier::Stream(stream))
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
    )
}
