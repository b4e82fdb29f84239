//! Where a program of a device is, as it says itself: a mutable item (BEP 44) under the device's key,
//! with a salt that follows from the program's [`Service`]. Its value is a dictionary with `a`, a list of compact addresses (6 or 18 bytes),
//! best first, and `v` = 1. The number is the time of its making, in seconds since 1970, or one more
//! than that of the record before, if nodes have one of the same second or of a clock that was ahead.
//!
//! Who knows the id can read it, and so can the nodes that keep it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use dhtnet_dht_core::bencode::{KeyOrder, Reader, Writer};
use dhtnet_dht_core::item::{ItemError, ItemSigner, MutableItem};
use dhtnet_dht_core::krpc::{read_compact_address, write_compact_address};
use dhtnet_identity::DeviceId;

use crate::service::Service;

/// Addresses in a record: those of a few interfaces in both families and the external ones.
pub(crate) const MAX_ADDRESSES: usize = 16;

/// How often a record is stored again when nothing changed: nodes keep it for two hours, and
/// those that joined since then should have it too.
pub(crate) const REFRESH: Duration = Duration::from_secs(20 * 60);

const VERSION: i64 = 1;

/// The record with this salt of a device that can be reached at these addresses, with a number above `stored`, the
/// one that nodes have, if that is known.
pub(crate) fn encode(
    (signer, salt): (&ItemSigner, &[u8]),
    addresses: &[SocketAddr],
    (wall, stored): (SystemTime, Option<i64>),
) -> Result<MutableItem, ItemError> {
    let mut value = Vec::new();
    let mut writer = Writer::new(&mut value);
    writer.dict();
    writer.bytes(b"a");
    writer.list();
    for address in addresses.iter().take(MAX_ADDRESSES) {
        let mut compact = Vec::with_capacity(18);
        write_compact_address(&mut compact, *address);
        writer.bytes(&compact);
    }
    writer.end();
    writer.bytes(b"v");
    writer.int(VERSION);
    writer.end();
    let since = wall.duration_since(SystemTime::UNIX_EPOCH);
    let seq = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let above = stored.map_or(seq, |stored| stored.saturating_add(1));
    MutableItem::sign(signer, salt, seq.max(above), &value)
}

/// The addresses in a record. One of a later version is read as far as it is understood;
/// nonsense gives none.
pub(crate) fn decode(value: &[u8]) -> Vec<SocketAddr> {
    try_decode(value).unwrap_or_default()
}

fn try_decode(value: &[u8]) -> Option<Vec<SocketAddr>> {
    let mut reader = Reader::new(value);
    let mut keys = reader.dict(KeyOrder::Canonical).ok()?;
    let mut found = Vec::new();
    while let Some(key) = keys.next_key(&mut reader).ok()? {
        if key != b"a" {
            reader.skip().ok()?;
            continue;
        }
        reader.list().ok()?;
        while reader.has_item().ok()? {
            let address = read_compact_address(reader.bytes().ok()?);
            let usable = address.filter(|address| {
                address.port() != 0
                    && !address.ip().is_unspecified()
                    && !address.ip().is_multicast()
            });
            if found.len() < MAX_ADDRESSES {
                found.extend(usable);
            }
        }
    }
    Some(found)
}

/// Where the record of a device's service lies.
pub(crate) fn target(id: &DeviceId, service: &Service) -> dhtnet_dht_core::Id {
    dhtnet_dht_core::item::mutable_target(id.as_bytes(), &service.presence_salt(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    const SALT: &[u8] = b"dhtnet";

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (0..count)
            .map(|index| match index % 2 {
                0 => SocketAddr::from(([11, 0, index, 1], 7000)),
                _ => format!("[2001:db8::{index}]:7000").parse().unwrap(),
            })
            .collect()
    }

    #[test]
    fn a_record_gives_back_its_addresses() {
        let signer = ItemSigner::from_seed(&[5; 32]);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let item = encode((&signer, SALT), &addresses(3), (wall, None)).unwrap();
        assert_eq!(item.seq(), 1_800_000_000);
        for (stored, seq) in [
            (1_799_999_999, 1_800_000_000),
            (1_800_000_000, 1_800_000_001),
        ] {
            let next = encode((&signer, SALT), &addresses(3), (wall, Some(stored))).unwrap();
            assert_eq!(next.seq(), seq);
        }
        assert_eq!(item.salt(), SALT);
        assert_eq!(decode(item.value()), addresses(3));
        let long = encode((&signer, SALT), &addresses(40), (wall, None)).unwrap();
        assert_eq!(decode(long.value()), addresses(16));
    }

    #[test]
    fn a_record_has_the_documented_bytes() {
        let signer = ItemSigner::from_seed(&[5; 32]);
        let item = encode(
            (&signer, SALT),
            &addresses(1),
            (SystemTime::UNIX_EPOCH, None),
        )
        .unwrap();
        assert_eq!(item.value(), b"d1:al6:\x0b\x00\x00\x01\x1b\x58e1:vi1ee");
    }

    #[test]
    fn nonsense_and_truncated_records_give_no_address() {
        let signer = ItemSigner::from_seed(&[5; 32]);
        let item = encode(
            (&signer, SALT),
            &addresses(2),
            (SystemTime::UNIX_EPOCH, None),
        )
        .unwrap();
        for end in 0..item.value().len() {
            assert_eq!(decode(&item.value()[..end]), [], "{end}");
        }
        assert_eq!(decode(b"d1:al6:\x00\x00\x00\x00\x1b\x58ee"), []);
        assert_eq!(decode(b"d1:al5:abcdeee"), []);
        assert_eq!(decode(b"d1:ai1ee"), []);
    }
}
