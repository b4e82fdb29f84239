//! What the relay reads of requests before the protocol machine does, and its own refusals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::Rng;
use sha1::Sha1;
use stun_rs::attributes::stun::{ErrorCode, Fingerprint, MessageIntegrity, Nonce, Realm};
use stun_rs::{
    Algorithm, AlgorithmId, HMACKey, MessageClass, MessageEncoder, MessageMethod,
    StunMessageBuilder,
};
use subtle::ConstantTimeEq;

use crate::stun::{IntegrityKey, RawAttribute, TransactionId, is_stun, walk};

/// Methods (RFC 8656 section 17).
pub(super) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
    /// The last one of RFC 6062, none of which is served.
    pub(crate) const CONNECTION_ATTEMPT: u16 = 0x00c;
}

/// Attributes (RFC 8656 section 18).
pub(super) mod kind {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
}

/// Codes of refusals (RFC 8656 section 19).
pub(super) mod code {
    pub(crate) const BAD_REQUEST: u16 = 400;
    pub(crate) const UNAUTHENTICATED: u16 = 401;
    pub(crate) const FORBIDDEN: u16 = 403;
    pub(crate) const ALLOCATION_MISMATCH: u16 = 437;
    pub(crate) const STALE_NONCE: u16 = 438;
    pub(crate) const UNSUPPORTED_TRANSPORT: u16 = 442;
    pub(crate) const QUOTA_REACHED: u16 = 486;
    pub(crate) const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// The number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    Response,
}

/// A message of any method.
pub(super) struct Parsed<'a> {
    pub(super) class: Class,
    pub(super) method: u16,
    pub(super) id: TransactionId,
    /// Bytes of the whole message.
    pub(super) len: usize,
    attributes: Vec<RawAttribute<'a>>,
}

impl<'a> Parsed<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Option<Self> {
        if !is_stun(frame) {
            return None;
        }
        let (class, method) = kind_of(frame)?;
        Some(Self {
            class,
            method,
            id: TransactionId::from_bytes(frame.get(8..20)?.try_into().ok()?),
            len: frame.len(),
            attributes: walk(frame)?,
        })
    }

    /// The first of its type.
    pub(super) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        let found = self.attributes.iter().find(|found| found.kind == kind)?;
        Some(found.value)
    }

    pub(super) fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(kind)?).ok()
    }

    /// All XOR-PEER-ADDRESS attributes; `None` if one is malformed.
    pub(super) fn peers(&self) -> Option<Vec<SocketAddr>> {
        self.attributes
            .iter()
            .filter(|found| found.kind == kind::XOR_PEER_ADDRESS)
            .map(|found| xored_address(found.value, self.id))
            .collect()
    }

    pub(super) fn channel(&self) -> Option<u16> {
        let &[high, low, ..] = self.attribute(kind::CHANNEL_NUMBER)?.first_chunk::<4>()?;
        Some(u16::from_be_bytes([high, low]))
    }

    pub(super) fn asks_for_udp(&self) -> Option<bool> {
        let value = self.attribute(kind::REQUESTED_TRANSPORT)?;
        Some(*value.first()? == UDP)
    }
}

/// Class and method of a message (RFC 8489 section 5).
pub(super) fn kind_of(frame: &[u8]) -> Option<(Class, u16)> {
    let kind = u16::from_be_bytes(*frame.first_chunk()?);
    let class = match kind & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        _ => Class::Response,
    };
    let method = (kind & 0x000f) | ((kind & 0x00e0) >> 1) | ((kind & 0x3e00) >> 2);
    Some((class, method))
}

/// The value of XOR-PEER-ADDRESS (RFC 8489 section 14.2).
fn xored_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (&[_, family, high, low], address) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([high ^ 0x21, low ^ 0x12]);
    let mut mask = [0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    mask[4..].copy_from_slice(id.as_bytes());
    let ip: IpAddr = match family {
        1 => {
            let bytes: [u8; 4] = address.try_into().ok()?;
            Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|n| bytes[n] ^ mask[n])).into()
        }
        2 => {
            let bytes: [u8; 16] = address.try_into().ok()?;
            Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|n| bytes[n] ^ mask[n])).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The key of a long-term credential (RFC 8489 section 9.2.2). `None` when the name or password
/// cannot be one.
pub(super) fn long_term_key(username: &str, realm: &str, password: &str) -> Option<IntegrityKey> {
    let md5 = Algorithm::from(AlgorithmId::MD5);
    let key = HMACKey::new_long_term(username, realm, password, md5).ok()?;
    Some(IntegrityKey::new(key))
}

/// What a refusal shows beside its code.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    /// It asks for credentials, with this realm and nonce.
    Challenge(&'a str, &'a str),
    /// It is signed.
    Signed(&'a IntegrityKey),
}

/// The answer that refuses a request.
pub(super) fn refusal(
    (method, id): (u16, TransactionId),
    code: u16,
    shown: Shown<'_>,
) -> Option<Vec<u8>> {
    let method = MessageMethod::try_from(method).ok()?;
    let code = stun_rs::ErrorCode::new(code, "").ok()?;
    let mut message = StunMessageBuilder::new(method, MessageClass::ErrorResponse)
        .with_transaction_id(stun_rs::TransactionId::from(id.as_bytes()))
        .with_attribute(ErrorCode::new(code));
    message = match shown {
        // Without a fingerprint: nothing else on this port looks like it, and an answer to a
        // stranger is to be short.
        Shown::Challenge(realm, nonce) => message
            .with_attribute(Realm::new(realm).ok()?)
            .with_attribute(Nonce::new(nonce).ok()?),
        Shown::Signed(key) => message
            .with_attribute(MessageIntegrity::new(key.encoding().clone()))
            .with_attribute(Fingerprint::default()),
    };
    let message = message.build();
    let mut bytes = [0; 256];
    let len = MessageEncoder::default()
        .encode(&mut bytes, &message)
        .ok()?;
    Some(bytes[..len].to_vec())
}

