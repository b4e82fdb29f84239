//! Offers byte by byte, and which of them are refused.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::net::SocketAddr;

use dhtnet_identity::{DeviceId, DeviceKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::candidate::CandidateKind;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sample() -> Offer {
    Offer {
        wish: Wish::Connect,
        session: SessionId(*b"session1"),
        timestamp: 0x0102_0304_0506,
        credentials: Credentials {
            ufrag: *b"user",
            password: *b"0123456789abcdef",
        },
        nat: NatProfile {
            mapping: Some(Mapping::AddressAndPortDependent),
            filtering: Some(Filtering::AddressDependent),
            allocation: Some(Allocation::Sequential { step: -2 }),
            samples: vec![0x1234, 0x1232],
        },
        candidates: vec![
            Candidate::new(CandidateKind::Host, at("192.168.1.2:258")),
            Candidate::new(CandidateKind::Relayed, at("[2001:db8::1]:772")),
        ],
    }
}

fn largest() -> Offer {
    let mut offer = sample();
    offer.nat.samples = vec![7; MAX_SAMPLES];
    offer.nat.allocation = Some(Allocation::Block { low: 1, high: 2 });
    offer.candidates = (1..=MAX_CANDIDATES as u16)
        .map(|port| {
            let address = SocketAddr::new(at("[2001:db8::1]:1").ip(), port);
            Candidate::new(CandidateKind::Host, address)
        })
        .collect();
    offer
}

#[test]
fn the_bytes_are_these() {
    let mut bytes = vec![1, 1];
    bytes.extend(b"session1");
    bytes.extend([0, 0, 1, 2, 3, 4, 5, 6]);
    bytes.extend(b"user0123456789abcdef");
    bytes.push(0b01_10_11);
    bytes.extend([0xff, 0xfe]);
    bytes.extend([2, 0x12, 0x34, 0x12, 0x32]);
    bytes.extend([2, 1, 192, 168, 1, 2, 1, 2]);
    bytes.extend([
        0x84, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    ]);
    bytes.extend([3, 4]);
    assert_eq!(sample().encode(), bytes);
    assert_eq!(Offer::decode(&bytes).unwrap(), sample());
    bytes.extend(b"of a later version");
    assert_eq!(Offer::decode(&bytes).unwrap(), sample());
}

#[test]
fn all_allocations_and_unknown_behaviour_come_back() {
    let allocations = [
        None,
        Some(Allocation::Random),
        Some(Allocation::Block { low: 3, high: 9 }),
        Some(Allocation::Sequential { step: i16::MIN }),
    ];
    for allocation in allocations {
        let mut offer = sample();
        offer.nat = NatProfile {
            allocation,
            ..NatProfile::default()
        };
        assert_eq!(Offer::decode(&offer.encode()).unwrap(), offer);
    }
}

#[test]
fn cut_off_at_any_length_it_is_not_an_offer() {
    for offer in [sample(), largest()] {
        let bytes = offer.encode();
        for length in 0..bytes.len() {
            let result = Offer::decode(&bytes[..length]);
            assert_eq!(result, Err(DecodeError::Truncated), "{length}");
        }
    }
}

#[test]
fn the_largest_offer_fits_and_one_candidate_more_is_refused() {
    let bytes = largest().encode();
    assert_eq!(bytes.len(), MAX_LEN);
    // With a seal (48), the sender's id (32) and its signature (64).
    const { assert!(MAX_LEN + 48 + 32 + 64 < 1_000) }
    let mut more = bytes.clone();
    let at = 38 + 1 + 4 + 1 + 2 * MAX_SAMPLES;
    assert_eq!(usize::from(more[at]), MAX_CANDIDATES);
    more[at] += 1;
    let found = more[at];
    let field = "candidates";
    assert_eq!(
        Offer::decode(&more),
        Err(DecodeError::TooMany { field, found })
    );
    let mut long = largest();
    long.candidates.push(long.candidates[0]);
    long.nat.samples.insert(0, 1);
    assert_eq!(long.encode(), bytes);
}

#[test]
fn numbers_that_stand_for_nothing_are_named() {
    let with = |at: usize, value: u8| {
        let mut bytes = sample().encode();
        bytes[at] = value;
        Offer::decode(&bytes)
    };
    assert_eq!(with(0, 2), Err(DecodeError::Version(2)));
    let unknown = |field, value| Err(DecodeError::Unknown { field, value });
    assert_eq!(with(1, 9), unknown("wish", 9));
    assert_eq!(with(38, 0xf0), unknown("allocation", 15));
    assert_eq!(with(47, 6), unknown("kind of candidate", 6));
}

#[test]
fn addresses_that_are_not_for_a_peer_are_dropped() {
    let mut offer = sample();
    let loopback = Candidate::new(CandidateKind::Host, at("127.0.0.1:5"));
    offer.candidates.insert(0, loopback);
    assert_eq!(Offer::decode(&offer.encode()).unwrap(), sample());
}

#[test]
fn credentials_are_long_enough_and_not_shown() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let credentials = Credentials::random(&mut rng);
    assert_eq!(credentials.password().len(), 32);
    assert!(!format!("{credentials:?}").contains(&credentials.password()));
    assert_ne!(credentials, Credentials::random(&mut rng));
}

