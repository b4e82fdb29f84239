//! What the link does by chance: losses, bursts, doubles, jitter; and that a seed replays it.

use std::time::{Duration, Instant};

use dhtnet_simnet::{Fate, Link, LinkConfig, LossBursts, Queue};

const PACKETS: u32 = 100_000;
const SPACING: Duration = Duration::from_micros(100);

fn fates(config: LinkConfig, seed: u64) -> (Vec<Fate>, Link<u32>, Instant) {
    let start = Instant::now();
    let mut link = Link::new(config, seed);
    let fates = (0..PACKETS)
        .map(|i| link.send(start + SPACING * i, 1_000, false, i))
        .collect();
    (fates, link, start)
}

fn arrivals(link: &mut Link<u32>, start: Instant) -> Vec<(Duration, u32)> {
    let mut arrived = Vec::new();
    while let Some(at) = link.next_delivery() {
        arrived.push((at - start, link.poll_delivery(at).unwrap().item));
    }
    arrived
}

#[test]
fn single_losses_keep_their_probability() {
    let (fates, ..) = fates(LinkConfig::default().with_loss(0.01), 1);
    let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
    // 1,000 expected, standard deviation 31.
    assert!((850..1_150).contains(&lost), "{lost}");
}

#[test]
fn bursts_keep_their_number_and_mean_length() {
    let bursts = LossBursts {
        begin: 0.001,
        end: 0.1,
    };
    let (fates, ..) = fates(LinkConfig::default().with_loss_bursts(bursts), 2);
    let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
    let begun = fates
        .windows(2)
        .filter(|two| two[0] != Fate::Lost && two[1] == Fate::Lost)
        .count();
    // About 99 bursts of 10 packets.
    assert!((70..130).contains(&begun), "{begun}");
    let mean = lost as f64 / begun as f64;
    assert!((8.0..12.5).contains(&mean), "{mean}");
}

#[test]
fn doubles_arrive_twice_with_their_probability() {
    let (_, mut link, start) = fates(LinkConfig::default().with_duplication(0.05), 3);
    let twice = link.stats().duplicated;
    assert!((4_650..5_350).contains(&twice), "{twice}");
    assert_eq!(
        arrivals(&mut link, start).len() as u64,
        u64::from(PACKETS) + twice
    );
}

#[test]
fn plain_jitter_keeps_the_order_and_its_bound() {
    let config = LinkConfig::default()
        .with_delay(Duration::from_millis(10))
        .with_jitter(Duration::from_millis(3));
    let (_, mut link, start) = fates(config, 4);
    let arrived = arrivals(&mut link, start);
    assert!(arrived.windows(2).all(|two| two[0].1 < two[1].1));
    for (at, item) in &arrived {
        let travel = *at - SPACING * *item;
        assert!(travel >= Duration::from_millis(10) && travel < Duration::from_millis(13));
    }
}

#[test]
fn reordering_jitter_lets_packets_overtake() {
    let config = LinkConfig::default().with_reordering_jitter(Duration::from_millis(1));
    let (_, mut link, start) = fates(config, 5);
    let arrived = arrivals(&mut link, start);
    let overtaken = arrived.windows(2).filter(|two| two[0].1 > two[1].1).count();
    assert!(overtaken > 10_000, "{overtaken}");
    let mean = arrived
        .iter()
        .map(|(at, item)| (*at - SPACING * *item).as_secs_f64())
        .sum::<f64>()
        / f64::from(PACKETS);
    assert!((0.000_49..0.000_51).contains(&mean), "{mean}");
}

fn troubled() -> LinkConfig {
    LinkConfig::default()
        .with_rate(90_000_000)
        .with_delay(Duration::from_millis(7))
        .with_reordering_jitter(Duration::from_millis(2))
        .with_queue(Queue::Bytes(20_000))
        .with_loss(0.01)
        .with_loss_bursts(LossBursts {
            begin: 0.001,
            end: 0.2,
        })
        .with_duplication(0.01)
}

#[test]
fn one_seed_replays_to_the_nanosecond_and_another_does_not() {
    let replay = |seed| {
        let (fates, mut link, start) = fates(troubled(), seed);
        (fates, arrivals(&mut link, start), link.stats())
    };
    let first = replay(6);
    assert!(first == replay(6));
    assert!(first.1 != replay(7).1);
}
