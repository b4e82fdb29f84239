//! Targets of vpn-core: packets of peers and of the interface, and control messages.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use dhtnet_vpn_core::control::{Join, LENGTH, MAX_MESSAGE, Message};
use dhtnet_vpn_core::frame::{Checksum, Reader};
use dhtnet_vpn_core::offload::{Cut, Joiner, MAX_PACKET, VNET_HEADER, VnetHeader};
use dhtnet_vpn_core::packet::classify;
use dhtnet_vpn_core::{decrement_hop_limit, mss, too_big};

/// Datagrams of a peer: two bytes of length before each. What is joined is no larger than the
/// kernel takes, and no packet is lost or made up.
pub(crate) fn datagrams(input: &[u8]) {
    let (mut rest, mut taken) = (input, 0);
    let (mut reader, mut joiner) = (Reader::default(), Joiner::default());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (datagram, after) = after.split_at(len);
        rest = after;
        let Ok(Some((bytes, checksum))) = reader.read(&Bytes::copy_from_slice(datagram)) else {
            continue;
        };
        let Ok(packet) = classify(&bytes) else {
            continue;
        };
        assert!(packet.transport <= packet.len && packet.len <= bytes.len());
        let mut copy = bytes.to_vec();
        if decrement_hop_limit(&mut copy).is_ok() {
            assert!(classify(&copy).is_ok());
        }
        mss::clamp(&mut copy, &packet, (1_280, checksum));
        assert_eq!(copy.len(), bytes.len());
        let own: [IpAddr; 2] = [[10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()];
        for own in own {
            if let Some(answer) = too_big::answer(&bytes, &packet, (own, 1_280)) {
                let read = classify(&answer).expect("our own answer");
                assert_eq!((read.source, read.destination), (own, packet.source));
            }
        }
        taken += 1;
        joiner.push(&bytes, &packet, checksum);
    }
    joiner.drain(|joined| {
        let len: usize = joined.payload.iter().map(Bytes::len).sum();
        assert!(joined.headers.len() + len <= MAX_PACKET);
        taken -= joined.packets;
    });
    assert_eq!(taken, 0);
}

/// A packet of the interface with its header of offloads. What is cut has its own length in its
/// header, and all payload once.
pub(crate) fn offloads(input: &[u8]) {
    let Some((header, bytes)) = input.split_first_chunk::<VNET_HEADER>() else {
        return;
    };
    let (header, mut bytes) = (VnetHeader::decode(*header), bytes.to_vec());
    assert_eq!(VnetHeader::decode(header.encode()), header);
    let Ok(packet) = classify(&bytes) else {
        return;
    };
    let Ok(cut) = Cut::new(header, &mut bytes, packet) else {
        return;
    };
    let mut joiner = Joiner::default();
    // Packets of a byte each are the kernel's affair; a few are enough here.
    for index in 0..cut.count().min(64) {
        let mut out = BytesMut::new();
        cut.write(index, &mut out);
        assert!(out.len() <= cut.largest());
        let packet = classify(&out).expect("a part of a packet");
        assert_eq!(packet.len, out.len());
        joiner.push(&out.freeze(), &packet, cut.checksum());
    }
    assert!(cut.count() == 1 || cut.checksum() == Checksum::Partial);
    let mut packets = 0;
    joiner.drain(|joined| packets += joined.packets);
    assert_eq!(
        packets,
        cut.count().min(64),
        "every part is handed over once"
    );
}

/// What is read is written the same.
pub(crate) fn control(input: &[u8]) {
    if let Ok(join) = Join::decode(input) {
        assert_eq!(join.encode(), input);
    }
    if let Ok(message) = Message::decode(input) {
        let bytes = message.encode().expect("it was short enough");
        assert_eq!(bytes[LENGTH..], *input);
        assert!(input.len() <= MAX_MESSAGE);
        if let Message::Peers(peers) = message {
            for peer in &peers {
                let _ = peer.id();
            }
        }
    }
}
