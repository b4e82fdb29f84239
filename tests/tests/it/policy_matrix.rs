//! The table of docs/policy.md, between real processes: which device gets in under which policy.
//!
//! A listener of each policy keeps its standard output: what gets in writes its name there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dhtnet::identity::certificate::{AuthorityFiles, Order};
use dhtnet_tests::device::Device;
use dhtnet_tests::lab::{Command, Families, Process, skip};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::pair::{LIMIT, PORT, Pair, assert_done, pair, tools};

/// The columns.
const POLICIES: [&str; 4] = ["default", "allow-ca", "anonymous", "policy"];

/// Which device gets in: by default, with `--allow-ca`, with `-a`, by the policy file.
#[rustfmt::skip]
const VERDICTS: [(&str, [bool; 4]); 10] = [
    ("same-ca",     [false, true,  true,  false]),
    ("other-ca",    [false, false, true,  false]),
    ("self-signed", [false, false, true,  false]),
    ("revoked",     [false, false, true,  false]),
    ("banned",      [false, false, false, false]),
    ("listed",      [true,  true,  true,  true]),
    ("expired",     [false, false, true,  false]),
    ("group",       [false, true,  true,  true]),
    ("capability",  [false, false, true,  true]),
    ("nothing",     [false, false, true,  false]),
];

/// The devices with a certificate, and whether OpenSSL, too, takes it for a good one of the CA.
const CERTIFICATES: [(&str, bool); 7] = [
    ("same-ca", true),
    ("other-ca", false),
    ("self-signed", false),
    ("revoked", false),
    ("banned", true),
    ("expired", false),
    ("group", true),
];

struct Cast {
    pair: Pair,
    devices: Vec<(&'static str, Device)>,
}

/// Runs what has to succeed, and gives what it printed.
#[track_caller]
pub(crate) fn printed(command: Command) -> String {
    let finished = command.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    finished.text().trim().to_owned()
}

impl Cast {
    /// Devices with their certificates and capabilities, all made and imported by `crtmgr`.
    fn new(name: &str) -> Option<Self> {
        let pair = pair(name, Families::V4)?;
        let devices: Vec<_> = VERDICTS
            .iter()
            .map(|(name, _)| {
                let device = Device::new(pair.a.host().clone(), &tools()).unwrap();
                (*name, device)
            })
            .collect();
        let cast = Self { pair, devices };
        let b = &cast.pair.b;
        printed(b.crtmgr().args(["ca", "init", "--name", "Home"]));
        for name in ["same-ca", "revoked", "banned", "group"] {
            let groups: &[&str] = match name {
                "group" => &["--group", "admins"],
                _ => &["--group", "users"],
            };
            cast.sign(name, groups, &b.home().join("ca"));
        }
        let other = cast.device("other-ca").home().join("ca");
        printed(cast.device("other-ca").crtmgr().args(["ca", "init"]));
        cast.sign("other-ca", &["--group", "admins"], &other);
        cast.expire("expired");
        let id = cast.device("revoked").id().to_owned();
        printed(b.crtmgr().args(["ca", "revoke", &id]));
        let id = cast.device("capability").id().to_owned();
        let grant = b.crtmgr().args(["grant", &id, "dnc.pipe"]);
        let capability = printed(grant.args(["--until", "1h"]));
        let import = cast.device("capability").crtmgr();
        printed(import.args(["import", &capability]));
        Some(cast)
    }

    fn device(&self, name: &str) -> &Device {
        let found = self.devices.iter().find(|(other, _)| *other == name);
        &found.unwrap().1
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.device(name).home().join("device.crt")
    }

    fn sign(&self, name: &str, more: &[&str], authority: &Path) {
        let device = self.device(name);
        let file = device.home().join("signed.crt");
        let command = self.pair.b.crtmgr().args(["ca", "sign", device.id()]);
        let command = command.args(["--name", name]).args(more).arg("--ca-dir");
        printed(command.arg(authority).arg("-o").arg(&file));
        printed(device.crtmgr().arg("import").arg(&file));
    }

