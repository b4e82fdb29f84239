//! Chains and revocation lists, judged at a moment.

use std::time::{Duration, SystemTime};

use dhtnet_identity::certificate::{
    Authority, Certificate, MAX_CHAIN_LEN, Revocation, RevocationList, TrustError,
    TrustedAuthority, Verified, VerifyError,
};

use super::{DAY, authority, groups, issue, name, now, order, rng};
use crate::{id, key};

const SECOND: Duration = Duration::from_secs(1);

fn verify(
    trusted: &TrustedAuthority,
    certificate: &Certificate,
    now: SystemTime,
) -> Result<Verified, VerifyError> {
    trusted.verify(std::slice::from_ref(certificate), certificate.key(), now)
}

fn list(authority: &Authority, revoked: &[&Certificate], number: u64) -> RevocationList {
    let revoked: Vec<_> = revoked
        .iter()
        .map(|certificate| Revocation {
            serial: certificate.serial().clone(),
            since: now(),
        })
        .collect();
    authority
        .revocation_list(&revoked, number, (now(), 30 * DAY))
        .unwrap()
}

#[test]
fn a_certificate_of_a_trusted_ca_is_accepted_with_an_account() {
    let authority = authority(1);
    let certificate = issue(&authority, 2);
    let verified = verify(&authority.trusted(), &certificate, now()).unwrap();
    assert_eq!(*verified.device(), id(2));
    assert_eq!(verified.name(), Some(&name("laptop")));
    assert_eq!(verified.groups(), groups(&["admins", "family"]));
    assert_eq!(verified.serial(), certificate.serial());
    assert_eq!(*verified.authority(), authority.certificate().fingerprint());
    assert_eq!(verified.authority_name(), Some(&name("Home")));
    assert_eq!(verified.not_after(), certificate.not_after());
    assert_eq!(verified.valid_until(), certificate.not_after());
}

#[test]
fn the_ca_may_be_shown_too() {
    let authority = authority(1);
    let certificate = issue(&authority, 2);
    let chain = [certificate, authority.certificate().clone()];
    assert!(authority.trusted().verify(&chain, &id(2), now()).is_ok());
}

#[test]
fn a_certificate_counts_from_its_first_second_to_its_last() {
    let authority = authority(1);
    let trusted = authority.trusted();
    let certificate = issue(&authority, 2);
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let half = SECOND / 2;
    for moment in [from, from + half, until - half, until, until + half] {
        assert!(verify(&trusted, &certificate, moment).is_ok());
    }
    assert_eq!(
        verify(&trusted, &certificate, until + SECOND),
        Err(VerifyError::Expired { since: until })
    );
    // The CA began at the same second.
    assert_eq!(
        verify(&trusted, &certificate, from - SECOND),
        Err(VerifyError::NotYetValid { from })
    );
    assert_eq!(
        verify(&trusted, &certificate, SystemTime::UNIX_EPOCH - DAY),
        Err(VerifyError::NotYetValid { from })
    );
}

#[test]
fn a_ca_that_has_ended_or_not_begun_vouches_for_nobody() {
    let early = Authority::create(key(1), &name("Home"), DAY, (now(), &mut rng(1))).unwrap();
    let certificate = issue(&authority(1), 2);
    let since = early.certificate().not_after();
    assert_eq!(
        verify(&early.trusted(), &certificate, now() + 2 * DAY),
        Err(VerifyError::AuthorityExpired { since })
    );
    let later = (now() + 9 * DAY, &mut rng(1));
    let late = Authority::create(key(1), &name("Home"), DAY, later).unwrap();
    let from = late.certificate().not_before();
    assert_eq!(
        verify(&late.trusted(), &certificate, now()),
        Err(VerifyError::AuthorityNotYetValid { from })
    );
}

#[test]
fn each_chain_that_is_not_the_peers_own_from_this_ca_is_refused() {
    let (home, other) = (authority(1), authority(3));
    let trusted = home.trusted();
    let certificate = issue(&home, 2);
    let one = std::slice::from_ref(&certificate);
    assert_eq!(trusted.verify(&[], &id(2), now()), Err(VerifyError::Empty));
    assert_eq!(
        trusted.verify(one, &id(4), now()),
        Err(VerifyError::OtherDevice { found: id(2) })
    );
    // Another CA of the same name: the name chains, the signature does not.
    let foreign = issue(&other, 2);
    assert_eq!(
        verify(&trusted, &foreign, now()),
        Err(VerifyError::Signature)
    );
    let elsewhere = (now(), &mut rng(5));
    let elsewhere = Authority::create(key(5), &name("Work"), DAY, elsewhere).unwrap();
    let foreign = issue(&elsewhere, 2);
    assert_eq!(
        verify(&trusted, &foreign, now()),
        Err(VerifyError::UnknownAuthority)
    );
    // The foreign CA itself in the chain does not help.
    let chain = [foreign, elsewhere.certificate().clone()];
    let refused = trusted.verify(&chain, &id(2), now());
    assert_eq!(refused, Err(VerifyError::UnknownAuthority));
    // A CA's certificate is nobody's who connects.
    let own = home.certificate();
    assert_eq!(verify(&trusted, own, now()), Err(VerifyError::SelfSigned));
    assert_eq!(
        verify(&trusted, other.certificate(), now()),
        Err(VerifyError::SelfSigned)
    );
}

