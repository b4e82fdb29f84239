//! Connections with several paths: which is used, what happens when one dies or the peer moves.

use dhtnet_nat_traversal::path::Reason;

use super::super::path::{MAX_KNOWN, PathKind, Standing};
use super::*;
use crate::core::path::Change;

/// The first host's relay, by which both reach each other while nothing else works.
const RELAY: Via = Via::Relay(3);

fn relay_address() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], 50_000))
}

fn relayed(to: SocketAddr) -> Route {
    let path = PathAddress {
        via: RELAY,
        ..PathAddress::to(to)
    };
    Route::untried(path)
}

/// Two hosts that are connected through the first one's relay alone, with a channel.
fn through_a_relay() -> (Net, ConnectionKey, ConnectionKey) {
    let mut net = Net::fast();
    net.one.ends.push((RELAY, relay_address()));
    cut_direct(&mut net);
    let (peer, now) = (DeviceKey::from_seed(&[2; 32]).id(), net.clock.now());
    let here = net.one.core.dial(now, &peer).unwrap();
    let direct = Route::untried(PathAddress::to(net.two.address));
    net.one.core.add_candidate(now, here, direct);
    net.one
        .core
        .add_candidate(now, here, relayed(net.two.address));
    net.run(Duration::from_secs(2));
    let there = established(&mut net.two).expect("the other side is connected");
    assert_eq!(established(&mut net.one), Some(here));
    open_accepted(&mut net, here, there);
    (net, here, there)
}

fn cut_direct(net: &mut Net) {
    let (one, two) = (net.one.address, net.two.address);
    net.cut.extend([(one, two), (two, one)]);
}

fn cut_relay(net: &mut Net) {
    let two = net.two.address;
    net.cut
        .extend([(relay_address(), two), (two, relay_address())]);
}

fn paths(host: &Host, key: ConnectionKey) -> &Paths {
    &host.core.get(key).unwrap().paths
}

/// What was told of paths since this was last asked, with nothing else in between.
fn changes(host: &mut Host) -> Vec<Change> {
    let all = host.events.drain(..).filter_map(|event| match event {
        CoreEvent::Path { change, .. } => Some(change),
        _ => None,
    });
    all.collect()
}

/// Writes so much on the first channel of `from`, and reads what comes on the other side.
struct Bulk {
    from: mux::ChannelId,
    to: mux::ChannelId,
    written: u64,
    read: u64,
}

impl Bulk {
    fn new(net: &mut Net, here: ConnectionKey, there: ConnectionKey) -> Self {
        let from = open(&mut net.one, net.clock.now(), here);
        net.run(Duration::from_millis(100));
        let to = offered(&mut net.two);
        let now = net.clock.now();
        net.two
            .core
            .with_mux(there, |mux, link| mux.accept(link, now, to).unwrap());
        Self {
            from,
            to,
            written: 0,
            read: 0,
        }
    }

    /// Runs for `span`, writing what is taken. Every byte is checked by its place.
    fn run(&mut self, net: &mut Net, keys: (ConnectionKey, ConnectionKey), span: Duration) {
        let end = net.clock.now() + span;
        while net.clock.now() < end {
            let now = net.clock.now();
            let written = &mut self.written;
            let from = self.from;
            net.one.core.with_mux(keys.0, |mux, link| {
                let chunk: Vec<u8> = (*written..*written + 16_384).map(byte_at).collect();
                if let Ok(taken) = mux.write(link, now, from, &mut [Bytes::from(chunk)]) {
                    *written += taken as u64;
                }
            });
            net.run(Duration::from_millis(5));
            let (now, to, read) = (net.clock.now(), self.to, &mut self.read);
            net.two.core.with_mux(keys.1, |mux, link| {
                while let Ok(Some(bytes)) = mux.read(link, now, to, usize::MAX) {
                    for byte in &bytes {
                        assert_eq!(*byte, byte_at(*read), "byte {read}");
                        *read += 1;
                    }
                }
            });
        }
    }
}

fn byte_at(place: u64) -> u8 {
    (place % 251) as u8
}

