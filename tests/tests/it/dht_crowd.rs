//! A crowd of node processes, each on a host of its own: every one finds every key, also when
//! some of them are killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dhtnet_tests::dht_peers::MainlinePeer;
use dhtnet_tests::dht_peers::dhtnode::DhtNode;
use serde_json::Value;

use crate::dht_segment::segment;

const NODES: u8 = 75;
const KEYS_EACH: usize = 10;

/// How long the living may take to store again what the dead had.
const REPUBLISH_LIMIT: Duration = Duration::from_secs(30);

/// Key and value of the whole crowd.
type Keys = BTreeMap<String, String>;

/// Every node puts its values, all at the same time. Half of them are immutable items, half are
/// values of the value layer.
fn put_all(nodes: &mut [DhtNode]) -> Keys {
    let mut keys = Keys::new();
    for (at, node) in nodes.iter_mut().enumerate() {
        let puts = (0..KEYS_EACH).map(|number| {
            let value = format!("value {number} of node {at}");
            match number % 2 {
                0 => format!("put '{value}' --permanent"),
                _ => format!("put '{value}' --at 'key {number} of node {at}' --permanent"),
            }
        });
        node.tell(&puts.collect::<Vec<_>>()).unwrap();
    }
    for (at, node) in nodes.iter_mut().enumerate() {
        let stored = node.rest().unwrap();
        assert_eq!(stored.len(), KEYS_EACH, "{}", node.said());
        for (number, stored) in stored.iter().enumerate() {
            assert_eq!(stored["stored"], true, "{stored}: {}", node.said());
            let target = stored["target"].as_str().unwrap().to_owned();
            keys.insert(target, format!("value {number} of node {at}"));
        }
    }
    keys
}

/// How many of the gets found the right value, how many there were, and what is known of the rest.
struct Score {
    found: usize,
    asked: usize,
    misses: Vec<String>,
}

/// Misses that a message tells of.
const MAX_TOLD: usize = 5;

/// Each node gets the keys that `wanted` gives it, all nodes at the same time.
fn get_all(nodes: &mut [DhtNode], keys: &Keys, wanted: impl Fn(usize, usize) -> bool) -> Score {
    let mut score = Score {
        found: 0,
        asked: 0,
        misses: Vec::new(),
    };
    let chosen: Vec<Vec<&String>> = (0..nodes.len())
        .map(|at| {
            let numbered = keys.keys().enumerate();
            let chosen = numbered.filter(|(number, _)| wanted(at, *number));
            chosen.map(|(_, key)| key).collect()
        })
        .collect();
    for (node, chosen) in nodes.iter_mut().zip(&chosen) {
        let gets: Vec<String> = chosen.iter().map(|key| format!("get {key}")).collect();
        score.asked += gets.len();
        node.tell(&gets).unwrap();
    }
    for (node, chosen) in nodes.iter_mut().zip(&chosen) {
        let printed = node.rest().unwrap();
        let values: BTreeMap<&str, &Value> = printed
            .iter()
            .filter_map(|found| Some((found["key"].as_str()?, &found["value"])))
            .collect();
        for key in chosen {
            let value = values.get(key.as_str());
            if value.is_some_and(|value| **value == keys[*key].as_str()) {
                score.found += 1;
            } else if score.misses.len() < MAX_TOLD {
                let (name, said) = (node.name().to_owned(), node.said());
                let miss = format!("{name}: {key} was {value:?}: {}", said.trim());
                score.misses.push(miss);
            }
        }
    }
    score
}

#[test]
fn each_of_75_nodes_finds_each_of_750_keys_and_nearly_all_when_a_third_is_killed() {
    let Some(mut segment) = segment("each_of_75_nodes_finds_each_of_750_keys") else {
        return;
    };
    let started = Instant::now();
    let stage = |what: &str| println!("{what} after {:.1?}", started.elapsed());
    let places: Vec<_> = (1..=NODES).map(|number| segment.place(number)).collect();
    stage("hosts");
    let seed = places[0].address;
    let mut nodes: Vec<_> = places
        .iter()
        .map(|place| segment.node(place, (place.address != seed).then_some(seed)))
        .collect();
    for node in &mut nodes {
        node.stats().unwrap();
    }
    stage("network");
    let keys = put_all(&mut nodes);
    assert_eq!(keys.len(), usize::from(NODES) * KEYS_EACH);
    stage("puts");
    let all = get_all(&mut nodes, &keys, |_, _| true);
    assert_eq!(all.asked, usize::from(NODES) * keys.len());
    assert_eq!(all.found, all.asked, "{:#?}", all.misses);
    stage("gets");
    // Every third or so, the seed among them: 30 %.
    let mut number = 0;
    nodes.retain_mut(|node| {
        number += 1;
        let dies = number % 10 < 4 && number % 10 > 0;
        if dies {
            node.kill();
        }
        !dies
    });
    let left = nodes.len();
    assert!((50..=53).contains(&left), "{left}");
    // Each key is looked for by every tenth of them, which is not always the same. What the dead
    // alone had comes back when the living store it again.
    let killed = Instant::now();
    for round in 0.. {
        let wanted = |at: usize, number: usize| (at + number + round).is_multiple_of(10);
        let Score {
            found,
            asked,
            misses,
        } = get_all(&mut nodes, &keys, wanted);
        stage("gets with the dead");
        println!("{found} of {asked} found with 30 % of the nodes dead");
        if found * 100 >= asked * 99 {
            break;
        }
        let is_over = killed.elapsed() >= REPUBLISH_LIMIT;
        assert!(!is_over, "{found} of {asked}: {misses:#?}");
    }
}
