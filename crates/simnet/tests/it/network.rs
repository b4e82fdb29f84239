//! Many machines: who hears whom, when, and the same each time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dhtnet_simnet::{Machine, MachineId, Nat, Network, NetworkConfig, NetworkStats, Rng, Transmit};

const ONE_WAY: Duration = Duration::from_millis(30);

/// Sends what it is told to, remembers what it got, and can send by a timer.
#[derive(Default)]
struct Node {
    outbox: Vec<Transmit>,
    inbox: Vec<(Instant, SocketAddr, Vec<u8>)>,
    due: Option<Instant>,
    rang: Vec<Instant>,
}

impl Node {
    fn send(&mut self, destination: SocketAddr, payload: &[u8]) {
        self.outbox.push(Transmit {
            destination,
            payload: payload.to_vec(),
        });
    }
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        self.inbox.push((now, source, datagram.to_vec()));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.rang.push(now);
        self.due = None;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop()
    }
}

fn address(host: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + host), 6881))
}

fn steady() -> NetworkConfig {
    NetworkConfig::default()
        .with_delay(ONE_WAY, ONE_WAY)
        .with_jitter(Duration::ZERO)
}

fn pair(config: NetworkConfig) -> (Network<Node>, MachineId, MachineId) {
    let mut network = Network::new(Instant::now(), config, 1);
    let a = network.add(address(1), Node::default());
    let b = network.add(address(2), Node::default());
    (network, a, b)
}

fn say(network: &mut Network<Node>, from: MachineId, to: MachineId, text: &[u8]) {
    let destination = network.address(to);
    network.drive(from, |node, _| node.send(destination, text));
}

fn heard(network: &Network<Node>, id: MachineId) -> usize {
    network.machine(id).unwrap().inbox.len()
}

#[test]
fn a_datagram_arrives_after_the_delay_with_its_source() {
    let (mut network, a, b) = pair(steady());
    let sent = network.now();
    say(&mut network, a, b, b"hello");
    assert_eq!(network.in_flight(), 1);
    network.run_until(sent + ONE_WAY - Duration::from_nanos(1));
    assert_eq!(heard(&network, b), 0);
    network.run_until(sent + ONE_WAY);
    let inbox = &network.machine(b).unwrap().inbox;
    assert_eq!(inbox[..], [(sent + ONE_WAY, address(1), b"hello".to_vec())]);
    assert_eq!(network.traffic(a).sent_bytes, 5);
    assert_eq!(network.traffic(b).received, 1);
}

#[test]
fn a_machine_can_send_as_soon_as_it_is_there() {
    let (mut network, _, b) = pair(steady());
    let mut node = Node::default();
    node.send(address(2), b"here I am");
    network.add(address(3), node);
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, b), 1);
}

#[test]
fn the_dead_hear_nothing_and_the_revived_hear_again() {
    let (mut network, a, b) = pair(steady());
    let now = network.now();
    network.drive(b, |node, _| node.due = Some(now + ONE_WAY));
    say(&mut network, a, b, b"on its way");
    let dead = network.kill(b).unwrap();
    assert!(network.kill(b).is_none());
    assert!(network.drive(b, |_, _| ()).is_none());
    say(&mut network, a, b, b"too late");
    network.run_for(ONE_WAY * 2);
    assert!(dead.inbox.is_empty() && dead.rang.is_empty());
    assert_eq!(network.stats().vanished, 2);
    assert_eq!(network.machines().count(), 1);

    network.revive(b, Node::default());
    say(&mut network, a, b, b"back?");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, b), 1);
    assert!(network.machine(b).unwrap().rang.is_empty());
}

#[test]
fn groups_do_not_hear_each_other_until_they_heal() {
    let (mut network, a, b) = pair(steady());
    let c = network.add(address(3), Node::default());
    say(&mut network, a, b, b"caught by the border");
    for id in [b, c] {
        network.set_group(id, 1);
    }
    say(&mut network, a, b, b"across");
    say(&mut network, b, c, b"within");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, b), 0);
    assert_eq!(heard(&network, c), 1);
    assert_eq!(network.stats().partitioned, 2);
    network.heal();
    say(&mut network, a, b, b"again");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, b), 1);
}

#[test]
fn a_machine_behind_a_nat_hears_those_it_sent_to_and_only_for_a_while() {
    let (mut network, a, b) = pair(steady());
    let expiry = Duration::from_secs(30);
    let inside = network.add_behind_nat(address(3), Nat::with_expiry(expiry), Node::default());
    say(&mut network, a, inside, b"unasked");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, inside), 0);
    assert_eq!(network.stats().filtered, 1);

    say(&mut network, inside, a, b"hello");
    say(&mut network, a, inside, b"answer");
    say(&mut network, b, inside, b"not to you");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, a), 1);
    assert_eq!(heard(&network, inside), 1);

    network.run_for(expiry);
    say(&mut network, a, inside, b"too late");
    network.run_for(ONE_WAY);
    assert_eq!(heard(&network, inside), 1);
    assert_eq!(network.stats().filtered, 3);
}

#[test]
fn losses_come_at_their_rate() {
    let (mut network, a, b) = pair(steady().with_loss(0.1));
    for _ in 0..10_000 {
        say(&mut network, a, b, b"x");
    }
    network.run_for(ONE_WAY);
    let lost = network.stats().lost;
    assert!((900..1_100).contains(&lost), "{lost}");
    assert_eq!(heard(&network, b) as u64, 10_000 - lost);
}

