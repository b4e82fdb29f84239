//! `dhtnode run`.

use std::fs;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::place::{NETWORK, Net, Place};

#[test]
fn signals_end_a_node_in_order() {
    let place = Place::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let node = place.start(&["--network", NETWORK, "run"]);
        node.stderr.until("listens on 127.0.0.1:");
        assert_eq!(node.end(signal), Some(code));
    }
}

#[test]
fn the_counters_move() {
    let net = Net::of(1);
    let node = net.start(&["run", "--stats=0.2", "--json"]);
    let datagrams = |line: serde_json::Value| line["received"]["datagrams"].as_u64().unwrap();
    let first: serde_json::Value = serde_json::from_str(&node.stdout.until("\"stats\"")).unwrap();
    let address = net.addresses[0].clone();
    net.run(&["ping", &address]).text();
    let before = datagrams(first);
    // Others come and ask, so the counters go up.
    loop {
        net.run(&["closest", "anything"]).text();
        let line: serde_json::Value =
            serde_json::from_str(&node.stdout.until("\"stats\"")).unwrap();
        if datagrams(line) > before {
            break;
        }
    }
}

#[test]
fn the_blocklist_is_read_again_on_a_hangup() {
    let place = Place::new();
    let list = place.path("list.p2p");
    fs::write(&list, "").unwrap();
    let words = [
        "--network",
        NETWORK,
        "--blocklist",
        list.to_str().unwrap(),
        "run",
        "--json",
    ];
    let node = place.start(&words);
    let address = node.stdout.next_json()["addresses"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let user = Place::new();
    let ping = ["--network", NETWORK, "-w", "1", "ping", &address];
    user.run(&ping).text();

    fs::write(&list, "us:127.0.0.0-127.0.0.255\n").unwrap();
    node.signal(Signal::HUP);
    node.stderr.until("reloaded the blocklist");
    user.run(&ping).failed(3);

    fs::write(&list, "nonsense\n").unwrap();
    node.signal(Signal::HUP);
    let line = node.stderr.until("stays in force");
    assert!(line.contains("list.p2p:1: "), "{line}");
    user.run(&ping).failed(3);
}

#[test]
fn the_service_manager_is_told() {
    let place = Place::new();
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = place.command(&["--network", NETWORK, "run"]);
    let mut child = command.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn the_next_start_needs_no_bootstrap_node() {
    let net = Net::of(4);
    let key = net.run(&["put", "kept"]).text();
    net.run(&["get", key.trim()]).text();
    // The same home, and nobody named.
    assert_eq!(
        net.user
            .run(&["--network", NETWORK, "get", key.trim()])
            .text(),
        "kept\n"
    );
    let state = net.user.path("home/state/dht-it.state");
    fs::write(&state, "damaged").unwrap();
    let ended = net.run(&["get", key.trim()]);
    assert!(
        ended.stderr.contains("is not used; starting without it"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.text(), "kept\n");
}