/// Two hosts of which the first has tried an address where nobody is, for so long.
fn found_late(after: Duration) -> (Net, ConnectionKey, ConnectionKey) {
    let mut net = Net::fast();
    let (peer, now) = (DeviceKey::from_seed(&[2; 32]).id(), net.clock.now());
    let here = net.one.core.dial(now, &peer).unwrap();
    let nowhere = PathAddress::to(SocketAddr::from(([198, 51, 100, 9], 9)));
    net.one
        .core
        .add_candidate(now, here, Route::untried(nowhere));
    net.run(after);
    let (now, direct) = (net.clock.now(), PathAddress::to(net.two.address));
    net.one
        .core
        .add_candidate(now, here, Route::untried(direct));
    net.run(Duration::from_secs(1));
    let there = established(&mut net.two).expect("the other side is connected");
    assert_eq!(established(&mut net.one), Some(here));
    (net, here, there)
}

#[test]
fn a_peer_that_is_found_late_is_not_taken_to_be_far_away() {
    // 1.9 s: the last datagram of the first flight was sent 0.9 s before.
    let (net, here, there) = found_late(Duration::from_millis(1_900));
    for (host, key) in [(&net.one, here), (&net.two, there)] {
        let all: Vec<Standing> = paths(host, key).standings().collect();
        let slow = |path: &Standing| path.route.round_trip > Some(Duration::from_millis(30));
        assert!(!all.is_empty() && !all.iter().any(slow), "{all:?}");
    }
    let known = net.one.core.get(here).unwrap();
    assert!(known.stats().path.rtt < Duration::from_millis(400));
}

#[test]
fn a_peer_that_was_found_late_and_falls_silent_is_noticed_as_soon_as_another() {
    let (mut net, here, there) = found_late(Duration::from_millis(1_900));
    open_accepted(&mut net, here, there);
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_millis(500));
    changes(&mut net.one);
    cut_direct(&mut net);
    bulk.run(&mut net, (here, there), Duration::from_millis(2_500));
    assert!(changes(&mut net.one).contains(&Change::Lost));
}

#[test]
fn a_relayed_connection_becomes_direct_within_a_second_of_its_becoming_possible() {
    let (mut net, here, there) = through_a_relay();
    net.run(Duration::from_secs(20));
    assert!(paths(&net.one, here).is_relayed());
    assert!(paths(&net.two, there).is_relayed(), "told by the check");
    changes(&mut net.one);
    net.cut.clear();
    net.run(Duration::from_millis(1_100));
    let direct = PathAddress::to(net.two.address);
    let changed = changes(&mut net.one);
    assert!(
        matches!(changed[..], [Change::Use(path, Reason::Better)] if path.is_same_path(&direct)),
        "{changed:?}"
    );
    net.run(Duration::from_millis(500));
    assert!(!paths(&net.two, there).is_relayed());
    // The relay stays as a reserve.
    assert_eq!(paths(&net.one, here).standings().count(), 2);
}

#[test]
fn with_traffic_a_dead_direct_path_is_replaced_by_the_relay_within_a_second() {
    let (mut net, here, there) = through_a_relay();
    net.cut.clear();
    net.run(Duration::from_secs(3));
    assert!(!paths(&net.one, here).is_relayed());
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(2));
    cut_direct(&mut net);
    bulk.run(&mut net, (here, there), Duration::from_millis(100));
    let before = bulk.read;
    bulk.run(&mut net, (here, there), Duration::from_millis(900));
    assert!(
        bulk.read > before + 100_000,
        "{} bytes more",
        bulk.read - before
    );
    assert!(paths(&net.one, here).is_relayed() && paths(&net.two, there).is_relayed());
    // And back, when the direct path lives again.
    net.cut.clear();
    bulk.run(&mut net, (here, there), Duration::from_secs(3));
    assert!(!paths(&net.one, here).is_relayed() && !paths(&net.two, there).is_relayed());
    assert!(bulk.read > before + 200_000);
}

#[test]
fn the_death_of_the_relay_in_use_costs_no_byte() {
    let (mut net, here, there) = through_a_relay();
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    net.cut.clear();
    cut_relay(&mut net);
    bulk.run(&mut net, (here, there), Duration::from_secs(3));
    assert!(!paths(&net.one, here).is_relayed());
    let before = bulk.read;
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    assert!(bulk.read > before);
}

#[test]
fn an_allocation_that_is_gone_takes_its_paths_with_it_at_once() {
    let (mut net, here, _) = through_a_relay();
    net.cut.clear();
    net.run(Duration::from_secs(3));
    let now = net.clock.now();
    net.one.core.on_via_gone(now, RELAY);
    assert_eq!(paths(&net.one, here).standings().count(), 1);
    assert!(!paths(&net.one, here).is_relayed());
}

