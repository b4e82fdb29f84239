//! Private networks, and the value layer in a network that mostly does not speak it.

use std::sync::Arc;

use dhtnet_dht_core::krpc::{Message, Method, NetworkTag};
use dhtnet_dht_core::node::{AnnouncePort, Scope};
use dhtnet_dht_core::value::{Draft, UnixTime, ValueId, ValueQuery};
use dhtnet_dht_core::{Event, Family, Id};

use crate::net::{Net, WALL, address, secs, v4};
use crate::packets::{query, query_with};

#[test]
fn private_networks_never_mix_and_count_what_is_foreign() {
    let mut net = Net::empty();
    let configs = [v4(), v4().network("blue"), v4().network("red")].map(Arc::new);
    for index in 0..12 {
        net.add_alone(configs[index % 3].clone());
    }
    for index in 0..12 {
        // Everybody is told of everybody.
        net.with(index, |node, now| {
            (0..12).for_each(|other| node.add_bootstrap(now, address(other)));
        });
    }
    net.run(secs(120));
    assert!(net.all_ready(Family::V4));
    for index in 0..12 {
        let now = net.now;
        let own: Vec<_> = (0..12)
            .filter(|other| other % 3 == index % 3 && *other != index)
            .map(address)
            .collect();
        let mut known: Vec<_> = net
            .node(index)
            .nodes(now, Family::V4)
            .map(|node| node.contact.address)
            .collect();
        known.sort_unstable();
        assert_eq!(known, own);
        assert!(net.counters(index).foreign > 0, "{index}");
    }
}

#[test]
fn a_node_of_another_network_gets_no_answer_whatever_it_sends() {
    let mut net = Net::with_config(1, v4().network("blue"));
    let sender = Id::hash_of(b"stranger");
    let red = query_with(sender, Method::Ping, |message| {
        message.network = Some(NetworkTag::of("red"));
    });
    let blue = query_with(sender, Method::Ping, |message| {
        message.network = Some(NetworkTag::of("blue"));
    });
    let none = query(sender, Method::Ping);
    let unknown = query(sender, Method::Unknown { name: b"vote" });
    for foreign in [&red, &none, &unknown] {
        assert!(net.replies(address(9), 0, foreign).is_empty());
    }
    assert!(
        net.replies(address(9), 0, b"d1:q4:ping1:t1:x1:y1:qe")
            .is_empty()
    );
    assert_eq!(net.counters(0).foreign, 3);
    let reply = net.replies(address(9), 0, &blue).remove(0);
    let reply = Message::decode(&reply).unwrap();
    assert_eq!(reply.network, Some(NetworkTag::of("blue")));
}

/// `plain` nodes of plain Mainline, and among them as many with the value layer as wanted.
fn mixed(plain: usize, extension: usize) -> Net {
    let mut net = Net::with_config(plain, v4().plain_mainline());
    net.run(secs(60));
    for _ in 0..extension {
        net.add(Arc::new(v4()));
        net.run(secs(7));
    }
    net
}

#[test]
fn a_plain_node_says_nothing_of_the_value_layer_and_does_not_know_its_methods() {
    let mut net = Net::with_config(1, v4().plain_mainline());
    let sender = Id::hash_of(b"asker");
    let ping = net.replies(address(9), 0, &query(sender, Method::Ping));
    assert_eq!(Message::decode(&ping[0]).unwrap().extension, None);
    let get = Method::ValueGet {
        target: sender,
        filter: None,
        after: None,
    };
    assert_eq!(net.error(address(9), 0, &query(sender, get)), Some(204));
}

#[test]
fn nodes_with_the_value_layer_find_each_other_among_many_without() {
    let (plain, extension) = (60, 6);
    let mut net = mixed(plain, extension);
    net.run(secs(6 * 60));
    for index in plain..plain + extension {
        let now = net.now;
        let nodes = net.node(index).nodes(now, Family::V4);
        let known = nodes.filter(|node| node.extension).count();
        assert!(known >= 4, "{index} knows {known}");
    }
    let target = Id::hash_of(b"a place");
    let wall = UnixTime(WALL.as_secs() + 900);
    let value = Draft::new(target, ValueId(1), b"here".to_vec());
    let value = value.unsigned(wall).unwrap().value;
    let put = net.with(plain, |node, now| {
        node.put_value(now, target, &value, Scope::Network)
    });
    let outcome = net.finish(plain, put);
    assert!(outcome.acknowledged >= 4, "{outcome:?}");
    assert!(outcome.refused.is_empty(), "plain nodes are not asked");
    for index in plain..plain + extension {
        let get = net.with(index, |node, now| {
            node.find_values(now, target, ValueQuery::ALL, Scope::Network)
        });
        net.finish(index, get);
        let found = Event::Value(get, value.clone());
        assert!(net.events_of(index, get).contains(&found), "{index}");
    }
}

#[test]
fn the_meeting_place_is_visited_at_a_slow_pace_and_not_at_all_without_need() {
    let announced = |net: &Net, index: usize| net.counters(index).queries_out[3];
    let mut net = mixed(30, 2);
    net.run(secs(60));
    let before = announced(&net, 31);
    assert!((1..=8).contains(&before), "{before}");
    net.run(secs(14 * 60));
    assert_eq!(
        announced(&net, 31),
        before,
        "not before a quarter of an hour"
    );
    net.run(secs(3 * 60));
    assert!(announced(&net, 31) > before);
    // Where everybody speaks the value layer nobody goes there.
    let mut net = Net::new(30);
    net.run(secs(20 * 60));
    assert!((0..30).all(|index| announced(&net, index) == 0));
}

#[test]
fn plain_mainline_and_ours_keep_items_and_peers_for_each_other() {
    let mut net = mixed(20, 3);
    let hash = Id::hash_of(b"a torrent");
    for (from, to) in [(3, 21), (21, 3)] {
        let announce = net.with(from, |node, now| {
            node.announce(now, hash, AnnouncePort::Number(4000), Scope::Network)
        });
        assert_eq!(net.finish(from, announce).acknowledged, 8);
        let find = net.with(to, |node, now| node.find_peers(now, hash, Scope::Network));
        net.finish(to, find);
        let mut peer = address(from);
        peer.set_port(4000);
        let told = net.events_of(to, find).into_iter();
        let mut told =
            told.filter(|event| matches!(event, Event::Peers(_, peers) if peers.contains(&peer)));
        assert!(told.next().is_some());
    }
}
