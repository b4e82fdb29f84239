//! How long operations take when many nodes have just died.

use std::time::Duration;

use dhtnet_dht_core::item::{ItemSigner, MutableItem};
use dhtnet_dht_core::node::{Outcome, Scope};
use dhtnet_dht_core::{Event, Id};

use crate::net::{Net, ms, secs};

/// The middle and the 95th of a hundred.
fn summary(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 95 / 100])
}

#[test]
fn with_a_quarter_of_the_nodes_just_dead_gets_and_puts_take_at_most_100_ms() {
    let mut net = Net::new(64);
    net.delay = ms(1);
    net.run(secs(120));
    let item = |n: u8| {
        let signer = ItemSigner::from_seed(&[n; 32]);
        MutableItem::sign(&signer, b"", 1, b"1:x").unwrap()
    };
    for n in 0..60 {
        let put = net.with(usize::from(n) % 64, |node, now| {
            node.put_mutable(now, item(n), None, Scope::Network)
        });
        net.finish(usize::from(n) % 64, put);
    }
    for dead in (1..64).step_by(4) {
        net.kill(dead);
    }
    let (mut gets, mut puts, mut found) = (Vec::new(), Vec::new(), 0);
    for n in 0..60_u8 {
        let asker = usize::from(n) % 16 * 4;
        let target = item(n).target();
        let get = net.with(asker, |node, now| {
            node.find_item(now, target, b"", Scope::Network)
        });
        gets.push(net.finish(asker, get).elapsed);
        let is_item = |event: &Event| matches!(event, Event::Item(..));
        found += usize::from(net.events_of(asker, get).iter().any(is_item));
        let value = Id::hash_of(&[n]);
        let value = [b"20:".as_slice(), value.as_bytes()].concat();
        let put = net.with(asker + 2, |node, now| {
            node.put_immutable(now, &value, Scope::Network).unwrap()
        });
        let outcome: Outcome = net.finish(asker + 2, put);
        assert!(outcome.acknowledged >= 6, "{outcome:?}");
        puts.push(outcome.elapsed);
    }
    let slowest = gets.iter().chain(&puts).max().copied().unwrap();
    let ((get50, get95), (put50, put95)) = (summary(gets), summary(puts));
    eprintln!(
        "get p50 {get50:?} p95 {get95:?}, put p50 {put50:?} p95 {put95:?}, at most {slowest:?}"
    );
    assert_eq!(found, 60);
    assert!(slowest <= ms(100), "{slowest:?}");
}

/// A machine that is held up for a moment finds every answer late; that is no reason to say that
/// nothing is there, or that nobody can store.
#[test]
fn when_all_answers_are_late_at_once_nothing_is_concluded_from_it() {
    let mut net = Net::new(16);
    net.delay = ms(1);
    net.run(secs(120));
    let value = b"5:value";
    let put = net.with(1, |node, now| {
        node.put_immutable(now, value, Scope::Network).unwrap()
    });
    assert!(net.finish(1, put).acknowledged >= 7);
    net.delay = ms(80);
    let get = net.with(2, |node, now| {
        node.find_item(now, Id::hash_of(value), b"", Scope::Network)
    });
    net.finish(2, get);
    let found = net.events_of(2, get);
    assert!(found.iter().any(|event| matches!(event, Event::Item(..))));
    net.run(secs(60));
    net.delay = ms(300);
    let put = net.with(3, |node, now| {
        node.put_immutable(now, b"5:other", Scope::Network).unwrap()
    });
    let outcome = net.finish(3, put);
    assert!(outcome.acknowledged >= 2, "{outcome:?}");
}
