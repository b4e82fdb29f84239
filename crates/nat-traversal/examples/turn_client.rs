//! Asks a TURN server for an address and sends payloads to an echo at a peer.
//!
//! `turn_client SERVER USER PASSWORD PEER [tcp]`: says each step, sends twenty payloads to PEER
//! (IP:PORT) and counts what comes back. With PEER `self`, a second allocation echoes.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example has sockets, a clock and a terminal"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::turn::{Allocation, Config, Event, Handled, Link};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

struct Side {
    name: &'static str,
    socket: Socket,
    allocation: Allocation,
    received: Vec<(SocketAddr, Vec<u8>)>,
    relayed: Option<SocketAddr>,
    permitted: usize,
    ended: bool,
}

impl Side {
    fn new(name: &'static str, config: &Config, server: SocketAddr, link: Link, seed: u64) -> Self {
        let socket = match link {
            Link::Datagrams => {
                let any = if server.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).unwrap();
                socket.set_nonblocking(true).unwrap();
                Socket::Udp(socket)
            }
            Link::Stream => {
                let stream = TcpStream::connect(server).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                Socket::Tcp(stream)
            }
        };
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        Self {
            name,
            socket,
            allocation: Allocation::new(Instant::now(), config, &mut rng),
            received: Vec::new(),
            relayed: None,
            permitted: 0,
            ended: false,
        }
    }

    fn write(&mut self, bytes: &[u8], to: SocketAddr) {
        match &mut self.socket {
            Socket::Udp(socket) => {
                socket.send_to(bytes, to).unwrap();
            }
            Socket::Tcp(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let mut buffer = [0; 65_536];
        match &mut self.socket {
            Socket::Udp(socket) => {
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let handled = self.allocation.handle_datagram(now, from, &buffer[..len]);
                    if let Handled::Payload { peer, range } = handled {
                        self.received.push((peer, buffer[range].to_vec()));
                    }
                }
            }
            Socket::Tcp(stream) => match stream.read(&mut buffer) {
                Ok(0) => self.allocation.handle_disconnected(),
                Ok(len) => {
                    let read = self.allocation.handle_stream(now, &buffer[..len]);
                    read.unwrap_or_else(|error| println!("{}: {error}", self.name));
                }
                Err(_) => {}
            },
        }
        while let Some((peer, payload)) = self.allocation.poll_payload() {
            self.received.push((peer, payload.to_vec()));
        }
        if self.allocation.poll_timeout().is_some_and(|due| due <= now) {
            self.allocation.handle_timeout(now);
        }
        while let Some(transmit) = self.allocation.poll_transmit() {
            self.write(&transmit.payload, transmit.destination);
        }
        while let Some(event) = self.allocation.poll_event() {
            println!("{}: {event:?}", self.name);
            match event {
                Event::Allocated { relayed } => self.relayed = Some(relayed),
                Event::Permitted { .. } => self.permitted += 1,
                Event::Failed(error) => {
                    println!("{}: {error}: {}", self.name, error.next_step());
                    self.ended = true;
                }
                Event::Closed => self.ended = true,
                Event::Refused { .. } => {}
            }
        }
    }
}

fn run(sides: &mut [Side], limit: Duration, mut until: impl FnMut(&mut [Side]) -> bool) {
    let end = Instant::now() + limit;
    while Instant::now() < end && !until(sides) && !sides.iter().any(|side| side.ended) {
        sides.iter_mut().for_each(Side::turn);
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, server, user, password, peer, rest @ ..] = arguments.as_slice() else {
        println!("turn_client SERVER USER PASSWORD PEER|self [tcp]");
        return;
    };
    let server: SocketAddr = server.parse().unwrap();
    let link = if rest.iter().any(|word| word == "tcp") {
        Link::Stream
    } else {
        Link::Datagrams
    };
    let config = Config::new(server, user, password).link(link);
    let begin = Instant::now();
    let mut sides = vec![Side::new("first", &config, server, link, 1)];
    if peer == "self" {
        sides.push(Side::new("second", &config, server, link, 2));
    }
    run(&mut sides, Duration::from_secs(10), |sides| {
        sides.iter().all(|side| side.relayed.is_some())
    });
    println!("allocated after {:?}", begin.elapsed());
    let Some(own) = sides[0].relayed else { return };
    let to = sides
        .get(1)
        .map_or_else(|| peer.parse().unwrap(), |second| second.relayed.unwrap());
    for (side, peer) in sides.iter_mut().zip([to, own]) {
        side.allocation.permit(Instant::now(), peer.ip()).unwrap();
    }
    run(&mut sides, Duration::from_secs(10), |sides| {
        sides.iter().all(|side| side.permitted > 0)
    });
    let (mut sent, mut echoed, mut bytes) = (0_u8, 0, 0);
    let mut next = Instant::now();
    run(&mut sides, Duration::from_secs(5), |sides| {
        if let [_, second] = sides {
            for (from, payload) in std::mem::take(&mut second.received) {
                let back = second.allocation.send_to(Instant::now(), from, &payload);
                let back = back.unwrap();
                second.write(&back.payload, back.destination);
            }
        }
        let first = &mut sides[0];
        echoed += std::mem::take(&mut first.received).len();
        if sent < 20 && Instant::now() >= next {
            let payload = vec![sent; 201];
            let transmit = first.allocation.send_to(Instant::now(), to, &payload);
            let transmit = transmit.unwrap();
            bytes = transmit.payload.len();
            first.write(&transmit.payload, transmit.destination);
            sent += 1;
            next = Instant::now() + Duration::from_millis(20);
        }
        echoed == 20
    });
    println!("sent {sent} of 201 bytes, the last in {bytes}; {echoed} came back");
    let now = Instant::now();
    sides.iter_mut().for_each(|side| side.allocation.close(now));
    for side in &mut sides {
        let side = std::slice::from_mut(side);
        run(side, Duration::from_secs(2), |_| false);
    }
}
