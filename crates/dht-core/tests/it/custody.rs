//! What others stored stays findable when the nodes that keep it die, and nobody keeps it longer
//! than it was to live.

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::node::Scope;
use dhtnet_dht_core::value::{Draft, UnixTime, ValueId, ValueQuery};
use dhtnet_dht_core::{Event, Id};
use dhtnet_identity::DeviceKey;

use crate::net::{Net, WALL, secs};

const NODES: usize = 60;
const KEYS: usize = 200;

/// Something under a key: by turns a value, an immutable item and a mutable one.
fn put(net: &mut Net, number: usize) {
    let putter = number % NODES;
    let operation = net.with(putter, |node, now| match number % 3 {
        0 => {
            let target = target(number);
            let key = DeviceKey::from_seed(&[number as u8; 32]);
            let draft = Draft::new(target, ValueId(1), b"kept".to_vec()).with_ttl(secs(24 * 3600));
            let made = draft.signed(UnixTime(WALL.as_secs()), &key, 0).unwrap();
            node.put_value(now, target, &made.value, Scope::Network)
        }
        1 => node
            .put_immutable(now, &immutable(number), Scope::Network)
            .unwrap(),
        _ => node.put_mutable(now, mutable(number), None, Scope::Network),
    });
    assert!(net.finish(putter, operation).acknowledged >= 7);
}

fn immutable(number: usize) -> Vec<u8> {
    format!("i{number}e").into_bytes()
}

fn mutable(number: usize) -> MutableItem {
    let signer = ItemSigner::from_seed(&[number as u8; 32]);
    MutableItem::sign(&signer, b"salt", 1, b"4:kept").unwrap()
}

fn target(number: usize) -> Id {
    match number % 3 {
        0 => Id::hash_of(&number.to_be_bytes()),
        1 => immutable_target(&immutable(number)),
        _ => mutable(number).target(),
    }
}

fn is_found(net: &mut Net, asker: usize, number: usize) -> bool {
    let target = target(number);
    let operation = net.with(asker, |node, now| match number % 3 {
        0 => node.find_values(now, target, ValueQuery::ALL, Scope::Network),
        1 => node.find_item(now, target, b"", Scope::Network),
        _ => node.find_item(now, target, b"salt", Scope::Network),
    });
    net.finish(asker, operation);
    let events = net.events_of(asker, operation);
    let is_there = |event: &Event| matches!(event, Event::Item(..) | Event::Value(..));
    events.iter().any(is_there)
}

fn found(net: &mut Net, askers: &[usize]) -> usize {
    (0..KEYS)
        .filter(|number| is_found(net, askers[number % askers.len()], *number))
        .count()
}

fn queries_of(net: &Net, nodes: &[usize]) -> u64 {
    let of = |node: &usize| net.counters(*node).queries_out.iter().sum::<u64>();
    nodes.iter().map(of).sum()
}

/// Kills 30 % of those that live, by chance; the first, which helps in, stays. Ids follow from
/// addresses here, so every third node would not be a chance.
fn kill_some(net: &mut Net, alive: &mut Vec<usize>) {
    alive[1..].sort_unstable_by_key(|node| Id::hash_of(&node.to_be_bytes()));
    for dead in alive.split_off(alive.len() - alive.len() * 3 / 10) {
        net.kill(dead);
    }
}

#[test]
fn keys_that_were_put_once_outlive_four_times_the_death_of_30_per_cent_at_once() {
    let mut net = Net::new(NODES);
    net.run(secs(120));
    for number in 0..KEYS {
        put(&mut net, number);
    }
    let mut alive: Vec<usize> = (0..NODES).collect();
    for wave in 0..4 {
        kill_some(&mut net, &mut alive);
        let before = queries_of(&net, &alive);
        net.run(secs(25 * 60));
        let a_second = (queries_of(&net, &alive) - before) / alive.len() as u64 / (25 * 60);
        assert!(a_second < 20, "{a_second} queries a second and node");
        let found = found(&mut net, &alive);
        assert!(found * 100 >= KEYS * 99, "wave {wave}: {found} of {KEYS}");
    }
    assert_eq!(alive.len(), 15);
    // Items live for two hours from when their owner put them, and not longer.
    net.run(secs(30 * 60));
    let values = (0..KEYS).filter(|number| number % 3 == 0).count();
    assert_eq!(found(&mut net, &alive), values);
    assert!(alive.iter().all(|node| net.node(*node).stored().items == 0));
}

#[test]
fn a_node_that_comes_nearer_is_given_what_it_lacks() {
    let mut net = Net::new(12);
    net.run(secs(120));
    for number in 0..30 {
        put_from_few(&mut net, number);
    }
    let newcomer = net.add(std::sync::Arc::new(crate::net::v4()));
    net.run(secs(60 * 60));
    let stored = net.node(newcomer).stored();
    // It is one of the eight nearest of thirteen for 18 of 30 keys.
    assert!(stored.items >= 8 && stored.values >= 4, "{stored:?}");
}

fn put_from_few(net: &mut Net, number: usize) {
    put(net, number / 12 * NODES + number % 12);
}
