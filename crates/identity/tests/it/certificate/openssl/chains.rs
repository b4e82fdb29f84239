//! Chains with a CA in between, and revocation lists of openssl.

use std::time::Duration;

use dhtnet_identity::DeviceKey;
use dhtnet_identity::certificate::{
    Authority, Certificate, Request, Revocation, RevocationList, TrustError, TrustedAuthority,
    VerifyError,
};

use super::{AUTHORITY, Bench, DEVICE, today};
use crate::certificate::{DAY, name, rng};
use crate::{id, key};

impl Bench {
    /// A CA below the one of [`Bench::make_authority`], in between.key and between.crt, and a
    /// device's certificate by it, in device.crt.
    fn make_chain(&self, extensions: &str) {
        self.run("genpkey -algorithm ed25519 -out between.key");
        // As names are written here: a list is by the CA whose name has the same bytes.
        self.write(
            "between.cnf",
            "[req]\nprompt = no\nutf8 = yes\nstring_mask = utf8only\ndistinguished_name = dn\n\
             [dn]\nCN = Between\n",
        );
        self.run("req -new -key between.key -config between.cnf -out between.csr");
        self.write("between.ext", extensions);
        self.run(
            "x509 -req -in between.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
             -extfile between.ext -out between.crt",
        );
        self.write(
            "device.csr",
            Request::new(&key(2), &name("laptop")).to_pem(),
        );
        self.write("device.ext", DEVICE);
        self.run(
            "x509 -req -in device.csr -CA between.crt -CAkey between.key -CAcreateserial -days 30 \
             -extfile device.ext -out device.crt",
        );
    }
}

