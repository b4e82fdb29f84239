//! A listener is told at once, and is told the end as well.

use std::time::{Duration, Instant};

use crate::dht_segment::segment;

/// How late a listener may hear of a value, from the report of its put.
const PUSH_LIMIT: Duration = Duration::from_secs(1);

/// Seconds that the value is kept.
const TTL: u64 = 3;

#[test]
fn a_listener_hears_of_a_put_within_a_second_and_of_its_expiry() {
    let Some(mut segment) = segment("a_listener_hears_of_a_put_within_a_second") else {
        return;
    };
    let places = [1, 2, 3, 4, 5].map(|number| segment.place(number));
    let seed = places[0].address;
    let mut nodes: Vec<_> = places
        .iter()
        .map(|place| segment.node(place, (place.address != seed).then_some(seed)))
        .collect();
    for node in &mut nodes {
        node.stats().unwrap();
    }
    let (listener, writer) = (1, 4);
    nodes[listener]
        .tell(&["listen 'a topic'".to_owned()])
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let put = format!("put 'hear, hear' --at 'a topic' --ttl {TTL}");
    let begun = Instant::now();
    let stored = nodes[writer].one(&put).unwrap();
    assert_eq!(stored["stored"], true, "{stored}");
    let event = nodes[listener].next(PUSH_LIMIT).unwrap();
    assert_eq!(event["event"], "new", "{event}");
    assert_eq!(event["value"], "hear, hear");
    assert_eq!(event["id"], stored["id"]);
    let event = nodes[listener]
        .next(Duration::from_secs(TTL) + 2 * PUSH_LIMIT)
        .unwrap();
    assert_eq!(event["event"], "gone", "{event}");
    assert_eq!(event["id"], stored["id"]);
    let kept = begun.elapsed();
    let ttl = Duration::from_secs(TTL);
    assert!(
        kept >= ttl - PUSH_LIMIT && kept <= ttl + 2 * PUSH_LIMIT,
        "{kept:?}"
    );
}
