//! The bytes, and what becomes of bytes that are not right.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// The file of [`full`], byte for byte.
fn snapshot() -> Vec<u8> {
    let lines = include_str!("../../tests/vectors/saved_state.txt").lines();
    let digits: String = lines.filter(|line| !line.starts_with('#')).collect();
    let bytes = (0..digits.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn node(number: u16, address: IpAddr, extension: bool) -> SavedNode {
    let contact = Contact::new(
        Id::hash_of(&number.to_be_bytes()),
        SocketAddr::new(address, number),
    );
    SavedNode { contact, extension }
}

fn full() -> SavedState {
    let v4 = IpAddr::from([192, 0, 2, 1]);
    let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let id = |first, external| {
        Some(SavedId {
            id: Id::from_bytes([first; ID_LEN]),
            external,
        })
    };
    SavedState {
        nodes: vec![node(6881, v4, true), node(6882, v6, false)],
        ids: [id(4, Some(v4)), id(6, Some(v6))],
        permanent: vec![b"first".to_vec(), Vec::new(), vec![0; 10]],
        network: Some(NetworkTag(*b"network!")),
    }
}

/// A file with this dictionary.
fn file(body: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c(body).to_be_bytes();
    [MARK.as_slice(), &1_u32.to_be_bytes(), &checksum, body].concat()
}

#[test]
fn the_bytes_of_a_state_stay_what_they_are() {
    assert_eq!(full().encode(), snapshot());
    assert_eq!(SavedState::decode(&snapshot()).unwrap(), full());
}

#[test]
fn an_empty_state_is_small_and_comes_back() {
    let empty = SavedState::default();
    assert_eq!(empty.encode(), file(b"d5:nodesle4:putslee"));
    assert_eq!(SavedState::decode(&empty.encode()).unwrap(), empty);
}

#[test]
fn a_file_that_ends_anywhere_too_early_is_damaged() {
    let whole = snapshot();
    for len in 0..whole.len() {
        let torn = SavedState::decode(&whole[..len]);
        assert_eq!(torn, Err(SavedError::Damaged), "{len} bytes");
    }
    let longer = [whole.as_slice(), b"e"].concat();
    assert_eq!(SavedState::decode(&longer), Err(SavedError::Damaged));
}

#[test]
fn no_single_changed_bit_goes_unnoticed() {
    for bit in 0..snapshot().len() * 8 {
        let mut bytes = snapshot();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..8 => SavedError::Foreign,
            8..12 => SavedError::Version(u32::from_be_bytes(bytes[8..12].try_into().unwrap())),
            _ => SavedError::Damaged,
        };
        assert_eq!(SavedState::decode(&bytes), Err(expected), "bit {bit}");
    }
}

#[test]
fn foreign_files_are_told_from_damaged_ones() {
    for foreign in ["{\"nodes\": []}", "d5:nodesle4:putslee", "DHTSTATE", "\0"] {
        let decoded = SavedState::decode(foreign.as_bytes());
        assert_eq!(decoded, Err(SavedError::Foreign), "{foreign}");
    }
    assert_eq!(SavedState::decode(b""), Err(SavedError::Damaged));
}

#[test]
fn a_later_version_is_named() {
    let mut bytes = snapshot();
    bytes[11] = 2;
    let error = SavedState::decode(&bytes).unwrap_err();
    assert_eq!(error, SavedError::Version(2));
    assert_eq!(error.to_string(), "version 2 of the format is not known");
}

#[test]
fn the_state_of_another_network_is_not_taken() {
    let (one, other) = (NetworkTag(*b"network!"), NetworkTag(*b"network?"));
    let private = snapshot();
    assert!(SavedState::decode_for(&private, Some(one)).is_ok());
    let public = SavedState::default().encode();
    assert!(SavedState::decode_for(&public, None).is_ok());
    for (bytes, network) in [
        (private.as_slice(), Some(other)),
        (private.as_slice(), None),
        (public.as_slice(), Some(one)),
    ] {
        let decoded = SavedState::decode_for(bytes, network);
        assert_eq!(decoded, Err(SavedError::OtherNetwork));
    }
}

#[test]
fn entries_are_saved_and_read_up_to_their_bounds_and_not_one_past_them() {
    let mut state = SavedState::default();
    let ip = IpAddr::from([192, 0, 2, 1]);
    let nodes = 1..=MAX_SAVED_NODES as u16 + 1;
    state.nodes = nodes.map(|number| node(number, ip, false)).collect();
    state.permanent = vec![b"put".to_vec(); MAX_SAVED_PUTS + 1];
    let saved = SavedState::decode(&state.encode()).unwrap();
    assert_eq!(saved.nodes, state.nodes[..MAX_SAVED_NODES], "the best");
    assert_eq!(saved.permanent.len(), MAX_SAVED_PUTS);

    let entry = [b"27:".as_slice(), &[1; 27]].concat();
    let nodes = |count| file(&[b"d5:nodesl".as_slice(), &entry.repeat(count), b"ee"].concat());
    assert!(SavedState::decode(&nodes(MAX_SAVED_NODES)).is_ok());
    let past = SavedState::decode(&nodes(MAX_SAVED_NODES + 1));
    assert_eq!(past, Err(SavedError::TooMany("nodes")));
    let puts = |count| file(&[b"d4:putsl".as_slice(), &b"0:".repeat(count), b"ee"].concat());
    assert!(SavedState::decode(&puts(MAX_SAVED_PUTS)).is_ok());
    let past = SavedState::decode(&puts(MAX_SAVED_PUTS + 1));
    assert_eq!(past, Err(SavedError::TooMany("puts")));
}

#[test]
fn fields_of_the_wrong_form_are_named() {
    let cases: [(&[u8], SavedError); 7] = [
        (b"d3:net7:network4:putslee", SavedError::Field("net")),
        (
            b"d5:nodesl26:abcdefghijklmnopqrstuvwxyzee",
            SavedError::Field("nodes"),
        ),
        (b"d5:nodesl0:ee", SavedError::Field("nodes")),
        (b"d3:id4dee", SavedError::Field("id")),
        (
            b"d3:id4d2:id19:abcdefghijklmnopqrsee",
            SavedError::Field("id"),
        ),
        (
            b"d3:id4d2:id20:abcdefghijklmnopqrst2:ip16:abcdefghijklmnopee",
            SavedError::Field("ip"),
        ),
        (
            b"d3:id6d2:id20:abcdefghijklmnopqrst2:ip4:abcdee",
            SavedError::Field("ip"),
        ),
    ];
    for (body, error) in cases {
        let text = String::from_utf8_lossy(body);
        assert_eq!(SavedState::decode(&file(body)), Err(error), "{text}");
    }
    let bad: [&[u8]; 6] = [
        b"",
        b"le",
        b"dei1e",
        b"d5:nodesi1ee",
        b"d4:puts",
        b"d4:putsle3:netlee",
    ];
    for body in bad {
        let decoded = SavedState::decode(&file(body));
        assert!(
            matches!(decoded, Err(SavedError::Encoding(_))),
            "{decoded:?}"
        );
    }
}

#[test]
fn a_node_that_could_never_be_asked_is_not_as_it_should_be() {
    let compact = |address: &[u8], port: u16| {
        let entry = [&[1; ID_LEN], address, &port.to_be_bytes(), b"\x01"].concat();
        let head = format!("d5:nodesl{}:", entry.len());
        SavedState::decode(&file(&[head.as_bytes(), &entry, b"ee"].concat()))
    };
    let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201]).octets();
    assert!(compact(&[192, 0, 2, 1], 1).is_ok());
    let refused = Err(SavedError::Field("nodes"));
    assert_eq!(compact(&[192, 0, 2, 1], 0), refused, "port 0");
    assert_eq!(compact(&mapped, 1), refused, "IPv4 in IPv6's clothes");
}