#[test]
fn a_chain_through_a_ca_in_between_is_accepted_as_far_as_the_first_allows() {
    let test = "a_chain_through_a_ca_in_between_is_accepted_as_far_as_the_first_allows";
    let Some(bench) = Bench::new(test) else {
        return;
    };
    let cases = [
        (
            "CA:TRUE, pathlen:1",
            "CA:TRUE, pathlen:0",
            "keyCertSign",
            Ok(()),
        ),
        ("CA:TRUE", "CA:TRUE", "keyCertSign", Ok(())),
        (
            "CA:TRUE, pathlen:0",
            "CA:TRUE",
            "keyCertSign",
            Err(VerifyError::PathLength),
        ),
        (
            "CA:TRUE",
            "CA:FALSE",
            "keyCertSign",
            Err(VerifyError::NotAnAuthority),
        ),
        (
            "CA:TRUE",
            "CA:TRUE",
            "cRLSign",
            Err(VerifyError::NotAnAuthority),
        ),
    ];
    for (root, between, usage, wanted) in cases {
        let root = format!("basicConstraints = critical, {root}\nsubjectKeyIdentifier = hash\n");
        bench.make_authority(&root);
        bench.make_chain(&format!(
            "basicConstraints = critical, {between}\nkeyUsage = critical, {usage}\n\
             subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        ));
        let openssl = bench.try_run("verify -CAfile ca.crt -untrusted between.crt device.crt");
        let trusted = TrustedAuthority::new(bench.certificate("ca.crt").unwrap()).unwrap();
        let chain = ["device.crt", "between.crt"].map(|file| bench.certificate(file).unwrap());
        let judged = trusted.verify(&chain, &id(2), today()).map(|_| ());
        assert_eq!(judged, wanted, "{root} {between} {usage}");
        assert_eq!(
            openssl.status.success(),
            wanted.is_ok(),
            "{root} {between} {usage}"
        );
        if wanted.is_ok() && usage == "keyCertSign" {
            // Its own list, for which the CA in between may not sign.
            let list = own_list(&bench, "between.key", &chain[1], &chain[0]);
            let refused = trusted.clone().with_revocation_list_of(&chain[1], list);
            assert_eq!(refused, Err(TrustError::List));
        }
        let alone = trusted.verify(&chain[..1], &id(2), today());
        assert_eq!(alone, Err(VerifyError::UnknownAuthority));
    }
}

/// A revocation list by the CA with this key and certificate, which revokes `revoked`.
fn own_list(bench: &Bench, key: &str, ca: &Certificate, revoked: &Certificate) -> RevocationList {
    let key = DeviceKey::from_pkcs8_pem(&bench.read(key)).unwrap();
    // Lists are made by CAs that sign themselves; one with the name of the other is enough here.
    let name = ca.name().unwrap();
    let twin = Authority::create(key, name, DAY, (today(), &mut rng(7))).unwrap();
    let revocation = Revocation {
        serial: revoked.serial().clone(),
        since: today(),
    };
    let times = (today(), DAY);
    twin.revocation_list(&[revocation], 1, times).unwrap()
}

#[test]
fn the_list_of_a_ca_in_between_is_obeyed() {
    let Some(bench) = Bench::new("the_list_of_a_ca_in_between_is_obeyed") else {
        return;
    };
    bench.make_authority("basicConstraints = critical, CA:TRUE\n");
    bench.make_chain(AUTHORITY);
    let chain = ["device.crt", "between.crt"].map(|file| bench.certificate(file).unwrap());
    let trusted = TrustedAuthority::new(bench.certificate("ca.crt").unwrap()).unwrap();
    assert!(trusted.verify(&chain, &id(2), today()).is_ok());
    let list = own_list(&bench, "between.key", &chain[1], &chain[0]);
    let foreign = own_list(&bench, "ca.key", &chain[1], &chain[0]);
    let forged = trusted.clone().with_revocation_list_of(&chain[1], foreign);
    assert_eq!(forged, Err(TrustError::List));
    assert_eq!(
        trusted.clone().with_revocation_list(list.clone()),
        Err(TrustError::List)
    );
    let informed = trusted.with_revocation_list_of(&chain[1], list).unwrap();
    let judged = informed.verify(&chain, &id(2), today());
    assert_eq!(judged, Err(VerifyError::Revoked));
}

#[test]
fn revocation_lists_of_openssl_are_obeyed() {
    let Some(bench) = Bench::new("revocation_lists_of_openssl_are_obeyed") else {
        return;
    };
    bench.make_authority(AUTHORITY);
    bench.make_device(&key(2), DEVICE);
    bench.write("index.txt", "");
    bench.write("crlnumber", "1000\n");
    bench.write(
        "list.cnf",
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncrlnumber = crlnumber\n\
         default_md = default\ncrl_extensions = ext\n[ext]\nauthorityKeyIdentifier = keyid\n",
    );
    let generate =
        "ca -config list.cnf -gencrl -keyfile ca.key -cert ca.crt -crldays 9 -out ca.crl";
    let judge = |revoked: bool| {
        let list = RevocationList::from_pem(&bench.read("ca.crl")).unwrap();
        let trusted = TrustedAuthority::new(bench.certificate("ca.crt").unwrap()).unwrap();
        let trusted = trusted.with_revocation_list(list).unwrap();
        let device = bench.certificate("device.crt").unwrap();
        let judged = trusted.verify(
            std::slice::from_ref(&device),
            &id(2),
            today() + Duration::from_secs(2),
        );
        match revoked {
            true => assert_eq!(judged, Err(VerifyError::Revoked)),
            false => assert!(judged.is_ok(), "{judged:?}"),
        }
    };
    bench.run(generate);
    judge(false);
    bench.run("ca -config list.cnf -revoke device.crt -keyfile ca.key -cert ca.crt -crl_reason keyCompromise");
    bench.run(generate);
    judge(true);
    let list = RevocationList::from_pem(&bench.read("ca.crl")).unwrap();
    assert_eq!((list.len(), list.number()), (1, Some(0x1001)));
    // Version 1, as openssl makes it when it is not told of extensions.
    bench.write(
        "list.cnf",
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ndefault_md = default\n",
    );
    bench.run(generate);
    let error = RevocationList::from_pem(&bench.read("ca.crl")).unwrap_err();
    assert!(
        crate::chain(&error).contains("version 2"),
        "{}",
        crate::chain(&error)
    );
}
