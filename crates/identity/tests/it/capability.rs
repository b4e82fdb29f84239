//! Capabilities: granting, passing on, reading, and all that is refused.

use std::time::{Duration, SystemTime};

use dhtnet_identity::capability::{
    Capability, CapabilityError, CapabilityId, GrantError, MAX_CAPABILITY_LEN, MAX_LINKS,
    MAX_PERMISSIONS, ParseCapabilityError, TEXT_PREFIX, Terms,
};
use dhtnet_identity::policy::{Action, Permission};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{chain, full, id, key};

/// Changed capabilities in CI, and with `DHTNET_TEST_FULL=1`.
const MUTATIONS: [u32; 2] = [5_000, 1_000_000];

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn permissions(texts: &[&str]) -> Vec<Permission> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn terms(texts: &[&str], until: u64, delegable: u8) -> Terms {
    Terms {
        permissions: permissions(texts),
        until: at(until),
        delegable,
    }
}

/// From device 1 to device 2.
fn grant(texts: &[&str], until: u64, delegable: u8) -> Capability {
    Capability::grant(&key(1), id(2), &terms(texts, until, delegable), &mut rng(1)).unwrap()
}

/// As long as they come, with two permissions in each link.
fn longest() -> Capability {
    let texts = ["dnc.target 10.0.0.0/8:*", "dsh.*"];
    let mut capability = grant(&texts, 1000, 4);
    for holder in 2..6 {
        let terms = terms(&texts, 1000, 5 - holder);
        let made = capability.delegate(&key(holder), id(holder + 1), &terms, &mut rng(holder));
        capability = made.unwrap();
    }
    capability
}

#[test]
fn a_grant_says_who_may_what_until_when() {
    let granted = grant(&["dnc.target 127.0.0.1:22", "dsh.shell"], 1000, 2);
    assert_eq!((granted.issuer(), granted.holder()), (&id(1), &id(2)));
    assert_eq!(
        granted.permissions(),
        permissions(&["dnc.target 127.0.0.1:22", "dsh.shell"])
    );
    assert_eq!((granted.until(), granted.delegable()), (at(1000), 2));
    assert!(granted.covers(&Action::with("dnc.target", "127.0.0.1:22")));
    assert!(!granted.covers(&Action::with("dnc.target", "127.0.0.1:23")));
    assert!(granted.is_live(at(999)) && !granted.is_live(at(1000)));
    assert_eq!(Capability::decode(granted.as_bytes()), Ok(granted.clone()));
    let small = grant(&["dnc.target 127.0.0.1:22"], 1000, 0);
    assert_eq!(small.as_bytes().len(), 180);
}

#[test]
fn the_binary_form_is_what_is_documented() {
    let granted = grant(&["dsh.shell"], 0x0102_0304, 3);
    let bytes = granted.as_bytes();
    let mut serial = [0; 16];
    rng(1).fill_bytes(&mut serial);
    let mut wanted = vec![1];
    wanted.extend(id(1).as_bytes());
    wanted.extend(serial);
    wanted.extend(id(2).as_bytes());
    wanted.extend([0, 0, 0, 0, 1, 2, 3, 4]);
    wanted.extend([3, 1, 0, 9]);
    wanted.extend(b"dsh.shell");
    let signed = [b"dhtnet 1 capability", wanted.as_slice()].concat();
    wanted.extend(key(1).sign(&signed));
    assert_eq!(bytes, wanted);
}

#[test]
fn the_text_is_for_pasting() {
    let granted = grant(&["dsh.shell"], 1000, 0);
    let text = granted.to_string();
    assert!(text.starts_with(TEXT_PREFIX));
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    assert_eq!(text.parse(), Ok(granted.clone()));
    let wrapped: String = text
        .chars()
        .enumerate()
        .flat_map(|(at, c)| {
            let end = if at % 40 == 39 { "\r\n  " } else { "" };
            std::iter::once(c).chain(end.chars())
        })
        .collect();
    assert_eq!(format!(" {wrapped}\n").parse(), Ok(granted));
    let fault = |text: &str| text.parse::<Capability>().unwrap_err();
    assert!(matches!(
        fault("capable"),
        ParseCapabilityError::Prefix { .. }
    ));
    assert!(matches!(fault(""), ParseCapabilityError::Prefix { .. }));
    assert_eq!(fault("cap1!"), ParseCapabilityError::Alphabet);
    assert_eq!(
        fault(&"c".repeat(4 * MAX_CAPABILITY_LEN + 1)),
        ParseCapabilityError::TooLong
    );
    assert_eq!(
        chain(&fault("cap1AQ")),
        "the capability is damaged",
        "base64 that is too short"
    );
}

