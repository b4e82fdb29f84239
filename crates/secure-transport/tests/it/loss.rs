//! Handshakes in bad weather.

use std::time::Duration;

use crate::pair::{FAIR, Pair, Weather};

/// How many of `count` handshakes in this weather are complete on both sides within ten seconds.
fn completed(count: u64, weather: Weather) -> u64 {
    (0..count)
        .filter(|&seed| {
            let mut pair = Pair::new().seeded(seed, weather);
            pair.connect();
            pair.run(Duration::from_secs(10), |pair| pair.is_established())
        })
        .count() as u64
}

#[test]
fn most_handshakes_survive_thirty_per_cent_loss_each_way() {
    let completed = completed(100, Weather { loss: 30, ..FAIR });
    assert!(completed >= 90, "{completed} of 100");
}

#[test]
fn all_handshakes_survive_duplication_and_reordering() {
    let weather = Weather {
        duplication: 50,
        reordering: 50,
        ..FAIR
    };
    assert_eq!(completed(100, weather), 100);
}

#[test]
fn most_handshakes_survive_a_flipped_bit_in_thirty_per_cent_of_the_datagrams() {
    let completed = completed(
        100,
        Weather {
            corruption: 30,
            ..FAIR
        },
    );
    assert!(completed >= 90, "{completed} of 100");
}

#[test]
fn nearly_all_handshakes_survive_a_bit_of_everything() {
    let weather = Weather {
        loss: 5,
        duplication: 20,
        reordering: 20,
        corruption: 2,
    };
    let completed = completed(100, weather);
    assert!(completed >= 98, "{completed} of 100");
}
