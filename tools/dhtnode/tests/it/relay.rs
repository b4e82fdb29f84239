//! `dhtnode run --relay`: its flags and what it says; what it does is tested between hosts.

use rustix::process::Signal;

use crate::place::{NETWORK, Place};

#[test]
fn the_first_line_says_where_and_as_whom_it_relays() {
    let place = Place::new();
    let node = place.start(&[
        "--network",
        NETWORK,
        "run",
        "--relay",
        "--relay-private",
        "--json",
    ]);
    node.stderr.until("made a new identity: ");
    let line = node.stderr.until("relays for others at UDP 127.0.0.1:");
    let id = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(id.len(), 56, "{line}");
    let risk = node
        .stderr
        .until("--relay-private: whoever may use the relay");
    assert!(
        risk.contains("reaches the private networks around it"),
        "{risk}"
    );
    let listening = node.stdout.next_json();
    assert_eq!(listening["relay"]["id"], id.as_str());
    assert_eq!(listening["relay"]["udp"], listening["addresses"]);
    assert_eq!(node.end(Signal::TERM), Some(143));
}

#[test]
fn the_counters_of_a_relay_are_in_the_line_and_in_json() {
    let place = Place::new();
    let words = ["--network", NETWORK, "run", "--relay", "--stats=0.1"];
    let node = place.start(&words);
    let line = node.stdout.until("  relay 0 clients 0 (0.0/s, 0 B/s)");
    assert!(line.trim_end().ends_with("over rate 0 refused 0"), "{line}");
    assert_eq!(node.end(Signal::TERM), Some(143));
    let node = place.start(&[&words[..], &["--json"]].concat());
    let line = node.stdout.until("\"stats\"");
    let counters: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(counters["relay"]["clients"], 0);
}

#[test]
fn wrong_relays_are_told_with_exit_code_2() {
    let place = Place::new();
    let failed = |flags: &[&str]| {
        let words = [&["--network", NETWORK, "run"][..], flags].concat();
        place.run(&words).failed(2)
    };
    let said = failed(&["--relay", "--cluster", "2"]);
    assert!(
        said.contains("--relay does not go with --cluster"),
        "{said}"
    );
    let said = failed(&["--relay", "--relay-allow", "nobody-i-know"]);
    assert!(said.contains("nobody-i-know"), "{said}");
    let said = failed(&[
        "--relay",
        "--relay-address",
        "203.0.113.1",
        "--relay-address",
        "203.0.113.2",
    ]);
    assert!(said.contains("one IPv4 and one IPv6 address"), "{said}");
    let said = failed(&["--relay", "--relay-rate", "fast"]);
    assert!(said.contains("as 10M"), "{said}");
    failed(&["--relay-rate", "1M"]);
}

#[test]
fn a_tcp_port_that_is_taken_is_told_with_what_to_try() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let place = Place::new();
    let words = ["--network", NETWORK, "run", "--relay", "--relay-tcp", &port];
    // The first one makes the device's key, and says so.
    drop(place.run(&words));
    let said = place.run(&words).failed(1);
    assert!(
        said.contains(&format!("cannot listen at TCP 127.0.0.1:{port}")),
        "{said}"
    );
    assert!(said.contains("try another --relay-tcp PORT"), "{said}");
}
