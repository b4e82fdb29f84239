//! Messages to the byte, their bounds, and other bytes.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use dhtnet_identity::DeviceKey;
use proptest::prelude::*;

use super::*;

fn route(text: &str) -> Route {
    text.parse::<Network>().unwrap().into()
}

fn join() -> Join {
    Join {
        network: "home".parse().unwrap(),
        routes: vec![route("10.1.0.0/16")],
        hints: vec!["192.0.2.1:7000".parse().unwrap()],
    }
}

fn peer(number: u8) -> Peer {
    Peer {
        id: *DeviceKey::from_seed(&[number; 32]).id().as_bytes(),
        ipv4: Some([10, 80, 77, number].into()),
        name: Some("laptop".to_owned()),
        routes: vec![route("fd00::/64")],
        hints: vec!["[2001:db8::1]:7000".parse().unwrap()],
        way: Way::Direct,
    }
}

fn welcome() -> Welcome {
    Welcome {
        ipv4: Some(([10, 80, 77, 2].into(), 24)),
        server_ipv4: Some([10, 80, 77, 1].into()),
        routes: vec![route("0.0.0.0/0"), route("::/0")],
        dns: vec!["10.80.77.1".parse().unwrap()],
        domains: vec!["dn".to_owned()],
    }
}

fn messages() -> [Message; 3] {
    [
        Message::Welcome(welcome()),
        Message::Peers(vec![peer(1), peer(2)]),
        Message::Peers(Vec::new()),
    ]
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let hex: String = join()
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "0104686f6d6501000a010000100100c0000201fb581b");
    let bytes = Message::Peers(Vec::new()).encode().unwrap();
    assert_eq!(bytes, [0, 3, 1, 1, 0]);
}

#[test]
fn what_is_said_is_understood_and_every_cut_of_it_is_not() {
    assert_eq!(Join::decode(&join().encode()), Ok(join()));
    for len in 0..join().encode().len() {
        Join::decode(&join().encode()[..len]).unwrap_err();
    }
    for message in messages() {
        let bytes = message.encode().unwrap();
        let (length, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(Message::decode_length(*length), Ok(body.len()));
        assert_eq!(Message::decode(body), Ok(message));
        for len in 0..body.len() {
            Message::decode(&body[..len]).unwrap_err();
        }
        Message::decode(&[body, &[0]].concat()).unwrap_err();
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = join().encode();
    bytes[0] = 2;
    let error = Join::decode(&bytes).unwrap_err();
    assert_eq!(error, ControlError::Version(2));
    assert!(error.to_string().contains("version 2"));
}

#[test]
fn lists_at_their_bounds_are_taken_and_one_past_them_refused() {
    let mut asked = join();
    asked.routes = vec![route("10.0.0.0/8"); MAX_ROUTES];
    asked.hints = vec!["192.0.2.1:1".parse().unwrap(); MAX_ADDRESSES];
    assert_eq!(Join::decode(&asked.encode()), Ok(asked.clone()));
    asked.routes.push(route("10.0.0.0/8"));
    assert_eq!(Join::decode(&asked.encode()), Err(ControlError::TooLarge));
    let read = |message: Message| Message::decode(&message.encode().unwrap()[LENGTH..]);
    let small = Peer {
        routes: Vec::new(),
        ..peer(1)
    };
    let mut peers = vec![small.clone(); MAX_PEERS];
    read(Message::Peers(peers.clone())).unwrap();
    peers.push(small.clone());
    assert_eq!(read(Message::Peers(peers)), Err(ControlError::TooLarge));
    let named = |len| {
        Message::Peers(vec![Peer {
            name: Some("x".repeat(len)),
            ..peer(1)
        }])
    };
    read(named(MAX_NAME)).unwrap();
    assert_eq!(read(named(MAX_NAME + 1)), Err(ControlError::TooLarge));
    let domains = |count| {
        Message::Welcome(Welcome {
            domains: vec!["dn".to_owned(); count],
            ..welcome()
        })
    };
    read(domains(MAX_ADDRESSES)).unwrap();
    assert_eq!(
        read(domains(MAX_ADDRESSES + 1)),
        Err(ControlError::TooLarge)
    );
    assert_eq!(
        Message::decode_length([0xff, 0xff]),
        Err(ControlError::TooLarge)
    );
    let huge = Peer {
        routes: vec![route("fd00::/64"); MAX_ROUTES],
        ..peer(1)
    };
    assert_eq!(Message::Peers(vec![huge; MAX_PEERS]).encode(), None);
}

#[test]
fn what_is_no_network_is_no_message() {
    for bad in [("10.0.0.1", 8), ("10.0.0.0", 33), ("fd00::1", 64)] {
        let mut asked = join();
        asked.routes[0] = Route {
            address: bad.0.parse().unwrap(),
            len: bad.1,
        };
        Join::decode(&asked.encode()).unwrap_err();
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Join::decode(&bytes);
        let _ = Message::decode(&bytes);
        let versioned = [&[VERSION], &bytes[..]].concat();
        let _ = Join::decode(&versioned);
        let _ = Message::decode(&versioned);
    }
}
