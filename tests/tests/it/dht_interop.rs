//! Foreign participants of the Mainline DHT and ours in one network: whatever one stores, each
//! other one finds.

use std::net::SocketAddrV4;

use dhtnet_tests::dht_peers::driver::{Driver, Role};
use dhtnet_tests::dht_peers::transmission::Transmission;
use dhtnet_tests::dht_peers::{MainlinePeer, Signer};

use crate::dht_segment::{Segment, eventually, peer_or_skip, segment};

/// Who takes part beside two nodes of ours. Each pair of kinds meets in one circle: libtorrent waits
/// 15 seconds, and `mainline` two, for each answer that the other one does not give, so where they
/// meet they are spared all else, and the circles have their turns at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Circle {
    Libtorrent,
    Mainline,
    /// Ours carry what these two store, and are not asked themselves.
    Both,
}

type Peer = Box<dyn MainlinePeer + Send>;

/// A network, and those of it who are told what to do. The segment comes last: processes end first.
struct Network {
    circle: Circle,
    peers: Vec<Peer>,
    _bystanders: Vec<Peer>,
    _segment: Segment,
}

/// All enter by the first node of ours. `mainline` is a client: as a server it answers none of
/// libtorrent's questions either.
fn network(test: &str, circle: Circle) -> Option<Network> {
    let mut segment = segment(test)?;
    let [seed, second, third, fourth] = [1, 2, 3, 4].map(|number| segment.place(number));
    let entry = Some(seed.address);
    let mut first = segment.node(&seed, None);
    let mut ours: Vec<Peer> = vec![Box::new(segment.node(&second, entry))];
    let mut foreign: Vec<Peer> = Vec::new();
    if circle != Circle::Mainline {
        let libtorrent = Driver::libtorrent(&third.host, third.address, entry);
        foreign.push(Box::new(peer_or_skip(test, libtorrent)?));
    }
    // The client is in nobody's table.
    let in_tables = 1 + foreign.len();
    if circle != Circle::Libtorrent {
        let (host, address) = (&fourth.host, fourth.address);
        let mainline = Driver::mainline(host, Role::Client, address, entry, segment.tools());
        foreign.push(Box::new(peer_or_skip(test, mainline)?));
    }
    eventually(
        "nodes that the first one knows",
        || first.nodes().unwrap(),
        |known| *known >= in_tables,
    );
    for peer in ours.iter_mut().chain(&mut foreign) {
        let what = format!("nodes that {} knows", peer.name());
        eventually(&what, || peer.nodes().unwrap(), |known| *known >= 1);
    }
    ours.push(Box::new(first));
    let (peers, bystanders) = match circle {
        Circle::Both => (foreign, ours),
        _ => (ours.into_iter().chain(foreign).collect(), Vec::new()),
    };
    Some(Network {
        circle,
        peers,
        _bystanders: bystanders,
        _segment: segment,
    })
}

/// Runs `check` on all three circles at the same time; nothing where one of them cannot be.
fn in_each_circle(test: &str, check: impl Fn(&mut Network) + Sync) {
    let circles = [Circle::Libtorrent, Circle::Mainline, Circle::Both];
    let networks: Option<Vec<Network>> = circles
        .into_iter()
        .map(|circle| network(test, circle))
        .collect();
    let (Some(mut networks), check) = (networks, &check) else {
        return;
    };
    // A panic of one is the test's, after the others are through.
    std::thread::scope(|scope| {
        for network in &mut networks {
            scope.spawn(move || check(network));
        }
    });
}

/// Runs `check` for each ordered pair of different peers.
fn each_pair(
    peers: &mut [Peer],
    mut check: impl FnMut(&mut dyn MainlinePeer, &mut dyn MainlinePeer, usize),
) {
    let count = peers.len();
    for number in 0..count * count {
        let (writer, reader) = (number / count, number % count);
        if writer == reader {
            continue;
        }
        let (left, right) = peers.split_at_mut(writer.max(reader));
        let (low, high) = (left[writer.min(reader)].as_mut(), right[0].as_mut());
        match writer < reader {
            true => check(low, high, number),
            false => check(high, low, number),
        }
    }
}

#[test]
fn each_kind_of_node_finds_the_peers_that_each_other_kind_announced() {
    let name = "each_kind_of_node_finds_the_peers_that_each_other_kind_announced";
    in_each_circle(name, |network| {
        each_pair(&mut network.peers, |writer, reader, number| {
            let hash = format!("{:040x}", 0xabc_0000 + number);
            let announced = writer.announce(&hash).unwrap();
            let expected = SocketAddrV4::new(*writer.address().ip(), announced);
            eventually(
                &format!("{} looks for {}", reader.name(), writer.name()),
                || reader.peers(&hash).unwrap(),
                |found| found.contains(&expected),
            );
        });
    });
}

#[test]
fn each_kind_of_node_reads_the_immutable_items_of_each_other_kind() {
    let name = "each_kind_of_node_reads_the_immutable_items_of_each_other_kind";
    in_each_circle(name, |network| {
        each_pair(&mut network.peers, |writer, reader, number| {
            let (from, to) = (writer.name(), reader.name());
            let value = format!("from {from} to {to}, number {number}");
            let target = writer.put(&value).unwrap();
            assert_eq!(reader.get(&target).unwrap(), Some(value));
        });
        if network.circle != Circle::Both {
            let nothing = "00".repeat(20);
            for peer in &mut network.peers {
                assert_eq!(peer.get(&nothing).unwrap(), None, "{}", peer.name());
            }
        }
    });
}

