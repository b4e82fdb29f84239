//! The `openssl` command agrees with what is made here, and what it makes is accepted.

use std::fs;
mod chains;

use std::path::Path;
use std::process::Output;
use std::time::SystemTime;

use dhtnet_identity::DeviceKey;
use dhtnet_identity::certificate::{
    Authority, Certificate, CertificateError, CertificateName, PemError, Request, Revocation,
    TrustError, TrustedAuthority, Verified, VerifyError,
};
use tempfile::TempDir;

use super::{DAY, groups, name, order, rng};
use crate::{id, key, openssl, skipped};

/// A folder of files and the openssl command in it.
struct Bench {
    folder: TempDir,
}

impl Bench {
    /// `None`, said as a skipped test, where there is no such command.
    fn new(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if openssl(folder.path(), &["version"]).is_none() {
            skipped(test, "there is no openssl command");
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(file), content).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    /// Runs `openssl` with the words of `arguments`.
    fn try_run(&self, arguments: &str) -> Output {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        openssl(self.path(), &arguments).unwrap()
    }

    /// The same, which must succeed, with its output.
    fn run(&self, arguments: &str) -> String {
        let output = self.try_run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a failing run says.
    fn fail(&self, arguments: &str) -> String {
        let output = self.try_run(arguments);
        assert!(!output.status.success(), "openssl {arguments} succeeds");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    }

    fn certificate(&self, file: &str) -> Result<Certificate, PemError> {
        Certificate::from_pem(&self.read(file))
    }

    /// A CA made by openssl, in ca.key and ca.crt.
    fn make_authority(&self, extensions: &str) {
        self.run("genpkey -algorithm ed25519 -out ca.key");
        self.write("ca.cnf", authority_config(extensions));
        self.run("req -x509 -new -key ca.key -out ca.crt -days 3650 -config ca.cnf");
    }

    /// A device certificate made by openssl from a request of ours, in device.crt.
    fn make_device(&self, device: &DeviceKey, extensions: &str) {
        let request = Request::new(device, &name("laptop"));
        self.write("device.csr", request.to_pem());
        self.write("device.ext", extensions);
        self.run(
            "x509 -req -in device.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
             -extfile device.ext -out device.crt",
        );
    }
}

const DEVICE: &str = "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
                      subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
const AUTHORITY: &str = "basicConstraints = critical, CA:TRUE, pathlen:0\n\
                         keyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n";

fn authority_config(extensions: &str) -> String {
    format!(
        "[req]\nprompt = no\nutf8 = yes\nstring_mask = utf8only\ndistinguished_name = dn\n\
         x509_extensions = v3\n[dn]\nO = Family\nCN = OpenSSL CA\n[v3]\n{extensions}"
    )
}

/// openssl judges by the system's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "openssl verify takes the time of day; what is compared with it has to agree"
)]
fn today() -> SystemTime {
    SystemTime::now()
}

fn ours() -> (Authority, Certificate) {
    let lifetime = 3650 * DAY;
    let times = (today(), &mut rng(1));
    let authority = Authority::create(key(1), &name("Home"), lifetime, times).unwrap();
    let order = order(2, groups(&["admins", "Ärzte"]));
    let certificate = authority.issue(&order, today(), &mut rng(2)).unwrap();
    (authority, certificate)
}

fn verify(bench: &Bench) -> Result<Verified, VerifyError> {
    let trusted = TrustedAuthority::new(bench.certificate("ca.crt").unwrap()).unwrap();
    let device = bench.certificate("device.crt").unwrap();
    trusted.verify(std::slice::from_ref(&device), device.key(), today())
}

