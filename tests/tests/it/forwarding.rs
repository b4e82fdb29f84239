//! Targets behind a peer: forwards, probes, and what the peer does not offer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use dhtnet_tests::lab::{Families, Host, Process};

use crate::pair::{LIMIT, Pair, assert_done, assert_failed, pair};

pub(crate) const TARGET: &str = "127.0.0.1:80";

/// Serves `count` connections at [`TARGET`]: reads each to its end, then answers with what came.
pub(crate) fn start_target(host: &Host, count: usize) {
    let listener = host.run(|| TcpListener::bind(TARGET)).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let _ = stream.set_read_timeout(Some(LIMIT));
                let _ = stream.read_to_end(&mut request);
                let _ = stream.write_all(&request);
            });
        }
    });
}

/// Starts `dnc -L` on `a` with a port of its choice; returns where it listens.
fn start_forward(pair: &Pair, target: &str) -> (Process, SocketAddr) {
    let spec = format!("0:{target}");
    let client = pair
        .a
        .dnc()
        .args(["--no-mdns", "-N", "-L", &spec, &pair.address()]);
    let mut client = client.start().unwrap();
    let port = client
        .await_line("the port it chose", LIMIT, port_of)
        .unwrap();
    (client, (Ipv4Addr::LOCALHOST, port).into())
}

/// The port after the first `127.0.0.1:` that is followed by one other than 0.
pub(crate) fn port_of(line: &str) -> Option<u16> {
    line.match_indices("127.0.0.1:").find_map(|(at, start)| {
        let rest = &line[at + start.len()..];
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|port| *port >= 1024)
    })
}

/// Sends through a forward and returns what came back after the end of what was sent.
pub(crate) fn ask(host: &Host, entry: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = host.run(|| TcpStream::connect(entry))??;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

#[test]
fn a_local_forward_carries_many_connections_at_once_with_half_close() {
    let name = "a_local_forward_carries_many_connections_at_once_with_half_close";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    start_target(pair.b.host(), 17);
    let _server = pair.serve_targets(&[TARGET]);
    let (_client, entry) = start_forward(&pair, TARGET);
    let host = pair.a.host();
    std::thread::scope(|scope| {
        for n in 0..16_u8 {
            scope.spawn(move || {
                let request = vec![n; 100_000 + usize::from(n)];
                assert_eq!(ask(host, entry, &request).unwrap(), request);
            });
        }
    });
    assert_eq!(ask(host, entry, b"").unwrap(), b"");
}

#[test]
fn a_forward_to_a_dead_target_closes_the_connection_and_stays_up() {
    let name = "a_forward_to_a_dead_target_closes_the_connection_and_stays_up";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_targets(&[TARGET]);
    let (mut client, entry) = start_forward(&pair, TARGET);
    for _ in 0..3 {
        // An end without a byte, or a reset: both tell the application.
        match ask(pair.a.host(), entry, b"x") {
            Ok(reply) => assert_eq!(reply, b""),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
    }
    assert!(client.poll_exit().unwrap().is_none(), "{}", client.stderr());
    start_target(pair.b.host(), 1);
    assert_eq!(ask(pair.a.host(), entry, b"now").unwrap(), b"now");
}

#[test]
fn a_target_that_refuses_is_exit_6() {
    let Some(pair) = pair("a_target_that_refuses_is_exit_6", Families::Both) else {
        return;
    };
    let _server = pair.serve_targets(&["127.0.0.1:*"]);
    let finished = pair
        .client()
        .arg(TARGET)
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_failed(&finished, 6, &[TARGET, "refused"]);
}

#[test]
fn a_target_that_is_not_allowed_is_exit_4() {
    let Some(pair) = pair("a_target_that_is_not_allowed_is_exit_4", Families::Both) else {
        return;
    };
    // The target is there, and answers whom policy lets through.
    start_target(pair.b.host(), 1);
    let _server = pair.serve_targets(&["127.0.0.1:22", "10.0.0.0/8:80", "[::1]:80"]);
    for target in [TARGET, "11.0.0.2:80"] {
        let finished = pair
            .client()
            .arg(target)
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap();
        assert_failed(&finished, 4, &[target, "allow|policy|permit"]);
    }
}

#[test]
fn a_forwarding_server_does_not_hand_out_its_standard_streams() {
    let name = "a_forwarding_server_does_not_hand_out_its_standard_streams";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair.serve_targets(&[TARGET]);
    let finished = pair
        .client()
        .stdin_bytes("hello")
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_ne!(finished.code(), Some(0));
    assert_eq!(finished.text(), "");
    assert_eq!(server.stdout_len(), 0);
    assert!(server.poll_exit().unwrap().is_none(), "{}", server.stderr());
}

#[test]
fn a_probe_tells_an_open_a_closed_and_a_forbidden_target_apart() {
    let name = "a_probe_tells_an_open_a_closed_and_a_forbidden_target_apart";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    start_target(pair.b.host(), 1);
    let _server = pair.serve_targets(&["127.0.0.1:80", "127.0.0.1:81"]);
    for (target, code) in [(TARGET, 0), ("127.0.0.1:81", 6), ("127.0.0.1:82", 4)] {
        let finished = pair
            .client()
            .args(["-z", target])
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap();
        assert_eq!(finished.code(), Some(code), "{target}: {}", finished.stderr);
        assert_eq!(finished.text(), "");
    }
}

#[test]
fn host_and_port_may_be_flags() {
    let Some(pair) = pair("host_and_port_may_be_flags", Families::Both) else {
        return;
    };
    start_target(pair.b.host(), 1);
    let _server = pair.serve_targets(&[TARGET]);
    let client = pair
        .client()
        .args(["-i", "127.0.0.1", "-P", "80"])
        .stdin_bytes("hello");
    let finished = client.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "hello");
}

#[test]
fn a_slow_reader_on_one_connection_does_not_stop_the_others() {
    let name = "a_slow_reader_on_one_connection_does_not_stop_the_others";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    // The target floods whoever connects first and echoes for the rest.
    let listener = pair
        .b
        .host()
        .run(|| TcpListener::bind(TARGET))
        .unwrap()
        .unwrap();
    std::thread::spawn(move || {
        let (mut flooded, _) = listener.accept().unwrap();
        std::thread::spawn(move || while flooded.write_all(&[0; 65_536]).is_ok() {});
        let (mut echoed, _) = listener.accept().unwrap();
        let mut block = [0; 16];
        while echoed.read_exact(&mut block).is_ok() && echoed.write_all(&block).is_ok() {}
    });
    let _server = pair.serve_targets(&[TARGET]);
    let (_client, entry) = start_forward(&pair, TARGET);
    let connect = || {
        pair.a
            .host()
            .run(|| TcpStream::connect(entry))
            .unwrap()
            .unwrap()
    };
    let mut stuck = connect();
    stuck.read_exact(&mut [0]).unwrap(); // and never again
    let mut lively = connect();
    lively
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for n in 0..100 {
        lively.write_all(&[n; 16]).unwrap();
        let mut reply = [0; 16];
        lively.read_exact(&mut reply).unwrap();
        assert_eq!(reply, [n; 16]);
    }
}