fn sender(number: u8) -> DeviceId {
    DeviceKey::from_seed(&[number; 32]).id()
}

fn wall(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn made_at(ms: u64) -> Offer {
    let mut offer = sample();
    offer.timestamp = ms;
    offer
}

#[test]
fn an_offer_is_let_in_once_and_only_while_it_is_fresh() {
    let now = 1_000_000;
    let mut window = ReplayWindow::default();
    let mut admit = |at, number, offer: &Offer| window.admit(wall(at), &sender(number), offer);
    assert_eq!(admit(now, 1, &made_at(now)), Ok(()));
    assert_eq!(admit(now + 1, 1, &made_at(now)), Err(Refused::Replayed));
    assert_eq!(admit(now + 1, 2, &made_at(now)), Ok(()));
    let mut other = made_at(now);
    other.session.0[0] ^= 1;
    assert_eq!(admit(now + 1, 1, &other), Ok(()));
    assert_eq!(admit(now, 3, &made_at(now - 60_000)), Ok(()));
    let age = Duration::from_millis(60_001);
    let stale = admit(now, 4, &made_at(now - 60_001));
    assert_eq!(stale, Err(Refused::Stale { age }));
    assert_eq!(admit(now, 4, &made_at(now + 60_000)), Ok(()));
    let ahead = admit(now, 4, &made_at(now + 60_001));
    assert_eq!(ahead, Err(Refused::ClockAhead { ahead: age }));
    // Two minutes later the one from the future is as old as it may be, and not let in again.
    let again = admit(now + 120_000, 4, &made_at(now + 60_000));
    assert_eq!(again, Err(Refused::Replayed));
    let gone = admit(now + 200_000, 1, &made_at(now));
    assert!(matches!(gone, Err(Refused::Stale { .. })));
}

#[test]
fn a_full_memory_forgets_the_oldest_and_still_lets_nothing_in_twice() {
    let now = 1_000_000;
    let mut window = ReplayWindow::default();
    let someone = sender(1);
    for ms in 0..MAX_REMEMBERED as u64 {
        assert_eq!(
            window.admit(wall(now), &someone, &made_at(now + ms)),
            Ok(())
        );
    }
    let next = made_at(now + MAX_REMEMBERED as u64);
    assert_eq!(window.admit(wall(now), &someone, &next), Ok(()));
    for ms in 0..=MAX_REMEMBERED as u64 {
        assert!(
            window
                .admit(wall(now), &someone, &made_at(now + ms))
                .is_err()
        );
    }
}
