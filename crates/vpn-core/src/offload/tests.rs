//! Cutting and joining, also against the sums that the kernel makes.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::bytes_at::{put_u16, u16_at, u32_at};
use crate::frame::Checksum;
use crate::packet::{classify, protocol, samples};
use crate::{DropReason, checksum};

const V4: (&str, &str) = ("10.0.0.1", "10.0.0.2");
const V6: (&str, &str) = ("fd00::1", "fd00::2");
const ACK: (u8, &[u8]) = (0x10, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);

/// What the kernel hands over for a large packet.
fn offered(bytes: &[u8], gso_size: u16) -> VnetHeader {
    let packet = classify(bytes).unwrap();
    let (gso_type, offset) = match (packet.protocol, packet.source.is_ipv4()) {
        (protocol::UDP, _) => (5, 6),
        (_, true) => (1, 16),
        (_, false) => (4, 16),
    };
    VnetHeader {
        flags: 1,
        gso_type,
        header_len: 0,
        gso_size,
        checksum_start: packet.transport as u16,
        checksum_offset: offset,
    }
}

fn cut(header: VnetHeader, bytes: &[u8]) -> Result<Vec<(Bytes, Checksum)>, DropReason> {
    let mut bytes = bytes.to_vec();
    let packet = classify(&bytes).unwrap();
    let cut = Cut::new(header, &mut bytes, packet)?;
    let packets = (0..cut.count()).map(|index| {
        let mut out = BytesMut::new();
        cut.write(index, &mut out);
        assert!(out.len() <= cut.largest());
        (out.freeze(), cut.checksum())
    });
    Ok(packets.collect())
}

fn join(packets: &[(Bytes, Checksum)]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut joiner = Joiner::default();
    for (bytes, checksum) in packets {
        joiner.push(bytes, &classify(bytes).unwrap(), *checksum);
    }
    let mut out = Vec::new();
    joiner.drain(|joined| {
        let mut bytes = joined.headers.to_vec();
        joined
            .payload
            .iter()
            .for_each(|part| bytes.extend_from_slice(part));
        out.push((joined.vnet, bytes));
    });
    assert!(joiner.is_empty());
    out
}

/// As the kernel does with what it is given.
fn filled(vnet: VnetHeader, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if vnet.flags & 1 != 0 {
        let start = usize::from(vnet.checksum_start);
        let sum = checksum::of(&bytes[start..]);
        put_u16(&mut bytes, start + usize::from(vnet.checksum_offset), sum);
    }
    bytes
}

fn is_right(bytes: &[u8]) -> bool {
    let packet = classify(bytes).unwrap();
    let transport = &bytes[packet.transport..packet.len];
    let pseudo = checksum::pseudo_header(
        packet.source,
        packet.destination,
        packet.protocol,
        transport.len(),
    );
    let header = packet.source.is_ipv6() || checksum::of(&bytes[..20]) == 0;
    header && checksum::fold(checksum::add(pseudo, transport)) == 0xffff
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 % 251) as u8).collect()
}

#[test]
fn the_header_has_the_layout_of_the_kernel() {
    let header = VnetHeader {
        flags: 1,
        gso_type: 4,
        header_len: 60,
        gso_size: 1380,
        checksum_start: 40,
        checksum_offset: 16,
    };
    assert_eq!(VnetHeader::decode(header.encode()), header);
    let words = [60u16, 1380, 40, 16].map(u16::to_ne_bytes).concat();
    assert_eq!(header.encode()[..], [&[1, 4][..], &words].concat());
}

#[test]
fn a_large_packet_is_cut_and_joined_to_what_it_was() {
    for ends in [V4, V6] {
        for large in [
            samples::tcp(ends, u32::MAX - 2000, ACK, &payload(10_000)),
            samples::udp(ends, &payload(10_000)),
        ] {
            let packets = cut(offered(&large, 1300), &large).unwrap();
            assert_eq!(packets.len(), 8);
            for (index, (bytes, checksum)) in packets.iter().enumerate() {
                assert_eq!(*checksum, Checksum::Partial);
                let packet = classify(bytes).unwrap();
                assert_eq!(packet.len, bytes.len());
                if packet.protocol == protocol::TCP {
                    let sequence = u32_at(bytes, packet.transport + 4);
                    assert_eq!(
                        sequence,
                        (u32::MAX - 2000).wrapping_add(1300 * index as u32)
                    );
                }
            }
            let joined = join(&packets);
            assert_eq!(joined.len(), 1);
            let (vnet, bytes) = &joined[0];
            assert_eq!(
                (vnet.gso_size, vnet.gso_type),
                (1300, offered(&large, 1300).gso_type)
            );
            assert_eq!(filled(*vnet, bytes), large);
        }
    }
}