#[test]
fn a_chain_has_a_bound() {
    let home = authority(1);
    let certificate = issue(&home, 2);
    let others = [3, 4, 5].map(|number| authority(number).certificate().clone());
    let mut chain = vec![certificate];
    chain.extend(others);
    let refused = home.trusted().verify(&chain, &id(2), now());
    assert_eq!(refused, Err(VerifyError::TooLong { found: 4 }));
    chain.truncate(MAX_CHAIN_LEN);
    assert!(home.trusted().verify(&chain, &id(2), now()).is_ok());
}

#[test]
fn a_revoked_certificate_is_refused_and_the_others_are_not() {
    let home = authority(1);
    let (lost, kept) = (issue(&home, 2), issue(&home, 4));
    let list = list(&home, &[&lost], 1);
    assert_eq!(list.revoked_since(lost.serial()), Some(now()));
    assert_eq!((list.len(), list.number()), (1, Some(1)));
    let again = RevocationList::from_pem(&list.to_pem()).unwrap();
    assert_eq!(again, list);
    let trusted = home.trusted().with_revocation_list(list.clone()).unwrap();
    assert_eq!(verify(&trusted, &lost, now()), Err(VerifyError::Revoked));
    let verified = verify(&trusted, &kept, now()).unwrap();
    assert_eq!(verified.valid_until(), list.until() - SECOND);
    // A renewed certificate has another number, so the device is in again.
    let renewed = home.renew(&lost, DAY, (now(), &mut rng(7))).unwrap();
    assert!(verify(&trusted, &renewed, now()).is_ok());
}

#[test]
fn an_empty_list_revokes_nothing() {
    let home = authority(1);
    let empty = list(&home, &[], 7);
    assert!(empty.is_empty());
    let trusted = home.trusted().with_revocation_list(empty).unwrap();
    assert!(verify(&trusted, &issue(&home, 2), now()).is_ok());
}

#[test]
fn a_list_counts_from_its_beginning_to_its_end() {
    let home = authority(1);
    let certificate = issue(&home, 2);
    let list = list(&home, &[], 1);
    let until = list.until();
    assert_eq!(until, now() + 30 * DAY);
    let trusted = home.trusted().with_revocation_list(list).unwrap();
    assert!(verify(&trusted, &certificate, until - SECOND).is_ok());
    assert_eq!(
        verify(&trusted, &certificate, until),
        Err(VerifyError::ListExpired { since: until })
    );
    let later = (now() + 5 * DAY, DAY);
    let future = home.revocation_list(&[], 2, later).unwrap();
    let from = future.issued();
    let trusted = home.trusted().with_revocation_list(future).unwrap();
    assert_eq!(
        verify(&trusted, &certificate, now()),
        Err(VerifyError::ListNotYetValid { from })
    );
}

#[test]
fn a_list_by_another_is_refused_and_so_is_an_older_one() {
    let (home, other) = (authority(1), authority(3));
    let forged = list(&other, &[], 9);
    assert_eq!(
        home.trusted().with_revocation_list(forged),
        Err(TrustError::List)
    );
    let trusted = home
        .trusted()
        .with_revocation_list(list(&home, &[], 2))
        .unwrap();
    let old = trusted.clone().with_revocation_list(list(&home, &[], 1));
    assert_eq!(old, Err(TrustError::OldList));
    let newer = trusted.with_revocation_list(list(&home, &[], 3)).unwrap();
    assert_eq!(newer.revocation_lists().len(), 1);
    assert_eq!(newer.revocation_lists()[0].number(), Some(3));
}

