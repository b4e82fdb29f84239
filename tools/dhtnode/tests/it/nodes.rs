//! Nodes and peers: ping, find-node, closest, announce, get-peers, sample, crawl, stats, doctor.

use crate::place::{Net, Place};

#[test]
fn a_ping_tells_who_answered_and_how_it_sees_this_host() {
    let net = Net::of(1);
    let address = &net.addresses[0];
    let text = net.run(&["ping", address]).text();
    assert!(text.contains(address) && text.contains(" ms"), "{text}");
    let json = net.run(&["ping", address, "--json"]).json();
    assert_eq!(json[0]["address"], address.as_str());
    assert_eq!(json[0]["id"].as_str().unwrap().len(), 40);
    assert!(
        json[0]["external"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:"),
        "{json:?}"
    );
    let nobody = Place::new();
    // The discard port, where nothing listens.
    let line = nobody.run(&["-w", "5", "ping", "127.0.0.1:9"]).failed(3);
    assert!(line.contains("127.0.0.1:9"), "{line}");
}

#[test]
fn the_nearest_nodes_are_found_and_one_node_can_be_asked_alone() {
    let net = Net::of(4);
    let found = net.run(&["find-node", "somewhere"]).text();
    assert_eq!(found.lines().count(), 4, "{found}");
    let json = net.run(&["closest", "somewhere", "--json"]).json();
    assert_eq!(json[0]["closest"].as_array().unwrap().len(), 4);
    assert!(json[0]["queries"].as_u64().unwrap() >= 4);
    let told = net
        .run(&[
            "find-node",
            "somewhere",
            "--remote",
            &net.addresses[0],
            "--json",
        ])
        .json();
    assert!(
        told.iter()
            .all(|node| node["id"].is_string() && node["address"].is_string())
    );
    assert!(!told.is_empty());
}

#[test]
fn peers_that_were_announced_are_found() {
    let net = Net::of(3);
    net.run(&["announce", "my files", "--port", "4711"]).text();
    assert_eq!(
        net.run(&["get-peers", "my files"]).text(),
        "127.0.0.1:4711\n"
    );
    let none = net.run(&["get-peers", "other files"]).failed(3);
    assert!(none.contains("no peer is known"), "{none}");
    let hash = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let stored = net.run(&["announce", hash, "--implied", "--json"]).json();
    assert_eq!(stored[0]["target"], hash);
    let holders = net
        .addresses
        .iter()
        .filter(|address| net.run(&["sample", address]).text().contains(hash));
    assert!(holders.count() > 0);
}

#[test]
fn a_crawl_counts_every_node() {
    let net = Net::of(6);
    let json = net.run(&["crawl", "--rate", "1000", "--json"]).json();
    assert!(json[0]["answered"].as_u64().unwrap() >= 6, "{json:?}");
    assert_eq!(json[0]["complete"], true);
    let cut = net
        .run(&["crawl", "--limit", "2", "--rate", "1000", "--json"])
        .json();
    assert_eq!(
        (&cut[0]["nodes"], &cut[0]["complete"]),
        (&2.into(), &false.into())
    );
}

#[test]
fn the_counters_the_nodes_and_the_doctor_say_something() {
    let net = Net::of(3);
    let stats = net.run(&["stats", "--json"]).json();
    assert!(
        stats[0]["received"]["datagrams"].as_u64().unwrap() > 0,
        "{stats:?}"
    );
    assert_eq!(stats[0]["ready"], 1);
    assert!(net.run(&["stats"]).text().contains("uptime"));
    assert!(net.run(&["nodes"]).text().contains(&net.addresses[0]));
    let doctor = net.run(&["doctor"]).text();
    assert!(doctor.starts_with("ok      connection "), "{doctor}");
    assert!(doctor.contains("ok      udp-ipv4 "), "{doctor}");
    assert!(doctor.contains("unknown udp-ipv6 "), "{doctor}");
}

#[test]
fn nodes_of_another_network_are_not_heard() {
    let net = Net::of(2);
    let user = Place::new();
    for network in [&["--network", "other"][..], &[]] {
        let words = [network, &["-w", "1", "ping", &net.addresses[0]]].concat();
        user.run(&words).failed(3);
    }
}
