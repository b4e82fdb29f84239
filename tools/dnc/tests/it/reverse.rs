//! `-R` against a server that allows places with `--allow-bind`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{
    ChannelRequest, ConnectError, ConnectOptions, DeclineCode, DeviceKey, Node, PeerAddress,
};
use rustix::process::Signal;

use crate::place::{Device, ask, closed_port, late_answerer, noise};

/// The place in a line like `dnc: 127.0.0.1:4242 of 7n4c… leads to …`.
fn place_in(line: &str) -> String {
    let words = line.strip_prefix("dnc: ").unwrap();
    words.split(' ').next().unwrap().to_owned()
}

#[test]
fn connections_to_the_peer_lead_back_here_until_the_end() {
    let (a, b) = (Device::new(), Device::new());
    let target = late_answerer(2).to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "127.0.0.1:*"]);
    let running = b.start(&["-R", &format!("0:{target}"), &peer]);
    let line = running.next_line();
    let far: SocketAddr = place_in(&line).parse().unwrap();
    assert_eq!(
        line,
        format!("dnc: {far} of {} leads to {target} here", a.short())
    );
    let askers = (0..20).map(|n| {
        thread::spawn(move || {
            let question = noise(50_000 + n);
            let expected = question.to_ascii_uppercase().repeat(2);
            assert!(ask(far, &question).unwrap() == expected);
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.join().unwrap();
    }
    running.signal(Signal::INT);
    assert_eq!(running.end().code, Some(130));
    // Given back with the connection.
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        TcpStream::connect(far).is_err()
    });
    assert!(gone);
}

#[test]
fn a_place_that_is_not_allowed_is_exit_4_with_the_action_named() {
    let (a, b) = (Device::new(), Device::new());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "127.0.0.1:8080"]);
    b.run(&["-R", "127.0.0.1:4242:h:1", &peer]).assert_failed(
        4,
        &format!(
            "dnc: {} refused to listen on 127.0.0.1:4242: dnc.bind 127.0.0.1:4242 is not \
                 allowed by its policy; ask its owner to allow {}\n",
            a.short(),
            b.id()
        ),
    );
}

#[test]
fn a_place_that_is_taken_is_told() {
    let (a, b) = (Device::new(), Device::new());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap();
    let (server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "127.0.0.1:*"]);
    b.run(&["-R", &format!("{place}:h:1"), &peer]).assert_failed(
        1,
        &format!(
            "dnc: {} cannot listen there: {place}: the address is in use; take another port, or \
             0 for a free one\n",
            a.short()
        ),
    );
    drop(server);
    // A name could be any address.
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "localhost:*"]);
    let ended = b.run(&["-R", "localhost:4242:h:1", &peer]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
}

#[test]
fn a_target_here_that_refuses_resets_the_connection_there() {
    let (a, b) = (Device::new(), Device::new());
    let target = closed_port();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "127.0.0.1:*"]);
    let running = b.start(&["-R", &format!("0:{target}"), &peer]);
    let far = place_in(&running.next_line()).parse().unwrap();
    ask(far, b"q").unwrap_err();
    let line = running.next_line();
    assert!(line.ends_with("connection refused"), "{line}");
}

#[test]
fn a_peer_that_goes_takes_its_places_with_it() {
    let (a, b) = (Device::new(), Device::new());
    let (server, peer) = a.listen(&["--allow", b.id(), "--allow-bind", "127.0.0.1:*"]);
    let running = b.start(&["-R", "0:h:1", &peer]);
    running.next_line();
    server.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no longer listens for -R"),
        "{}",
        ended.stderr
    );
}

#[test]
fn datagrams_and_unix_sockets_lead_back_too() {
    let (a, b) = (Device::new(), Device::new());
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = echo.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..len], from);
        }
    });
    let path = a.path("entry");
    let stream_target = late_answerer(1);
    let unix = format!("unix:{}", path.display());
    let (_server, peer) = a.listen(&[
        "--allow",
        b.id(),
        "--allow-bind",
        "udp:127.0.0.1:*",
        "--allow-bind",
        &unix,
    ]);
    let datagrams = format!("0:udp:{target}");
    let streams = format!("{unix}:{stream_target}");
    let running = b.start(&["-R", &datagrams, "-R", &streams, &peer]);
    let far = place_in(&running.next_line());
    let far: SocketAddr = far.strip_prefix("udp:").unwrap().parse().unwrap();
    assert_eq!(place_in(&running.next_line()), unix);

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.send_to(b"ping", far).unwrap();
    let mut bytes = [0; 16];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..len], from), (&b"ping"[..], far));

    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"q").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Q");
}

