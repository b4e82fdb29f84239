//! A peer whose program is killed and started again, at another port and behind a NAT: nothing of
//! the network tells that the old one is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_tests::device::{Device, await_found};
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Families, Process};
use dhtnet_tests::nat_router::Nat;
use dhtnet_tests::ssh::find;

use crate::forwarding::{TARGET, ask, port_of, start_target};
use crate::hole_punching::{Street, street};
use crate::pair::{LIMIT, pair};

/// A third of what QUIC waits before it ends a silent connection.
const SOON: Duration = Duration::from_secs(10);

const HOMES: [Nat; 2] = [Nat::PortRestricted, Nat::PortRestricted];

fn serve(street: &Street) -> Process {
    let server = street.listener.dnc().lifetime(LIMIT * 2);
    let server = server
        .args(["-l", "-vv", "--no-mdns", "--no-portmap"])
        .args(["--bootstrap", &street.entry])
        .args(["--allow", street.caller.id(), "--allow-target", TARGET]);
    let mut server = street.listener.listen(server).unwrap();
    await_found(&mut server, LIMIT).unwrap();
    server
}

fn forward(street: &Street) -> (Process, SocketAddr) {
    let spec = format!("0:{TARGET}");
    let client = street.caller.dnc().lifetime(LIMIT * 2);
    let client = client
        .args(["-vv", "--no-mdns", "--no-portmap", "-w", "20"])
        .args(["--bootstrap", &street.entry])
        .args(["--retry", "-L", &spec, street.listener.id()]);
    let mut client = client.start().unwrap();
    let entry = client
        .await_line("where it listens", LIMIT, |line| {
            line.contains(" leads to ").then(|| port_of(line)).flatten()
        })
        .unwrap();
    (client, (Ipv4Addr::LOCALHOST, entry).into())
}

#[test]
fn a_forward_works_again_soon_after_its_peer_was_started_again_behind_a_nat() {
    let name = "a_forward_works_again_soon_after_its_peer_was_started_again_behind_a_nat";
    let Some(street) = street(name, HOMES, 3) else {
        return;
    };
    start_target(street.listener.host(), 32);
    let mut server = serve(&street);
    let (client, entry) = forward(&street);
    let host = street.caller.host();
    assert_eq!(ask(host, entry, b"one").unwrap(), b"one");
    server.kill();
    let server = serve(&street);
    assert_works_soon(name, (&street.caller, entry), (&client, &server));
}

/// A request through the forward is answered, and within [`SOON`].
fn assert_works_soon(
    name: &str,
    (caller, entry): (&Device, SocketAddr),
    (client, server): (&Process, &Process),
) {
    let back = Instant::now();
    let answer = loop {
        match ask(caller.host(), entry, b"two") {
            Ok(answer) if !answer.is_empty() => break answer,
            _ if back.elapsed() > LIMIT => panic!("{}", client.stderr()),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let took = back.elapsed();
    assert_eq!(answer, b"two");
    let said = format!("{}; the server: {}", client.stderr(), server.stderr());
    assert!(took < SOON, "{name}: {took:?}; {said}");
}

/// Lets no host tell that one of its ports is closed.
const MUTE: &str = "table inet mute {\n chain output {\n type filter hook output priority 0\n \
                    icmp type destination-unreachable drop\n \
                    icmpv6 type destination-unreachable drop\n }\n}\n";

#[test]
fn a_forward_works_again_soon_after_its_peer_was_started_again_on_a_mute_host_of_the_network() {
    let name = "a_forward_works_again_soon_after_its_peer_was_started_again_on_a_mute_host";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    if find("nft").is_none() {
        return report(name, "nft is missing: install nftables (cargo xtask setup)");
    }
    let mute = pair.b.host().command("nft").args(["-f", "-"]);
    let mute = mute.stdin_bytes(MUTE).start().unwrap();
    assert_eq!(mute.finish(LIMIT).unwrap().code(), Some(0));
    let serve = || {
        let server = pair.b.dnc().lifetime(LIMIT * 2);
        let server = server.args(["-l", "-vv", "--allow", pair.a.id()]);
        pair.b
            .listen(server.args(["--allow-target", TARGET]))
            .unwrap()
    };
    start_target(pair.b.host(), 32);
    let mut server = serve();
    let spec = format!("0:{TARGET}");
    let client = pair.a.dnc().lifetime(LIMIT * 2).args(["-vv", "-w", "20"]);
    let client = client.args(["--retry", "-L", &spec, pair.b.id()]);
    let mut client = client.start().unwrap();
    let entry = client
        .await_line("where it listens", LIMIT, |line| {
            line.contains(" leads to ").then(|| port_of(line)).flatten()
        })
        .unwrap();
    let entry = (Ipv4Addr::LOCALHOST, entry).into();
    assert_eq!(ask(pair.a.host(), entry, b"one").unwrap(), b"one");
    server.kill();
    let server = serve();
    assert_works_soon(name, (&pair.a, entry), (&client, &server));
}
