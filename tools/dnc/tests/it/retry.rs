//! `--retry`: a peer that comes late, goes, and comes again.

use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Device, Running, ask, late_answerer, some_id};

/// The address after the tool's name in a line like `dnc: 127.0.0.1:4242 leads to …`.
fn address_in(line: &str) -> SocketAddr {
    let words = line.strip_prefix("dnc: ").unwrap();
    words.split(' ').next().unwrap().parse().unwrap()
}

/// A UDP address that was free a moment ago, and the words that listen at it.
fn free_address() -> String {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

#[test]
fn a_forward_waits_for_its_peer_and_survives_its_restart() {
    let (a, b) = (Device::new(), Device::new());
    let (place, target) = (free_address(), late_answerer(1).to_string());
    let peer = format!("{}@{place}", a.id());
    let forward = format!("0:{target}");
    let running = b.start(&["-w", "1", "--retry", "--json", "-L", &forward, &peer]);
    running.next_line_with("trying again in 1 s");
    let serve = ["-l", "--allow", b.id(), "--allow-target", &target];
    let server = a.start_at(&place, &serve);
    let local = address_in(&running.next_line_with("leads to"));
    assert_eq!(ask(local, b"one").unwrap(), b"ONE");
    server.signal(Signal::KILL);
    server.end();
    let _server = a.start_at(&place, &serve);
    // The listener stayed; a connection that meets the dead peer may be reset, later ones are not.
    let answered = (0..20).any(|_| ask(local, b"two").is_ok_and(|answer| answer == b"TWO"));
    assert!(answered);
    running.next_line_with("again");
    running.signal(Signal::TERM);
    let told = running.end();
    let events: Vec<Value> = told
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = events.iter().map(|event| event["event"].as_str().unwrap());
    let first: Vec<&str> = first.filter(|event| *event != "path").collect();
    assert_eq!(first[0], "retrying", "{first:?}");
    assert!(first.contains(&"forwarding") && first.contains(&"disconnected"));
    assert_eq!(first.last(), Some(&"connected"), "{first:?}");
}

#[test]
fn a_pipe_waits_for_its_peer_and_is_carried_whole() {
    let (a, b) = (Device::new(), Device::new());
    let place = free_address();
    let peer = format!("{}@{place}", a.id());
    let mut caller = b.start(&["-w", "1", "--retry", &peer]);
    caller.feed(b"all of it".to_vec());
    caller.next_line_with("trying again in 1 s");
    let mut listener = a.start_at(&place, &["-l", "--allow", b.id()]);
    listener.feed(b"and back".to_vec());
    let (listener, caller) = (listener.end(), caller.end());
    assert_eq!((listener.code, listener.text()), (Some(0), "all of it"));
    assert_eq!((caller.code, caller.text()), (Some(0), "and back"));
}

#[test]
fn half_a_transfer_is_not_tried_again() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    let mut caller = b.start(&["--retry", &peer]);
    caller.write(b"x");
    listener.read(1);
    listener.signal(Signal::TERM);
    let caller = caller.end();
    assert_eq!(caller.code, Some(1), "{}", caller.stderr);
    assert!(
        caller.stderr.contains("cannot be resumed"),
        "{}",
        caller.stderr
    );
}

#[test]
fn what_a_person_must_change_ends_it_at_once() {
    let (a, stranger) = (Device::new(), Device::new());
    let (_server, peer) = a.listen(&["--allow", &some_id(), "--allow-target", "127.0.0.1:*"]);
    for words in [&["--retry", &peer][..], &["--retry", "-L", "0:h:1", &peer]] {
        assert_eq!(stranger.run(words).code, Some(4));
    }
}

#[test]
fn a_reverse_forward_is_asked_for_again_after_a_restart() {
    let (a, b) = (Device::new(), Device::new());
    let (place, target) = (free_address(), late_answerer(1).to_string());
    let peer = format!("{}@{place}", a.id());
    let serve = ["-l", "--allow", b.id(), "--allow-bind", "127.0.0.1:*"];
    let server = a.start_at(&place, &serve);
    server.next_line();
    let running = b.start(&["-w", "2", "--retry", "-R", &format!("0:{target}"), &peer]);
    let far = address_in(&running.next_line_with("leads to"));
    assert_eq!(ask(far, b"one").unwrap(), b"ONE");
    server.signal(Signal::TERM);
    server.end();
    TcpStream::connect(far).unwrap_err();
    running.next_line_with("connecting again");
    let _server: Running = a.start_at(&place, &serve);
    assert_eq!(address_in(&running.next_line_with("leads to")), far);
    running.next_line_with("again");
    assert_eq!(ask(far, b"two").unwrap(), b"TWO");
}
