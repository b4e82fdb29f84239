//! Private networks share a segment and nothing else.

use std::time::{Duration, Instant};

use dhtnet_tests::dht_peers::MainlinePeer;

use crate::dht_segment::{eventually, segment};

/// Far below the ten seconds for which a node waits for its network.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn two_networks_on_one_segment_never_mix_and_count_what_they_ignore() {
    let Some(mut segment) = segment("two_networks_on_one_segment_never_mix") else {
        return;
    };
    let places = [1, 2, 3, 4, 5].map(|number| segment.place(number));
    let [red_seed, red, blue_seed, blue, public] = &places;
    let mut red_seed_node = segment.node_of(Some("red"), red_seed, None);
    let mut red_node = segment.node_of(Some("red"), red, Some(red_seed.address));
    // Its owner named a node of the wrong network as well as waiting for others.
    let mut blue_seed_node = segment.node_of(Some("blue"), blue_seed, Some(red_seed.address));
    let mut blue_node = segment.node_of(Some("blue"), blue, Some(blue_seed.address));
    let mut public_node = segment.node(public, Some(red_seed.address));
    let target = red_node.put("for red eyes").unwrap();
    let stored = red_node.one("put 'red value' --at topic").unwrap();
    assert_eq!(stored["stored"], true, "{stored}");
    // It knows nobody of its own network, and so waits for a while before it says so.
    let asks_its_own = [format!("get {target}"), "get topic".to_owned()];
    public_node.tell(&asks_its_own).unwrap();
    let own = blue_node.put("for blue eyes").unwrap();
    assert_eq!(
        red_seed_node.get(&target).unwrap().as_deref(),
        Some("for red eyes")
    );
    assert_eq!(
        red_seed_node.get("topic").unwrap().as_deref(),
        Some("red value")
    );
    assert_eq!(
        blue_seed_node.get(&own).unwrap().as_deref(),
        Some("for blue eyes")
    );
    let asked = red_seed.address;
    for stranger in [&mut blue_node, &mut blue_seed_node, &mut public_node] {
        let asks_red = [
            format!("get {target} --remote {asked}"),
            format!("get topic --remote {asked}"),
        ];
        stranger.tell(&asks_red).unwrap();
        let found = stranger.rest().unwrap();
        assert!(found.is_empty(), "{}: {found:?}", stranger.name());
    }
    for stranger in [&mut blue_node, &mut blue_seed_node] {
        assert_eq!(stranger.get(&target).unwrap(), None, "{}", stranger.name());
        assert_eq!(stranger.get("topic").unwrap(), None, "{}", stranger.name());
    }
    for (node, neighbour) in [
        (&mut red_seed_node, red),
        (&mut red_node, red_seed),
        (&mut blue_seed_node, blue),
        (&mut blue_node, blue_seed),
    ] {
        let known = node.ask("nodes").unwrap();
        let addresses: Vec<&str> = known
            .iter()
            .filter_map(|one| one["address"].as_str())
            .collect();
        assert_eq!(
            addresses,
            [neighbour.address.to_string()],
            "{}",
            node.name()
        );
    }
    // Once it has waited in vain it knows; each further answer is there at once.
    assert!(public_node.rest().unwrap().is_empty());
    let asked = Instant::now();
    assert_eq!(public_node.nodes().unwrap(), 0);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    eventually(
        "messages of other networks that red's seed counted",
        || red_seed_node.stats().unwrap()["dropped"].clone(),
        |dropped| dropped["other network"].as_u64() > Some(0),
    );
}
