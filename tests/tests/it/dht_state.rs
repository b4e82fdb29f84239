//! What a node remembers from run to run.

use std::fs;

use dhtnet_tests::dht_peers::MainlinePeer;

use crate::dht_segment::{eventually, segment};

/// Name of the state file in a node's home.
const STATE_FILE: &str = "dht.state";

#[test]
fn a_killed_node_comes_back_to_its_network_and_keeps_its_permanent_values_alive() {
    let Some(mut segment) = segment("a_killed_node_comes_back") else {
        return;
    };
    let [first, second, third] = [1, 2, 3].map(|number| segment.place(number));
    let mut seed = segment.node(&first, None);
    let mut node = segment.node(&second, Some(first.address));
    let item = node.one("put 'a permanent item' --permanent").unwrap();
    let value = node
        .one("put 'a permanent value' --at topic --permanent")
        .unwrap();
    assert_eq!(
        (&item["stored"], &value["stored"]),
        (&true.into(), &true.into())
    );
    node.kill();
    // Nobody tells it where the network is.
    let mut node = segment.node(&second, None);
    eventually(
        "nodes known again",
        || node.nodes().unwrap(),
        |known| *known == 1,
    );
    // Now all that was stored elsewhere is gone.
    seed.kill();
    let mut newcomer = segment.node(&third, Some(second.address));
    let target = item["target"].as_str().unwrap();
    for (key, expected) in [(target, "a permanent item"), ("topic", "a permanent value")] {
        eventually(
            key,
            || newcomer.get(key).unwrap(),
            |found| found.as_deref() == Some(expected),
        );
    }
}

#[test]
fn a_corrupt_and_a_foreign_state_file_are_one_warning_and_a_clean_start() {
    let Some(mut segment) = segment("a_corrupt_and_a_foreign_state_file") else {
        return;
    };
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| segment.place(number));
    let mut seed = segment.node(&first, None);
    // One that is sound, to spoil and to bring into another network.
    let _other = segment.node_of(Some("elsewhere"), &third, None);
    let mut node = segment.node_of(Some("elsewhere"), &fourth, Some(third.address));
    let stored = node.one("put 'a permanent item' --permanent").unwrap();
    assert_eq!(stored["stored"], true, "{stored}");
    let sound = fourth.home.join("state/dht-elsewhere.state");
    let sound = fs::read(&sound).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    let state_file = second.home.join("state").join(STATE_FILE);
    for (what, bytes) in [
        (
            "no state file at all",
            b"d3:ids20:aaaaaaaaaaaaaaaaaaaae".to_vec(),
        ),
        ("empty", Vec::new()),
        ("cut off", sound[..sound.len() - 1].to_vec()),
        ("damaged", damaged),
        ("of another network", sound.clone()),
    ] {
        fs::create_dir_all(second.home.join("state")).unwrap();
        fs::write(&state_file, bytes).unwrap();
        let mut node = segment.node(&second, Some(first.address));
        assert_eq!(node.nodes().unwrap(), 1, "{what}");
        let said = node.said();
        let warnings = said
            .lines()
            .filter(|line| line.contains(STATE_FILE))
            .count();
        assert_eq!(warnings, 1, "{what}: {said}");
        node.kill();
    }
    assert!(seed.nodes().unwrap() >= 1);
}
