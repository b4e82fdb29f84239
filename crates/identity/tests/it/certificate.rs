//! Certificates: what is made, what is accepted, and each thing that is refused.

mod files;
mod openssl;
mod reading;
mod verifying;

use std::time::{Duration, SystemTime};

use dhtnet_identity::certificate::{
    Authority, Certificate, CertificateName, DEFAULT_AUTHORITY_LIFETIME, DEFAULT_DEVICE_LIFETIME,
    GroupName, IssueError, Order, RENEWAL_WARNING, Serial,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{id, key};

const DAY: Duration = Duration::from_secs(86_400);

/// 2026-11-21T00:00:00Z, by whose clock everything here was made.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

fn groups(texts: &[&str]) -> Vec<GroupName> {
    texts.iter().map(|text| name(text)).collect()
}

/// A CA with the key of this number.
fn authority(number: u8) -> Authority {
    let times = (now(), &mut rng(number));
    Authority::create(
        key(number),
        &name("Home"),
        DEFAULT_AUTHORITY_LIFETIME,
        times,
    )
    .unwrap()
}

fn order(number: u8, groups: Vec<GroupName>) -> Order {
    Order {
        device: id(number),
        name: name("laptop"),
        groups,
        lifetime: DEFAULT_DEVICE_LIFETIME,
    }
}

/// The certificate of the device with this number, by this CA.
fn issue(authority: &Authority, number: u8) -> Certificate {
    let order = order(number, groups(&["admins", "family"]));
    authority.issue(&order, now(), &mut rng(number)).unwrap()
}

#[test]
fn a_certificate_says_what_was_ordered() {
    let certificate = issue(&authority(1), 2);
    assert_eq!(*certificate.key(), id(2));
    assert_eq!(certificate.name(), Some(&name("laptop")));
    assert_eq!(certificate.issuer_name(), Some(&name("Home")));
    assert_eq!(certificate.groups(), groups(&["admins", "family"]));
    assert_eq!(certificate.not_before(), now() - Duration::from_secs(3600));
    assert_eq!(certificate.not_after(), now() + DEFAULT_DEVICE_LIFETIME);
    assert!(!certificate.is_authority());
    assert!(!certificate.is_self_issued());
    assert_eq!(certificate.serial().as_bytes().len(), 17);
    let text = certificate.to_pem();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(Certificate::from_pem(&text), Ok(certificate));
}

#[test]
fn a_ca_is_self_issued_and_may_issue() {
    let authority = authority(1);
    let certificate = authority.certificate();
    assert!(certificate.is_authority() && certificate.is_self_issued());
    assert_eq!(*certificate.key(), id(1));
    assert_eq!(certificate.not_after(), now() + DEFAULT_AUTHORITY_LIFETIME);
    let again = Authority::of(key(1), certificate.clone()).unwrap();
    assert_eq!(again.certificate(), certificate);
}

#[test]
fn no_two_certificates_have_the_same_serial_number_or_fingerprint() {
    let authority = authority(1);
    let mut rng = rng(9);
    let mut issue = || {
        authority
            .issue(&order(2, Vec::new()), now(), &mut rng)
            .unwrap()
    };
    let (first, second) = (issue(), issue());
    assert_ne!(first.serial(), second.serial());
    assert_ne!(first.fingerprint(), second.fingerprint());
    assert_ne!(first, second);
}

#[test]
fn a_fingerprint_is_over_key_and_serial_and_not_over_the_signature() {
    // Two CAs, two names, one serial number: the same key and number have one fingerprint.
    let (one, other) = (authority(1), authority(3));
    let first = one
        .issue(&order(2, Vec::new()), now(), &mut rng(5))
        .unwrap();
    let second = other
        .issue(&order(2, groups(&["x"])), now(), &mut rng(5))
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(first.fingerprint(), second.fingerprint());
    let text = first.fingerprint().to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse(), Ok(first.fingerprint()));
    assert_eq!(text.to_uppercase().parse(), Ok(first.fingerprint()));
}

#[test]
fn a_certificate_never_outlasts_its_ca_nor_begins_before_it() {
    let mut rng = rng(1);
    let authority = Authority::create(key(1), &name("Home"), DAY, (now(), &mut rng)).unwrap();
    let certificate = authority
        .issue(&order(2, Vec::new()), now(), &mut rng)
        .unwrap();
    assert_eq!(certificate.not_after(), now() + DAY);
    let early = authority
        .issue(&order(2, Vec::new()), now() - DAY / 2, &mut rng)
        .unwrap();
    assert_eq!(early.not_before(), authority.certificate().not_before());
    let long_ago = Order {
        lifetime: DAY,
        ..order(2, Vec::new())
    };
    let before = authority.issue(&long_ago, now() - 9 * DAY, &mut rng);
    assert_eq!(before, Err(IssueError::NotBegun));
    let late = authority.issue(&order(2, Vec::new()), now() + 2 * DAY, &mut rng);
    assert_eq!(
        late.unwrap_err().to_string(),
        "the certificate of the CA has expired (make a new CA)"
    );
}