#[test]
fn lists_of_one_ca_and_those_below_it_have_a_bound() {
    let home = authority(1);
    let mut trusted = home.trusted();
    for number in 0..4 {
        let called = name(&format!("CA {number}"));
        let made = Authority::create(key(number), &called, DAY, (now(), &mut rng(number)));
        let below = made.unwrap();
        let list = list(&below, &[], 1);
        let added = trusted
            .clone()
            .with_revocation_list_of(below.certificate(), list);
        match number {
            0..3 => trusted = added.unwrap(),
            _ => assert_eq!(added, Err(TrustError::TooManyLists)),
        }
    }
}

#[test]
fn a_device_is_not_trusted_as_a_ca() {
    let certificate = issue(&authority(1), 2);
    assert_eq!(
        TrustedAuthority::new(certificate),
        Err(TrustError::NotAnAuthority)
    );
}

#[test]
fn a_list_has_a_bound() {
    let home = authority(1);
    let entry = |number: u32| Revocation {
        serial: format!("01{number:032x}").parse().unwrap(),
        since: now(),
    };
    let full: Vec<_> = (0..16 * 1024).map(entry).collect();
    let list = home.revocation_list(&full, 1, (now(), DAY)).unwrap();
    assert_eq!(
        RevocationList::from_der(list.as_der()).unwrap().len(),
        full.len()
    );
    assert!(list.iter().eq(full.iter().cloned()));
    let over: Vec<_> = (0..=16 * 1024).map(entry).collect();
    assert!(home.revocation_list(&over, 1, (now(), DAY)).is_err());
}

#[test]
fn a_request_gives_the_ca_the_key_and_nothing_else() {
    use dhtnet_identity::certificate::Request;
    let request = Request::new(&key(2), &name("mine"));
    let read = Request::from_pem(&request.to_pem()).unwrap();
    assert_eq!(read, request);
    assert_eq!((read.device(), read.name()), (id(2), Some(&name("mine"))));
    let home = authority(1);
    let order = order(2, Vec::new());
    let certificate = home.issue(&order, now(), &mut rng(2)).unwrap();
    assert_eq!(*certificate.key(), read.device());
    let der = request.as_der();
    for at in 0..der.len() {
        let mut changed = der.to_vec();
        changed[at] ^= 1;
        assert!(Request::from_der(&changed).is_err(), "byte {at}");
        assert!(Request::from_der(&der[..at]).is_err(), "{at} bytes");
    }
}

#[test]
fn each_fault_of_a_chain_reads_well_in_one_line() {
    let at = |days: u32| now() + days * DAY;
    for (fault, wanted) in [
        (VerifyError::Empty, "no certificate was shown"),
        (
            VerifyError::TooLong { found: 4 },
            "at most 3 certificates may be shown, not 4",
        ),
        (
            VerifyError::OtherDevice { found: id(2) },
            "the certificate is that of qe4xodvi…",
        ),
        (
            VerifyError::SelfSigned,
            "the certificate is self-signed: no CA vouches for it",
        ),
        (
            VerifyError::NotADevice,
            "the certificate is that of a CA, not of a device",
        ),
        (
            VerifyError::Usage,
            "the certificate is for another use (key usage must include digitalSignature)",
        ),
        (
            VerifyError::Expired { since: at(0) },
            "the certificate expired at 2026-11-21T00:00:00Z (renew it)",
        ),
        (
            VerifyError::NotYetValid { from: at(1) },
            "the certificate is not valid before 2026-11-22T00:00:00Z (is the clock right?)",
        ),
        (
            VerifyError::AuthorityExpired { since: at(0) },
            "the certificate of the CA expired at 2026-11-21T00:00:00Z",
        ),
        (
            VerifyError::AuthorityNotYetValid { from: at(0) },
            "the certificate of the CA is not valid before 2026-11-21T00:00:00Z (is the clock \
             right?)",
        ),
        (
            VerifyError::UnknownAuthority,
            "another CA issued the certificate",
        ),
        (
            VerifyError::Signature,
            "the certificate is not signed by the CA that it names",
        ),
        (VerifyError::Revoked, "the certificate is revoked"),
        (
            VerifyError::ListExpired { since: at(0) },
            "the revocation list ended at 2026-11-21T00:00:00Z (get a newer one from the CA)",
        ),
        (
            VerifyError::ListNotYetValid { from: at(0) },
            "the revocation list is not valid before 2026-11-21T00:00:00Z (is the clock right?)",
        ),
        (
            VerifyError::List,
            "the revocation list is not signed by its CA",
        ),
        (
            VerifyError::NotAnAuthority,
            "a certificate in the chain issued another and is not that of a CA",
        ),
        (
            VerifyError::PathLength,
            "there are more CAs in the chain than the CA above them allows",
        ),
    ] {
        assert_eq!(fault.to_string(), wanted);
    }
}
