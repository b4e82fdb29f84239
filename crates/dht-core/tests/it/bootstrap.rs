//! Finding the network: from nothing, from one, from many that are gone, and again.

use std::net::SocketAddr;
use std::sync::Arc;

use dhtnet_dht_core::node::Scope;
use dhtnet_dht_core::{Config, Contact, Event, Family, Id};

use crate::net::{Net, address, address6, ms, secs, v4};

#[test]
fn two_nodes_are_ready_at_once_and_know_each_other() {
    let mut net = Net::new(2);
    assert!(net.run_for(ms(200), |net| net.all_ready(Family::V4)));
    for index in 0..2 {
        let now = net.now;
        assert_eq!(net.node(index).nodes(now, Family::V4).count(), 1);
        assert!(net.events(index).contains(&Event::Ready(Family::V4)));
    }
}

#[test]
fn three_nodes_are_ready_at_once_and_know_each_other_soon() {
    let mut net = Net::new(3);
    assert!(net.run_for(ms(300), |net| net.all_ready(Family::V4)));
    net.run(secs(5));
    for index in 0..3 {
        let now = net.now;
        assert_eq!(net.node(index).nodes(now, Family::V4).count(), 2, "{index}");
    }
}

#[test]
fn a_node_alone_is_not_ready_and_says_nothing() {
    let mut net = Net::new(1);
    net.run(secs(60));
    assert!(!net.node(0).is_ready(Family::V4));
    assert_eq!(net.counters(0).sent, 0);
}

#[test]
fn the_twentieth_of_many_seeds_is_enough() {
    let mut net = Net::new(20);
    net.run(secs(10));
    let newcomer = net.add_alone(Arc::new(v4()));
    net.with(newcomer, |node, now| {
        for dead in 1..20 {
            node.add_bootstrap(now, SocketAddr::from(([12, 0, dead, 1], 6881)));
        }
        node.add_bootstrap(now, address(7));
    });
    assert!(net.run_for(secs(3), |net| net.all_ready(Family::V4)));
}

#[test]
fn the_last_of_as_many_seeds_as_there_may_be_is_found() {
    let mut net = Net::new(5);
    net.run(secs(10));
    let newcomer = net.add_alone(Arc::new(v4()));
    net.with(newcomer, |node, now| {
        for dead in 1..=255 {
            node.add_bootstrap(now, SocketAddr::from(([12, 0, dead, 1], 6881)));
        }
        node.add_bootstrap(now, address(3));
        // One too many.
        node.add_bootstrap(now, address(4));
    });
    assert!(net.run_for(secs(40), |net| net.all_ready(Family::V4)));
}

#[test]
fn a_node_comes_back_through_the_nodes_it_saved() {
    let mut net = Net::new(20);
    net.run(secs(30));
    let now = net.now;
    let saved: Vec<Contact> = net
        .node(9)
        .nodes(now, Family::V4)
        .filter(|node| node.good)
        .map(|node| node.contact)
        .filter(|contact| contact.address != address(0))
        .collect();
    assert!(saved.len() >= 8);
    net.kill(0);
    net.restart(9, v4());
    net.with(9, |node, now| {
        saved
            .iter()
            .for_each(|contact| node.add_saved_node(now, *contact));
    });
    assert!(net.run_for(secs(1), |net| net.all_ready(Family::V4)));
}

#[test]
fn one_neighbour_is_enough_even_if_it_knows_nobody_yet() {
    let mut net = Net::empty();
    let config = Arc::new(v4());
    for _ in 0..4 {
        net.add_alone(config.clone());
    }
    // A chain: each knows the one before it.
    for index in 1..4 {
        net.with(index, |node, now| {
            node.add_bootstrap(now, address(index - 1));
        });
    }
    net.run(secs(10));
    assert!(net.all_ready(Family::V4));
    for index in 0..4 {
        let now = net.now;
        assert_eq!(net.node(index).nodes(now, Family::V4).count(), 3, "{index}");
    }
}