#[test]
fn a_part_can_be_passed_on_as_often_as_the_owner_said() {
    let first = grant(&["dnc.target 10.0.0.0/8:*", "dsh.*"], 1000, 2);
    let second = first
        .delegate(
            &key(2),
            id(3),
            &terms(&["dnc.target 10.1.0.0/16:22"], 900, 1),
            &mut rng(2),
        )
        .unwrap();
    assert_eq!((second.issuer(), second.holder()), (&id(1), &id(3)));
    assert!(second.covers(&Action::with("dnc.target", "10.1.2.3:22")));
    assert!(!second.covers(&Action::with("dnc.target", "10.2.2.3:22")));
    assert!(!second.covers(&Action::new("dsh.shell")));
    assert_eq!(second.until(), at(900));
    let third = second
        .delegate(
            &key(3),
            id(4),
            &terms(&["dnc.target 10.1.2.3:22"], 5000, 0),
            &mut rng(3),
        )
        .unwrap();
    assert_eq!(third.until(), at(900), "it never outlasts the one before");
    assert_eq!(
        third.holders().copied().collect::<Vec<_>>(),
        [id(2), id(3), id(4)]
    );
    assert_eq!(third.ids().count(), 3);
    assert_eq!(Capability::decode(third.as_bytes()), Ok(third.clone()));
    let again = third.delegate(
        &key(4),
        id(5),
        &terms(&["dnc.target 10.1.2.3:22"], 1, 0),
        &mut rng(4),
    );
    assert_eq!(again, Err(GrantError::NotDelegable));
    // What was before is inside, and is its holder's alone.
    let inside = &third.as_bytes()[..second.as_bytes().len()];
    assert_eq!(Capability::decode(inside), Ok(second));
}

#[test]
fn nothing_wider_can_be_passed_on() {
    let first = grant(&["dnc.target 10.0.0.0/8:22"], 1000, 2);
    let pass = |own: u8, terms: &Terms| first.delegate(&key(own), id(3), terms, &mut rng(2));
    let same = ["dnc.target 10.0.0.0/8:22"];
    assert!(pass(2, &terms(&same, 1000, 1)).is_ok());
    for wider in [
        "*",
        "dnc.*",
        "dnc.target *",
        "dnc.target 10.0.0.0/8:*",
        "dnc.target 0.0.0.0/0:22",
        "dnc.bind 10.0.0.0/8:22",
        "chat",
    ] {
        let both = terms(&[same[0], wider], 1000, 1);
        assert_eq!(pass(2, &both), Err(GrantError::Wider), "{wider}");
    }
    assert_eq!(
        pass(2, &terms(&same, 1000, 2)),
        Err(GrantError::Delegable { most: 1 })
    );
    assert_eq!(pass(1, &terms(&same, 1000, 0)), Err(GrantError::NotHolder));
    assert_eq!(pass(3, &terms(&same, 1000, 0)), Err(GrantError::NotHolder));
}

