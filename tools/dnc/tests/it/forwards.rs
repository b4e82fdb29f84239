//! `-L` against a forwarding server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Device, Running, ask, closed_port, late_answerer, noise};

/// Starts a forward and gives its local address.
pub(crate) fn forward(device: &Device, peer: &str, target: &str) -> (Running, SocketAddr) {
    let words = ["-N", "--json", "-L", &format!("0:{target}"), peer];
    let mut running = device.start(&words);
    let line = running.next_line();
    let address = line
        .strip_prefix("dnc: ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let short = peer.get(..8).unwrap();
    assert_eq!(
        line,
        format!("dnc: {address} leads to {target} behind {short}…")
    );
    let mut json = Vec::new();
    while json.last() != Some(&b'\n') {
        json.extend(running.read_some());
    }
    let event: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(event["bind"], address.as_str());
    assert_eq!(
        (&event["event"], &event["target"]),
        (&"forwarding".into(), &target.into())
    );
    (running, address.parse().unwrap())
}

#[test]
fn a_forward_carries_questions_and_late_answers() {
    let (a, b) = (Device::new(), Device::new());
    let target = late_answerer(2).to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", "127.0.0.1:*"]);
    let (_forward, local) = forward(&b, &peer, &target);
    assert_eq!(ask(local, b"q").unwrap(), b"QQ");
    assert_eq!(ask(local, b"").unwrap(), b"");
    let mut large = noise(2_000_000);
    let answer = ask(local, &large).unwrap();
    large.make_ascii_uppercase();
    assert!(answer == large.repeat(2));
}

#[test]
fn many_connections_at_once_stay_apart() {
    let (a, b) = (Device::new(), Device::new());
    let target = late_answerer(1000).to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let (_forward, local) = forward(&b, &peer, &target);
    let askers = (0..40).map(|n| {
        thread::spawn(move || {
            let question = format!("question {n}\n").into_bytes();
            let answer = ask(local, &question).unwrap();
            assert!(answer == question.to_ascii_uppercase().repeat(1000));
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.join().unwrap();
    }
}

#[test]
fn a_connection_that_cannot_be_carried_is_reset_and_the_cause_is_told() {
    let (a, b) = (Device::new(), Device::new());
    let allowed = closed_port().to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &allowed]);
    let (running, local) = forward(&b, &peer, &allowed);
    ask(local, b"q").unwrap_err();
    assert_eq!(
        running.next_line(),
        format!(
            "dnc: warning: a connection to {allowed}: the target behind {} failed: {allowed}: \
             connection refused; check the target there",
            a.short()
        )
    );
    drop(running);
    let (running, local) = forward(&b, &peer, "127.0.0.1:1");
    ask(local, b"q").unwrap_err();
    assert!(
        running
            .next_line()
            .contains("refused 127.0.0.1:1: dnc.target 127.0.0.1:1 is not allowed by its policy")
    );
}

#[test]
fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let (a, b) = (Device::new(), Device::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let (_forward, local) = forward(&b, &peer, &target);
    let mut near = TcpStream::connect(local).unwrap();
    near.write_all(b"q").unwrap();
    let (far, _) = listener.accept().unwrap();
    // Closed with a byte unread: the system sends a reset.
    far.peek(&mut [0]).unwrap();
    drop(far);
    assert!(near.read(&mut [0]).is_err());
}

#[test]
fn a_unix_socket_can_be_the_target() {
    let (a, b) = (Device::new(), Device::new());
    let path = a.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        question.reverse();
        stream.write_all(&question).unwrap();
    });
    let target = format!("unix:{}", path.display());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let (_forward, local) = forward(&b, &peer, &target);
    assert_eq!(ask(local, b"abc").unwrap(), b"cba");
}

#[test]
fn a_forward_that_cannot_start_says_why() {
    let (a, b, stranger) = (Device::new(), Device::new(), Device::new());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", "127.0.0.1:*"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    b.run(&["-L", &format!("{port}:h:1"), &peer]).assert_failed(
        1,
        &format!(
            "dnc: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98); take \
             another port, or 0 for a free one\n"
        ),
    );
    assert_eq!(stranger.run(&["-L", "0:127.0.0.1:1", &peer]).code, Some(4));
}

#[test]
fn forwards_of_all_kinds_share_one_process_and_one_connection() {
    let (a, b) = (Device::new(), Device::new());
    let (one, two) = (late_answerer(1), late_answerer(2));
    let (server, peer) = a.listen(&[
        "-vv",
        "--allow",
        b.id(),
        "--allow-target",
        "127.0.0.1:*",
        "--allow-bind",
        "127.0.0.1:*",
    ]);
    let (first, second) = (format!("0:{one}"), format!("0:{two}"));
    let running = b.start(&[
        "--json", "-L", &first, "-L", &second, "-R", &second, "-D", "0", &peer,
    ]);
    let address = |part: &str| -> SocketAddr {
        let line = running.next_line_with(part);
        let words = line.strip_prefix("dnc: ").unwrap();
        words.split(' ').next().unwrap().parse().unwrap()
    };
    let far = address(" here");
    let near = [address(" behind "), address(" behind ")];
    let socks = address("SOCKS5");
    for _ in 0..3 {
        assert_eq!(ask(near[0], b"q").unwrap(), b"Q");
        assert_eq!(ask(near[1], b"q").unwrap(), b"QQ");
        assert_eq!(ask(far, b"q").unwrap(), b"QQ");
        let mut stream = TcpStream::connect(socks).unwrap();
        let mut request = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
        request.extend(one.port().to_be_bytes());
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        stream.write_all(b"q").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"Q");
    }
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, Some(143));
    let events = ended.text().lines();
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let directions: Vec<String> = events
        .filter(|event| event["event"] == "forwarding")
        .map(|event| event["direction"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(directions, ["reverse", "local", "local", "socks"]);
    server.signal(Signal::TERM);
    let said = server.end().stderr;
    assert_eq!(said.matches(": connected peer=").count(), 1, "{said}");
}
