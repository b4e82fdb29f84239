//! A relay on real sockets, for trials on one machine.
//!
//! `relay LISTEN SECONDS`: UDP and TCP. Prints the user name and password of a made-up client, and
//! at the end what was relayed. Private addresses are relayed to.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example has sockets, a clock and a terminal"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceKey;
use dhtnet_nat_traversal::relay::{
    Action, Config, Family, Limits, NoSocket, Peers, Relay, StreamId,
};
use dhtnet_nat_traversal::stun::{Message, Ownership, respond};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

struct Host {
    relay: Relay,
    socket: UdpSocket,
    listener: TcpListener,
    streams: BTreeMap<StreamId, TcpStream>,
    relayed: BTreeMap<SocketAddr, UdpSocket>,
    next: u64,
}

impl Host {
    /// Whether anything came.
    fn turn(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        let mut busy = false;
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            busy = true;
            let ours = self
                .relay
                .handle_datagram(Instant::now(), from, &buffer[..len]);
            if ours == Ownership::NotOurs
                && let Ok(Message::Request(request)) = Message::decode(&buffer[..len])
            {
                self.socket.send_to(&respond(&request, from), from).unwrap();
            }
            self.act();
        }
        while let Ok((stream, from)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            self.next += 1;
            let id = StreamId(self.next);
            if self.relay.handle_connected(Instant::now(), id, from) {
                self.streams.insert(id, stream);
            }
        }
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            let read = self
                .streams
                .get_mut(&id)
                .map(|stream| stream.read(&mut buffer));
            match read {
                Some(Ok(0)) => {
                    self.streams.remove(&id);
                    self.relay.handle_disconnected(id);
                }
                Some(Ok(len)) => {
                    busy = true;
                    self.relay.handle_stream(Instant::now(), id, &buffer[..len]);
                }
                _ => {}
            }
            self.act();
        }
        let mut came = Vec::new();
        for (address, socket) in &self.relayed {
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                came.push((*address, from, buffer[..len].to_vec()));
            }
        }
        for (address, from, payload) in came {
            busy = true;
            let now = Instant::now();
            self.relay
                .handle_peer_datagram(now, address, from, &payload);
            self.act();
        }
        if self
            .relay
            .poll_timeout()
            .is_some_and(|due| due <= Instant::now())
        {
            self.relay.handle_timeout(Instant::now());
            self.act();
        }
        busy
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Send { to, payload } => {
                    self.socket.send_to(&payload, to).unwrap();
                }
                Action::Write { stream, payload } => {
                    if let Some(stream) = self.streams.get_mut(&stream) {
                        stream.write_all(&payload).unwrap();
                    }
                }
                Action::Disconnect { stream } => {
                    self.streams.remove(&stream);
                }
                Action::Open { request, family } => {
                    let mut at = self.socket.local_addr().unwrap();
                    at.set_port(0);
                    let socket = match family {
                        Family::V4 => UdpSocket::bind(at).map_err(|_| NoSocket::Exhausted),
                        Family::V6 => Err(NoSocket::FamilyUnavailable),
                    };
                    let socket = socket.map(|socket| {
                        socket.set_nonblocking(true).unwrap();
                        let address = socket.local_addr().unwrap();
                        self.relayed.insert(address, socket);
                        address
                    });
                    self.relay.handle_socket(Instant::now(), request, socket);
                }
                Action::Close { relayed } => {
                    self.relayed.remove(&relayed);
                }
                Action::Relay {
                    relayed,
                    to,
                    payload,
                } => {
                    if let Some(socket) = self.relayed.get(&relayed) {
                        socket.send_to(&payload, to).unwrap();
                    }
                }
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, seconds] = arguments.as_slice() else {
        println!("relay LISTEN SECONDS");
        return;
    };
    let listen: SocketAddr = listen.parse().unwrap();
    let key = DeviceKey::from_seed(&[1; 32]);
    let client = DeviceKey::from_seed(&[2; 32]).id();
    println!("{} {}", client, key.password_of_client(&client).as_str());
    let config = Config {
        listen,
        own: Vec::new(),
        peers: Peers::DangerPrivateToo,
        limits: Limits {
            clients_per_id: 64,
            bytes_per_second: u32::MAX,
            total_bytes_per_second: u32::MAX,
            ..Limits::default()
        },
    };
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(std::process::id()));
    let now = Instant::now();
    let mut host = Host {
        relay: Relay::new(now, config, key, Box::new(|_| true), &mut rng),
        socket: UdpSocket::bind(listen).unwrap(),
        listener: TcpListener::bind(listen).unwrap(),
        streams: BTreeMap::new(),
        relayed: BTreeMap::new(),
        next: 0,
    };
    host.socket.set_nonblocking(true).unwrap();
    host.listener.set_nonblocking(true).unwrap();
    while now.elapsed() < Duration::from_secs(seconds.parse().unwrap()) {
        if !host.turn() {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    println!("{:?}, {} clients", host.relay.stats(), host.relay.clients());
}
