//! Servers, nodes that only ask, and what a node believes about its own address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dhtnet_dht_core::item::immutable_target;
use dhtnet_dht_core::krpc::{Message, Method, Response};
use dhtnet_dht_core::node::{Item, Participation, Reachability, Scope};
use dhtnet_dht_core::secure_id::is_secure;
use dhtnet_dht_core::value::{Draft, Filter, UnixTime, ValueId, ValueQuery};
use dhtnet_dht_core::{Event, Family, Id};

use crate::net::{Net, WALL, address, secs, v4};
use crate::packets::{answer_with, query, query_with};

fn read_only() -> Arc<dhtnet_dht_core::Config> {
    Arc::new(v4().participation(Participation::ReadOnly))
}

#[test]
fn a_read_only_node_answers_nothing_and_is_in_nobodys_table() {
    let mut net = Net::new(10);
    let quiet = net.add(read_only());
    net.run(secs(120));
    assert!(net.node(quiet).is_ready(Family::V4));
    assert!(net.node(quiet).is_read_only());
    for index in 0..10 {
        let now = net.now;
        let mut nodes = net.node(index).nodes(now, Family::V4);
        assert!(nodes.all(|node| node.contact.address != address(quiet)));
    }
    let target = Id::hash_of(b"x");
    for method in [
        Method::Ping,
        Method::FindNode { target },
        Method::Unknown { name: b"vote" },
    ] {
        let asked = query(Id::hash_of(b"asker"), method);
        assert_eq!(net.replies(address(3), quiet, &asked), [[0_u8; 0]; 0]);
    }
    assert_eq!(
        net.replies(address(3), quiet, b"d1:q4:ping1:t1:x1:y1:qe"),
        [[0_u8; 0]; 0]
    );
}

#[test]
fn a_read_only_node_finds_stores_and_listens() {
    let mut net = Net::new(10);
    let quiet = net.add(read_only());
    net.run(secs(20));
    let put = net.with(quiet, |node, now| {
        node.put_immutable(now, b"5:quiet", Scope::Network).unwrap()
    });
    let stored = net.finish(quiet, put);
    assert_eq!((stored.acknowledged, stored.stored_here), (8, false));
    let target = immutable_target(b"5:quiet");
    let get = net.with(quiet, |node, now| {
        node.find_item(now, target, b"", Scope::Network)
    });
    net.finish(quiet, get);
    let item = Event::Item(get, Item::Immutable(b"5:quiet".to_vec()));
    assert!(net.events_of(quiet, get).contains(&item));
    let listen = net.with(quiet, |node, now| {
        node.listen(now, target, Filter::default())
    });
    assert_eq!(net.finish(quiet, listen).acknowledged, 8);
    let value = Draft::new(target, ValueId(1), b"news".to_vec());
    let value = value.unsigned(UnixTime(WALL.as_secs() + 30)).unwrap().value;
    net.with(4, |node, now| {
        node.put_value(now, target, &value, Scope::Network)
    });
    net.run(secs(1));
    assert!(
        net.events(quiet)
            .contains(&Event::Value(listen, value.clone()))
    );
    let get = net.with(quiet, |node, now| {
        node.find_values(now, target, ValueQuery::ALL, Scope::Network)
    });
    net.finish(quiet, get);
    assert!(net.events(quiet).contains(&Event::Value(get, value)));
}

#[test]
fn a_query_of_a_read_only_node_is_answered_but_not_remembered() {
    let mut net = Net::new(2);
    net.run(secs(5));
    let stranger = address(77);
    let ask = |read_only| {
        query_with(Id::hash_of(b"stranger"), Method::Ping, |message| {
            message.read_only = read_only;
        })
    };
    assert_eq!(net.replies(stranger, 0, &ask(true)).len(), 1);
    let now = net.now;
    assert_eq!(net.node(0).nodes(now, Family::V4).count(), 1);
    assert_eq!(net.replies(stranger, 0, &ask(false)).len(), 1);
    assert_eq!(net.node(0).nodes(now, Family::V4).count(), 2);
}

/// A node in a network of 12 that knows its own address to be another than others see.
fn translated(net: &mut Net) -> usize {
    let config = v4().local_addresses(vec![IpAddr::from([192, 168, 1, 2])]);
    net.add(Arc::new(config))
}