    /// A certificate of a second, which `crtmgr` does not make.
    fn expire(&self, name: &str) {
        let files = AuthorityFiles::in_folder(self.pair.b.home().join("ca"));
        let order = Order {
            device: self.device(name).id().parse().unwrap(),
            name: name.parse().unwrap(),
            groups: vec!["admins".parse().unwrap()],
            lifetime: Duration::from_secs(1),
        };
        let (now, rng) = (SystemTime::now(), &mut ChaCha20Rng::from_seed([7; 32]));
        let certificate = files.load(None).unwrap().issue(&order, now, rng).unwrap();
        certificate.create_file(self.certificate(name)).unwrap();
        // Certificates know whole seconds only.
        std::thread::sleep(order.lifetime + Duration::from_millis(1_100));
    }

    /// The policy files: bans always, rules in the last column.
    fn write_policy(&self, policy: &str) {
        let id = |name| self.device(name).id();
        let ban = format!("[[ban]]\nname = \"lost\"\nwho = [\"{}\"]\n", id("banned"));
        let text = match policy {
            "policy" => format!(
                "version = 1\n\
                 [[ca]]\nname = \"home\"\ncertificate = \"ca/ca.crt\"\ncrl = \"ca/ca.crl\"\n\
                 [[rule]]\nwho = [\"{}\", \"{}\"]\nallow = [\"dnc.pipe\"]\n\
                 [[rule]]\nname = \"admins\"\nwho = [\"group:home/admins\"]\nallow = [\"dnc.pipe\"]\n\
                 [[rule]]\nwho = [\"ca:home\"]\nallow = [\"chat\"]\n{ban}",
                id("listed"),
                id("banned"),
            ),
            _ => format!("version = 1\n[capabilities]\naccept = false\n{ban}"),
        };
        std::fs::write(self.pair.b.home().join("policy.toml"), text).unwrap();
    }

    fn listener(&self, policy: &str) -> Process {
        self.write_policy(policy);
        let b = &self.pair.b;
        let bind = format!("0.0.0.0:{PORT}");
        let command = b
            .dnc()
            .args(["-l", "-k", "-v", "--no-mdns", "--bind", &bind]);
        let listed = ["listed", "banned"].map(|name| self.device(name).id());
        let by_id = ["--allow", listed[0], "--allow", listed[1]];
        let command = match policy {
            "default" => command.args(by_id),
            "allow-ca" => command
                .args(by_id)
                .arg("--allow-ca")
                .arg(b.home().join("ca/ca.crt")),
            "anonymous" => command.arg("-a"),
            _ => command,
        };
        b.listen(command).unwrap()
    }

    /// Whether this device gets in; who does not is told so by exit code and one line.
    fn gets_in(&self, name: &str) -> bool {
        let client = self.device(name).dnc();
        let client = client.args(["--no-mdns", &self.pair.address()]);
        let client = client.stdin_bytes(format!("{name}\n"));
        let finished = client.start().unwrap().finish(LIMIT).unwrap();
        match finished.code() {
            Some(0) => true,
            Some(4) => {
                let told = finished.stderr.lines().filter(|l| l.contains("refused"));
                assert_eq!(told.count(), 1, "{name}: {}", finished.stderr);
                false
            }
            other => panic!("{name}: {other:?} {}", finished.stderr),
        }
    }
}

#[test]
fn each_device_gets_in_where_the_table_says_so_and_nowhere_else() {
    let name = "each_device_gets_in_where_the_table_says_so_and_nowhere_else";
    if !has_openssl(name) {
        return;
    }
    let Some(cast) = Cast::new(name) else { return };
    cast.sign_by_itself("self-signed");
    for (column, policy) in POLICIES.iter().enumerate() {
        let mut listener = cast.listener(policy);
        let expected: Vec<(&str, bool)> = VERDICTS
            .iter()
            .map(|(device, verdicts)| (*device, verdicts[column]))
            .collect();
        let found: Vec<(&str, bool)> = expected
            .iter()
            .map(|(device, _)| (*device, cast.gets_in(device)))
            .collect();
        assert_eq!(found, expected, "{policy}: {}", listener.stderr());
        listener.signal(rustix::process::Signal::TERM);
        let ended = listener.await_exit(LIMIT).unwrap();
        assert_eq!(ended.code(), Some(143), "{}", listener.stderr());
        let finished = listener.finish(LIMIT).unwrap();
        let said: Vec<String> = finished.text().lines().map(str::to_owned).collect();
        let wanted = expected.iter().filter(|(_, allowed)| *allowed);
        let wanted: Vec<String> = wanted.map(|(device, _)| (*device).to_owned()).collect();
        assert_eq!(said, wanted, "what came through under {policy}");
        audited(policy, &cast, &finished.stderr);
    }
}

/// Each decision is one line with peer, action, verdict and rule, and no address.
fn audited(policy: &str, cast: &Cast, log: &str) {
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("verdict=")).collect();
    for (device, _) in VERDICTS {
        let of_device = |line: &&&str| line.contains(cast.device(device).id());
        let line = lines.iter().rfind(of_device);
        let line = line.unwrap_or_else(|| panic!("no decision about {device} in: {log}"));
        assert!(line.contains("action=") && line.contains("rule="), "{line}");
        assert!(!line.contains("11.0."), "an address: {line}");
    }
    let rule = match policy {
        "policy" => "rule=\"rule \\\"admins\\\" (line ",
        "anonymous" => "rule=\"--anonymous\"",
        "allow-ca" => "rule=\"--allow-ca",
        _ => "rule=\"--allow",
    };
    let named = lines.iter().any(|line| line.contains(rule));
    assert!(named, "no {rule} in: {log}");
}

