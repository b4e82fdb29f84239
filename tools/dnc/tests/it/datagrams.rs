//! UDP forwards.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::place::{Device, Running, closed_port};

/// A UDP server that answers each datagram with its length and its bytes.
fn answerer() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let answer = [format!("{len}:").as_bytes(), &bytes[..len]].concat();
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

fn ask(socket: &UdpSocket, to: SocketAddr, question: &[u8]) -> Vec<u8> {
    socket.send_to(question, to).unwrap();
    let mut bytes = [0; 65_536];
    let (len, _) = socket.recv_from(&mut bytes).unwrap();
    bytes[..len].to_vec()
}

fn forward(device: &Device, words: &[&str]) -> (Running, SocketAddr) {
    let running = device.start(words);
    let line = running.next_line();
    let place = line
        .strip_prefix("dnc: udp:")
        .unwrap_or_else(|| panic!("{line}"));
    let place = place.split(' ').next().unwrap().parse().unwrap();
    (running, place)
}

#[test]
fn datagrams_keep_their_boundaries_and_their_sources() {
    let (a, b) = (Device::new(), Device::new());
    let target = answerer();
    let allowed = format!("udp:{target}");
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &allowed]);
    let (_forward, local) = forward(&b, &["-u", "-L", &format!("0:{target}"), &peer]);
    let clients: Vec<UdpSocket> = (0..10).map(|_| client()).collect();
    for round in 0..3 {
        for (client, number) in clients.iter().zip(0..) {
            let question = vec![number; 100 * round + usize::from(number)];
            let answer = [format!("{}:", question.len()).as_bytes(), &question].concat();
            assert_eq!(ask(client, local, &question), answer);
        }
    }
}

#[test]
fn a_datagram_that_is_too_large_is_dropped_with_one_line() {
    let (a, b) = (Device::new(), Device::new());
    let target = answerer();
    let allowed = format!("udp:{target}");
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &allowed]);
    let (forward, local) = forward(&b, &["-L", &format!("0:udp:{target}"), &peer]);
    let client = client();
    for _ in 0..3 {
        client.send_to(&[7; 60_000], local).unwrap();
    }
    assert_eq!(ask(&client, local, b"small"), b"5:small");
    let line = forward.next_line();
    assert!(
        line.contains("a datagram of 60000 bytes was dropped"),
        "{line}"
    );
}

#[test]
fn a_target_over_udp_is_allowed_on_its_own() {
    let (a, b) = (Device::new(), Device::new());
    let target = answerer();
    let streams = target.to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &streams]);
    let (forward, local) = forward(&b, &["-u", "-L", &format!("0:{target}"), &peer]);
    client().send_to(b"x", local).unwrap();
    let line = forward.next_line();
    let named = format!("dnc.target udp:{target} is not allowed by its policy");
    assert!(line.contains(&named), "{line}");
}

#[test]
fn a_closed_port_loses_datagrams_and_keeps_the_session() {
    let (a, b) = (Device::new(), Device::new());
    let target = closed_port();
    let allowed = format!("udp:{target}");
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &allowed]);
    let (_forward, local) = forward(&b, &["-u", "-L", &format!("0:{target}"), &peer]);
    let client = client();
    client.send_to(b"lost", local).unwrap();
    thread::sleep(Duration::from_millis(300));
    // Now it opens.
    let socket = UdpSocket::bind(target).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.send_to(b"found", local).unwrap();
    let mut bytes = [0; 16];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"found");
    socket.send_to(b"back", from).unwrap();
    let (len, _) = client.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"back");
}
