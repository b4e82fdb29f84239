//! Finds out what NAT this host is behind.
//!
//! `behavior LOCAL-IP:PORT SERVER…`: servers are IP:PORT.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example has sockets, a clock and a terminal"
)]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::behavior::Discovery;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn main() {
    let addresses: Vec<SocketAddr> = std::env::args()
        .skip(1)
        .map(|address| address.parse().unwrap())
        .collect();
    let [local, servers @ ..] = addresses.as_slice() else {
        println!("behavior LOCAL-IP:PORT SERVER...");
        return;
    };
    let socket = UdpSocket::bind(local).unwrap();
    let local = socket.local_addr().unwrap();
    let begin = Instant::now();
    // Ids have to differ from run to run.
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(std::process::id()));
    let mut discovery = Discovery::new(begin, (&[local.ip()], local.port()), servers, &mut rng);
    let mut packets = 0;
    let mut buffer = [0; 2048];
    while discovery.result().is_none() {
        while let Some(transmit) = discovery.poll_transmit() {
            packets += 1;
            let sent = socket.send_to(&transmit.payload, transmit.destination);
            if let Err(error) = sent {
                println!("{}: {error}", transmit.destination);
            }
        }
        let Some(due) = discovery.poll_timeout() else {
            break;
        };
        let wait = due.saturating_duration_since(Instant::now());
        let wait = wait.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                discovery.handle_datagram(Instant::now(), from, &buffer[..len]);
            }
            Err(_) => discovery.handle_timeout(Instant::now()),
        }
    }
    println!("{:#?}", discovery.result());
    println!("{packets} packets, {:?}", begin.elapsed());
}