/// Node of the library that may do everything to `b`, at 127.0.0.1.
async fn node(seed: u8, b: &Device) -> Node {
    let id = b.id().parse().unwrap();
    let policy = Policy::builder().grant(Subject::Peer(id), Grant::everything());
    let node = Node::builder(DeviceKey::from_seed(&[seed; 32]))
        .bind("127.0.0.1:0".parse().unwrap())
        .mdns(false)
        .policy(policy.build());
    node.build().await.unwrap()
}

#[tokio::test]
async fn one_place_past_the_share_of_a_peer_and_past_the_bound_of_all_is_declined() {
    let server = Device::new();
    let mut clients = Vec::new();
    for seed in 10..15 {
        clients.push(node(seed, &server).await);
    }
    let ids: Vec<String> = clients
        .iter()
        .map(|client| client.id().to_string())
        .collect();
    let mut words = vec!["--allow-bind", "127.7.0.0/16:4242"];
    for id in &ids {
        words.extend(["--allow", id]);
    }
    let (_server, peer) = server.listen(&words);
    let peer: PeerAddress = peer.parse().unwrap();
    let ask = async |client: &Node, number: usize| {
        let place = format!("127.7.{}.{}:4242", number >> 8, number & 0xff);
        let request = ChannelRequest::stream("dnc.bind").metadata(place);
        client.connect(&peer, request).await
    };
    let refused = async |client: &Node, why: &str| {
        let Err(ConnectError::Declined { reason, .. }) = ask(client, 256).await else {
            panic!("one place too many");
        };
        assert_eq!((reason.code(), reason.message()), (DeclineCode::Busy, why));
    };
    let mut held = Vec::new();
    let (last, others) = clients.split_last().unwrap();
    for client in others {
        for _ in 0..64 {
            held.push(ask(client, held.len()).await.unwrap());
        }
        refused(client, "too many listeners of this device").await;
    }
    refused(last, "too many listeners").await;
    held.pop();
    while ask(last, 256).await.is_err() {}
}

/// A peer that was asked to listen may hand on what comes to that place, and reach nothing else.
#[tokio::test]
async fn a_peer_cannot_reach_what_was_not_led_to_it() {
    let b = Device::new();
    let a = node(7, &b).await;
    let mut listener = a.listen("dnc.bind").unwrap();
    let peer = format!("{}@{}", a.id(), a.local_addresses()[0]);
    let target = late_answerer(1);
    let secret = TcpListener::bind("127.0.0.1:0").unwrap();
    let _running = b.start(&["-R", &format!("127.0.0.1:4242:{target}"), &peer]);
    let (send, _recv) = listener.accept().await.unwrap().accept().split();
    let open = |name: &str, place: String| {
        let request = ChannelRequest::stream(name).metadata(place);
        let send = &send;
        async move { send.open_beside(&request, ConnectOptions::default()).await }
    };
    let led = open("dnc.reverse", "127.0.0.1:4242".to_owned()).await;
    assert!(led.is_ok());
    let there = secret.local_addr().unwrap().to_string();
    for (name, place) in [
        ("dnc.reverse", there.clone()),
        ("dnc.reverse", target.to_string()),
        ("dnc.reverse", "nonsense".to_owned()),
        ("dnc.target", there.clone()),
        ("dnc.bind", "127.0.0.1:4243".to_owned()),
        ("dnc.pipe", String::new()),
    ] {
        let opened = open(name, place.clone()).await;
        let declined = matches!(opened, Err(ConnectError::Declined { .. }));
        assert!(declined, "{name} {place}: {opened:?}");
    }
    secret.set_nonblocking(true).unwrap();
    assert!(secret.accept().is_err());
}
