//! Permanent values live as long as their owner's node.

use std::sync::Arc;
use std::time::Duration;

use dhtnet_dht_core::node::{MAX_OWNERS, Publication, Scope};
use dhtnet_dht_core::value::{Draft, UnixTime, Value, ValueId, ValueQuery};
use dhtnet_dht_core::{Event, Id, OperationId};
use dhtnet_identity::DeviceKey;

use crate::net::{Net, WALL, secs, v4};

const LIFE: Duration = secs_of(600);
const OWNER: usize = 2;

const fn secs_of(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn target() -> Id {
    Id::hash_of(b"a place")
}

fn owner() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn draft() -> Draft {
    Draft::new(target(), ValueId(1), b"stays".to_vec()).with_ttl(LIFE)
}

fn signed() -> Value {
    let wall = UnixTime(WALL.as_secs());
    draft().signed(wall, &owner(), 1).unwrap().value
}

fn unsigned() -> Value {
    draft().unsigned(UnixTime(WALL.as_secs())).unwrap().value
}

fn publish(net: &mut Net, value: Value) -> OperationId {
    let publication = Publication::Permanent(target(), value, LIFE);
    net.with(OWNER, |node, now| {
        node.add_owner(Arc::new(owner()));
        node.publish(now, publication).unwrap()
    })
}

fn found(net: &mut Net) -> Option<Value> {
    let find = net.with(5, |node, now| {
        node.find_values(now, target(), ValueQuery::ALL, Scope::Network)
    });
    net.finish(5, find);
    let events = net.events_of(5, find);
    events.into_iter().find_map(|event| match event {
        Event::Value(_, value) => Some(value),
        _ => None,
    })
}

fn net() -> Net {
    let mut net = Net::new(12);
    net.run(secs(20));
    net
}

#[test]
fn a_permanent_value_is_there_many_lives_later_and_ends_when_it_is_cancelled() {
    for value in [signed(), unsigned()] {
        let mut net = net();
        let id = publish(&mut net, value.clone());
        for _ in 0..40 {
            net.run(secs(150));
            let found = found(&mut net).unwrap();
            assert!(found.is_same_but_for_expiry(&value));
        }
        net.with(OWNER, |node, now| node.cancel(now, id));
        net.run(LIFE + secs(10));
        assert_eq!(found(&mut net), None);
    }
}

#[test]
fn lost_rounds_do_not_end_a_permanent_value() {
    let mut net = net();
    publish(&mut net, signed());
    net.loss = 30;
    for _ in 0..20 {
        net.run(secs(300));
        let is_stored = |index| net_values(&mut net, index) == 1;
        assert!((0..12).map(is_stored).filter(|is| *is).count() >= 4);
    }
}

fn net_values(net: &mut Net, index: usize) -> usize {
    net.node(index).stored().values
}

#[test]
fn the_removal_of_a_permanent_value_is_not_undone() {
    for from in [OWNER, 7] {
        let mut net = net();
        publish(&mut net, signed());
        net.run(secs(60));
        let removal = signed().removed_by(&owner(), &target()).unwrap();
        let put = net.with(from, |node, now| {
            node.put_value(now, target(), &removal, Scope::Network)
        });
        net.finish(from, put);
        net.run(LIFE * 3);
        assert_eq!(found(&mut net), None);
        assert_eq!(net.node(OWNER).publications().count(), 0);
    }
}

#[test]
fn a_restart_goes_on_with_what_is_permanent_even_after_it_has_expired() {
    let mut net = net();
    publish(&mut net, signed());
    net.run(secs(60));
    let saved: Vec<Vec<u8>> = {
        let all = net.node(OWNER).publications();
        all.map(|(_, publication)| publication.encode()).collect()
    };
    net.kill(OWNER);
    net.run(LIFE * 2);
    assert_eq!(found(&mut net), None);
    net.restart(OWNER, v4());
    net.with(OWNER, |node, now| {
        node.add_bootstrap(now, crate::net::address(0));
        node.add_owner(Arc::new(owner()));
        for saved in &saved {
            node.resume(now, Publication::decode(saved).unwrap());
        }
    });
    net.run(secs(120));
    assert!(found(&mut net).unwrap().is_same_but_for_expiry(&signed()));
}

#[test]
fn a_permanent_value_on_disk_reads_back_and_nothing_else_does() {
    let publication = Publication::Permanent(target(), signed(), LIFE);
    let encoded = publication.encode();
    assert_eq!(Publication::decode(&encoded), Some(publication));
    for len in 0..encoded.len() {
        assert_eq!(Publication::decode(&encoded[..len]), None);
    }
    let forever = Publication::Permanent(target(), signed(), LIFE * 10_000);
    assert_eq!(Publication::decode(&forever.encode()), None);
}

#[test]
fn keys_of_owners_are_bounded() {
    let mut net = Net::new(1);
    let node = net.node(0);
    let key = |n: u8| Arc::new(DeviceKey::from_seed(&[n; 32]));
    for n in 0..MAX_OWNERS as u8 {
        assert!(node.add_owner(key(n)));
    }
    assert!(!node.add_owner(key(MAX_OWNERS as u8)));
    assert!(node.add_owner(key(3)), "it is there");
}
