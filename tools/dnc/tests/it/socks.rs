//! `-D`: a client that speaks SOCKS 5 byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::place::{Device, Running, closed_port, late_answerer};

/// A server whose peer allows `targets`.
fn server(targets: &[&str]) -> (Device, Running, Running, SocketAddr) {
    let (a, b) = (Device::new(), Device::new());
    let mut words = vec!["--allow", b.id()];
    for target in targets {
        words.extend(["--allow-target", target]);
    }
    let (serving, peer) = a.listen(&words);
    let running = b.start(&["-v", "-D", "0", &peer]);
    let line = running.next_line_with("is a SOCKS5 server through");
    let address = line
        .strip_prefix("dnc: ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    (a, serving, running, address.parse().unwrap())
}

/// Says hello and asks; returns the stream with the reply's code and its address.
fn request(server: SocketAddr, command: u8, address: &[u8]) -> (TcpStream, u8, SocketAddr) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(40)))
        .unwrap();
    stream.write_all(&[5, 2, 2, 0]).unwrap();
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).unwrap();
    assert_eq!(choice, [5, 0]);
    stream
        .write_all(&[&[5, command, 0], address].concat())
        .unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!((reply[0], reply[3]), (5, 1));
    let ip: [u8; 4] = reply[4..8].try_into().unwrap();
    let port = u16::from_be_bytes([reply[8], reply[9]]);
    (stream, reply[1], (ip, port).into())
}

fn of_ip(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address {
        SocketAddr::V4(address) => [&[1][..], &address.ip().octets()].concat(),
        SocketAddr::V6(address) => [&[4][..], &address.ip().octets()].concat(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

fn of_name(name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![3, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.extend(port.to_be_bytes());
    bytes
}

fn ask(mut stream: TcpStream, question: &[u8]) -> Vec<u8> {
    stream.write_all(question).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn addresses_and_names_lead_to_targets_behind_the_peer() {
    let target = late_answerer(1);
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let six_address = six.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = six.accept().unwrap();
        stream.write_all(b"six").unwrap();
    });
    let allowed = ["127.0.0.1:*", "localhost:*", "[::1]:*"];
    let (_a, _serving, _running, socks) = server(&allowed);
    let (stream, code, _) = request(socks, 1, &of_ip(target));
    assert_eq!(code, 0);
    assert_eq!(ask(stream, b"by address"), b"BY ADDRESS");
    let (stream, code, _) = request(socks, 1, &of_name("localhost", target.port()));
    assert_eq!(code, 0);
    assert_eq!(ask(stream, b"by name"), b"BY NAME");
    let (stream, code, _) = request(socks, 1, &of_ip(six_address));
    assert_eq!(code, 0);
    assert_eq!(ask(stream, b""), b"six");
}

#[test]
fn each_failure_has_its_own_reply() {
    let (_a, _serving, running, socks) = server(&["127.0.0.1:*", "name.invalid:80"]);
    for (command, address, expected) in [
        (1, of_ip("192.0.2.1:80".parse().unwrap()), 2),
        (1, of_name("localhost", 80), 2),
        (1, of_ip(closed_port()), 5),
        (1, of_name("name.invalid", 80), 4),
        (1, of_name("a b", 80), 4),
        (1, of_name("unix:/etc/passwd", 80), 4),
        (2, of_ip("127.0.0.1:80".parse().unwrap()), 7),
        (9, of_ip("127.0.0.1:80".parse().unwrap()), 7),
        (1, vec![2, 0, 0, 0, 0, 0, 0], 8),
    ] {
        let (_, code, _) = request(socks, command, &address);
        assert_eq!(code, expected, "{command} {address:?}");
    }
    running.next_line_with("dnc.target 192.0.2.1:80 is not allowed by its policy");
    // Not SOCKS at all, and a client that wants to authenticate.
    let mut stream = TcpStream::connect(socks).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    let mut stream = TcpStream::connect(socks).unwrap();
    stream.write_all(&[5, 1, 2]).unwrap();
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).unwrap();
    assert_eq!(choice, [5, 255]);
}

#[test]
fn datagrams_go_through_an_association_as_long_as_its_connection_lives() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = echo.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..len], from);
        }
    });
    let (_a, _serving, _running, socks) = server(&["udp:127.0.0.1:*", "udp:localhost:*"]);
    let nowhere = of_ip("0.0.0.0:0".parse().unwrap());
    let (stream, code, relay) = request(socks, 3, &nowhere);
    assert_eq!(code, 0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for address in [of_ip(target), of_name("localhost", target.port())] {
        let datagram = [&[0, 0, 0], &address[..], b"hello"].concat();
        socket.send_to(&datagram, relay).unwrap();
        let mut bytes = [0; 2048];
        let (len, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!((&bytes[..len], from), (&datagram[..], relay));
    }
    // Neither a fragment nor what somebody else sends is carried.
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = [&[0, 0, 0], &of_ip(target)[..], b"stranger"].concat();
    other.send_to(&datagram, relay).unwrap();
    other
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    other.recv_from(&mut [0; 16]).unwrap_err();
    drop(stream);
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        UdpSocket::bind(relay).is_ok()
    });
    assert!(gone);
}
