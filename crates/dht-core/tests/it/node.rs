//! Nodes among each other.

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::node::{AnnouncePort, Item, Outcome, Scope};
use dhtnet_dht_core::secure_id::is_secure;
use dhtnet_dht_core::{Contact, Event, Family, Id, OperationId};

use crate::net::{Net, address, secs};

fn outcome(net: &Net, index: usize, id: OperationId) -> Outcome {
    net.outcome_of(index, id).expect("the operation is over")
}

#[test]
fn three_nodes_store_and_find_an_item() {
    let mut net = Net::new(3);
    net.run(secs(5));
    let put = net.with(1, |node, now| {
        node.put_immutable(now, b"5:hello", Scope::Network).unwrap()
    });
    net.run(secs(5));
    let stored = outcome(&net, 1, put);
    assert_eq!((stored.acknowledged, stored.refused.len()), (2, 0));
    let target = immutable_target(b"5:hello");
    for index in [0, 2] {
        let get = net.with(index, |node, now| {
            node.find_item(now, target, b"", Scope::Network)
        });
        net.run(secs(5));
        let found = net.events_of(index, get);
        assert!(
            found.contains(&Event::Item(get, Item::Immutable(b"5:hello".to_vec()))),
            "{found:?}"
        );
    }
}

#[test]
fn every_node_of_a_hundred_soon_knows_its_neighbours_by_the_ids_they_took() {
    let mut net = Net::new(100);
    net.run(secs(150));
    let ids: Vec<(usize, Id)> = (0..100)
        .map(|index| (index, net.node(index).id(Family::V4).unwrap()))
        .collect();
    let now = net.now;
    let mut known = 0;
    for (index, own) in &ids {
        assert!(is_secure(own, address(*index).ip()), "node {index}");
        let mut others: Vec<_> = ids.iter().filter(|(_, id)| id != own).collect();
        others.sort_by_key(|(_, id)| id.distance(own));
        let table: Vec<Contact> = net
            .node(*index)
            .nodes(now, Family::V4)
            .map(|node| node.contact)
            .collect();
        let nearest = others[..8]
            .iter()
            .map(|(at, id)| Contact::new(*id, address(*at)));
        known += nearest.filter(|contact| table.contains(contact)).count();
    }
    assert!(known >= 780, "{known} of 800");
}

#[test]
fn every_node_of_fifty_finds_what_one_put_and_announced() {
    let mut net = Net::new(50);
    net.run(secs(20));
    for index in 0..50 {
        assert!(net.node(index).is_ready(Family::V4), "node {index}");
    }
    let signer = ItemSigner::from_seed(&[3; 32]);
    let item = MutableItem::sign(&signer, b"salt", 4, b"i7e").unwrap();
    let (target, hash) = (item.target(), Id::hash_of(b"a torrent"));
    let put = net.with(7, |node, now| {
        node.put_mutable(now, item.clone(), None, Scope::Network)
    });
    let announce = net.with(7, |node, now| {
        node.announce(now, hash, AnnouncePort::Implied, Scope::Network)
    });
    net.run(secs(5));
    assert_eq!(outcome(&net, 7, put).acknowledged, 8);
    assert_eq!(outcome(&net, 7, announce).acknowledged, 8);
    for index in 0..50 {
        let get = net.with(index, |node, now| {
            node.find_item(now, target, b"salt", Scope::Network)
        });
        let peers = net.with(index, |node, now| {
            node.find_peers(now, hash, Scope::Network)
        });
        net.run(secs(3));
        let found = Event::Item(get, Item::Mutable(item.clone()));
        assert!(net.events_of(index, get).contains(&found), "node {index}");
        let told = Event::Peers(peers, vec![address(7)]);
        assert!(net.events_of(index, peers).contains(&told), "node {index}");
    }
}