#[test]
fn a_client_that_gets_another_address_is_followed_in_a_round_trip_when_it_knows() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    open_accepted(&mut net, here, there);
    net.run(Duration::from_secs(2));
    let old = net.one.address;
    net.one.address = SocketAddr::from(([198, 51, 100, 1], 999));
    net.cut.insert((net.two.address, old));
    let now = net.clock.now();
    net.one.core.on_network_change(now);
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    assert_eq!(
        paths(&net.two, there).current().unwrap().remote,
        net.one.address
    );
    assert!(bulk.read > 50_000, "{}", bulk.read);
}

#[test]
fn a_nat_that_forgets_who_only_receives_is_noticed_within_two_seconds() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    // The second host is the one behind a NAT, and only receives.
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    net.two.address = SocketAddr::from(([198, 51, 100, 2], 999));
    bulk.run(&mut net, (here, there), Duration::from_secs(2));
    let before = bulk.read;
    bulk.run(&mut net, (here, there), Duration::from_millis(500));
    assert!(bulk.read > before);
    assert_eq!(
        paths(&net.one, here).current().unwrap().remote,
        net.two.address
    );
}

#[test]
fn a_silent_peer_is_noticed_in_two_seconds_with_traffic_and_everything_known_is_tried() {
    let (mut net, here, there) = through_a_relay();
    net.cut.clear();
    net.run(Duration::from_secs(3));
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    changes(&mut net.one);
    cut_direct(&mut net);
    cut_relay(&mut net);
    bulk.run(&mut net, (here, there), Duration::from_secs(4));
    assert!(changes(&mut net.one).contains(&Change::Lost));
    assert!(paths(&net.one, here).is_lost());
    assert_eq!(paths(&net.one, here).destinations().len(), 2);
    net.cut.clear();
    let before = bulk.read;
    bulk.run(&mut net, (here, there), Duration::from_secs(4));
    assert!(changes(&mut net.one).contains(&Change::Found));
    assert!(bulk.read > before + 100_000);
}

#[test]
fn packets_copied_to_another_source_do_not_move_a_path() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    let mut bulk = Bulk::new(&mut net, here, there);
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    // What the first host sends next arrives a second time, from somewhere that cannot answer.
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 9));
    let honest = net.one.address;
    net.one.address = elsewhere;
    net.run(Duration::from_millis(50));
    net.one.address = honest;
    bulk.run(&mut net, (here, there), Duration::from_secs(1));
    assert_eq!(paths(&net.two, there).current().unwrap().remote, honest);
    assert_eq!(paths(&net.two, there).standings().count(), 1);
}

#[test]
fn what_a_peer_makes_us_remember_and_ask_is_bounded() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    open_accepted(&mut net, here, there);
    net.run(Duration::from_secs(1));
    let before = net.two.sent;
    for port in 0..200 {
        net.one.address = SocketAddr::from(([198, 51, 100, 1], 1_000 + port));
        let now = net.clock.now();
        net.one.core.on_network_change(now);
        net.run(Duration::from_millis(10));
    }
    let answers = 200 * 3;
    // Sixteen addresses at once, three checks each, for two seconds.
    assert!(
        net.two.sent - before < answers + 16 * 3 * 2,
        "{}",
        net.two.sent - before
    );
    let known = paths(&net.two, there).known();
    assert!(known <= MAX_KNOWN, "{known}");
}

#[test]
fn a_check_of_somebody_else_is_not_answered() {
    let mut net = Net::fast();
    let (here, there) = net.connect();
    let mut other = Net::fast();
    other.one = Host::new(9, LinkConfig::default());
    let (elsewhere, _) = other.connect();
    let now = other.clock.now();
    other.one.core.on_network_change(now);
    other
        .one
        .core
        .handle_timeout(now + Duration::from_millis(1));
    let mut buffer = Vec::new();
    let check = other.one.core.poll_transmit(now, 1, &mut buffer);
    assert!(check.is_some(), "{elsewhere:?} asks");
    let from = PathAddress::to(net.one.address);
    let before = net.two.sent;
    assert!(!net.two.core.handle_check(net.clock.now(), from, &buffer));
    net.run(Duration::from_millis(100));
    assert_eq!(net.two.sent, before, "{here:?} {there:?}");
}

#[test]
fn the_kind_of_a_path_is_what_it_goes_through() {
    assert_eq!(relayed(relay_address()).kind, PathKind::Relayed);
    let direct = Route::untried(PathAddress::to(relay_address()));
    assert_eq!(direct.kind, PathKind::Direct);
    let back = PathAddress::from(relayed(relay_address()).path.id());
    assert_eq!(back, relayed(relay_address()).path);
}
