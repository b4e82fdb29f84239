//! Headers of both families, cut, contradicting and at every bound.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use proptest::prelude::*;

use super::*;

const V4: (&str, &str) = ("10.80.77.2", "10.80.77.1");
const V6: (&str, &str) = ("fd00::2", "fd00::1");

#[test]
fn headers_of_both_families_are_read() {
    let bytes = samples::udp(V4, b"hello");
    let read = classify(&bytes).unwrap();
    assert_eq!(
        (read.source.to_string(), read.destination.to_string()),
        (V4.0.to_owned(), V4.1.to_owned())
    );
    assert_eq!(
        (read.len, read.transport, read.protocol),
        (bytes.len(), 20, protocol::UDP)
    );
    assert!(read.dont_fragment && read.has_transport_header());
    let bytes = samples::udp(V6, b"hello");
    let read = classify(&bytes).unwrap();
    assert_eq!(
        (read.len, read.transport, read.protocol),
        (bytes.len(), 40, protocol::UDP)
    );
    assert_eq!(read.source.to_string(), V6.0);
}

#[test]
fn services_and_congestion_marks_are_read() {
    let mut bytes = samples::udp(V4, b"");
    bytes[1] = 0xb9;
    assert_eq!(classify(&bytes).unwrap().traffic_class, 0xb9);
    let mut bytes = samples::udp(V6, b"");
    bytes[0] = 0x6b;
    bytes[1] = 0x9a;
    assert_eq!(classify(&bytes).unwrap().traffic_class, 0xb9);
}

#[test]
fn every_truncation_is_told_and_nothing_else_changes() {
    for bytes in [
        samples::udp(V4, b"payload"),
        samples::tcp(V6, 1, (0x10, b""), b"payload"),
    ] {
        for len in 0..bytes.len() {
            assert_eq!(classify(&bytes[..len]), Err(DropReason::Truncated), "{len}");
        }
        // What a link adds behind the packet is no part of it.
        let mut padded = bytes.clone();
        padded.extend([0; 9]);
        assert_eq!(classify(&padded), classify(&bytes));
    }
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    let mut short = samples::udp(V4, b"x");
    short[0] = 0x44;
    assert_eq!(classify(&short), Err(DropReason::Malformed));
    let mut shorter = samples::udp(V4, b"x");
    shorter[3] = 19;
    assert_eq!(classify(&shorter), Err(DropReason::Malformed));
    assert_eq!(classify(&[0x00; 60]), Err(DropReason::UnknownVersion));
    assert_eq!(classify(&[0xf0; 60]), Err(DropReason::UnknownVersion));
}

#[test]
fn fragments_of_both_families_are_known() {
    let mut bytes = samples::udp(V4, b"x");
    for (flags, expected) in [
        (0x4000, Fragment::None),
        (0x2000, Fragment::First),
        (0x2001, Fragment::Later),
        (0x0001, Fragment::Later),
    ] {
        crate::bytes_at::put_u16(&mut bytes, 6, flags);
        let read = classify(&bytes).unwrap();
        assert_eq!(
            (read.fragment, read.dont_fragment),
            (expected, flags & 0x4000 != 0)
        );
    }
    for (place, expected) in [
        (0, Fragment::None),
        (1, Fragment::First),
        (8, Fragment::Later),
    ] {
        let mut extension = vec![protocol::UDP, 0, 0, place, 0, 0, 0, 9];
        extension.extend([0; 8]);
        let read = classify(&samples::packet(V6.0, V6.1, 44, &extension)).unwrap();
        assert_eq!(
            (read.fragment, read.protocol, read.transport),
            (expected, protocol::UDP, 48)
        );
    }
}

fn destination_options(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..count {
        let next = if index + 1 == count {
            protocol::UDP
        } else {
            60
        };
        bytes.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes.extend([0; 8]);
    bytes
}

#[test]
fn extension_headers_are_looked_through_to_the_bound_and_not_past_it() {
    let read = classify(&samples::packet(
        V6.0,
        V6.1,
        60,
        &destination_options(MAX_EXTENSIONS),
    ));
    assert_eq!(read.unwrap().transport, 40 + 8 * MAX_EXTENSIONS);
    let more = samples::packet(V6.0, V6.1, 60, &destination_options(MAX_EXTENSIONS + 1));
    assert_eq!(classify(&more), Err(DropReason::TooManyExtensions));
    // Hop-by-hop options stand first or not at all.
    let twice = samples::packet(
        V6.0,
        V6.1,
        60,
        &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0],
    );
    assert_eq!(classify(&twice), Err(DropReason::Malformed));
    let long = samples::packet(V6.0, V6.1, 60, &[17, 200, 0, 0, 0, 0, 0, 0]);
    assert_eq!(classify(&long), Err(DropReason::Truncated));
}

#[test]
fn what_is_meant_for_a_link_or_for_one_host_does_not_pass() {
    for (from, to, reason) in [
        ("10.0.0.1", "224.0.0.251", DropReason::Multicast),
        ("10.0.0.1", "255.255.255.255", DropReason::Multicast),
        ("fd00::1", "ff02::1", DropReason::Multicast),
        ("fe80::1", "fd00::1", DropReason::NotUnicast),
        ("::1", "fd00::1", DropReason::NotUnicast),
        ("fd00::1", "::ffff:127.0.0.1", DropReason::NotUnicast),
        ("0.0.0.0", "10.0.0.1", DropReason::NotUnicast),
        ("10.0.0.1", "127.0.0.1", DropReason::NotUnicast),
        ("255.255.255.255", "10.0.0.1", DropReason::NotUnicast),
    ] {
        let bytes = samples::packet(from, to, protocol::UDP, &[0; 8]);
        assert_eq!(classify(&bytes), Err(reason), "{from} to {to}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_accepted_lies_inside(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()]) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        if let Ok(packet) = classify(&bytes) {
            prop_assert!(packet.len <= bytes.len() && packet.transport <= packet.len);
        }
    }
}