#[test]
fn openssl_verifies_what_is_made_here() {
    let Some(bench) = Bench::new("openssl_verifies_what_is_made_here") else {
        return;
    };
    let (authority, certificate) = ours();
    bench.write("ca.crt", authority.certificate().to_pem());
    bench.write("device.crt", certificate.to_pem());
    let said = bench.run("verify -x509_strict -CAfile ca.crt device.crt");
    assert_eq!(said, "device.crt: OK\n");
    let said = bench.run("verify -x509_strict -purpose sslclient -CAfile ca.crt device.crt");
    assert_eq!(said, "device.crt: OK\n");
    let text = bench
        .run("x509 -in device.crt -noout -serial -subject -issuer -nameopt utf8,sep_comma_plus");
    assert!(
        text.contains(&format!("serial={}\n", certificate.serial())),
        "{text}"
    );
    assert!(text.contains("OU=admins,OU=Ärzte,CN=laptop"), "{text}");
    assert!(text.contains("issuer=CN=Home"), "{text}");
    let text = bench.run("x509 -in device.crt -noout -text");
    for part in [
        "CA:FALSE",
        "Digital Signature",
        "Signature Algorithm: ED25519",
        "Version: 3",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bench.run("x509 -in ca.crt -noout -text");
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let key = bench.run("x509 -in device.crt -noout -pubkey");
    bench.write("key.pem", key);
    let key = bench.try_run("pkey -pubin -in key.pem -outform DER").stdout;
    assert_eq!(key[key.len() - 32..], *id(2).as_bytes());
}

#[test]
fn openssl_and_we_agree_on_foreign_and_ended_certificates() {
    let Some(bench) = Bench::new("openssl_and_we_agree_on_foreign_and_ended_certificates") else {
        return;
    };
    let (authority, certificate) = ours();
    bench.write("ca.crt", authority.certificate().to_pem());
    let other = (today(), &mut rng(3));
    let other = Authority::create(key(3), &name("Home"), DAY, other).unwrap();
    bench.write("other.crt", other.certificate().to_pem());
    bench.write("device.crt", certificate.to_pem());
    bench.fail("verify -CAfile other.crt device.crt");
    let refused = other
        .trusted()
        .verify(std::slice::from_ref(&certificate), &id(2), today());
    assert_eq!(refused, Err(VerifyError::Signature));
    let long_ago = today() - 400 * DAY;
    let old = (long_ago, &mut rng(1));
    let authority = Authority::create(key(1), &name("Home"), 3650 * DAY, old).unwrap();
    let ended = authority
        .issue(&order(2, Vec::new()), long_ago, &mut rng(2))
        .unwrap();
    bench.write("ca.crt", authority.certificate().to_pem());
    bench.write("device.crt", ended.to_pem());
    let said = bench.fail("verify -CAfile ca.crt device.crt");
    assert!(said.contains("certificate has expired"), "{said}");
    assert!(matches!(verify(&bench), Err(VerifyError::Expired { .. })));
}

#[test]
fn openssl_reads_our_revocation_lists_and_obeys_them() {
    let Some(bench) = Bench::new("openssl_reads_our_revocation_lists_and_obeys_them") else {
        return;
    };
    let (authority, certificate) = ours();
    let revocation = Revocation {
        serial: certificate.serial().clone(),
        since: today(),
    };
    bench.write("ca.crt", authority.certificate().to_pem());
    bench.write("device.crt", certificate.to_pem());
    let list = |revoked: &[Revocation], number| {
        authority
            .revocation_list(revoked, number, (today(), DAY))
            .unwrap()
    };
    bench.write("ca.crl", list(&[], 4).to_pem());
    let verify = "verify -crl_check -CAfile ca.crt -CRLfile ca.crl device.crt";
    assert_eq!(bench.run(verify), "device.crt: OK\n");
    bench.write("ca.crl", list(&[revocation], 5).to_pem());
    let said = bench.fail(verify);
    assert!(said.contains("certificate revoked"), "{said}");
    let output = bench.try_run("crl -in ca.crl -CAfile ca.crt -noout -text");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("verify OK"));
    for part in [certificate.serial().to_string(), "Version 2".to_owned()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
}

#[test]
fn certificates_and_requests_of_openssl_are_accepted() {
    let Some(bench) = Bench::new("certificates_and_requests_of_openssl_are_accepted") else {
        return;
    };
    bench.make_authority(AUTHORITY);
    bench.make_device(&key(2), DEVICE);
    assert_eq!(
        bench.run("verify -CAfile ca.crt device.crt"),
        "device.crt: OK\n"
    );
    let verified = verify(&bench).unwrap();
    assert_eq!(*verified.device(), id(2));
    assert_eq!(verified.name(), Some(&name("laptop")));
    assert_eq!(verified.authority_name(), Some(&name("OpenSSL CA")));
    // The words that openssl writes around a certificate are skipped.
    let wordy = bench.run("x509 -in device.crt -text");
    assert_eq!(
        Certificate::from_pem(&wordy),
        bench.certificate("device.crt")
    );
    // A key and a request by openssl, the certificate by us; groups as openssl writes them.
    bench.run("genpkey -algorithm ed25519 -out device.key");
    bench.write(
        "req.cnf",
        "[req]\nprompt = no\nutf8 = yes\ndistinguished_name = dn\n[dn]\n0.OU = admins\n\
         1.OU = Ärzte\nCN = phone\n",
    );
    bench.run("req -new -key device.key -config req.cnf -out device.csr");
    let request = Request::from_pem(&bench.read("device.csr")).unwrap();
    assert_eq!(request.name(), Some(&name("phone")));
    let device = DeviceKey::from_pkcs8_pem(&bench.read("device.key")).unwrap();
    assert_eq!(request.device(), device.id());
    bench.write("device.ext", DEVICE);
    bench.run(
        "x509 -req -in device.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
         -extfile device.ext -out device.crt",
    );
    assert_eq!(
        verify(&bench).unwrap().groups(),
        groups(&["admins", "Ärzte"])
    );
    // A CA of openssl goes on here.
    let ca_key = DeviceKey::from_pkcs8_pem(&bench.read("ca.key")).unwrap();
    let authority = Authority::of(ca_key, bench.certificate("ca.crt").unwrap()).unwrap();
    let ours = authority
        .issue(&order(2, Vec::new()), today(), &mut rng(1))
        .unwrap();
    bench.write("device.crt", ours.to_pem());
    assert_eq!(
        bench.run("verify -x509_strict -CAfile ca.crt device.crt"),
        "device.crt: OK\n"
    );
    assert!(verify(&bench).is_ok());
}

#[test]
fn certificates_for_another_use_are_refused() {
    let Some(bench) = Bench::new("certificates_for_another_use_are_refused") else {
        return;
    };
    bench.make_authority(AUTHORITY);
    let plain = "basicConstraints = CA:FALSE\n";
    for (extensions, wanted) in [
        (DEVICE.to_owned(), Ok(())),
        (plain.to_owned(), Ok(())),
        (
            format!("{plain}extendedKeyUsage = clientAuth, codeSigning\n"),
            Ok(()),
        ),
        (format!("{plain}extendedKeyUsage = serverAuth\n"), Ok(())),
        (
            format!("{plain}extendedKeyUsage = anyExtendedKeyUsage\n"),
            Ok(()),
        ),
        (
            format!("{plain}subjectAltName = critical, DNS:laptop.example\n"),
            Ok(()),
        ),
        (
            format!("{plain}extendedKeyUsage = codeSigning\n"),
            Err(VerifyError::Usage),
        ),
        (
            format!("{plain}keyUsage = keyAgreement\n"),
            Err(VerifyError::Usage),
        ),
        (
            "basicConstraints = CA:TRUE\n".to_owned(),
            Err(VerifyError::NotADevice),
        ),
    ] {
        bench.make_device(&key(2), &extensions);
        assert_eq!(verify(&bench).map(|_| ()), wanted, "{extensions}");
    }
}

#[test]
fn what_is_outside_of_the_profile_is_named() {
    let Some(bench) = Bench::new("what_is_outside_of_the_profile_is_named") else {
        return;
    };
    bench.make_authority(AUTHORITY);
    let read = |extensions: &str| {
        bench.make_device(&key(2), extensions);
        match bench.certificate("device.crt") {
            Err(PemError::Certificate { number: 1, source }) => source,
            other => panic!("{extensions}: {other:?}"),
        }
    };
    let critical = |id: &str| CertificateError::CriticalExtension { id: id.to_owned() };
    assert_eq!(
        read("1.2.3.4 = critical, ASN1:UTF8String:x\n"),
        critical("1.2.3.4")
    );
    assert_eq!(
        read("certificatePolicies = critical, 1.2.3\n"),
        critical("2.5.29.32")
    );
    assert_eq!(
        read("nameConstraints = critical, permitted;DNS:example.org\n"),
        critical("2.5.29.30")
    );
    // Without extensions openssl writes version 1.
    bench.run("x509 -req -in device.csr -CA ca.crt -CAkey ca.key -days 30 -out device.crt");
    let error = bench.certificate("device.crt").unwrap_err();
    let wanted = PemError::Certificate {
        number: 1,
        source: CertificateError::Version,
    };
    assert_eq!(error, wanted);
    for (algorithm, found) in [
        ("rsa -pkeyopt rsa_keygen_bits:1024", "RSA"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "ECDSA"),
        ("ed448", "Ed448"),
    ] {
        bench.run(&format!("genpkey -algorithm {algorithm} -out other.key"));
        bench.run("req -x509 -new -key other.key -out other.crt -days 30 -config ca.cnf");
        match bench.certificate("other.crt") {
            Err(PemError::Certificate {
                source: CertificateError::Algorithm { found: name },
                ..
            }) => {
                assert!(name == found || name.starts_with("1.2."), "{name}");
            }
            other => panic!("{algorithm}: {other:?}"),
        }
    }
}

#[test]
fn a_self_signed_device_and_a_ca_without_ca_true_are_refused() {
    let test = "a_self_signed_device_and_a_ca_without_ca_true_are_refused";
    let Some(bench) = Bench::new(test) else {
        return;
    };
    bench.make_authority(DEVICE);
    let own = bench.certificate("ca.crt").unwrap();
    assert_eq!(
        TrustedAuthority::new(own.clone()),
        Err(TrustError::NotAnAuthority)
    );
    let (authority, _) = ours();
    let judged = authority
        .trusted()
        .verify(std::slice::from_ref(&own), own.key(), today());
    assert_eq!(judged, Err(VerifyError::SelfSigned));
    bench.make_authority("basicConstraints = critical, CA:TRUE\nkeyUsage = digitalSignature\n");
    let wrong = bench.certificate("ca.crt").unwrap();
    assert_eq!(
        TrustedAuthority::new(wrong),
        Err(TrustError::NotAnAuthority)
    );
}

#[test]
fn names_of_devices_do_not_depend_on_the_encoding() {
    let _: CertificateName = name("laptop");
    let Some(bench) = Bench::new("names_of_devices_do_not_depend_on_the_encoding") else {
        return;
    };
    bench.make_authority(AUTHORITY);
    bench.run("genpkey -algorithm ed25519 -out device.key");
    for (mask, wanted) in [("utf8only", true), ("default", true), ("MASK:0x800", false)] {
        bench.write(
            "req.cnf",
            format!("[req]\nprompt = no\nstring_mask = {mask}\ndistinguished_name = dn\n[dn]\nCN = phone\n"),
        );
        bench.run("req -new -key device.key -config req.cnf -out device.csr");
        bench.write("device.ext", DEVICE);
        bench.run(
            "x509 -req -in device.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
             -extfile device.ext -out device.crt",
        );
        match bench.certificate("device.crt") {
            Ok(certificate) => assert!(
                wanted && certificate.name() == Some(&name("phone")),
                "{mask}"
            ),
            Err(error) => assert!(
                !wanted && crate::chain(&error).contains("UTF8String"),
                "{mask}"
            ),
        }
    }
}

#[test]
fn the_commands_in_the_book_make_what_is_accepted() {
    let Some(bench) = Bench::new("the_commands_in_the_book_make_what_is_accepted") else {
        return;
    };
    let book = include_str!("../../../../../docs/certificates.md");
    let blocks = book.split("```sh\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let commands = blocks.find(|block| block.contains("openssl")).unwrap();
    let output = std::process::Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(bench.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let verified = verify(&bench).unwrap();
    assert_eq!(verified.groups(), groups(&["admins"]));
    assert_eq!(verified.authority_name(), Some(&name("Home")));
    let device = DeviceKey::from_pkcs8_pem(&bench.read("device.key")).unwrap();
    assert_eq!(*verified.device(), device.id());
}