#[test]
fn the_checksum_of_a_single_packet_is_left_to_the_receiver_and_comes_right() {
    for large in [
        samples::tcp(V4, 1, ACK, &payload(99)),
        samples::udp(V6, &payload(98)),
    ] {
        let header = VnetHeader {
            gso_type: 0,
            gso_size: 0,
            ..offered(&large, 0)
        };
        let mut emptied = large.clone();
        let at = usize::from(header.checksum_start + header.checksum_offset);
        put_u16(&mut emptied, at, 0x1234);
        let packets = cut(header, &emptied).unwrap();
        assert_eq!(packets[0].1, Checksum::Partial);
        let joined = join(&packets);
        assert_eq!(filled(joined[0].0, &joined[0].1), large);
    }
}

#[test]
fn an_unusual_checksum_is_filled_in_at_once() {
    // UDP behind a header with options cannot be left out by the receiver's rules.
    let mut bytes = samples::packet(V4.0, V4.1, 132, &[0; 12]);
    bytes[20..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 9, 9]);
    let header = VnetHeader {
        flags: 1,
        checksum_start: 20,
        checksum_offset: 8,
        ..VnetHeader::default()
    };
    let packets = cut(header, &bytes).unwrap();
    assert_eq!(packets[0].1, Checksum::Complete);
    assert_eq!(checksum::of(&packets[0].0[20..]), 0);
    for start in [0, 12, 19, 31] {
        let outside = VnetHeader {
            checksum_start: start,
            ..header
        };
        assert_eq!(cut(outside, &bytes), Err(DropReason::BadOffload), "{start}");
    }
}

#[test]
fn only_the_last_packet_ends_and_only_the_first_tells_of_congestion() {
    let large = samples::tcp(V4, 1, (0x10 | 0x08 | 0x01 | 0x80, b""), &payload(3000));
    let header = VnetHeader {
        gso_type: 1 | 0x80,
        ..offered(&large, 1000)
    };
    let flags: Vec<u8> = cut(header, &large)
        .unwrap()
        .iter()
        .map(|(bytes, _)| bytes[33])
        .collect();
    assert_eq!(flags, [0x90, 0x10, 0x19]);
}

#[test]
fn what_cannot_be_cut_is_dropped() {
    let large = samples::tcp(V4, 1, ACK, &payload(3000));
    let good = offered(&large, 1000);
    for bad in [
        VnetHeader {
            gso_size: 0,
            ..good
        },
        VnetHeader {
            gso_type: 3,
            ..good
        },
        VnetHeader {
            gso_type: 4,
            ..good
        },
        VnetHeader {
            gso_type: 5,
            ..good
        },
        VnetHeader {
            checksum_start: 60_000,
            ..good
        },
    ] {
        assert_eq!(cut(bad, &large), Err(DropReason::BadOffload), "{bad:?}");
    }
    let empty = samples::tcp(V4, 1, ACK, b"");
    assert_eq!(cut(good, &empty), Err(DropReason::BadOffload));
}

#[test]
fn only_what_continues_a_flow_is_joined_to_it() {
    let tcp = |sequence, payload: &[u8]| Bytes::from(samples::tcp(V4, sequence, ACK, payload));
    let first = tcp(1, &[1; 100]);
    let cases: Vec<(&str, Bytes, usize)> = vec![
        ("the next bytes", tcp(101, &[2; 100]), 1),
        ("fewer, as the last", tcp(101, &[2; 50]), 1),
        ("more", tcp(101, &[2; 101]), 2),
        ("a gap", tcp(102, &[2; 100]), 2),
        ("the same again", tcp(1, &[1; 100]), 2),
        ("nothing", tcp(101, b""), 2),
        (
            "the end",
            samples::tcp(V4, 101, (0x11, ACK.1), &[2; 100]).into(),
            2,
        ),
        (
            "other options",
            samples::tcp(V4, 101, (0x10, &[1; 12]), &[2; 100]).into(),
            2,
        ),
        (
            "another address",
            samples::tcp(("10.0.0.3", V4.1), 101, ACK, &[2; 100]).into(),
            2,
        ),
        ("another protocol", samples::udp(V4, &[2; 100]).into(), 2),
    ];
    for (what, second, expected) in cases {
        let both = [
            (first.clone(), Checksum::Complete),
            (second.clone(), Checksum::Complete),
        ];
        let joined = join(&both);
        assert_eq!(joined.len(), expected, "{what}");
        for (vnet, bytes) in &joined {
            assert!(is_right(&filled(*vnet, bytes)), "{what}");
        }
    }
    // Another class of service.
    let mut second = tcp(101, &[2; 100]).to_vec();
    second[1] = 8;
    let sum = checksum::updated(u16_at(&second, 10), 0x4500, 0x4508);
    put_u16(&mut second, 10, sum);
    assert_eq!(
        join(&[
            (first, Checksum::Complete),
            (second.into(), Checksum::Complete)
        ])
        .len(),
        2
    );
}