#[test]
fn keys_of_later_programs_are_passed_over() {
    let decoded = SavedState::decode(&file(b"d3:ageli1ee5:nodesle4:putsl3:abce3:zood1:ai1eee"));
    assert_eq!(decoded.unwrap().permanent, [b"abc".to_vec()]);
}

fn states() -> impl Strategy<Value = SavedState> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 14]>().prop_map(|rest| {
            let mut octets = [0x20; 16];
            octets[2..].copy_from_slice(&rest);
            IpAddr::from(octets)
        }),
    ];
    let node = (any::<[u8; ID_LEN]>(), ip, 1..=u16::MAX, any::<bool>());
    let node = node.prop_map(|(id, ip, port, extension)| SavedNode {
        contact: Contact::new(Id::from_bytes(id), SocketAddr::new(ip, port)),
        extension,
    });
    let id4 = proptest::option::of((
        any::<[u8; ID_LEN]>(),
        proptest::option::of(any::<[u8; 4]>()),
    ));
    let id4 = id4.prop_map(|id| {
        id.map(|(id, ip)| SavedId {
            id: Id::from_bytes(id),
            external: ip.map(IpAddr::from),
        })
    });
    let puts = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5);
    let network = proptest::option::of(any::<[u8; 8]>().prop_map(NetworkTag));
    let nodes = proptest::collection::vec(node, 0..5);
    (nodes, id4, puts, network).prop_map(|(nodes, id4, permanent, network)| SavedState {
        nodes,
        ids: [id4, None],
        permanent,
        network,
    })
}

proptest! {
    #![proptest_config(Config {
        cases: 200,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn what_is_encoded_comes_back(state in states()) {
        prop_assert_eq!(SavedState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn no_bytes_after_a_right_header_do_harm(body in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(state) = SavedState::decode(&file(&body)) {
            prop_assert_eq!(SavedState::decode(&state.encode()), Ok(state));
        }
    }
}
