//! What outlives a lost peer: `--retry`, and a ping that tells of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dhtnet_tests::lab::{Families, Host, INTERFACE, LinkState};

use crate::pair::{LIMIT, PORT, pair};

const TARGET: &str = "127.0.0.1:80";

/// Answers each connection with what it said.
fn start_echo(host: &Host) {
    let listener = host.run(|| TcpListener::bind(TARGET)).unwrap().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            let _ = stream.write_all(&said);
        }
    });
}

fn ask(host: &Host, entry: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = host.run(|| TcpStream::connect(entry))??;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(question)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_forward_with_retry_finds_its_peer_again_at_another_address() {
    let name = "a_forward_with_retry_finds_its_peer_again_at_another_address";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    start_echo(pair.b.host());
    let serve = || {
        let words = ["-l", "--allow", pair.a.id(), "--allow-target", TARGET];
        pair.b.listen(pair.b.dnc().args(words)).unwrap()
    };
    let server = serve();
    // The id alone: wherever it is.
    let words = [
        "-w",
        "3",
        "--retry",
        "-L",
        &format!("0:{TARGET}"),
        pair.b.id(),
    ];
    let mut client = pair.a.dnc().args(words).start().unwrap();
    let entry: SocketAddr = client
        .await_line("where it listens", LIMIT, |line| {
            let (place, _) = line.strip_prefix("dnc: ")?.split_once(" leads to ")?;
            place.parse().ok()
        })
        .unwrap();
    assert_eq!(ask(pair.a.host(), entry, b"one").unwrap(), b"one");
    drop(server);
    let moved = Ipv4Addr::new(11, 0, 0, 200);
    let change = format!("addr flush dev {INTERFACE}\naddr add {moved}/24 dev {INTERFACE}");
    pair.b.host().ip(&change).unwrap();
    let _server = serve();
    // The old connection is given up after 30 s of silence.
    let deadline = Instant::now() + 2 * LIMIT;
    while !matches!(ask(pair.a.host(), entry, b"two"), Ok(answer) if answer == b"two") {
        assert!(Instant::now() < deadline, "{}", client.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(client.poll_exit().unwrap().is_none(), "{}", client.stderr());
}

#[test]
fn a_ping_tells_when_the_peer_is_silent_and_when_it_is_back() {
    let name = "a_ping_tells_when_the_peer_is_silent_and_when_it_is_back";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let _listener = pair.b.listen(pair.listener()).unwrap();
    let words = ["--no-mdns", "ping", "--interval", "0.2", &pair.address()];
    let mut ping = pair.a.dnc().args(words).stdout_pipe().start().unwrap();
    let mut stdout = ping.take_stdout().unwrap();
    let mut said = String::new();
    let mut wait_for = |word: &str| {
        said.clear();
        let deadline = Instant::now() + LIMIT;
        while !said.contains(word) {
            assert!(Instant::now() < deadline, "no {word:?} in {said}");
            let mut block = [0; 4096];
            let len = stdout.read(&mut block).unwrap();
            assert_ne!(len, 0, "it ended; no {word:?} in {said}");
            said += std::str::from_utf8(&block[..len]).unwrap();
        }
    };
    wait_for(&format!(" ms via lan {}:{PORT}", pair.b.host().ipv4()));
    pair.b.host().set_link(LinkState::Down).unwrap();
    wait_for("path: silent; looking for another");
    pair.b.host().set_link(LinkState::Up).unwrap();
    wait_for("path: back");
    wait_for(" ms via lan ");
}
