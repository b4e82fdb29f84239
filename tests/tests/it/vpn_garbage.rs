//! A host that sends a server of `dvpn` what it cannot understand, as fast as it can.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dhtnet_tests::payload::Stream;

use crate::pair::{LIMIT, PORT};
use crate::vpn::{LEAST_MTU, SERVER, await_ping, office};

#[test]
fn garbage_at_the_port_of_a_server_costs_it_no_memory_and_its_clients_are_served() {
    /// More than a server of two clients has by far, less than a queue without a bound would take.
    const MOST: u64 = 64 << 20;
    let name = "garbage_at_the_port_of_a_server_costs_it_no_memory_and_its_clients_are_served";
    let Some(office) = office(name, 2) else {
        return;
    };
    let serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let [calm, stranger] = &office.clients[..] else {
        panic!("two hosts");
    };
    await_ping(calm, SERVER.into(), LEAST_MTU);
    let to = SocketAddr::from((office.server.host().ipv4(), PORT));
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let flood = {
        let (stop, sent) = (stop.clone(), sent.clone());
        move || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            let (mut bytes, mut stream) = ([0; 1_400], Stream::new(1));
            while !stop.load(Ordering::Relaxed) {
                stream.fill(&mut bytes);
                // First packets of QUIC, later ones, questions of the DHT and of STUN, and whatever.
                for first in [0xc0, 0x40, b'd', 0x00, bytes[1]] {
                    bytes[0] = first;
                    for len in [1, 20, 40, 1_200, 1_400] {
                        if socket.send_to(&bytes[..len], to).is_ok() {
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        }
    };
    let flood = stranger.host().thread(flood).unwrap();
    let ping = calm.host().command("ping");
    let ping = ping.args(["-c", "100", "-i", "0.05", "-W", "2", "-q"]);
    let mut ping = ping.arg(SERVER.to_string()).start().unwrap();
    let mut most = 0;
    while ping.poll_exit().unwrap().is_none() {
        most = most.max(serving.usage().unwrap().resident);
        std::thread::sleep(Duration::from_millis(50));
    }
    let answered = ping.finish(LIMIT).unwrap();
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap().unwrap();
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 10_000, "{sent} datagrams are no flood");
    let text = answered.text();
    let received = text
        .split(", ")
        .find_map(|part| part.strip_suffix(" received"));
    let received: u32 = received.unwrap().parse().unwrap();
    // What the kernel drops before the server, it drops of both.
    assert!(received >= 20, "{text}");
    assert!(most < MOST, "{} MiB", most >> 20);
    await_ping(calm, SERVER.into(), LEAST_MTU);
}
