//! The attributes of a message, as they lie in it (RFC 8489 section 14).

use super::{HEADER_LEN, MAGIC_COOKIE, MAX_MESSAGE_LEN, TransactionId, is_stun};

/// Attribute types by number (RFC 8489 section 18.3, RFC 8445 section 16.1, RFC 5780 section 7).
pub(super) mod kind {
    pub(crate) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(crate) const CHANGE_REQUEST: u16 = 0x0003;
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const PRIORITY: u16 = 0x0024;
    pub(crate) const USE_CANDIDATE: u16 = 0x0025;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
    pub(crate) const ICE_CONTROLLING: u16 = 0x802a;
    pub(crate) const RESPONSE_ORIGIN: u16 = 0x802b;
    pub(crate) const OTHER_ADDRESS: u16 = 0x802c;
}

/// Attributes below this number must be understood (RFC 8489 section 14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;

/// Attributes that must be understood by number and may be passed over all the same: SOURCE-ADDRESS
/// and CHANGED-ADDRESS of RFC 3489 servers, and the credentials of RFC 8489 that we neither ask
/// for nor use (REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH).
const PASSED_OVER: [u16; 7] = [0x0004, 0x0005, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e];

/// One attribute: its type, where its header starts, and its value without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawAttribute<'a> {
    pub(crate) kind: u16,
    pub(crate) offset: usize,
    pub(crate) value: &'a [u8],
}

/// The attributes of a message in order. `None` when one of them leaves the message.
pub(crate) fn walk(message: &[u8]) -> Option<Vec<RawAttribute<'_>>> {
    let mut found = Vec::new();
    let mut offset = HEADER_LEN;
    while offset < message.len() {
        let header = message.get(offset..offset + 4)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = message.get(offset + 4..offset + 4 + len)?;
        found.push(RawAttribute {
            kind,
            offset,
            value,
        });
        offset += 4 + len.next_multiple_of(4);
    }
    (offset == message.len()).then_some(found)
}

/// The id and code of an error response of any method.
pub(crate) fn refusal_code(message: &[u8]) -> Option<(TransactionId, u16)> {
    let header = message.first_chunk::<HEADER_LEN>()?;
    // Both bits of the class (RFC 8489 section 5).
    if header[0] & 1 == 0 || header[1] & 0x10 == 0 {
        return None;
    }
    let id = TransactionId::from_bytes(message.get(8..20)?.try_into().ok()?);
    let attributes = walk(message)?;
    let value = attributes
        .iter()
        .find(|attribute| attribute.kind == kind::ERROR_CODE)?
        .value;
    let &[_, _, class, number] = value.first_chunk()?;
    Some((id, u16::from(class & 7) * 100 + u16::from(number % 100)))
}

/// A message reduced to what we understand.
pub(super) struct Understood {
    /// The same header and the first attribute of each known type, those behind
    /// MESSAGE-INTEGRITY left out (RFC 8489 section 14.5).
    pub(super) message: Vec<u8>,
    /// The types that had to be understood and were not.
    pub(super) unknown: Vec<u16>,
}

/// `None` when the frame or an attribute is malformed, or the message too long.
pub(super) fn understand(datagram: &[u8]) -> Option<Understood> {
    if datagram.len() > MAX_MESSAGE_LEN || !is_stun(datagram) {
        return None;
    }
    let mut message = datagram[..HEADER_LEN].to_vec();
    let mut unknown = Vec::new();
    let mut seen: Vec<u16> = Vec::new();
    for attribute in walk(datagram)? {
        let behind = seen.contains(&kind::MESSAGE_INTEGRITY) || seen.contains(&kind::FINGERPRINT);
        if seen.contains(&attribute.kind) || (behind && attribute.kind != kind::FINGERPRINT) {
            continue;
        }
        match attribute.kind {
            kind::MAPPED_ADDRESS
            | kind::CHANGE_REQUEST
            | kind::USERNAME
            | kind::ERROR_CODE
            | kind::UNKNOWN_ATTRIBUTES
            | kind::XOR_MAPPED_ADDRESS
            | kind::PRIORITY
            | kind::USE_CANDIDATE
            | kind::ICE_CONTROLLED
            | kind::ICE_CONTROLLING
            | kind::RESPONSE_ORIGIN
            | kind::OTHER_ADDRESS => {
                seen.push(attribute.kind);
                let len = attribute.value.len().next_multiple_of(4);
                message.extend(&datagram[attribute.offset..attribute.offset + 4 + len]);
            }
            kind::MESSAGE_INTEGRITY | kind::FINGERPRINT => seen.push(attribute.kind),
            other if other >= COMPREHENSION_OPTIONAL || PASSED_OVER.contains(&other) => {}
            other => {
                seen.push(other);
                unknown.push(other);
            }
        }
    }
    let length = u16::try_from(message.len() - HEADER_LEN).ok()?;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    debug_assert_eq!(message[4..8], MAGIC_COOKIE);
    Some(Understood { message, unknown })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        for (kind, value) in attributes {
            message.extend(kind.to_be_bytes());
            message.extend((value.len() as u16).to_be_bytes());
            message.extend(*value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let length = (message.len() - HEADER_LEN) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }

    #[test]
    fn only_the_first_of_a_type_counts() {
        let twice = message(&[(kind::PRIORITY, &[1; 4]), (kind::PRIORITY, &[2; 4])]);
        let once = message(&[(kind::PRIORITY, &[1; 4])]);
        assert_eq!(understand(&twice).unwrap().message, once);
    }

    #[test]
    fn what_follows_the_integrity_is_left_out() {
        let tampered = message(&[
            (kind::MESSAGE_INTEGRITY, &[0; 20]),
            (kind::USE_CANDIDATE, &[]),
            (0x7777, &[]),
        ]);
        let understood = understand(&tampered).unwrap();
        assert_eq!(understood.message, message(&[]));
        assert!(understood.unknown.is_empty());
    }

    #[test]
    fn unknown_types_are_told_when_they_had_to_be_understood() {
        let strange = message(&[(0x7777, b"abc"), (0x9999, b"de"), (0x0014, b"realm")]);
        assert_eq!(understand(&strange).unwrap().unknown, [0x7777]);
    }

    #[test]
    fn an_attribute_that_leaves_the_message_spoils_it() {
        let mut overlong = message(&[(kind::PRIORITY, &[1; 4])]);
        overlong[23] = 5;
        assert!(understand(&overlong).is_none());
        overlong[23] = 4;
        assert!(understand(&overlong).is_some());
    }

    #[test]
    fn a_message_at_the_limit_is_read_and_one_past_it_is_not() {
        let longest = message(&[(0x9999, &[0; MAX_MESSAGE_LEN - HEADER_LEN - 4])]);
        assert_eq!(longest.len(), MAX_MESSAGE_LEN);
        assert!(understand(&longest).is_some());
        let longer = message(&[(0x9999, &[0; MAX_MESSAGE_LEN - HEADER_LEN])]);
        assert!(understand(&longer).is_none());
    }
}