#[test]
fn a_renewed_certificate_is_for_the_same_device_name_and_groups() {
    let authority = authority(1);
    let old = issue(&authority, 2);
    let later = now() + 400 * DAY;
    assert!(old.expires_within(Duration::ZERO, later));
    let new = authority
        .renew(&old, 30 * DAY, (later, &mut rng(8)))
        .unwrap();
    assert_eq!(new.key(), old.key());
    assert_eq!((new.name(), new.groups()), (old.name(), old.groups()));
    assert_ne!(new.serial(), old.serial());
    assert_eq!(new.not_after(), later + 30 * DAY);
    let foreign = crate::certificate::authority(3);
    let error = foreign.renew(&old, DAY, (now(), &mut rng(8))).unwrap_err();
    assert_eq!(error.to_string(), "this CA did not make the certificate");
}

#[test]
fn the_last_thirty_days_are_told() {
    let certificate = issue(&authority(1), 2);
    let month = RENEWAL_WARNING;
    assert_eq!(month, 30 * DAY);
    let end = certificate.not_after();
    for (moment, ends) in [
        (end - month - Duration::from_secs(1), false),
        (end - month, false),
        (end - month + Duration::from_secs(1), true),
        (end, true),
        (end + DAY, true),
    ] {
        assert_eq!(certificate.expires_within(month, moment), ends);
    }
}

#[test]
fn orders_that_cannot_be_met_are_refused() {
    let authority = authority(1);
    let ask = |order: Order| {
        let made = authority.issue(&order, now(), &mut rng(3));
        made.unwrap_err().to_string()
    };
    let own = ask(order(1, Vec::new()));
    assert!(
        own.starts_with("a CA cannot vouch for its own key"),
        "{own}"
    );
    let lifetime = Duration::from_millis(999);
    let short = ask(Order {
        lifetime,
        ..order(2, Vec::new())
    });
    assert!(short.contains("at least a second"), "{short}");
    let lifetime = Duration::MAX;
    let endless = ask(Order {
        lifetime,
        ..order(2, Vec::new())
    });
    assert!(endless.contains("not for ever"), "{endless}");
    let many: Vec<_> = (0..=32).map(|n| name(&format!("group {n}"))).collect();
    assert!(
        authority
            .issue(&order(2, many[..32].to_vec()), now(), &mut rng(3))
            .is_ok()
    );
    assert_eq!(ask(order(2, many)), "a certificate names at most 32 groups");
    let error = Authority::of(key(2), authority.certificate().clone()).unwrap_err();
    assert!(error.to_string().starts_with("the key does not belong"));
    let error = Authority::of(key(2), issue(&authority, 2)).unwrap_err();
    assert!(error.to_string().contains("cannot be that of a CA"));
}

#[test]
fn names_have_a_bound_and_no_control_characters() {
    for good in ["a", "Ä b-c", &"x".repeat(64), "日本", "o'neill & co"] {
        assert_eq!(good.parse::<CertificateName>().unwrap().as_str(), good);
    }
    for bad in [
        "",
        " ",
        "a ",
        " a",
        "a\n",
        "a\u{7}b",
        "a\u{202e}b",
        "\u{feff}a",
        &"x".repeat(65),
    ] {
        assert!(bad.parse::<CertificateName>().is_err(), "{bad:?}");
    }
}

#[test]
fn serial_numbers_are_read_as_openssl_writes_them() {
    let serial = issue(&authority(1), 2).serial().clone();
    let text = serial.to_string();
    let colons: Vec<_> = text
        .as_bytes()
        .chunks(2)
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect();
    assert_eq!(text.len(), 34);
    for spelling in [
        text.clone(),
        text.to_lowercase(),
        colons.join(":"),
        format!("00{text}"),
    ] {
        assert_eq!(spelling.parse::<Serial>().unwrap(), serial, "{spelling}");
    }
    assert_eq!("1".parse::<Serial>().unwrap().to_string(), "01");
    assert!("7F".repeat(20).parse::<Serial>().is_ok());
    for bad in [
        "",
        "0",
        "00",
        "x",
        "1 2",
        &"80".repeat(20),
        &"01".repeat(21),
    ] {
        assert!(bad.parse::<Serial>().is_err(), "{bad}");
    }
}
