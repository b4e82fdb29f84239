//! Files: saved state and blocklists.

use std::net::IpAddr;

use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::node::Publication;
use dhtnet_dht_core::saved::{MAX_SAVED_NODES, MAX_SAVED_PUTS, SavedError, SavedState};

/// Bytes before what the checksum covers.
const HEADER_LEN: usize = 16;

/// A state file as it is, and the same with the mark, version and checksum made right.
pub(crate) fn saved_state(input: &[u8]) {
    check_state(input);
    let Some(body) = input.get(HEADER_LEN..) else {
        return;
    };
    let mut repaired = b"dhtstate\0\0\0\x01".to_vec();
    repaired.extend(crc32c(body).to_be_bytes());
    repaired.extend(body);
    check_state(&repaired);
    repaired[HEADER_LEN - 1] ^= 1;
    assert_eq!(SavedState::decode(&repaired), Err(SavedError::Damaged));
}

fn check_state(bytes: &[u8]) {
    let state = match SavedState::decode(bytes) {
        Ok(state) => state,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(state.nodes.len() <= MAX_SAVED_NODES);
    assert!(state.permanent.len() <= MAX_SAVED_PUTS);
    assert!(
        state
            .nodes
            .iter()
            .all(|node| node.contact.address.port() != 0)
    );
    let encoded = state.encode();
    assert_eq!(SavedState::decode(&encoded).as_ref(), Ok(&state));
    assert_eq!(
        SavedState::decode_for(&encoded, state.network),
        Ok(state.clone())
    );
    for put in &state.permanent {
        if let Some(publication) = Publication::decode(put) {
            assert_eq!(
                Publication::decode(&publication.encode()),
                Some(publication)
            );
        }
    }
}

/// CRC-32C bit by bit, unlike the one of the crate.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

pub(crate) fn blocklist(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').count();
    let list = match Blocklist::parse(input) {
        Ok(list) => list,
        Err(error) => {
            assert!((1..=lines).contains(&error.line), "line {}", error.line);
            return;
        }
    };
    assert!(list.len() <= lines);
    assert!(!list.is_empty() || list == Blocklist::default());
    let joined = |parts: &[&[u8]]| Blocklist::parse(&parts.join(&b'\n'));
    assert_eq!(joined(&[input, input]).as_ref(), Ok(&list), "twice is once");
    let mut backwards: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    backwards.reverse();
    assert_eq!(joined(&backwards).as_ref(), Ok(&list), "in any order");
    let more = joined(&[input, b"more:192.0.2.7-192.0.2.9", b"2001:db8::/127"]);
    let more = more.expect("both parts are lists");
    for address in ["192.0.2.7", "192.0.2.9", "::ffff:192.0.2.8", "2001:db8::1"] {
        let address: IpAddr = address.parse().expect("an address");
        assert!(more.contains(address));
    }
    assert!(more.len() <= list.len() + 2);
    let all = joined(&[input, b"0.0.0.0/0", b"::/0"]).expect("a list");
    assert_eq!(all.len(), 2, "everything is one range in each family");
}
