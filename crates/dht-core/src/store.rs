//! What a node keeps for others: peers of info hashes (BEP 5) and items (BEP 44).
//!
//! Both stores are bounded in entries and in what one address may bring, drop what was not heard
//! of again in time, and say "stored" only of what they hold. The numbers and their reasons are
//! argued in `docs/design/0004-dht-storage.md`.

mod clock;
mod farthest;
mod items;
mod peers;
mod scattered;
pub(crate) mod source;
mod swarm;

pub(crate) use self::farthest::farthest;
pub(crate) use self::items::{ITEM_LIFETIME, ItemLimits, ItemStore};
pub(crate) use self::peers::PeerStore;
use crate::item::ItemError;
use crate::krpc::ErrorCode;

/// Why something was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// It is no valid item.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// Something else is stored than the `cas` says.
    #[error("the stored sequence number is another than expected")]
    CasMismatch,
    /// A higher `seq` is stored, or another value under the same one.
    #[error("the sequence number is not higher than the stored one")]
    SeqTooLow,
    /// Another value lies under the same hash.
    #[error("another value has the same hash")]
    TargetTaken,
    /// It was put longer ago than an item is kept.
    #[error("the item has expired")]
    Expired,
    /// The address stores as much as one may.
    #[error("the address stores as much as one address may")]
    Quota,
    /// There is room only for what lies nearer to this node.
    #[error("the store is full of items that are nearer to this node")]
    TooFar,
    /// There is no room before something expires.
    #[error("the store is full")]
    Full,
    /// A peer with port 0, or at another address than its announcement came from.
    #[error("the peer's address is not one to announce")]
    BadAddress,
}

impl StoreError {
    /// The code of the answer.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::Item(fault) => fault.code(),
            Self::CasMismatch => ErrorCode::CasMismatch,
            Self::SeqTooLow => ErrorCode::SeqTooLow,
            Self::Quota => ErrorCode::QuotaExceeded,
            Self::Expired => ErrorCode::BadExpiry,
            Self::BadAddress => ErrorCode::Protocol,
            Self::TargetTaken | Self::TooFar | Self::Full => ErrorCode::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::MAX_VALUE_LEN;

    /// With thousands separated, as the page has them.
    fn grouped(number: usize) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }

    #[test]
    fn the_page_about_storage_has_the_numbers_of_the_code() {
        let page = include_str!("../../../docs/design/0004-dht-storage.md");
        for (name, number) in [
            ("MAX_INFO_HASHES", peers::MAX_INFO_HASHES),
            ("MAX_PEERS_PER_HASH", swarm::MAX_PEERS_PER_HASH),
            ("MAX_PEERS", peers::MAX_PEERS),
            ("MAX_PEERS_PER_SOURCE", peers::MAX_PEERS_PER_SOURCE),
            ("MAX_PORTS_PER_SOURCE", swarm::MAX_PORTS_PER_SOURCE),
            ("PEER_LIFETIME", peers::PEER_LIFETIME as usize),
            ("MAX_ITEMS", items::MAX_ITEMS),
            ("MAX_ITEM_BYTES", items::MAX_ITEM_BYTES),
            ("MAX_ITEMS_PER_SOURCE", items::MAX_ITEMS_PER_SOURCE),
            ("ITEM_LIFETIME", items::ITEM_LIFETIME as usize),
            ("SWEEP_EVERY", clock::SWEEP_EVERY as usize),
            ("MAX_SAVED_NODES", crate::saved::MAX_SAVED_NODES),
            ("MAX_SAVED_PUTS", crate::saved::MAX_SAVED_PUTS),
        ] {
            let row = format!("| `{name}` | {} |", grouped(number));
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_bytes_of_items_are_enough_for_1801_of_the_largest() {
        let largest = items::ITEM_OVERHEAD + MAX_VALUE_LEN;
        assert_eq!(items::MAX_ITEM_BYTES / largest, 1801);
    }

    #[test]
    fn each_refusal_has_its_code() {
        for (error, code) in [
            (StoreError::Item(ItemError::TooBig), 205),
            (StoreError::Item(ItemError::BadSignature), 206),
            (StoreError::Item(ItemError::SaltTooBig), 207),
            (StoreError::CasMismatch, 301),
            (StoreError::SeqTooLow, 302),
            (StoreError::Expired, 403),
            (StoreError::Quota, 401),
            (StoreError::TooFar, 202),
            (StoreError::Full, 202),
            (StoreError::TargetTaken, 202),
            (StoreError::BadAddress, 203),
        ] {
            assert_eq!(error.code().code(), code, "{error}");
        }
    }
}