fn has_openssl(name: &str) -> bool {
    let found = std::process::Command::new("openssl")
        .arg("version")
        .output();
    if found.is_err() {
        skip::report(name, "there is no openssl");
    }
    found.is_ok()
}

impl Cast {
    fn openssl(&self, words: &[&str], files: &[PathBuf]) -> bool {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(words).args(files).output().unwrap();
        output.status.success()
    }

    /// A certificate that the device made for itself.
    fn sign_by_itself(&self, name: &str) {
        let key = self.device(name).home().join("identity.pem");
        let words = ["req", "-x509", "-new", "-subj", "/CN=itself", "-days", "9"];
        let extensions = [
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "keyUsage=critical,digitalSignature",
        ];
        let mut command = std::process::Command::new("openssl");
        let command = command.args(words).args(extensions).arg("-key").arg(key);
        let output = command.arg("-out").arg(self.certificate(name)).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn openssl_says_the_same_of_every_certificate_of_the_table() {
    let name = "openssl_says_the_same_of_every_certificate_of_the_table";
    if !has_openssl(name) {
        return;
    }
    let Some(cast) = Cast::new(name) else { return };
    cast.sign_by_itself("self-signed");
    let folder = cast.pair.b.home().join("ca");
    let (ca, list) = (folder.join("ca.crt"), folder.join("ca.crl"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca_file, list_file) = (text(&ca), text(&list));
    // Until the brief one has ended.
    std::thread::sleep(Duration::from_millis(2_100));
    for (device, expected) in CERTIFICATES {
        let words = ["verify", "-crl_check", "-CAfile", &ca_file, "-CRLfile"];
        let good = cast.openssl(
            &[&words[..], &[&list_file]].concat(),
            &[cast.certificate(device)],
        );
        assert_eq!(good, expected, "openssl verify of {device}");
        let ours = cast
            .pair
            .b
            .crtmgr()
            .arg("verify")
            .arg(cast.certificate(device));
        let ours = ours.arg("--ca").arg(&ca).arg("--crl").arg(&list);
        let ours = ours.start().unwrap().finish(LIMIT).unwrap();
        let code = if expected { 0 } else { 5 };
        assert_eq!(ours.code(), Some(code), "{device}: {}", ours.stderr);
        let key = cast.device(device).home().join("identity.pem");
        assert!(cast.openssl(&["pkey", "-noout", "-in"], &[key]));
    }
    assert!(cast.openssl(&["x509", "-noout", "-in"], &[ca]));
    let words = ["crl", "-noout", "-verify", "-CAfile", &ca_file, "-in"];
    assert!(cast.openssl(&words, &[list]));
}