/// Nonces that need no memory: a time and a tag over it and the address it was given to. Who
/// shows one receives at that address.
#[derive(Debug)]
pub(super) struct Nonces {
    key: [u8; 32],
    start: Instant,
}

/// How long one is taken: a few round trips and retransmissions.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// Bytes of its tag: 72 bits, to be guessed within a minute.
const NONCE_TAG_LEN: usize = 9;

/// Bytes of its time, in seconds: it need not last longer than a nonce, and is to be short.
const NONCE_TIME_LEN: usize = 3;

impl Nonces {
    pub(super) fn new(now: Instant, rng: &mut impl Rng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self { key, start: now }
    }

    pub(super) fn issue(&self, now: Instant, to: SocketAddr) -> String {
        self.spell(self.seconds(now), to)
    }

    pub(super) fn is_valid(&self, now: Instant, from: SocketAddr, nonce: &str) -> bool {
        let decoded = BASE64.decode(nonce.as_bytes()).ok();
        let issued = decoded.as_ref().and_then(|bytes| bytes.first_chunk());
        let Some(&[high, middle, low]) = issued else {
            return false;
        };
        let now = self.seconds(now);
        // What is missing of the time is that of the last minutes.
        let age = (now.wrapping_sub(u32::from_be_bytes([0, high, middle, low]))) & 0x00ff_ffff;
        now.checked_sub(age).is_some_and(|issued| {
            u64::from(age) <= NONCE_LIFETIME.as_secs()
                && bool::from(self.spell(issued, from).as_bytes().ct_eq(nonce.as_bytes()))
        })
    }

    fn seconds(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        u32::try_from(elapsed).unwrap_or(u32::MAX)
    }

    fn spell(&self, seconds: u32, address: SocketAddr) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.key).expect("any length is a key");
        mac.update(&seconds.to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&address.port().to_be_bytes());
        let tag = mac.finalize().into_bytes();
        let mut nonce = seconds.to_be_bytes()[4 - NONCE_TIME_LEN..].to_vec();
        nonce.extend(&tag[..NONCE_TAG_LEN]);
        BASE64.encode(&nonce)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_nonce_holds_for_its_address_and_a_minute() {
        let begin = Instant::now();
        let nonces = Nonces::new(begin, &mut ChaCha20Rng::seed_from_u64(1));
        let later = begin + Duration::from_secs(100);
        let address: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let nonce = nonces.issue(later, address);
        assert_eq!(nonce.len(), 16);
        let valid = |at, from: &str, nonce: &str| nonces.is_valid(at, from.parse().unwrap(), nonce);
        assert!(valid(later, "192.0.2.1:5", &nonce));
        assert!(valid(later + NONCE_LIFETIME, "192.0.2.1:5", &nonce));
        let too_late = later + NONCE_LIFETIME + Duration::from_secs(1);
        assert!(!valid(too_late, "192.0.2.1:5", &nonce));
        assert!(!valid(begin, "192.0.2.1:5", &nonce), "it is of the future");
        assert!(!valid(later, "192.0.2.1:6", &nonce));
        assert!(!valid(later, "192.0.2.2:5", &nonce));
        for wrong in ["", "AABk", "éAABkAAAA", &nonce[..15], &format!("{nonce}A")] {
            assert!(!valid(later, "192.0.2.1:5", wrong), "{wrong}");
        }
        // When its 24 bits of time come round it does not hold again.
        let again = later + Duration::from_secs(1 << 24);
        assert!(!valid(again, "192.0.2.1:5", &nonce));
        let renewed = nonces.issue(again, address);
        assert!(valid(
            again + Duration::from_secs(9),
            "192.0.2.1:5",
            &renewed
        ));
        let another = Nonces::new(begin, &mut ChaCha20Rng::seed_from_u64(2));
        assert!(!another.is_valid(later, address, &nonce));
    }

    #[test]
    fn addresses_of_peers_are_read_as_the_rfc_writes_them() {
        // The address of RFC 5769 section 2.2, as XOR-PEER-ADDRESS.
        let id = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let id = TransactionId::from_bytes(id);
        let value = [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let expected = "192.0.2.1:32853".parse().unwrap();
        assert_eq!(xored_address(&value, id), Some(expected));
        for len in 0..value.len() {
            assert_eq!(xored_address(&value[..len], id), None);
        }
        assert_eq!(xored_address(&[0, 3, 0, 0, 0, 0, 0, 0], id), None);
    }

    #[test]
    fn classes_and_methods_are_told_apart() {
        for (bytes, expected) in [
            ([0, 3], (Class::Request, 3)),
            ([0, 0x16], (Class::Indication, 6)),
            ([1, 3], (Class::Response, 3)),
            ([1, 0x13], (Class::Response, 3)),
            ([0x22, 0xa8], (Class::Request, 0x8d8)),
        ] {
            assert_eq!(kind_of(&bytes), Some(expected));
        }
        assert_eq!(kind_of(&[0]), None);
    }
}
