//! How many nodes of one subnet a table takes.

use super::*;

#[test]
fn a_bucket_takes_one_node_of_a_subnet() {
    let now = Instant::now();
    let mut table = filled(now, 1);
    let mut neighbour = far(50);
    neighbour.address = "80.0.0.200:1".parse().unwrap();
    assert_eq!(
        table.observe(now, neighbour, PLAIN, ANSWERED),
        Insertion::Refused
    );
    neighbour.address = "80.0.99.200:1".parse().unwrap();
    assert_eq!(
        table.observe(now, neighbour, PLAIN, ANSWERED),
        Insertion::Added
    );
}

/// A table with many buckets, each with one free place.
fn spacious(now: Instant) -> RoutingTable {
    let mut table = table(now);
    let mut rng = rng();
    for n in 0..200 {
        let id = Id::default().random_at(n as usize / 10, &mut rng);
        table.observe(now, Contact::new(id, address(n)), PLAIN, ANSWERED);
    }
    for n in (0..200).step_by(10) {
        // Those that wait first, or they would take the place.
        [8, 9, 0]
            .iter()
            .for_each(|at| table.remove(&address(n + at)));
    }
    table
}

/// A node at this depth of a table around 0, always in the same subnet.
fn neighbour(depth: u8) -> Contact {
    let id = Id::default().random_at(usize::from(depth), &mut rng());
    Contact::new(id, SocketAddr::from(([203, 0, 113, depth], 6881)))
}

#[test]
fn a_subnet_has_few_nodes_in_the_whole_table() {
    let now = Instant::now();
    let mut table = spacious(now);
    for depth in 0..MAX_PER_SUBNET as u8 {
        let insertion = table.observe(now, neighbour(depth), PLAIN, ANSWERED);
        assert_eq!(insertion, Insertion::Added);
    }
    for depth in MAX_PER_SUBNET as u8..16 {
        let insertion = table.observe(now, neighbour(depth), PLAIN, ANSWERED);
        assert_eq!(insertion, Insertion::Refused);
    }
}

#[test]
fn invented_nodes_do_not_shut_a_subnet_out() {
    let now = Instant::now();
    let mut table = spacious(now);
    for depth in 0..MAX_PER_SUBNET as u8 {
        let insertion = table.observe(now, neighbour(depth), PLAIN, Seen::Told);
        assert_eq!(insertion, Insertion::Added);
    }
    let told = table.observe(now, neighbour(10), PLAIN, Seen::Told);
    assert_eq!(told, Insertion::Refused);
    let before = table.len();
    let answered = table.observe(now, neighbour(10), PLAIN, ANSWERED);
    assert_eq!(answered, Insertion::Added);
    assert_eq!(
        table.len(),
        before,
        "one of those that never answered is gone"
    );
}

#[test]
fn a_node_waits_on_while_its_subnet_has_a_place() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut table = filled(now, 8);
    let mut waits = far(90);
    waits.address = far_secure(200).address;
    waits.address.set_port(1);
    assert_eq!(
        table.observe(later, waits, PLAIN, ANSWERED),
        Insertion::Cached
    );
    // Pushes out a good node, which waits from now on, heard of for longer.
    assert_eq!(
        table.observe(later, far_secure(200), PLAIN, ANSWERED),
        Insertion::Added
    );
    let placed: Vec<_> = (0..8)
        .filter(|&n| table.contains(&far(n).address))
        .collect();
    let pushed_out = (0..8).find(|n| !placed.contains(n)).unwrap();
    table.on_failure(later, &far(placed[0]));
    table.on_failure(later, &far(placed[0]));
    assert!(!table.contains(&waits.address));
    assert!(table.contains(&far(pushed_out).address));
    table.remove(&far_secure(200).address);
    assert!(table.contains(&waits.address));
}

#[test]
fn in_a_local_network_every_node_counts() {
    let now = Instant::now();
    let mut table = table(now);
    for n in 0..8 {
        let mut contact = far(n);
        contact.address = SocketAddr::from(([192, 168, 1, 10 + n as u8], 6881));
        assert_eq!(
            table.observe(now, contact, PLAIN, ANSWERED),
            Insertion::Added
        );
    }
    assert_eq!(table.len(), 8);
}

#[test]
fn an_ipv6_table_holds_one_node_of_a_64_in_a_bucket() {
    let now = Instant::now();
    let mut table = RoutingTable::new(Id::default(), Family::V6, now);
    let contact = |text: &str, n| Contact::new(far(n).id, text.parse().unwrap());
    let first = contact("[2001:db8::1]:1", 1);
    assert_eq!(table.observe(now, first, PLAIN, ANSWERED), Insertion::Added);
    let neighbour = contact("[2001:db8::2]:1", 2);
    assert_eq!(
        table.observe(now, neighbour, PLAIN, ANSWERED),
        Insertion::Refused
    );
    let other = contact("[2001:db8:0:1::1]:1", 3);
    assert_eq!(table.observe(now, other, PLAIN, ANSWERED), Insertion::Added);
    assert_eq!(
        table.observe(now, far(4), PLAIN, ANSWERED),
        Insertion::Refused
    );
    assert_eq!(told(&table, now, &first.id), [first, other]);
    let scoped = contact("[fe80::1]:1", 5);
    assert_eq!(
        table.observe(now, scoped, PLAIN, ANSWERED),
        Insertion::Refused
    );
}
