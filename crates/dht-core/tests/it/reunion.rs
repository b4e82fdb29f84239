//! Networks that fell apart find together again.

use std::sync::Arc;

use dhtnet_dht_core::item::immutable_target;
use dhtnet_dht_core::node::{Item, Scope};
use dhtnet_dht_core::{Event, Family};

use crate::net::{Net, address, secs, v4};

/// Whether what node `writer` puts is found by node `reader`.
fn reaches(net: &mut Net, writer: usize, reader: usize) -> bool {
    let value = format!("5:{:05}", writer * 100 + reader).into_bytes();
    let put = net.with(writer, |node, now| {
        node.put_immutable(now, &value, Scope::Network).unwrap()
    });
    net.finish(writer, put);
    let target = immutable_target(&value);
    let get = net.with(reader, |node, now| {
        node.find_item(now, target, b"", Scope::Network)
    });
    net.finish(reader, get);
    let found = Event::Item(get, Item::Immutable(value));
    net.events_of(reader, get).contains(&found)
}

#[test]
fn a_node_that_another_entered_by_before_it_had_entered_itself_is_no_island() {
    let mut net = Net::new(20);
    let config = Arc::new(v4());
    net.run(secs(20));
    let early = net.add(config.clone());
    net.cut(0, early);
    let late = net.add_alone(config);
    let now = net.now;
    net.with(late, |node, _| node.add_bootstrap(now, address(early)));
    net.run(secs(3));
    assert!(net.node(early).is_ready(Family::V4), "it knows the other");
    assert!(!reaches(&mut net, 3, early));
    net.heal();
    net.run(secs(120));
    assert!(reaches(&mut net, 3, early));
    assert!(reaches(&mut net, 3, late));
}

#[test]
fn two_halves_find_each_other_within_minutes_of_their_healing() {
    const NODES: usize = 40;
    let mut net = Net::new(NODES);
    net.run(secs(20 * 60));
    for even in (0..NODES).step_by(2) {
        for odd in (1..NODES).step_by(2) {
            net.cut(even, odd);
        }
    }
    net.run(secs(40 * 60));
    assert!(!reaches(&mut net, 4, 5), "they are apart");
    net.heal();
    net.run(secs(3 * 60));
    for (writer, reader) in [(4, 5), (7, 30), (12, 21), (39, 38)] {
        assert!(reaches(&mut net, writer, reader), "{writer} to {reader}");
    }
}