#[test]
fn datagrams_overtake_each_other_by_jitter() {
    let (mut network, a, b) = pair(steady().with_jitter(ONE_WAY));
    for number in 0..100u8 {
        say(&mut network, a, b, &[number]);
    }
    network.run_for(ONE_WAY * 2);
    let inbox = &network.machine(b).unwrap().inbox;
    assert_eq!(inbox.len(), 100);
    assert!(inbox.is_sorted_by_key(|(at, ..)| *at));
    assert!(!inbox.is_sorted_by_key(|(.., payload)| payload.clone()));
}

#[test]
fn timeouts_come_when_they_are_due_wherever_they_were_moved() {
    let (mut network, a, b) = pair(steady());
    let start = network.now();
    let after = |seconds| start + Duration::from_secs(seconds);
    // Moved further away, then nearer, then away again, by datagrams that do not matter.
    for due in [10, 20, 5, 15] {
        network.drive(a, |node, _| node.due = Some(after(due)));
    }
    network.drive(b, |node, _| node.due = Some(after(3)));
    network.drive(b, |node, _| node.due = None);
    network.run_until(after(30));
    assert_eq!(network.machine(a).unwrap().rang, [after(15)]);
    assert!(network.machine(b).unwrap().rang.is_empty());
    // One that is due already comes at once.
    network.drive(a, |node, _| node.due = Some(after(1)));
    network.run_for(Duration::ZERO);
    assert_eq!(network.machine(a).unwrap().rang.last(), Some(&after(30)));
    assert_eq!(network.stats().timeouts, 2);
}

#[test]
fn running_on_a_condition_stops_at_it_or_when_nothing_is_left() {
    let (mut network, a, b) = pair(steady());
    for _ in 0..5 {
        say(&mut network, a, b, b"x");
    }
    assert!(network.run_while(|network| heard(network, b) < 3));
    assert_eq!(heard(&network, b), 3);
    assert!(!network.run_while(|network| heard(network, b) < 6));
    assert_eq!(heard(&network, b), 5);
}

#[test]
#[should_panic(expected = "again and again")]
fn a_machine_that_wants_a_timeout_at_once_for_ever_is_named() {
    struct Stuck(Instant);
    impl Machine for Stuck {
        fn handle_datagram(&mut self, _: Instant, _: SocketAddr, _: &[u8]) {}
        fn handle_timeout(&mut self, _: Instant) {}
        fn poll_timeout(&self) -> Option<Instant> {
            Some(self.0)
        }
        fn poll_transmit(&mut self) -> Option<Transmit> {
            None
        }
    }
    let start = Instant::now();
    let mut network = Network::new(start, steady(), 1);
    network.add(address(1), Stuck(start));
    network.run_for(Duration::from_secs(1));
}

/// Tells two of the others a random number every second; who hears it tells one more, now and
/// then.
struct Gossip {
    rng: Rng,
    due: Instant,
    outbox: Vec<Transmit>,
}

impl Gossip {
    const MACHINES: u64 = 40;

    fn new(number: u64, start: Instant) -> Self {
        Self {
            rng: Rng::new(number),
            due: start,
            outbox: Vec::new(),
        }
    }

    fn tell(&mut self) {
        let to = (self.rng.next_u64() % (Self::MACHINES + 2)) as u32;
        let length = (self.rng.next_u64() % 100) as usize;
        self.outbox.push(Transmit {
            destination: address(to),
            payload: vec![self.rng.next_u64() as u8; length],
        });
    }
}

impl Machine for Gossip {
    fn handle_datagram(&mut self, _: Instant, _: SocketAddr, datagram: &[u8]) {
        if datagram.len() > 30 {
            self.tell();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.due = now + Duration::from_secs(1);
        self.tell();
        self.tell();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop()
    }
}

/// A run in which everything happens; what is left of it.
fn gossip(start: Instant, seed: u64) -> (u64, NetworkStats) {
    let config = NetworkConfig::default().with_loss(0.02);
    let mut network = Network::new(start, config, seed);
    for number in 0..Gossip::MACHINES {
        let (place, machine) = (address(number as u32), Gossip::new(number, start));
        match number % 5 {
            0 => network.add_behind_nat(place, Nat::default(), machine),
            _ => network.add(place, machine),
        };
    }
    network.run_for(Duration::from_secs(20));
    for id in network.ids().skip(30) {
        network.set_group(id, 1);
    }
    for id in network.ids().take(10) {
        network.kill(id);
    }
    network.run_for(Duration::from_secs(20));
    network.heal();
    for id in network.ids().take(5) {
        let now = network.now();
        network.revive(id, Gossip::new(id.index() as u64, now));
    }
    network.run_for(Duration::from_secs(20));
    (network.fingerprint(), network.stats())
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_byte_and_another_does_not() {
    let now = Instant::now();
    let (fingerprint, stats) = gossip(now, 1);
    assert!(stats.traffic.received > 2_000, "{stats:?}");
    for count in [
        stats.lost,
        stats.vanished,
        stats.partitioned,
        stats.filtered,
    ] {
        assert!(count > 20, "{stats:?}");
    }
    let under_way = stats.traffic.sent
        - stats.traffic.received
        - stats.lost
        - stats.vanished
        - stats.partitioned
        - stats.filtered;
    assert!(
        under_way < 100,
        "every datagram is accounted for: {stats:?}"
    );
    assert_eq!(gossip(now, 1), (fingerprint, stats));
    let later = now + Duration::from_secs(1_000);
    assert_eq!(gossip(later, 1), (fingerprint, stats));
    assert_ne!(gossip(now, 2).0, fingerprint);
}