#[test]
fn each_kind_of_node_reads_and_replaces_the_mutable_items_of_each_other_kind() {
    let name = "each_kind_of_node_reads_and_replaces_the_mutable_items_of_each_other_kind";
    in_each_circle(name, |network| {
        each_pair(&mut network.peers, |writer, reader, number| {
            let seed = &[u8::try_from(number).unwrap() + 1; 32];
            for salt in ["", "two words"] {
                let signer = Signer { seed, salt };
                let pair = format!("{} to {}, salt {salt:?}", writer.name(), reader.name());
                let public = writer.put_mutable(signer, "first").unwrap();
                let first = reader.get_mutable(&public, salt).unwrap();
                assert_eq!(first, Some((1, "first".to_owned())), "{pair}");
                assert_eq!(reader.put_mutable(signer, "second").unwrap(), public);
                let second = writer.get_mutable(&public, salt).unwrap();
                assert_eq!(second, Some((2, "second".to_owned())), "{pair}, back");
            }
        });
    });
}

#[test]
fn libtorrent_keeps_what_we_store_and_gives_it_back() {
    let name = "libtorrent_keeps_what_we_store_and_gives_it_back";
    let Some(mut segment) = segment(name) else {
        return;
    };
    let [theirs, before, after] = [1, 2, 3].map(|number| segment.place(number));
    let started = Driver::libtorrent(&theirs.host, theirs.address, None);
    let Some(mut foreign) = peer_or_skip(name, started) else {
        return;
    };
    let entry = Some(theirs.address);
    let mut ours = segment.node(&before, entry);
    let (seed, salt) = (&[7; 32], "salt");
    let target = ours.put("kept by somebody else").unwrap();
    let public = ours.put_mutable(Signer { seed, salt }, "signed").unwrap();
    let hash = "ab".repeat(20);
    let port = ours.announce(&hash).unwrap();
    // What a new node finds, the foreign one has: there is no other.
    ours.kill();
    let mut ours = segment.node(&after, entry);
    let value = ours.get(&target).unwrap();
    assert_eq!(value.as_deref(), Some("kept by somebody else"));
    let signed = ours.get_mutable(&public, salt).unwrap();
    assert_eq!(signed, Some((1, "signed".to_owned())));
    let peer = SocketAddrV4::new(*before.address.ip(), port);
    assert!(ours.peers(&hash).unwrap().contains(&peer));
    assert!(foreign.nodes().unwrap() >= 1);
}

#[test]
fn the_crate_mainline_keeps_what_we_store_and_gives_it_back() {
    let name = "the_crate_mainline_keeps_what_we_store_and_gives_it_back";
    let Some(mut segment) = segment(name) else {
        return;
    };
    let [theirs, before, after] = [1, 2, 3].map(|number| segment.place(number));
    let (host, tools) = (&theirs.host, segment.tools());
    let started = Driver::mainline(host, Role::Server, theirs.address, None, tools);
    let Some(mut foreign) = peer_or_skip(name, started) else {
        return;
    };
    let entry = Some(theirs.address);
    let mut ours = segment.node(&before, entry);
    let hash = "ab".repeat(20);
    let port = ours.announce(&hash).unwrap();
    let put = ours.one("put 'kept by somebody else'").unwrap();
    assert_eq!(put["acknowledged"], 1, "{put}");
    let seed = &[7; 32];
    let mut publics = Vec::new();
    for salt in ["", "two words"] {
        let signer = Signer { seed, salt };
        ours.put_mutable(signer, "first").unwrap();
        publics.push((salt, ours.put_mutable(signer, "signed").unwrap()));
    }
    // What it stores itself it stores on ours, the only other one.
    let theirs_for_us = foreign.put("kept by ours").unwrap();
    let signed_for_us = Signer {
        seed: &[8; 32],
        salt: "salt",
    };
    let public_for_us = foreign.put_mutable(signed_for_us, "theirs").unwrap();
    let value = ours.get(&theirs_for_us).unwrap();
    assert_eq!(value.as_deref(), Some("kept by ours"));
    let signed = ours.get_mutable(&public_for_us, "salt").unwrap();
    assert_eq!(signed, Some((1, "theirs".to_owned())));
    // What a new node finds, the foreign one has: there is no other.
    ours.kill();
    let mut ours = segment.node(&after, entry);
    let peer = SocketAddrV4::new(*before.address.ip(), port);
    assert!(ours.peers(&hash).unwrap().contains(&peer));
    let value = ours.get(put["target"].as_str().unwrap()).unwrap();
    assert_eq!(value.as_deref(), Some("kept by somebody else"));
    for (salt, public) in publics {
        let signed = ours.get_mutable(&public, salt).unwrap();
        assert_eq!(signed, Some((2, "signed".to_owned())), "salt {salt:?}");
    }
}

#[test]
fn transmission_joins_by_our_node_and_answers_our_questions() {
    let name = "transmission_joins_by_our_node_and_answers_our_questions";
    let Some(mut segment) = segment(name) else {
        return;
    };
    let [seed, theirs] = [1, 2].map(|number| segment.place(number));
    let mut ours = segment.node(&seed, None);
    let started = Transmission::start(&theirs.host, theirs.address, seed.address);
    let Some(transmission) = peer_or_skip(name, started) else {
        return;
    };
    let address = transmission.address();
    // It waits a moment before it enters the network.
    eventually(
        "nodes that ours knows",
        || ours.ask("nodes").unwrap(),
        |known| {
            known
                .iter()
                .any(|node| node["address"] == address.to_string())
        },
    );
    let pong = ours.one(&format!("ping {address}")).unwrap();
    let id = pong["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 40, "{pong}");
    // It names those alone that it has long known to be good: its answer may hold nobody.
    let near = ours
        .ask(&format!("find-node {id} --remote {address}"))
        .unwrap();
    let said = ours.said();
    let answered = !near.is_empty() || said.contains("no node is known near");
    assert!(answered, "{said}: {}", transmission.said());
}