#[test]
fn a_wrong_checksum_is_not_made_right_by_joining() {
    let first = samples::tcp(V4, 1, ACK, &[1; 100]);
    let mut second = samples::tcp(V4, 101, ACK, &[2; 100]);
    second[90] ^= 1;
    for packets in [
        [first.clone(), second.clone()],
        [second.clone(), samples::tcp(V4, 201, ACK, &[3; 100])],
    ] {
        let packets = packets.map(|bytes| (Bytes::from(bytes), Checksum::Complete));
        let joined = join(&packets);
        assert_eq!(joined.len(), 2);
        for ((vnet, bytes), (before, _)) in joined.iter().zip(&packets) {
            assert_eq!((*vnet, &bytes[..]), (VnetHeader::default(), &before[..]));
        }
    }
}

#[test]
fn interleaved_flows_are_joined_each_for_itself_in_order() {
    let mut packets = Vec::new();
    for round in 0..4u32 {
        for host in 1..=3 {
            let from = format!("10.0.1.{host}");
            let bytes = samples::tcp((&from, V4.1), 1 + round * 100, ACK, &[round as u8; 100]);
            packets.push((Bytes::from(bytes), Checksum::Partial));
        }
    }
    let joined = join(&packets);
    assert_eq!(joined.len(), 3);
    for (vnet, bytes) in joined {
        assert_eq!(vnet.gso_size, 100);
        let expected: Vec<u8> = (0..4).flat_map(|round| [round; 100]).collect();
        assert_eq!(bytes[52..], expected);
    }
}

#[test]
fn no_joined_packet_is_larger_than_the_kernel_takes() {
    let many = |count: usize, len: usize| -> Vec<(Bytes, Checksum)> {
        (0..count)
            .map(|index| {
                (
                    samples::tcp(V6, 1 + (index * len) as u32, ACK, &vec![1; len]).into(),
                    Checksum::Partial,
                )
            })
            .collect()
    };
    let joined = join(&many(100, 1400));
    assert!(joined.iter().all(|(_, bytes)| bytes.len() <= MAX_PACKET));
    assert_eq!(joined.len(), 3);
    assert_eq!(join(&many(513, 10)).len(), 2);
    let datagrams: Vec<_> = (0..65)
        .map(|_| (samples::udp(V4, &[1; 10]).into(), Checksum::Partial))
        .collect();
    assert_eq!(join(&datagrams).len(), 2);
    assert_eq!(join(&datagrams[..64]).len(), 1);
}

proptest! {
    #[test]
    fn any_payload_comes_back_whatever_its_size(
        len in 1usize..20_000,
        size in 100u16..2000,
        ends in prop_oneof![Just(V4), Just(V6)],
        udp: bool,
    ) {
        let large = if udp { samples::udp(ends, &payload(len)) } else { samples::tcp(ends, 5, ACK, &payload(len)) };
        let packets = cut(offered(&large, size), &large).unwrap();
        let headers = large.len() - len;
        let mut back = Vec::new();
        for (vnet, bytes) in join(&packets) {
            prop_assert!(is_right(&filled(vnet, &bytes)));
            back.extend_from_slice(&bytes[headers..]);
        }
        prop_assert_eq!(back, payload(len));
    }

    #[test]
    fn no_packet_of_a_peer_panics(
        packets in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 20..120), any::<bool>(), 0u8..4), 1..12),
    ) {
        let mut joiner = Joiner::default();
        for (mut bytes, partial, kind) in packets {
            if let Some(first) = bytes.first_mut() {
                *first = if kind & 1 == 0 { 0x45 } else { 0x60 };
            }
            let len = bytes.len() as u16;
            if kind & 1 == 0 {
                put_u16(&mut bytes, 2, len);
                put_u16(&mut bytes, 6, 0x4000);
                bytes[9] = if kind & 2 == 0 { 6 } else { 17 };
            } else if bytes.len() >= 40 {
                put_u16(&mut bytes, 4, len - 40);
                bytes[6] = if kind & 2 == 0 { 6 } else { 17 };
            }
            let checksum = if partial { Checksum::Partial } else { Checksum::Complete };
            if let Ok(packet) = classify(&bytes) {
                joiner.push(&bytes.into(), &packet, checksum);
            }
        }
        let mut total = 0;
        joiner.drain(|joined| total += joined.packets);
        prop_assert!(total <= 12);
    }
}