/// A link after `capability` that no honest program writes, well signed.
fn forge(
    capability: &Capability,
    signer: u8,
    texts: &[&str],
    until: u64,
    delegable: u8,
) -> Vec<u8> {
    let mut bytes = capability.as_bytes().to_vec();
    bytes.extend([7; 16]);
    bytes.extend(id(9).as_bytes());
    bytes.extend(until.to_be_bytes());
    bytes.push(delegable);
    bytes.push(texts.len() as u8);
    for text in texts {
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    let signed = [b"dhtnet 1 capability", bytes.as_slice()].concat();
    bytes.extend(key(signer).sign(&signed));
    bytes
}

#[test]
fn a_well_signed_link_that_is_wider_is_refused() {
    let first = grant(&["dnc.target 10.0.0.0/8:22"], 1000, 2);
    let same = ["dnc.target 10.0.0.0/8:22"];
    let read = |bytes: Vec<u8>| Capability::decode(&bytes);
    assert!(read(forge(&first, 2, &same, 1000, 1)).is_ok());
    let wider = CapabilityError::Wider { link: 2 };
    assert_eq!(read(forge(&first, 2, &same, 1001, 1)), Err(wider.clone()));
    assert_eq!(read(forge(&first, 2, &same, 1000, 2)), Err(wider.clone()));
    assert_eq!(read(forge(&first, 2, &["*"], 1000, 1)), Err(wider.clone()));
    let last = grant(&same, 1000, 0);
    assert_eq!(read(forge(&last, 2, &same, 1000, 0)), Err(wider));
    let signature = CapabilityError::Signature { link: 2 };
    for signer in [1, 3, 9] {
        assert_eq!(
            read(forge(&first, signer, &same, 1000, 1)),
            Err(signature.clone())
        );
    }
    // One spelling, one encoding, bounds.
    let malformed = Err(CapabilityError::Malformed);
    assert_eq!(
        read(forge(&first, 2, &["dnc.target [::ffff:10.0.0.1]:22"], 9, 1)),
        malformed
    );
    assert_eq!(read(forge(&first, 2, &same, u64::MAX, 1)), malformed);
    assert_eq!(read(forge(&first, 2, &same, 9, 255)), malformed);
    let none = CapabilityError::Permissions { found: 0 };
    assert_eq!(read(forge(&first, 2, &[], 9, 1)), Err(none));
    let many = ["dnc.target 10.0.0.0/8:22"; MAX_PERMISSIONS + 1];
    assert!(read(forge(&first, 2, &many[1..], 9, 1)).is_ok());
    let found = MAX_PERMISSIONS + 1;
    assert_eq!(
        read(forge(&first, 2, &many, 9, 1)),
        Err(CapabilityError::Permissions { found })
    );
    assert!(matches!(
        read(forge(&first, 2, &["dsh.shel"], 9, 1)),
        Err(CapabilityError::Permission(_))
    ));
}

#[test]
fn a_chain_has_a_bound() {
    let longest = longest();
    assert_eq!(longest.ids().count(), MAX_LINKS);
    assert_eq!(Capability::decode(longest.as_bytes()), Ok(longest.clone()));
    let more = forge(&longest, 6, &["dsh.shell"], 9, 0);
    assert_eq!(
        Capability::decode(&more),
        Err(CapabilityError::TooManyLinks)
    );
}

#[test]
fn terms_have_bounds() {
    let make = |terms: &Terms| Capability::grant(&key(1), id(2), terms, &mut rng(1));
    assert_eq!(
        make(&terms(&[], 9, 0)),
        Err(GrantError::Permissions { found: 0 })
    );
    let texts: Vec<_> = (0..=MAX_PERMISSIONS).map(|n| format!("app.{n}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    assert!(make(&terms(&texts[1..], 9, 4)).is_ok());
    let found = MAX_PERMISSIONS + 1;
    assert_eq!(
        make(&terms(&texts, 9, 0)),
        Err(GrantError::Permissions { found })
    );
    assert_eq!(
        make(&terms(&["x"], 9, 5)),
        Err(GrantError::Delegable { most: 4 })
    );
    let long: Vec<_> = (0..8)
        .map(|n| format!("app.{n} {}", "x".repeat(1100)))
        .collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    assert!(make(&terms(&long[..7], 9, 0)).is_ok());
    assert!(matches!(
        make(&terms(&long, 9, 0)),
        Err(GrantError::TooLong { .. })
    ));
    let forever = Terms {
        until: at(u64::from(u32::MAX) * 1000),
        ..terms(&["x"], 0, 0)
    };
    let forever = make(&forever).unwrap();
    assert_eq!(Capability::decode(forever.as_bytes()), Ok(forever));
    let found = MAX_CAPABILITY_LEN + 1;
    let read = Capability::decode(&vec![1; found]);
    assert_eq!(read, Err(CapabilityError::TooLong { found }));
    assert_eq!(
        Capability::decode(&[2; 200]),
        Err(CapabilityError::Version { found: 2 })
    );
}

#[test]
fn no_cut_and_no_changed_bit_is_accepted() {
    let longest = longest();
    let bytes = longest.as_bytes();
    let mut shorter = 0;
    for len in 0..bytes.len() {
        // What ends where a link ends is the capability of an earlier holder.
        match Capability::decode(&bytes[..len]) {
            Ok(read) => {
                shorter += 1;
                assert_ne!(read.holder(), longest.holder());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert_eq!(shorter, MAX_LINKS - 1);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Capability::decode(&changed).is_err(), "bit {bit}");
    }
}

#[test]
fn of_a_million_changed_capabilities_none_is_accepted() {
    let (longest, other) = (longest(), grant(&["dsh.*"], 2000, 4));
    let prefixes: Vec<usize> = (0..longest.as_bytes().len())
        .filter(|len| Capability::decode(&longest.as_bytes()[..*len]).is_ok())
        .collect();
    let mut rng = rng(77);
    for number in 0..MUTATIONS[full()] {
        let changed = crate::mutation::mutate(&mut rng, longest.as_bytes(), other.as_bytes());
        let honest = changed == longest.as_bytes()
            || changed == other.as_bytes()
            || prefixes.contains(&changed.len()) && longest.as_bytes().starts_with(&changed);
        if !honest {
            assert!(
                Capability::decode(&changed).is_err(),
                "change {number}: {changed:02x?}"
            );
        }
    }
}

#[test]
fn serials_round_trip() {
    let granted = grant(&["x"], 9, 0);
    let text = granted.id().to_string();
    assert_eq!(text.len(), 32);
    assert_eq!(text.parse(), Ok(granted.id()));
    for bad in [
        "",
        "00",
        &text[1..],
        &format!("{text}0"),
        "g0000000000000000000000000000000",
    ] {
        assert!(bad.parse::<CapabilityId>().is_err(), "{bad}");
    }
    assert_eq!(
        format!("{granted:?}"),
        format!("Capability({text}, {}… may x)", id(2).short())
    );
}
