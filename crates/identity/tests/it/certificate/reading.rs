//! Damaged certificates and revocation lists, and a great many of them.

use super::{DAY, authority, issue, now, rng};
use crate::mutation::mutate;
use crate::{full, id};
use dhtnet_identity::certificate::{
    Authority, Certificate, CertificateError, MAX_CERTIFICATE_LEN, MAX_LIST_LEN, MAX_PEM_LEN,
    PemError, Revocation, RevocationList, RevocationListError, TrustedAuthority,
};

/// Changed certificates in CI, and with `DHTNET_TEST_FULL=1`.
const MUTATIONS: [u32; 2] = [20_000, 1_000_000];

/// Whether the bytes are a certificate that is accepted for the device.
fn accepted(trusted: &TrustedAuthority, der: &[u8]) -> bool {
    Certificate::from_der(der).is_ok_and(|read| trusted.verify(&[read], &id(2), now()).is_ok())
}

#[test]
fn no_changed_bit_and_no_cut_certificate_is_accepted() {
    let home = authority(1);
    let certificate = issue(&home, 2);
    let (trusted, der) = (home.trusted(), certificate.as_der());
    assert!(accepted(&trusted, der));
    for bit in 0..der.len() * 8 {
        let mut changed = der.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepted(&trusted, &changed), "bit {bit}");
    }
    for len in 0..der.len() {
        assert!(Certificate::from_der(&der[..len]).is_err(), "{len} bytes");
    }
    let longer = [der, &[0]].concat();
    assert_eq!(
        Certificate::from_der(&longer),
        Err(CertificateError::Malformed)
    );
}

#[test]
fn of_a_million_changed_certificates_none_is_accepted() {
    let home = authority(1);
    let (certificate, foreign) = (issue(&home, 2), issue(&authority(3), 2));
    let trusted = home.trusted();
    let mut rng = rng(42);
    let mut read = 0;
    for number in 0..MUTATIONS[full()] {
        let changed = mutate(&mut rng, certificate.as_der(), foreign.as_der());
        if changed == certificate.as_der() {
            continue;
        }
        read += u32::from(Certificate::from_der(&changed).is_ok());
        assert!(
            !accepted(&trusted, &changed),
            "change {number}: {changed:02x?}"
        );
    }
    assert!(
        read > 100,
        "only {read} were read at all, so little was verified"
    );
}

#[test]
fn of_many_changed_revocation_lists_none_lets_a_revoked_device_in() {
    let home = authority(1);
    let certificate = issue(&home, 2);
    let list = |authority: &Authority| {
        let entry = Revocation {
            serial: certificate.serial().clone(),
            since: now(),
        };
        authority
            .revocation_list(&[entry], 1, (now(), DAY))
            .unwrap()
    };
    let (own, foreign) = (list(&home), list(&authority(3)));
    let mut rng = rng(43);
    for number in 0..MUTATIONS[full()] / 4 {
        let changed = mutate(&mut rng, own.as_der(), foreign.as_der());
        let Ok(read) = RevocationList::from_der(&changed) else {
            continue;
        };
        // One that is taken over into the trusted ones still revokes, or refuses everything.
        if let Ok(trusted) = home.trusted().with_revocation_list(read) {
            let judged = trusted.verify(std::slice::from_ref(&certificate), &id(2), now());
            let harmless = changed != own.as_der() && judged.is_ok();
            assert!(!harmless, "change {number}: {changed:02x?}");
        }
    }
}

#[test]
fn what_is_too_long_is_not_even_read() {
    for (len, wanted) in [
        (MAX_CERTIFICATE_LEN, CertificateError::Malformed),
        (
            MAX_CERTIFICATE_LEN + 1,
            CertificateError::TooLong {
                found: MAX_CERTIFICATE_LEN + 1,
            },
        ),
    ] {
        assert_eq!(Certificate::from_der(&vec![0x30; len]), Err(wanted));
    }
    let read = |len: usize| RevocationList::from_der(&vec![0x30; len]);
    assert_eq!(read(MAX_LIST_LEN), Err(RevocationListError::Malformed));
    let found = MAX_LIST_LEN + 1;
    assert_eq!(read(found), Err(RevocationListError::TooLong { found }));
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for tag in [0x30, 0x31, 0xa0, 0xa3] {
        // Each element holds the next: BER's indefinite length, and DER's as far as it goes.
        let indefinite = [tag, 0x80].repeat(MAX_CERTIFICATE_LEN / 2);
        assert!(Certificate::from_der(&indefinite).is_err());
        let mut nested = Vec::new();
        while nested.len() < MAX_CERTIFICATE_LEN - 8 {
            let len = nested.len();
            let head = match len {
                0..0x80 => vec![tag, len as u8],
                0x80..0x100 => vec![tag, 0x81, len as u8],
                _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
            };
            nested.splice(0..0, head);
        }
        assert!(Certificate::from_der(&nested).is_err());
        assert!(RevocationList::from_der(&nested).is_err());
    }
}

#[test]
fn texts_say_what_they_hold_instead() {
    let home = authority(1);
    let pem = home.certificate().to_pem();
    let key = crate::key(1).to_pkcs8_pem();
    let wanted = "certificate";
    let label = "PRIVATE KEY".to_owned();
    for (text, error) in [
        ("", PemError::NotPem { wanted }),
        ("hello", PemError::NotPem { wanted }),
        (key.as_str(), PemError::Other { wanted, label }),
        (&pem[..pem.len() / 2], PemError::Damaged { wanted }),
        (&pem.replace('M', "!"), PemError::Damaged { wanted }),
    ] {
        assert_eq!(Certificate::from_pem(text), Err(error), "{text}");
    }
    let both = format!("{}{pem}", key.as_str());
    assert!(Certificate::from_pem(&both).is_ok());
    let list = home.revocation_list(&[], 1, (now(), DAY)).unwrap();
    let bad = format!("{pem}{}", list.to_pem().replace("X509 CRL", "CERTIFICATE"));
    assert!(matches!(
        Certificate::chain_from_pem(&bad),
        Err(PemError::Certificate { number: 2, .. })
    ));
    assert_eq!(
        Certificate::chain_from_pem(&pem.repeat(16)).unwrap().len(),
        16
    );
    assert_eq!(
        Certificate::chain_from_pem(&pem.repeat(17)),
        Err(PemError::TooMany)
    );
    let padded = |len: usize| {
        let text = format!("{pem}{}", " ".repeat(len - pem.len()));
        Certificate::from_pem(&text)
    };
    assert!(padded(MAX_PEM_LEN).is_ok());
    assert_eq!(padded(MAX_PEM_LEN + 1), Err(PemError::TooLong));
    let windows = pem.replace('\n', "\r\n");
    assert!(Certificate::from_pem(&windows).is_ok());
}
