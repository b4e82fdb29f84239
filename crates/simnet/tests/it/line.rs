//! What the line does without chance: rate, delay, queue bounds, marks, MTU.

use std::time::{Duration, Instant};

use dhtnet_simnet::{Clock, Fate, Link, LinkConfig, Queue};

fn drain(link: &mut Link<u32>) -> Vec<(Instant, bool, u32)> {
    let mut arrived = Vec::new();
    while let Some(at) = link.next_delivery() {
        let packet = link.poll_delivery(at).unwrap();
        arrived.push((packet.at, packet.marked, packet.item));
    }
    arrived
}

#[test]
fn a_packet_takes_its_serialisation_time_and_the_delay() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .with_rate(10_000_000)
        .with_delay(Duration::from_millis(5))
        .with_overhead(28);
    let mut link = Link::new(config, 0);
    assert_eq!(link.send(start, 1_222, false, 1), Fate::Carried);
    assert_eq!(link.send(start, 1_222, false, 2), Fate::Carried);
    let arrived = drain(&mut link);
    assert_eq!(arrived[0].0 - start, Duration::from_millis(6));
    assert_eq!(arrived[1].0 - start, Duration::from_millis(7));
    assert_eq!(link.stats().waited, Duration::from_millis(1));
}

#[test]
fn nothing_arrives_before_its_time() {
    let mut clock = Clock::new(Instant::now());
    let mut link = Link::new(
        LinkConfig::default().with_delay(Duration::from_millis(5)),
        0,
    );
    link.send(clock.now(), 100, false, 1);
    clock.advance(Duration::from_micros(4_999));
    assert_eq!(link.poll_delivery(clock.now()), None);
    clock.advance(Duration::from_micros(1));
    assert_eq!(link.poll_delivery(clock.now()).unwrap().item, 1);
    assert_eq!(link.next_delivery(), None);
}

#[test]
fn an_overloaded_line_carries_exactly_its_rate() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .with_rate(100_000_000)
        .with_queue(Queue::Packets(50));
    let mut link = Link::new(config, 0);
    // Twice the rate for one second: 1,250 bytes each 50 microseconds.
    for packet in 0..20_000 {
        link.send(
            start + Duration::from_micros(50) * packet,
            1_250,
            false,
            packet,
        );
    }
    let end = start + Duration::from_secs(1);
    let within = drain(&mut link)
        .iter()
        .filter(|(at, ..)| *at <= end)
        .count();
    assert_eq!(within, 10_000);
    let stats = link.stats();
    assert_eq!(stats.dropped_by_queue + stats.carried, 20_000);
    assert!(stats.longest_wait <= Duration::from_micros(100) * 50);
}

#[test]
fn a_queue_of_packets_takes_its_bound_and_drops_one_past_it() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .with_rate(1_000_000)
        .with_queue(Queue::Packets(3));
    let mut link = Link::new(config, 0);
    let fates: Vec<_> = (0..4).map(|i| link.send(start, 1_000, false, i)).collect();
    assert_eq!(fates[..3], [Fate::Carried; 3]);
    assert_eq!(fates[3], Fate::DroppedByQueue);
    // 8 ms later the first has left and made room for one.
    let later = start + Duration::from_millis(8);
    assert_eq!(link.send(later, 1_000, false, 5), Fate::Carried);
    assert_eq!(link.send(later, 1_000, false, 6), Fate::DroppedByQueue);
}

#[test]
fn a_queue_of_bytes_takes_its_bound_and_drops_one_past_it() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .with_rate(1_000_000)
        .with_queue(Queue::Bytes(3_000));
    let mut link = Link::new(config, 0);
    assert_eq!(link.send(start, 2_000, false, 1), Fate::Carried);
    assert_eq!(link.send(start, 1_001, false, 2), Fate::DroppedByQueue);
    assert_eq!(link.send(start, 1_000, false, 3), Fate::Carried);
    assert_eq!(link.stats().dropped_by_queue, 1);
}

#[test]
fn marks_begin_at_the_threshold_and_spare_what_cannot_carry_them() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .with_rate(1_000_000)
        .with_mark_threshold(Queue::Packets(2));
    let mut link = Link::new(config, 0);
    for i in 0..4 {
        link.send(start, 1_000, i != 3, i);
    }
    let marks: Vec<_> = drain(&mut link)
        .iter()
        .map(|(_, marked, _)| *marked)
        .collect();
    assert_eq!(marks, [false, false, true, false]);
    assert_eq!(link.stats().marked, 1);
}

#[test]
fn the_mtu_passes_and_one_byte_more_does_not() {
    let start = Instant::now();
    let mut link = Link::new(LinkConfig::default().with_mtu(1_400), 0);
    assert_eq!(link.send(start, 1_400, false, 1), Fate::Carried);
    assert_eq!(link.send(start, 1_401, false, 2), Fate::TooLarge);
    assert_eq!(link.stats().too_large, 1);
}

#[test]
fn a_new_configuration_holds_for_later_packets_only() {
    let start = Instant::now();
    let slow = LinkConfig::default().with_delay(Duration::from_millis(50));
    let mut link = Link::new(slow, 0);
    link.send(start, 100, false, 1);
    link.reconfigure(LinkConfig::default().with_delay(Duration::from_millis(60)));
    link.send(start, 100, false, 2);
    let arrived = drain(&mut link);
    assert_eq!(arrived[0].0 - start, Duration::from_millis(50));
    assert_eq!(arrived[1].0 - start, Duration::from_millis(60));
}
