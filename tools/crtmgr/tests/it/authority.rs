//! `crtmgr ca`, `renew`, `verify` and `show`.

use std::fs;
use std::time::{Duration, SystemTime};

use dhtnet_identity::DeviceKey;
use dhtnet_identity::certificate::{Authority, AuthorityFiles, Order};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{Place, is_there, mode, openssl};

const DAY: Duration = Duration::from_secs(86_400);

/// A home with an identity called laptop and a CA.
fn with_authority() -> (Place, String) {
    let place = Place::new();
    let id = place.good(&["init", "--name", "laptop"]);
    place.good(&["ca", "init", "--name", "Home"]);
    (place, id)
}

fn in_ca(place: &Place, name: &str) -> String {
    place
        .home()
        .join("ca")
        .join(name)
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_signed_certificate_is_good_here_and_for_openssl() {
    if !is_there(
        "openssl",
        "a_signed_certificate_is_good_here_and_for_openssl",
    ) {
        return;
    }
    let (place, id) = with_authority();
    let cert = place.path("laptop.crt");
    place.good(&[
        "ca", "sign", &id, "--name", "laptop", "--group", "admins", "--group", "home", "-o", &cert,
    ]);
    let ca = in_ca(&place, "ca.crt");
    let said = place.good(&["verify", &cert, "--ca", &ca]);
    assert!(
        said.starts_with("good: laptop by Home, in admins, home, until "),
        "{said}"
    );
    assert!(said.ends_with(&id), "{said}");
    assert_eq!(place.good(&["id", "-c", &cert]), id);
    let shown = place.json(&["show", &cert]);
    assert_eq!(shown[0]["kind"], "certificate");
    assert_eq!(shown[0]["id"], id.as_str());
    let (good, said) = openssl(&["verify", "-CAfile", &ca, &cert]);
    assert!(good, "{said}");
    let (_, said) = openssl(&["x509", "-in", &cert, "-noout", "-serial", "-subject"]);
    assert!(
        said.contains(&format!("serial={}", shown[0]["serial"].as_str().unwrap())),
        "{said}"
    );
    assert_eq!(mode(in_ca(&place, "ca.key")), 0o600);
    assert_eq!(mode(&ca), 0o644);
}

#[test]
fn a_ca_is_never_overwritten() {
    let (place, _) = with_authority();
    let before = fs::read(in_ca(&place, "ca.key")).unwrap();
    let line = place.bad(5, &["ca", "init", "--name", "Other"]);
    assert_eq!(
        line,
        "crtmgr: cannot make the CA: \"TMP/home/ca/ca.key\" is there already and is not \
         overwritten; choose another folder with -o DIR"
    );
    // A certificate without its key is in the way as well.
    fs::remove_file(in_ca(&place, "ca.key")).unwrap();
    place.bad(5, &["ca", "init"]);
    fs::write(in_ca(&place, "ca.key"), &before).unwrap();
    assert_eq!(fs::read_dir(place.home().join("ca")).unwrap().count(), 2);
}

#[test]
fn revocation_by_id_takes_all_certificates_of_the_device_and_openssl_agrees() {
    if !is_there(
        "openssl",
        "revocation_by_id_takes_all_certificates_of_the_device_and_openssl_agrees",
    ) {
        return;
    }
    let (place, id) = with_authority();
    let (first, second) = (place.path("1.crt"), place.path("2.crt"));
    let other = Place::new().good(&["id"]);
    place.good(&["ca", "sign", "laptop", "-o", &first]);
    place.good(&["ca", "sign", &id, "--name", "laptop", "-o", &second]);
    place.good(&[
        "ca",
        "sign",
        &other,
        "--name",
        "phone",
        "-o",
        &place.path("3.crt"),
    ]);
    let crl = place.good(&["ca", "revoke", &id]);
    let ca = in_ca(&place, "ca.crt");
    for cert in [&first, &second] {
        let line = place.bad(5, &["verify", cert, "--ca", &ca, "--crl", &crl]);
        assert!(
            line.ends_with(".crt is not good: the certificate is revoked"),
            "{line}"
        );
        let words = [
            "verify",
            "-CAfile",
            &ca,
            "-CRLfile",
            &crl,
            "-crl_check",
            cert,
        ];
        let (good, said) = openssl(&words);
        assert!(!good && said.contains("certificate revoked"), "{said}");
    }
    place.good(&["verify", &place.path("3.crt"), "--ca", &ca, "--crl", &crl]);
    let list = place.json(&["ca", "list"]);
    let state = |name: &str| {
        let rows = list["certificates"].as_array().unwrap();
        let of = rows.iter().filter(|row| row["name"] == name);
        of.map(|row| row["state"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (state("laptop"), state("phone")),
        (vec!["revoked".to_owned(); 2], vec!["valid".to_owned()])
    );
}

#[test]
fn a_list_keeps_what_it_named_and_its_number_grows() {
    if !is_there("openssl", "a_list_keeps_what_it_named_and_its_number_grows") {
        return;
    }
    let (place, _) = with_authority();
    for name in ["a", "b"] {
        let id = Place::new().good(&["id"]);
        place.good(&["ca", "sign", &id, "--name", name, "-o", &place.path(name)]);
    }
    let serial = |name: &str| {
        place.json(&["show", &place.path(name)])[0]["serial"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    place.good(&["ca", "revoke", &serial("a")]);
    // By its file; and once more, which changes nothing but the number.
    place.good(&["ca", "revoke", &place.path("b")]);
    let again = place.json(&["ca", "revoke", &serial("a")]);
    assert_eq!(again["number"], 3);
    assert_eq!(again["revoked"].as_array().unwrap().len(), 2);
    let anew = place.json(&["ca", "revoke"]);
    assert_eq!(
        (
            anew["number"].as_u64(),
            anew["revoked"].as_array().unwrap().len()
        ),
        (Some(4), 2)
    );
    let (good, said) = openssl(&[
        "crl",
        "-in",
        &in_ca(&place, "ca.crl"),
        "-noout",
        "-crlnumber",
        "-CAfile",
        &in_ca(&place, "ca.crt"),
    ]);
    assert!(good && said.contains("verify OK"), "{said}");
}

#[test]
fn many_revocations_at_once_lose_none() {
    let (place, _) = with_authority();
    let names: Vec<String> = (0..6).map(|n| place.path(&format!("{n}.crt"))).collect();
    for name in &names {
        let id = Place::new().good(&["id"]);
        place.good(&["ca", "sign", &id, "--name", "x", "-o", name]);
    }
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            place
                .command(&["-q", "ca", "revoke", name])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    let list = place.json(&["show", &in_ca(&place, "ca.crl")]);
    assert_eq!(list[0]["revoked"].as_array().unwrap().len(), 6);
    assert_eq!(list[0]["number"], 6);
}

#[test]
fn what_this_ca_did_not_make_is_not_revoked() {
    let (place, _) = with_authority();
    let (other, id) = with_authority();
    let foreign = other.path("x.crt");
    other.good(&["ca", "sign", &id, "--name", "x", "-o", &foreign]);
    for what in ["0123", "nobody", &id, "no/such/file", ""] {
        let line = place.bad(5, &["ca", "revoke", what]);
        assert!(line.contains("this CA has no record of"), "{line}");
    }
    assert!(
        place
            .bad(5, &["ca", "revoke", &foreign])
            .contains("this CA did not make it")
    );
    assert!(!place.home().join("ca/ca.crl").exists());
    // A list of another CA is neither believed nor dropped.
    let list = other.good(&["ca", "revoke", &id]);
    fs::copy(list, in_ca(&place, "ca.crl")).unwrap();
    let line = place.bad(5, &["ca", "revoke"]);
    assert!(
        line.contains("the revocation list is not by this CA"),
        "{line}"
    );
}

#[test]
fn a_request_of_openssl_becomes_a_certificate() {
    if !is_there("openssl", "a_request_of_openssl_becomes_a_certificate") {
        return;
    }
    let (place, _) = with_authority();
    let (key, csr) = (place.path("d.key"), place.path("d.csr"));
    let (good, said) = openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
    assert!(good, "{said}");
    let (good, said) = openssl(&[
        "req",
        "-new",
        "-key",
        &key,
        "-subj",
        "/OU=admins/CN=desk",
        "-out",
        &csr,
    ]);
    assert!(good, "{said}");
    let printed = place.good(&["ca", "sign", &csr]);
    let cert = place.write("d.crt", &printed);
    let shown = place.json(&["show", &cert]);
    assert_eq!(shown[0]["name"], "desk");
    assert_eq!(
        shown[0]["groups"],
        serde_json::json!([]),
        "groups are the CA's to give"
    );
    let (good, said) = openssl(&["verify", "-CAfile", &in_ca(&place, "ca.crt"), &cert]);
    assert!(good, "{said}");
    // Our own requests are read the same way, also by openssl.
    let own = place.write(
        "own.csr",
        &(place.good(&["export", "--request", "mine"]) + "\n"),
    );
    let (good, said) = openssl(&["req", "-in", &own, "-noout", "-verify"]);
    assert!(good, "{said}");
    assert!(place.good(&["show", &own]).contains("mine"));
    place.good(&["ca", "sign", &own, "-o", &place.path("own.crt")]);
}

#[test]
fn renewal_keeps_the_id_and_replaces_the_file() {
    let (place, id) = with_authority();
    let cert = place.path("l.crt");
    place.good(&[
        "ca", "sign", "laptop", "--group", "g", "--days", "20", "-o", &cert,
    ]);
    let ended = place.run(&["verify", &cert, "--ca", &in_ca(&place, "ca.crt")]);
    assert!(
        ended
            .stderr
            .contains("warning: the certificate of laptop ends in 20 days"),
        "{}",
        ended.stderr
    );
    let old = place.json(&["show", &cert]);
    place.good(&["renew", &cert]);
    let new = place.json(&["show", &cert]);
    assert_ne!(old[0]["serial"], new[0]["serial"]);
    assert_eq!(
        (new[0]["id"].as_str(), &new[0]["groups"]),
        (Some(id.as_str()), &old[0]["groups"])
    );
    assert_eq!(
        place
            .run(&["verify", &cert, "--ca", &in_ca(&place, "ca.crt")])
            .stderr,
        ""
    );
    place.good(&["ca", "revoke", &cert]);
    assert!(place.bad(5, &["renew", &cert]).contains("is revoked"));
}

#[test]
fn an_output_that_is_there_is_kept_and_leaves_no_record() {
    let (place, id) = with_authority();
    let taken = place.write("taken", "mine");
    place.bad(5, &["ca", "sign", &id, "--name", "x", "-o", &taken]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    assert_eq!(
        place.json(&["ca", "list"])["certificates"],
        serde_json::json!([])
    );
}

#[test]
fn each_fault_of_a_certificate_has_its_line_and_exit_code_5() {
    let (place, id) = with_authority();
    let cert = place.path("l.crt");
    place.good(&["ca", "sign", &id, "--name", "l", "-o", &cert]);
    let ca = in_ca(&place, "ca.crt");
    let (other, _) = with_authority();
    let other_ca = in_ca(&other, "ca.crt");
    let verify = |cert: &str, ca: &str| place.bad(5, &["verify", cert, "--ca", ca]);
    assert!(
        verify(&cert, &other_ca).contains("the certificate is not signed by the CA that it names")
    );
    assert!(verify(&ca, &ca).contains("self-signed"));
    assert!(verify(&cert, &cert).contains("it is not that of a CA"));
    let text = fs::read_to_string(&cert).unwrap();
    for (name, text, part) in [
        ("empty", "", "it is not PEM"),
        ("garbage", "hello", "it is not PEM"),
        ("cut", &text[..text.len() - 60], "is damaged"),
        (
            "key",
            &fs::read_to_string(in_ca(&place, "ca.key")).unwrap(),
            "\"PRIVATE KEY\"",
        ),
    ] {
        let line = verify(&place.write(name, text), &ca);
        assert!(line.contains(part), "{name}: {line}");
    }
    assert!(verify(&place.path("missing"), &ca).contains("No such file"));
    assert!(verify(&place.path(""), &ca).contains("it is not a regular file"));
}

#[test]
fn past_and_future_certificates_and_lists_are_told_apart() {
    let place = Place::new();
    let now = SystemTime::now();
    let rng = &mut ChaCha20Rng::from_seed([1; 32]);
    let device = DeviceKey::from_seed(&[2; 32]).id();
    let made = |begin: SystemTime, name: &str, rng: &mut ChaCha20Rng| {
        let key = DeviceKey::from_seed(&[3; 32]);
        let authority =
            Authority::create(key, &"Old".parse().unwrap(), DAY * 400, (begin, rng)).unwrap();
        let order = Order {
            device,
            name: "d".parse().unwrap(),
            groups: Vec::new(),
            lifetime: DAY,
        };
        let cert = authority.issue(&order, begin, rng).unwrap();
        cert.create_file(place.path(name)).unwrap();
        let files = AuthorityFiles::in_folder(place.path(&format!("{name}.ca")));
        files.create(&authority, None, rng).unwrap();
        let list = authority.revocation_list(&[], 1, (begin, DAY)).unwrap();
        list.replace_file(&files.revocation_list).unwrap();
    };
    made(now - DAY * 10, "past", rng);
    made(now + DAY * 10, "future", rng);
    let ca = |name: &str| place.path(&format!("{name}.ca/ca.crt"));
    let verify = |name: &str| place.bad(5, &["verify", &place.path(name), "--ca", &ca(name)]);
    assert!(verify("past").contains("the certificate expired at "));
    assert!(verify("future").contains("is not valid before "));
    // A good certificate of the old CA, and its list that has ended.
    let dir = place.path("past.ca");
    let id = device.to_string();
    place.good(&[
        "ca",
        "sign",
        &id,
        "--name",
        "d",
        "--ca-dir",
        &dir,
        "-o",
        &place.path("now.crt"),
    ]);
    let crl = place.path("past.ca/ca.crl");
    let line = place.bad(
        5,
        &[
            "verify",
            &place.path("now.crt"),
            "--ca",
            &ca("past"),
            "--crl",
            &crl,
        ],
    );
    assert!(line.contains("the revocation list ended at "), "{line}");
    place.good(&["ca", "revoke", "--ca-dir", &dir]);
    place.good(&[
        "verify",
        &place.path("now.crt"),
        "--ca",
        &ca("past"),
        "--crl",
        &crl,
    ]);
}

#[test]
fn a_certificate_that_outlives_its_ca_is_revoked_by_its_file() {
    let place = Place::new();
    let now = SystemTime::now();
    let rng = &mut ChaCha20Rng::from_seed([1; 32]);
    let mut authority = |begin: SystemTime, lifetime: Duration| {
        let (key, name) = (DeviceKey::from_seed(&[3; 32]), "Home".parse().unwrap());
        Authority::create(key, &name, lifetime, (begin, &mut *rng)).unwrap()
    };
    // One CA, whose certificate was made three times.
    let long = authority(now, DAY * 400);
    let short = authority(now, DAY * 10);
    let old = authority(now - DAY * 20, DAY * 40);
    let order = Order {
        device: DeviceKey::from_seed(&[2; 32]).id(),
        name: "d".parse().unwrap(),
        groups: Vec::new(),
        lifetime: DAY * 15,
    };
    let rng = &mut ChaCha20Rng::from_seed([2; 32]);
    let issued = [
        ("outlives", long.issue(&order, now, rng)),
        ("ended", old.issue(&order, now - DAY * 20, rng)),
    ];
    for (name, certificate) in issued {
        let certificate = certificate.unwrap();
        certificate.create_file(place.path(name)).unwrap();
    }
    let dir = place.path("ca");
    let files = AuthorityFiles::in_folder(&dir);
    files.create(&short, None, rng).unwrap();
    let refused = |what: &str| place.bad(5, &["ca", "revoke", "--ca-dir", &dir, &place.path(what)]);
    let line = refused("ended");
    assert!(line.contains("the certificate expired at "), "{line}");
    let line = refused("ca/ca.crt");
    assert!(line.contains("the certificate is self-signed"), "{line}");
    place.good(&["ca", "revoke", "--ca-dir", &dir, &place.path("outlives")]);
    let list = place.json(&["show", &place.path("ca/ca.crl")]);
    assert_eq!(list[0]["revoked"].as_array().unwrap().len(), 1);
}

#[test]
fn who_a_certificate_is_for_must_be_clear() {
    let (place, id) = with_authority();
    for (device, part) in [
        (&id[..55], "55"),
        ("nobody", "neither a device id nor a contact"),
        ("no/such.csr", "neither a device id nor a contact"),
    ] {
        let line = place.bad(2, &["ca", "sign", device, "--name", "x"]);
        assert!(line.contains(part), "{line}");
    }
    assert!(
        place
            .bad(2, &["ca", "sign", &id])
            .contains("give --name NAME")
    );
    let csr = place.write("bad.csr", "hello");
    let line = place.bad(5, &["ca", "sign", &csr, "--name", "x"]);
    assert!(line.contains("holds no certificate request"), "{line}");
    let line = Place::new().bad(5, &["ca", "sign", &id, "--name", "x"]);
    assert!(line.contains("make one with: crtmgr ca init"), "{line}");
}

#[test]
fn a_list_whose_writing_fails_or_is_killed_is_the_old_one() {
    let (place, id) = with_authority();
    let cert = place.path("l.crt");
    place.good(&["ca", "sign", &id, "--name", "l", "-o", &cert]);
    let crl = place.good(&["ca", "revoke"]);
    let before = fs::read(&crl).unwrap();
    let limited = |begin: &str| {
        // No file may grow: what a full disk does, or, with the signal, a kill in the middle.
        let line = format!(
            "{begin} ulimit -f 0; exec {} ca revoke {cert}",
            env!("CARGO_BIN_EXE_crtmgr")
        );
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &line]).env("DHTNET_HOME", place.home());
        place.ended(command)
    };
    let failed = limited("trap '' XFSZ;");
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("cannot write the revocation list: "),
        "{}",
        failed.stderr
    );
    assert_eq!(fs::read(&crl).unwrap(), before);
    assert_eq!(limited("").code, None, "killed");
    assert_eq!(fs::read(&crl).unwrap(), before);
    place.good(&["ca", "revoke", &cert]);
    assert_ne!(fs::read(&crl).unwrap(), before);
}

#[test]
fn a_ca_under_a_passphrase_asks_for_it() {
    let place = Place::new();
    let id = place.good(&["init"]);
    let word = place.write_private("word", "sesame\n");
    place.good(&["ca", "init", "--passphrase", "--passphrase-file", &word]);
    assert!(
        fs::read_to_string(in_ca(&place, "ca.key"))
            .unwrap()
            .contains("ENCRYPTED")
    );
    let sign = ["ca", "sign", &id, "--name", "x", "--passphrase-file", &word];
    place.good(&sign);
    let other = place.write_private("other", "wrong\n");
    let line = place.bad(5, &["ca", "revoke", &id, "--passphrase-file", &other]);
    assert!(
        line.contains("the passphrase does not open the key"),
        "{line}"
    );
}
