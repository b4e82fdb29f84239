//! Decoders of the identity crate for what a peer or a file says about rights: certificates,
//! capabilities, permissions, policies.

use std::io;
use std::time::{Duration, SystemTime};

use dhtnet_identity::capability::Capability;
use dhtnet_identity::certificate::{Certificate, Request, RevocationList, TrustedAuthority};
use dhtnet_identity::contacts::Contacts;
use dhtnet_identity::policy::file::Surroundings;
use dhtnet_identity::policy::{Action, Grant, Permission, Policy, Presented, Subject};
use dhtnet_identity::{DeviceId, DeviceKey};

use crate::with_text;

/// The CA whose certificates are in the corpus.
const AUTHORITY: &[u8] = include_bytes!("../corpus/certificate/authority");
/// 2026-11-22T00:00:00Z, when they are valid.
const NOW: u64 = 1_795_305_600;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A device that the corpus names nowhere.
fn stranger() -> DeviceId {
    DeviceKey::from_seed(&[200; 32]).id()
}

fn trusted() -> TrustedAuthority {
    let certificate = Certificate::from_der(AUTHORITY).expect("the corpus has a CA");
    TrustedAuthority::new(certificate).expect("it is self-signed")
}

/// A certificate that is read comes back from its own bytes, and vouches for its key alone.
pub(crate) fn certificate(input: &[u8]) {
    let Ok(read) = Certificate::from_der(input) else {
        return;
    };
    assert_eq!(read.as_der(), input);
    assert_eq!(Certificate::from_pem(&read.to_pem()).as_ref(), Ok(&read));
    assert!(!format!("{read:?} {}", read.fingerprint()).is_empty());
    let device = *read.key();
    match trusted().verify(std::slice::from_ref(&read), &device, now()) {
        Ok(verified) => {
            assert_eq!(*verified.device(), device);
            assert!(verified.valid_until() <= verified.not_after());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let other = trusted().verify(&[read], &stranger(), now());
    assert!(other.is_err(), "another device's certificate is nobody's");
}

pub(crate) fn revocation_list(input: &[u8]) {
    if let Ok(list) = RevocationList::from_der(input) {
        assert_eq!(list.as_der(), input);
        assert_eq!(RevocationList::from_pem(&list.to_pem()).as_ref(), Ok(&list));
        for revocation in list.iter() {
            assert!(list.revoked_since(&revocation.serial).is_some());
        }
        // Whether it is by the CA or not, asking is safe.
        let _ = trusted().with_revocation_list(list);
    }
}

pub(crate) fn request(input: &[u8]) {
    if let Ok(request) = Request::from_der(input) {
        assert_eq!(Request::from_pem(&request.to_pem()).as_ref(), Ok(&request));
    }
}

pub(crate) fn pem(input: &[u8]) {
    with_text(input, |text| {
        if let Ok(chain) = Certificate::chain_from_pem(text) {
            let written: String = chain.iter().map(Certificate::to_pem).collect();
            assert_eq!(Certificate::chain_from_pem(&written), Ok(chain));
        }
        if let Ok(list) = RevocationList::from_pem(text) {
            assert_eq!(RevocationList::from_pem(&list.to_pem()), Ok(list));
        }
        if let Ok(request) = Request::from_pem(text) {
            assert_eq!(Request::from_pem(&request.to_pem()), Ok(request));
        }
    });
}

/// A capability that is read has one encoding; no link is wider than the one before.
pub(crate) fn capability(input: &[u8]) {
    if let Ok(read) = Capability::decode(input) {
        assert_eq!(read.as_bytes(), input);
        assert_eq!(read.to_string().parse::<Capability>().as_ref(), Ok(&read));
        assert_eq!(read.holders().count(), read.ids().count());
        assert_ne!(*read.holder(), stranger());
    }
    with_text(input, |text| {
        if let Ok(read) = text.parse::<Capability>() {
            assert_eq!(read.to_string().parse::<Capability>(), Ok(read));
        }
    });
}

/// First line: a permission; second: another; third: an action.
pub(crate) fn permission(input: &[u8]) {
    with_text(input, |text| {
        let mut lines = text.split('\n');
        let mut permission = || {
            lines
                .next()
                .and_then(|line| line.parse::<Permission>().ok())
        };
        let (wide, narrow) = (permission(), permission());
        let one = wide.as_ref().or(narrow.as_ref());
        if let Some(one) = one {
            let again: Permission = one.to_string().parse().expect("own text parses");
            assert_eq!(again, *one);
            assert!(one.includes(&again));
        }
        let action = lines.next().map(Action::parse);
        let (Some(wide), Some(narrow), Some(Ok(action))) = (wide, narrow, action) else {
            return;
        };
        if wide.includes(&narrow) && narrow.covers(&action) {
            assert!(wide.covers(&action), "{wide} / {narrow} / {action}");
        }
    });
}

/// A policy that is read treats all strangers alike.
pub(crate) fn policy_file(input: &[u8]) {
    with_text(input, |text| {
        let contacts = Contacts::default();
        let surroundings = Surroundings {
            contacts: &contacts,
            own: None,
        };
        let pem = Certificate::from_der(AUTHORITY)
            .expect("the corpus has a CA")
            .to_pem();
        let read = |_: &std::path::Path| -> io::Result<String> { Ok(pem.clone()) };
        match Policy::from_toml(text, &surroundings, read) {
            Ok(policy) => {
                let other = DeviceKey::from_seed(&[201; 32]).id();
                let asked = Action::new("fuzz");
                let decisions = [stranger(), other].map(|id| policy.evaluate(&id, &asked, now()));
                assert_eq!(
                    decisions[0], decisions[1],
                    "no file knows one stranger from another"
                );
                let _ = policy.run_tests(now());
            }
            Err(error) => assert!(error.line >= 1 && !error.fault.to_string().is_empty()),
        }
    });
}

/// What is shown is of no use to another device.
pub(crate) fn presented(input: &[u8]) {
    let Ok(shown) = Presented::decode(input) else {
        return;
    };
    assert_eq!(shown.encode(), input);
    let authority = trusted();
    let subject = Subject::Authority(authority.fingerprint());
    let policy = Policy::builder()
        .authority(authority)
        .expect("one CA fits")
        .grant(subject, Grant::everything())
        .accept_capabilities_of(DeviceKey::from_seed(&[1; 32]).id())
        .build();
    let credentials = policy.examine(&stranger(), &shown, now());
    assert!(!policy.admits_with(&credentials, now()).is_allowed());
}