#[test]
fn a_node_keeps_trying_until_the_bootstrap_node_comes_up() {
    let mut net = Net::new(2);
    net.kill(0);
    net.run(secs(30));
    let failed = Event::BootstrapFailed(Family::V4);
    let told = net.events(1).iter().filter(|event| **event == failed);
    assert_eq!(told.count(), 1, "once, not each time");
    let asked = net.counters(1).sent;
    assert!(
        (4..30).contains(&asked),
        "{asked} datagrams in half a minute"
    );
    net.revive(0);
    assert!(net.run_for(secs(61), |net| net.all_ready(Family::V4)));
}

#[test]
fn a_node_that_lost_everybody_finds_the_network_again() {
    let mut net = Net::new(12);
    net.run(secs(20));
    for other in 0..12 {
        net.cut(3, other);
    }
    let hours = 2;
    net.run(secs(hours * 3600));
    assert!(!net.node(3).is_ready(Family::V4));
    net.heal();
    assert!(net.run_for(secs(90), |net| net.all_ready(Family::V4)));
    let get = net.with(3, |node, now| {
        node.find_node(now, Id::hash_of(b"x"), Scope::Network)
    });
    assert_eq!(net.finish(3, get).closest.len(), 8);
}

#[test]
fn a_network_of_two_survives_a_long_break_without_any_seed() {
    let mut net = Net::new(2);
    net.run(secs(10));
    net.cut(0, 1);
    net.run(secs(15 * 60));
    net.heal();
    net.run(secs(30 * 60));
    assert!(net.all_ready(Family::V4));
}

#[test]
fn both_families_become_ready_from_one_address_and_never_mix() {
    let mut net = Net::empty();
    let both = Arc::new(Config::default());
    net.add_alone(both.clone());
    for index in 1..10 {
        net.add_alone(both.clone());
        // The other family is found through what this one tells.
        let seed = if index == 1 { address6(0) } else { address(0) };
        net.with(index, |node, now| node.add_bootstrap(now, seed));
        if index == 1 {
            net.with(1, |node, now| node.add_bootstrap(now, address(0)));
        }
    }
    assert!(net.run_for(secs(5), |net| {
        net.all_ready(Family::V4) && net.all_ready(Family::V6)
    }));
    net.run(secs(60));
    for index in 0..10 {
        let now = net.now;
        assert_ne!(
            net.node(index).id(Family::V4),
            net.node(index).id(Family::V6)
        );
        for family in Family::ALL {
            let nodes: Vec<_> = net.node(index).nodes(now, family).collect();
            assert_eq!(nodes.len(), 9, "{index} {family}");
            let of_family = |contact: &Contact| Family::of(&contact.address) == family;
            assert!(nodes.iter().all(|node| of_family(&node.contact)));
        }
    }
    let find = net.with(4, |node, now| {
        node.find_node(now, Id::hash_of(b"x"), Scope::Network)
    });
    let outcome = net.finish(4, find);
    let v6 = outcome
        .closest
        .iter()
        .filter(|contact| contact.address.is_ipv6());
    assert_eq!((outcome.closest.len(), v6.count()), (16, 8));
}

#[test]
fn a_family_without_anybody_is_not_ready_because_the_other_is() {
    let mut net = Net::empty();
    net.add_alone(Arc::new(v4()));
    net.add_alone(Arc::new(Config::default()));
    net.with(1, |node, now| node.add_bootstrap(now, address(0)));
    net.run(secs(60));
    assert!(net.node(1).is_ready(Family::V4));
    assert!(!net.node(1).is_ready(Family::V6));
}

#[test]
fn who_was_cut_off_enters_at_once_when_it_is_told_of_a_way() {
    let mut net = Net::new(5);
    net.run(secs(10));
    let newcomer = net.add_alone(Arc::new(v4()));
    net.cut(newcomer, 0);
    net.with(newcomer, |node, now| node.add_bootstrap(now, address(0)));
    net.run(ms(1_600));
    net.heal();
    net.with(newcomer, |node, now| node.enter_again(now));
    assert!(net.run_for(ms(300), |net| net.all_ready(Family::V4)));
}