#[test]
fn a_node_that_nobody_reaches_within_ten_minutes_only_asks_and_serves_again_when_reached() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let index = translated(&mut net);
    net.put_behind_nat(index);
    net.run(secs(9 * 60));
    assert_eq!(
        net.node(index).external_address(Family::V4),
        Some(address(index))
    );
    assert_eq!(net.node(index).reachability(), Reachability::Unknown);
    assert!(!net.node(index).is_read_only());
    net.run(secs(2 * 60));
    assert_eq!(net.node(index).reachability(), Reachability::Unreachable);
    assert!(net.node(index).is_read_only());
    // The router got a mapping: somebody new comes through.
    net.remove_nat(index);
    let asked = query(Id::hash_of(b"somebody new"), Method::Ping);
    assert_eq!(net.replies(address(500), index, &asked).len(), 1);
    assert!(!net.node(index).is_read_only());
}

#[test]
fn a_node_behind_a_nat_that_lets_all_in_stays_a_server() {
    let mut net = Net::new(12);
    net.run(secs(20));
    let index = translated(&mut net);
    net.run(secs(60));
    for _ in 0..8 {
        net.add(Arc::new(v4()));
    }
    net.run(secs(15 * 60));
    assert_eq!(net.node(index).reachability(), Reachability::Reachable);
    assert!(!net.node(index).is_read_only());
}

#[test]
fn the_owner_may_know_better() {
    let mut net = Net::new(1);
    for (told, read_only) in [
        (Reachability::Unreachable, true),
        (Reachability::Reachable, false),
        (Reachability::Unknown, false),
    ] {
        net.with(0, |node, now| node.set_reachability(now, told));
        assert_eq!(net.node(0).reachability(), told);
        assert_eq!(net.node(0).is_read_only(), read_only);
    }
    let server = net.add_alone(Arc::new(v4().participation(Participation::Server)));
    net.with(server, |node, now| {
        node.set_reachability(now, Reachability::Unreachable);
    });
    assert!(!net.node(server).is_read_only(), "it was told to serve");
}

#[test]
fn the_id_follows_the_external_address_and_the_table_survives() {
    let mut net = Net::new(8);
    let before: Vec<_> = (0..8).map(|index| net.node(index).id(Family::V4)).collect();
    net.run(secs(120));
    for (index, before) in before.into_iter().enumerate() {
        let id = net.node(index).id(Family::V4);
        assert_ne!(id, before);
        assert!(is_secure(&id.unwrap(), address(index).ip()), "{index}");
        assert!(
            net.events(index)
                .contains(&Event::ExternalAddress(address(index)))
        );
        let now = net.now;
        let known = net.node(index).nodes(now, Family::V4).count();
        assert_eq!(known, 7, "{index}");
    }
    // Everybody knows everybody under the new ids.
    let ids: Vec<_> = (0..8).map(|index| net.node(index).id(Family::V4)).collect();
    for index in 0..8 {
        let now = net.now;
        let nodes: Vec<_> = net.node(index).nodes(now, Family::V4).collect();
        let old = nodes
            .iter()
            .filter(|node| !ids.contains(&Some(node.contact.id)));
        assert_eq!(old.count(), 0, "{index}");
    }
}

#[test]
fn one_liar_about_our_address_changes_nothing_and_neither_do_two_in_twelve() {
    let mut net = Net::new(12);
    net.run(secs(120));
    let id = net.node(5).id(Family::V4);
    let lie: SocketAddr = "203.0.113.99:6881".parse().unwrap();
    for round in 0..50 {
        let liar = address(2 + round % 2);
        net.log = Some(Vec::new());
        net.with(5, |node, now| node.ping(now, liar));
        let asked = net.log.take().unwrap().remove(0).transmit.payload;
        let message = Message::decode(&asked).unwrap();
        let id = Id::hash_of(liar.to_string().as_bytes());
        let lies = answer_with(message.transaction, Response::new(id), |message| {
            message.external = Some(lie);
        });
        net.inject(liar, 5, &lies);
    }
    net.run(secs(120));
    assert_eq!(net.node(5).external_address(Family::V4), Some(address(5)));
    assert_eq!(net.node(5).id(Family::V4), id);
}

#[test]
fn an_answer_tells_the_asker_its_address() {
    let mut net = Net::new(2);
    let asked = query(Id::hash_of(b"asker"), Method::Ping);
    let reply = net.replies(address(9), 0, &asked).remove(0);
    let message = Message::decode(&reply).unwrap();
    assert_eq!(message.external, Some(address(9)));
    assert!(!message.read_only, "only queries say so");
}
