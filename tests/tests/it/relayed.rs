//! Devices that have no direct path, or do not want one, and a real TURN server.

use std::io::Write;
use std::time::Instant;

use dhtnet_tests::device::{Device, await_found};
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Command, Finished, INTERFACE, Process};
use dhtnet_tests::nat_router::Nat;
use dhtnet_tests::turn_server::{PASSWORD, PORT, TurnServer, TurnServerError};

use crate::hole_punching::{Node, Street, street, street_with};
use crate::pair::LIMIT;

/// Two devices behind NATs whose ports cannot be foretold.
pub(crate) const HARD: [Nat; 2] = [Nat::Symmetric, Nat::Symmetric];

/// The street, and a server outside.
pub(crate) fn with_server(name: &str, nats: [Nat; 2], port: u16) -> Option<(Street, TurnServer)> {
    let street = street(name, nats, 3)?;
    let server = server(name, &street, (1, port), "")?;
    Some((street, server))
}

pub(crate) fn server(
    name: &str,
    street: &Street,
    place: (u8, u16),
    more: &str,
) -> Option<TurnServer> {
    or_skip(
        name,
        TurnServer::start(&street.lab, &street.outside, place, more),
    )
}

/// `None` without coturn.
pub(crate) fn or_skip(
    name: &str,
    started: Result<TurnServer, TurnServerError>,
) -> Option<TurnServer> {
    match started {
        Ok(server) => Some(server),
        Err(error @ TurnServerError::Missing) => {
            report(name, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// `dnc` with what all of these tests want.
pub(crate) fn dnc(device: &Device, street: &Street) -> Command {
    device
        .dnc()
        .env("DHTNET_TURN_PASSWORD", PASSWORD)
        .args(["-vv", "--no-mdns", "--no-portmap"])
        .args(["--bootstrap", &street.entry])
}

pub(crate) fn listen(street: &Street, more: &[&str]) -> Process {
    let listener = dnc(&street.listener, street)
        .args(["-l", "--allow", street.caller.id()])
        .args(more)
        .stdin_bytes("from the listener");
    let mut listener = street.listener.listen(listener).unwrap();
    await_found(&mut listener, LIMIT).unwrap();
    listener
}

pub(crate) fn call(street: &Street, more: &[&str]) -> Finished {
    let caller = dnc(&street.caller, street)
        .args(["-w", "20"])
        .args(more)
        .arg(street.listener.id())
        .stdin_bytes("from the caller");
    caller.start().unwrap().finish(LIMIT).unwrap()
}

/// Both got what the other sent.
pub(crate) fn assert_talked(caller: &Finished, listener: Process) {
    let said = format!("{}; the listener: {}", caller.stderr, listener.stderr());
    assert_eq!(caller.code(), Some(0), "{said}");
    assert_eq!(caller.text(), "from the listener");
    let listener = listener.finish(LIMIT).unwrap();
    assert_eq!(listener.code(), Some(0), "{}", listener.stderr);
    assert_eq!(listener.text(), "from the caller");
}

/// A call from one hard NAT to another by this server, given with these words.
fn a_relayed_call(name: &str, port: u16, words: &str) {
    let Some((street, server)) = with_server(name, HARD, port) else {
        return;
    };
    let turn = format!("{}{words}", server.uri());
    let listener = listen(&street, &["--turn", &turn]);
    let caller = call(&street, &["--turn", &turn]);
    assert_talked(&caller, listener);
    assert_left_nothing(&server);
}

/// Every allocation that was made was deleted.
fn assert_left_nothing(server: &TurnServer) {
    let log = server.log();
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let made = count("ALLOCATE processed, success");
    assert!(made > 0, "nothing was allocated: {log}");
    let deleted = log
        .lines()
        .filter(|line| line.contains("refreshed") && line.contains("lifetime=0"))
        .count();
    assert_eq!(deleted, made, "{log}");
}

#[test]
fn two_nats_with_random_ports_meet_at_a_relay() {
    let name = "two_nats_with_random_ports_meet_at_a_relay";
    a_relayed_call(name, PORT, "");
}

#[test]
fn two_nats_with_random_ports_meet_at_a_relay_by_tcp() {
    let name = "two_nats_with_random_ports_meet_at_a_relay_by_tcp";
    a_relayed_call(name, 443, "?transport=tcp");
}

/// Lets nothing through the routers but TCP to port 443.
fn block_all_but_the_web(street: &Street) {
    for router in &street.routers {
        let rules = "table ip web {\n chain forward {\n type filter hook forward priority -5\n \
                     policy drop\n meta l4proto udp drop\n \
                     ct state established,related accept\n \
                     iifname \"home\" tcp dport 443 accept\n }\n}\n";
        let nft = router.host().command("nft").args(["-f", "-"]);
        let loaded = nft.stdin_bytes(rules).start().unwrap();
        let loaded = loaded.finish(LIMIT).unwrap();
        assert_eq!(loaded.code(), Some(0), "{}", loaded.stderr);
    }
}

#[test]
fn two_devices_without_udp_find_each_other_and_talk_by_a_relay_on_tcp_443() {
    let name = "two_devices_without_udp_find_each_other_and_talk_by_a_relay_on_tcp_443";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some((street, server)) = with_server(name, nats, 443) else {
        return;
    };
    block_all_but_the_web(&street);
    let turn = format!("{}?transport=tcp", server.uri());
    let listener = listen(&street, &["--turn", &turn]);
    let caller = call(&street, &["--turn", &turn]);
    assert_talked(&caller, listener);
    assert_left_nothing(&server);
}

#[test]
fn two_nats_with_random_ports_meet_at_a_relay_by_tls() {
    let name = "two_nats_with_random_ports_meet_at_a_relay_by_tls";
    let Some(street) = street(name, HARD, 3) else {
        return;
    };
    let folder = street.lab.folder();
    let (key, certificate) = (folder.join("tls.key"), folder.join("tls.pem"));
    let openssl = street.caller.host().command("openssl");
    let openssl = openssl.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
    let openssl = openssl.args([
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-subj",
        "/CN=relay",
    ]);
    let openssl = openssl.args(["-addext", "subjectAltName=IP:11.0.100.1"]);
    let openssl = openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let openssl = openssl
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let made = openssl.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    let tls = format!(
        "tls-listening-port=443\ncert={}\npkey={}",
        certificate.display(),
        key.display()
    );
    let Some(server) = server(name, &street, (1, PORT), &tls) else {
        return;
    };
    let file = certificate.display().to_string();
    let turn = [
        "--turn",
        "turns:alice@11.0.100.1:443",
        "--turn-ca-file",
        &file,
    ];
    let listener = listen(&street, &turn);
    let caller = call(&street, &turn);
    assert_talked(&caller, listener);
    assert_left_nothing(&server);
}

#[test]
fn two_devices_without_udp_know_one_node_of_the_dht_that_relays() {
    let name = "two_devices_without_udp_know_one_node_of_the_dht_that_relays";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some(street) = street_with(name, nats, (1, &["run", "--relay"])) else {
        return;
    };
    block_all_but_the_web(&street);
    let listener = listen(&street, &[]);
    let caller = call(&street, &[]);
    assert_talked(&caller, listener);
}

#[test]
fn a_relay_is_found_in_the_dht_where_none_is_configured() {
    let name = "a_relay_is_found_in_the_dht_where_none_is_configured";
    // That many have to tell a relay its address before it is announced.
    let Some(mut street) = street_with(name, HARD, (6, &["run", "--relay"])) else {
        return;
    };
    let Some((Node::Own(relay), _)) = street.nodes.last_mut() else {
        unreachable!("its nodes are ours");
    };
    relay
        .await_line("that it is announced", LIMIT, |line| {
            line.contains("the relay is announced at").then_some(())
        })
        .unwrap();
    let listener = listen(&street, &[]);
    let caller = call(&street, &[]);
    assert_talked(&caller, listener);
}

/// Waits until a file has this text.
pub(crate) fn await_text(file: &std::path::Path, text: &str, said: impl Fn() -> String) {
    let deadline = Instant::now() + LIMIT;
    while !std::fs::read_to_string(file)
        .unwrap_or_default()
        .contains(text)
    {
        assert!(Instant::now() < deadline, "no {text:?}: {}", said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_relay_that_dies_in_use_is_told_of_and_another_one_carries_on() {
    let name = "a_relay_that_dies_in_use_is_told_of_and_another_one_carries_on";
    let Some((street, mut first)) = with_server(name, HARD, PORT) else {
        return;
    };
    let Some(second) = server(name, &street, (2, PORT), "") else {
        return;
    };
    let turn = ["--turn", &first.uri(), "--turn", &second.uri()];
    let got = street.lab.folder().join("got");
    let command = dnc(&street.listener, &street)
        .args(["-l", "--allow", street.caller.id()])
        .args(turn)
        .stdout_file(&got);
    let mut listener = street.listener.listen(command).unwrap();
    await_found(&mut listener, LIMIT).unwrap();
    let caller = dnc(&street.caller, &street)
        .args(["-w", "20"])
        .args(turn)
        .arg(street.listener.id())
        .stdin_pipe();
    let mut caller = caller.start().unwrap();
    let mut input = caller.take_stdin().unwrap();
    writeln!(input, "before").unwrap();
    await_text(&got, "before", || caller.stderr());
    first.process.kill();
    writeln!(input, "after").unwrap();
    let told = format!("relay turn:{}: the relay does not answer", first.address());
    caller
        .await_line("that the relay is dead", LIMIT, |line| {
            line.contains(&told).then_some(())
        })
        .unwrap();
    await_text(&got, "before\nafter", || {
        format!("{}; the listener: {}", caller.stderr(), listener.stderr())
    });
    drop(input);
    let caller = caller.finish(LIMIT).unwrap();
    assert_eq!(caller.code(), Some(0), "{}", caller.stderr);
    assert_eq!(std::fs::read_to_string(&got).unwrap(), "before\nafter\n");
}

#[test]
fn a_stun_server_tells_a_device_its_outer_address() {
    let name = "a_stun_server_tells_a_device_its_outer_address";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some((street, server)) = with_server(name, nats, PORT) else {
        return;
    };
    let address = server.address().to_string();
    let mut listener = listen(&street, &["--stun", &address]);
    listener
        .await_line("the outer address", LIMIT, |line| {
            let fits = line.contains("a STUN server tells") && line.contains("mapped=11.0.1.101:");
            fits.then_some(())
        })
        .unwrap();
}

#[test]
fn a_wrong_password_is_told_with_the_relay_and_a_next_step() {
    let name = "a_wrong_password_is_told_with_the_relay_and_a_next_step";
    let Some((street, server)) = with_server(name, HARD, PORT) else {
        return;
    };
    let _listener = listen(&street, &[]);
    let caller = dnc(&street.caller, &street)
        .env("DHTNET_TURN_PASSWORD", "wrong")
        .args(["-w", "8", "--turn", &server.uri(), street.listener.id()]);
    let caller = caller.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(caller.code(), Some(3), "{}", caller.stderr);
    let wanted = format!(
        "; relay turn:{}: the relay refuses the user name or password; \
         correct the user name and password of this relay",
        server.address()
    );
    let mut lines = caller.stderr.lines();
    let told = lines.any(|line| line.starts_with("dnc: cannot reach") && line.ends_with(&wanted));
    assert!(told, "{}", caller.stderr);
    assert!(!caller.stderr.contains("wrong"), "{}", caller.stderr);
}

#[test]
fn a_wrong_password_does_not_keep_from_a_direct_path() {
    let name = "a_wrong_password_does_not_keep_from_a_direct_path";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some((street, server)) = with_server(name, nats, PORT) else {
        return;
    };
    let listener = listen(&street, &[]);
    let caller = dnc(&street.caller, &street)
        .env("DHTNET_TURN_PASSWORD", "wrong")
        .args(["-w", "20", "--turn", &server.uri(), street.listener.id()])
        .stdin_bytes("from the caller");
    let caller = caller.start().unwrap().finish(LIMIT).unwrap();
    assert_talked(&caller, listener);
}

#[test]
fn a_device_that_wants_direct_paths_alone_asks_no_relay() {
    let name = "a_device_that_wants_direct_paths_alone_asks_no_relay";
    let Some((street, server)) = with_server(name, HARD, PORT) else {
        return;
    };
    let turn = ["--turn", &server.uri(), "--path", "direct"];
    let _listener = listen(&street, &turn);
    let caller = call(&street, &turn);
    assert_eq!(caller.code(), Some(3), "{}", caller.stderr);
    let log = server.log();
    assert!(!log.contains("ALLOCATE processed"), "{log}");
}

#[test]
fn a_listener_that_wants_direct_paths_alone_is_not_reached_by_the_callers_relay() {
    let name = "a_listener_that_wants_direct_paths_alone_is_not_reached_by_the_callers_relay";
    let Some((street, server)) = with_server(name, HARD, PORT) else {
        return;
    };
    let listener = listen(&street, &["--path", "direct"]);
    let caller = call(&street, &["--turn", &server.uri()]);
    let said = format!("{}; the listener: {}", caller.stderr, listener.stderr());
    assert_eq!(caller.code(), Some(3), "{said}");
    assert!(
        server.log().contains("ALLOCATE processed, success"),
        "{said}"
    );
}

/// A device joins another network, in which datagrams are blocked.
#[test]
fn a_listener_whose_network_begins_to_block_datagrams_is_reached_by_a_relay_on_tcp_443() {
    let name =
        "a_listener_whose_network_begins_to_block_datagrams_is_reached_by_a_relay_on_tcp_443";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some((street, server)) = with_server(name, nats, 443) else {
        return;
    };
    let turn = format!("{}?transport=tcp", server.uri());
    let mut listener = listen(&street, &["--turn", &turn]);
    block_all_but_the_web(&street);
    let change = format!("addr add 192.168.1.99/24 dev {INTERFACE}");
    street.listener.host().ip(&change).unwrap();
    listener
        .await_line("that datagrams are blocked", LIMIT, |line| {
            line.contains("no datagram is answered here").then_some(())
        })
        .unwrap();
    let caller = call(&street, &["--turn", &turn]);
    assert_talked(&caller, listener);
}

#[test]
fn a_device_that_wants_the_relay_alone_uses_it_though_direct_paths_work() {
    let name = "a_device_that_wants_the_relay_alone_uses_it_though_direct_paths_work";
    let nats = [Nat::FullCone, Nat::PortRestricted];
    let Some((street, server)) = with_server(name, nats, PORT) else {
        return;
    };
    let listener = listen(&street, &[]);
    let caller = call(&street, &["--turn", &server.uri(), "--path", "relay"]);
    assert_talked(&caller, listener);
    // The caller's router saw no datagram of the listener's router: all came from the relay.
    let log = server.log();
    assert_left_nothing(&server);
    assert!(
        log.contains("peer 11.0.1.101 lifetime updated") || log.contains("11.0.1.101"),
        "{log}"
    );
}

#[test]
fn the_second_relay_is_taken_where_the_first_is_silent() {
    let name = "the_second_relay_is_taken_where_the_first_is_silent";
    let Some((street, server)) = with_server(name, HARD, PORT) else {
        return;
    };
    let silent = "turn:alice@11.0.100.99";
    let listener = listen(&street, &["--turn", silent, "--turn", &server.uri()]);
    let caller = call(&street, &["--turn", silent, "--turn", &server.uri()]);
    let told = caller
        .stderr
        .contains("relay turn:11.0.100.99:3478: the relay does not answer");
    assert!(told, "{}", caller.stderr);
    assert_talked(&caller, listener);
}

#[test]
fn a_ping_shows_the_relay_and_fails_when_the_path_has_to_be_direct() {
    let name = "a_ping_shows_the_relay_and_fails_when_the_path_has_to_be_direct";
    let Some((street, server)) = with_server(name, HARD, PORT) else {
        return;
    };
    let turn = server.uri();
    let _listener = listen(&street, &["--turn", &turn]);
    let ping = |more: &[&str]| {
        let ping = street
            .caller
            .dnc()
            .env("DHTNET_TURN_PASSWORD", PASSWORD)
            .args(["ping", "--turn", &turn, "--no-mdns", "--no-portmap"])
            .args(["--bootstrap", &street.entry, "-w", "20"])
            .args(["-c", "3", "--interval", "0.3", street.listener.id()])
            .args(more);
        ping.start().unwrap().finish(LIMIT).unwrap()
    };
    let pinged = ping(&[]);
    assert_eq!(pinged.code(), Some(0), "{}", pinged.stderr);
    let text = pinged.text();
    assert!(
        text.contains("3: ") && text.contains(" ms via relayed "),
        "{text}"
    );
    let pinged = ping(&["--until-direct"]);
    assert_eq!(pinged.code(), Some(1), "{}", pinged.stderr);
    assert!(
        pinged.stderr.contains(" is not direct: it is relayed "),
        "{}",
        pinged.stderr
    );
}
