//! `policy.toml`: what it can say, and each mistake with its line and key.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dhtnet_identity::Policy;
use dhtnet_identity::certificate::{Authority, Order, Revocation};
use dhtnet_identity::contacts::Contacts;
use dhtnet_identity::policy::file::{
    LoadedPolicy, MAX_ENTRIES, MAX_POLICY_FILE_LEN, ParsePolicyError, Surroundings,
};
use dhtnet_identity::policy::{Action, Presented};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{chain, id, key};

const DAY: Duration = Duration::from_secs(86_400);

/// 2026-11-21T00:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}

fn authority(number: u8) -> Authority {
    let times = (now(), &mut rng());
    Authority::create(key(number), &"Home".parse().unwrap(), 3650 * DAY, times).unwrap()
}

/// laptop is device 2, phone is device 3.
fn contacts() -> Contacts {
    let mut contacts = Contacts::default();
    for (name, number) in [("laptop", 2), ("phone", 3)] {
        let address = id(number).to_string().parse().unwrap();
        contacts.add(name.parse().unwrap(), address).unwrap();
    }
    contacts
}

/// Files that a policy may name.
fn files() -> BTreeMap<&'static str, String> {
    let (home, other) = (authority(10), authority(11));
    let list = |authority: &Authority| {
        authority
            .revocation_list(&[], 1, (now(), 30 * DAY))
            .unwrap()
            .to_pem()
    };
    BTreeMap::from([
        ("home.crt", home.certificate().to_pem()),
        ("home.crl", list(&home)),
        ("other.crl", list(&other)),
        ("device.crt", device(&home, &[]).to_pem()),
        ("key.pem", key(1).to_pkcs8_pem().to_string()),
    ])
}

fn device(home: &Authority, groups: &[&str]) -> dhtnet_identity::Certificate {
    let order = Order {
        device: id(2),
        name: "laptop".parse().unwrap(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        lifetime: 30 * DAY,
    };
    home.issue(&order, now(), &mut rng()).unwrap()
}

fn try_parse(text: &str) -> Result<Policy, ParsePolicyError> {
    let (contacts, files) = (contacts(), files());
    let surroundings = Surroundings {
        contacts: &contacts,
        own: Some(id(1)),
    };
    Policy::from_toml(text, &surroundings, |path: &Path| {
        let found = files.get(path.to_str().unwrap());
        found
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    })
}

/// Parses what comes after the version.
fn parse(text: &str) -> Policy {
    let text = format!("version = 1\n{text}");
    try_parse(&text).unwrap_or_else(|error| panic!("{text}\n{}", chain(&error)))
}

fn fault(text: &str) -> String {
    match try_parse(text) {
        Ok(_) => panic!("no fault in {text}"),
        Err(error) => chain(&error),
    }
}

fn allowed(policy: &Policy, peer: u8, action: &str) -> bool {
    let action = Action::parse(action).unwrap();
    policy.evaluate(&id(peer), &action, now()).is_allowed()
}

const WHOLE: &str = r#"version = 1

[[ca]]
name = "home"
certificate = "home.crt"
crl = "home.crl"

[[rule]]
name = "ssh"
who = ["laptop", "group:home/admins"]
allow = ["dnc.target 127.0.0.1:22", "dsh.*"]
until = 2027-01-01T00:00:00Z

[[rule]]
who = ["ca:home"]
allow = ["chat"]

[[rule]]
who = ["anyone"]
allow = ["dnc.pipe"]

[[ban]]
name = "lost"
who = ["phone"]

[capabilities]
issuers = ["laptop"]
revoked = ["00112233445566778899aabbccddeeff"]

[[test]]
name = "ssh for laptop"
peer = "laptop"
action = "dnc.target 127.0.0.1:22"
expect = "allow"

[[test]]
peer = "laptop"
action = "dnc.target 127.0.0.1:22"
at = 2027-01-01T00:00:00Z
expect = "deny"

[[test]]
peer = "phone"
member-of = ["group:home/admins"]
action = "dsh.shell"
expect = "deny"
"#;

#[test]
fn a_file_says_who_may_what() {
    let policy = try_parse(WHOLE).unwrap();
    assert!(allowed(&policy, 2, "dnc.target 127.0.0.1:22") && allowed(&policy, 2, "dsh.shell"));
    assert!(!allowed(&policy, 2, "dnc.target 127.0.0.1:80") && !allowed(&policy, 2, "chat"));
    assert!(allowed(&policy, 4, "dnc.pipe") && !allowed(&policy, 4, "dsh.shell"));
    assert!(!allowed(&policy, 3, "dnc.pipe"), "banned");
    let rule = |peer: u8, action: &str| {
        let action = Action::parse(action).unwrap();
        policy.evaluate(&id(peer), &action, now()).to_string()
    };
    assert_eq!(rule(2, "dsh.shell"), "allowed by rule \"ssh\" (line 8)");
    assert_eq!(rule(4, "dnc.pipe"), "allowed by the rule in line 18");
    assert_eq!(rule(3, "dnc.pipe"), "denied by ban \"lost\" (line 22)");
    assert_eq!(rule(4, "chat"), "denied: no rule allows it");
    let shell = Action::new("dsh.shell");
    let ended = policy.evaluate(&id(2), &shell, now() + 60 * DAY);
    assert_eq!(
        ended.to_string(),
        "denied: rule \"ssh\" (line 8) has expired"
    );
    let shown = vec![vec![device(&authority(10), &["admins"])]];
    let shown = Presented::new(shown, Vec::new()).unwrap();
    let credentials = policy.examine(&id(2), &shown, now());
    assert!(
        policy
            .decide(&credentials, &Action::new("chat"), now())
            .is_allowed()
    );
}

#[test]
fn the_tests_in_a_file_are_run() {
    let policy = try_parse(WHOLE).unwrap();
    assert_eq!(policy.tests().len(), 3);
    assert_eq!(policy.run_tests(now()), []);
    let failed = policy.run_tests(now() + 365 * DAY);
    let failed: Vec<_> = failed.iter().map(ToString::to_string).collect();
    let wanted = format!(
        "test \"ssh for laptop\" (line 30): {}… dnc.target 127.0.0.1:22: expected allow, but it \
         is denied: rule \"ssh\" (line 8) has expired",
        id(2).short()
    );
    assert_eq!(failed, [wanted]);
    let wrong = parse("[[test]]\npeer = \"laptop\"\naction = \"chat\"\nexpect = \"allow\"\n");
    let failed = wrong.run_tests(now());
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].to_string().starts_with("the test in line 2: "),
        "{}",
        failed[0]
    );
}

#[test]
fn the_smallest_file_denies_everything_but_own_capabilities() {
    let policy = parse("");
    assert!(!allowed(&policy, 2, "chat"));
    assert!(policy.wants_credentials(), "those that this device signs");
    assert_eq!(
        parse("[capabilities]\naccept = false\n"),
        Policy::deny_all()
    );
    assert_eq!(
        parse("capabilities = { accept = false }\n"),
        Policy::deny_all()
    );
}

#[test]
fn times_have_a_zone() {
    let ends_at = |text: &str| {
        let rule = format!("[[rule]]\nwho = [\"laptop\"]\nallow = [\"chat\"]\nuntil = {text}\n");
        let policy = parse(&rule);
        let live = |moment| policy.admits_at(&id(2), moment).is_allowed();
        (live(now() - Duration::from_secs(1)), live(now()))
    };
    for same in [
        "2026-11-21T00:00:00Z",
        "2026-11-21 00:00:00Z",
        "2026-11-21T01:30:00+01:30",
        "2026-11-20T16:00:00-08:00",
        "2026-11-20T23:59:60Z",
    ] {
        assert_eq!(ends_at(same), (true, false), "{same}");
    }
    assert_eq!(ends_at("2026-11-21T00:00:00.5Z"), (true, true));
    for bad in [
        "2026-11-21",
        "2026-11-21T00:00:00",
        "00:00:00",
        "\"tomorrow\"",
        "1969-12-31T23:59:59Z",
    ] {
        let rule = format!(
            "version = 1\n[[rule]]\nwho = [\"laptop\"]\nallow = [\"chat\"]\nuntil = {bad}\n"
        );
        assert_eq!(
            fault(&rule),
            "line 5, key \"until\": a time is a date, the time of day and its zone, as in \
             2027-01-01T00:00:00Z",
            "{bad}"
        );
    }
}

/// Lines after `version = 1`, and what is said of them.
const FAULTS: &[(&str, &str)] = &[
    (
        "rules = 1",
        "line 2: unknown key \"rules\" (known here: version, ca, rule, ban, capabilities, test)",
    ),
    (
        "rule = 1",
        "line 2, key \"rule\": it must be a list of tables, each with a heading in double brackets",
    ),
    ("rule = [1]", "line 2, key \"rule\": it must be a table"),
    (
        "[rule]\nwho = 1",
        "line 2, key \"rule\": it must be a list of tables, each with a heading in double brackets",
    ),
    (
        "[[rule]]\nallow = [\"chat\"]",
        "line 2: the key \"who\" is missing",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]",
        "line 2: the key \"allow\" is missing",
    ),
    (
        "[[rule]]\nwho = \"laptop\"",
        "line 3, key \"who\": it must be a list of texts",
    ),
    (
        "[[rule]]\nwho = [1]",
        "line 3, key \"who\": it must be a text",
    ),
    (
        "[[rule]]\nwho = []",
        "line 3, key \"who\": the list is empty",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = []",
        "line 4, key \"allow\": the list is empty",
    ),
    (
        "[[rule]]\nto = [\"laptop\"]",
        "line 3: unknown key \"to\" (known here: name, who, allow, until)",
    ),
    (
        "[[rule]]\nwho = [\n  \"laptop\",\n  \"lapdop\",\n]\nallow = [\"chat\"]",
        "line 5, key \"who\": the contact is not known: no contact is called lapdop (did you mean laptop?)",
    ),
    (
        "[[rule]]\nwho = [\"Laptop\"]\nallow = [\"chat\"]",
        "line 3, key \"who\": \"Laptop\" is no peer (a contact, an id, ca:NAME, group:CA/GROUP, anyone): a contact name has no character 'L' at position 1 (a-z, 0-9, and after the first also . _ -)",
    ),
    (
        "[[rule]]\nwho = [\"ca:work\"]\nallow = [\"chat\"]",
        "line 3, key \"who\": there is no [[ca]] with the name \"work\"",
    ),
    (
        "[[rule]]\nwho = [\"group:admins\"]\nallow = [\"chat\"]",
        "line 3, key \"who\": a group is named with its CA: group:CA/GROUP",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = [\"dnc.targt 1.2.3.4:5\"]",
        "line 4, key \"allow\": \"dnc.targt 1.2.3.4:5\" cannot be used: there is no action \"dnc.targt\" (did you mean \"dnc.target\"?)",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = [\"dnc.target 10.0.0.0/33:22\"]",
        "line 4, key \"allow\": \"dnc.target 10.0.0.0/33:22\" cannot be used: the target is not one: \"10.0.0.0/33\" is not a network (10.0.0.0/8, [fd00::/8])",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = [\"dnc.target 10.0.0.1/8:22\"]",
        "line 4, key \"allow\": \"dnc.target 10.0.0.1/8:22\" cannot be used: the target is not one: \"10.0.0.1/8\" has bits beyond its prefix (did you mean 10.0.0.0/8?)",
    ),
    (
        "[[rule]]\nname = \"a\"\nwho = [\"laptop\"]\nallow = [\"chat\"]\n[[rule]]\nname = \"a\"\nwho = [\"phone\"]\nallow = [\"chat\"]",
        "line 7, key \"name\": \"a\" is there twice (first in line 2)",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = [\"chat\"]\n[[rule]]\nwho = [\"phone\", \"laptop\"]\nallow = [\"x\", \"chat\"]",
        "line 6, key \"who\": \"laptop\" may chat already by line 2",
    ),
    (
        "[[rule]]\nwho = [\"laptop\"]\nallow = [\"chat\", \"chat\"]",
        "line 3, key \"who\": \"laptop\" may chat already by line 2",
    ),
    (
        "[[rule]]\nname = \"\"\nwho = [\"laptop\"]\nallow = [\"chat\"]",
        "line 3, key \"name\": the name cannot be used: a name must not be empty",
    ),
    (
        "[[ban]]\nwho = [\"anyone\"]",
        "line 3, key \"who\": only contacts and ids can stand here, not \"anyone\", which stands for several",
    ),
    (
        "[[ban]]\nwho = [\"ca:home\"]",
        "line 3, key \"who\": only contacts and ids can stand here, not \"ca:home\", which stands for several",
    ),
    (
        "[[ca]]\ncertificate = \"home.crt\"",
        "line 2: the key \"name\" is missing",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"none.crt\"",
        "line 4, key \"certificate\": \"none.crt\" cannot be read: entity not found",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"key.pem\"",
        "line 4, key \"certificate\": \"key.pem\" cannot be used: it holds \"PRIVATE KEY\" and no certificate",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"device.crt\"",
        "line 4, key \"certificate\": \"device.crt\" cannot be trusted: the certificate may not issue others: it is not that of a CA",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"home.crt\"\ncrl = \"home.crt\"",
        "line 5, key \"crl\": \"home.crt\" cannot be used: it holds \"CERTIFICATE\" and no revocation list (X509 CRL)",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"home.crt\"\ncrl = \"other.crl\"",
        "line 5, key \"crl\": \"other.crl\" cannot be trusted: the revocation list is not by this CA",
    ),
    (
        "[[ca]]\nname = \"a/b\"\ncertificate = \"home.crt\"",
        "line 3, key \"name\": the name of a CA has no \"/\"",
    ),
    (
        "[[ca]]\nname = \"home\"\ncertificate = \"home.crt\"\n[[ca]]\nname = \"home\"\ncertificate = \"home.crt\"",
        "line 6, key \"name\": \"home\" is there twice (first in line 2)",
    ),
    (
        "[capabilities]\naccept = 1",
        "line 3, key \"accept\": it must be true or false",
    ),
    (
        "[capabilities]\nrevoked = [\"00\"]",
        "line 3, key \"revoked\": \"00\" is no capability: the serial of a capability is 32 hexadecimal digits",
    ),
    (
        "[capabilities]\nissuers = [\"anyone\"]",
        "line 3, key \"issuers\": only contacts and ids can stand here, not \"anyone\", which stands for several",
    ),
    (
        "[[test]]\npeer = \"laptop\"\naction = \"chat\"\nexpect = \"yes\"",
        "line 5, key \"expect\": it must be \"allow\" or \"deny\"",
    ),
    (
        "[[test]]\npeer = \"laptop\"\naction = \"dnc.target *\"\nexpect = \"allow\"",
        "line 4, key \"action\": \"dnc.target *\" cannot be used: the target is not one: the target has no port (HOST:PORT)",
    ),
    (
        "[[test]]\npeer = \"laptop\"\nmember-of = [\"phone\"]\naction = \"chat\"\nexpect = \"allow\"",
        "line 4, key \"member-of\": only ca:NAME and group:CA/GROUP can stand here",
    ),
];

#[test]
fn each_mistake_is_named_with_its_line_and_key() {
    for (text, wanted) in FAULTS {
        assert_eq!(fault(&format!("version = 1\n{text}\n")), *wanted, "{text}");
    }
}

#[test]
fn the_version_is_asked_first() {
    let wanted = "line 1, key \"version\": this program knows version 1 of the policy and no other";
    for text in ["version = 2", "version = \"1\"", "version = 1.0"] {
        assert_eq!(fault(text), wanted, "{text}");
    }
    assert_eq!(fault(""), "line 1: the key \"version\" is missing");
    assert!(try_parse("version = 0x1").is_ok());
    assert!(fault("version = 1\nversion = 1").starts_with("line 2: "));
    assert!(fault("version =").starts_with("line 1: "));
}

#[test]
fn entries_and_grants_have_a_bound() {
    let bans = |count: usize| "[[ban]]\nwho = [\"phone\"]\n".repeat(count);
    assert!(try_parse(&format!("version = 1\n{}", bans(MAX_ENTRIES))).is_ok());
    let over = fault(&format!("version = 1\n{}", bans(MAX_ENTRIES + 1)));
    assert!(
        over.ends_with("more than 4096 entries of one kind"),
        "{over}"
    );
    // 256 devices and as many actions is the bound; one more rule is past it.
    let devices: Vec<String> = (0..=255)
        .map(|n| format!("{:?}", id(n).to_string()))
        .collect();
    let actions: Vec<String> = (0..=255).map(|n| format!("\"a{n}\"")).collect();
    let (devices, actions) = (devices.join(","), actions.join(","));
    let full = format!("version = 1\n[[rule]]\nwho = [{devices}]\nallow = [{actions}]\n");
    assert!(try_parse(&full).is_ok());
    let over = fault(&format!(
        "{full}[[rule]]\nwho = [\"laptop\"]\nallow = [\"b\"]\n"
    ));
    assert!(
        over.starts_with("line 5: the rules grant more than 65536"),
        "{over}"
    );
}

#[test]
fn a_deeply_nested_file_is_an_error_and_no_crash() {
    for open in ["a = [", "a = {b = "] {
        let text = format!("version = 1\n{}", open.repeat(100_000));
        assert!(!fault(&text).is_empty());
    }
    let dotted = format!("version = 1\n{}x = 1", "a.".repeat(100_000));
    assert!(!fault(&dotted).is_empty());
}

#[test]
fn a_file_is_loaded_with_those_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for (name, text) in files() {
        write(name, &text);
    }
    write("policy.toml", WHOLE);
    let contacts = contacts();
    let surroundings = Surroundings {
        contacts: &contacts,
        own: Some(id(1)),
    };
    let LoadedPolicy { policy, files } = Policy::load(&path, &surroundings).unwrap();
    assert_eq!(policy, try_parse(WHOLE).unwrap());
    let names = ["policy.toml", "home.crt", "home.crl"].map(|name| folder.path().join(name));
    assert_eq!(files, names);
    let line = |path: &Path| {
        let error = Policy::load(path, &surroundings).unwrap_err();
        chain(&error).replace(folder.path().to_str().unwrap(), "DIR")
    };
    write("policy.toml", "version = 1\n[[rule]]\nwho = []\n");
    assert_eq!(
        line(&path),
        "the policy \"DIR/policy.toml\" is not in order: line 3, key \"who\": the list is empty"
    );
    write(
        "policy.toml",
        &format!("version = 1\n{}", "#".repeat(MAX_POLICY_FILE_LEN - 12)),
    );
    assert!(Policy::load(&path, &surroundings).is_ok());
    write(
        "policy.toml",
        &format!("version = 1\n{}", "#".repeat(MAX_POLICY_FILE_LEN - 11)),
    );
    assert_eq!(
        line(&path),
        "the policy \"DIR/policy.toml\" cannot be read: it is longer than 1048576 bytes"
    );
    std::fs::write(&path, [0xff]).unwrap();
    assert!(line(&path).ends_with("it is not UTF-8 text"));
    assert!(line(folder.path()).ends_with("it is not a regular file"));
    assert!(line(&folder.path().join("none")).contains("cannot be read: "));
}

#[cfg(unix)]
#[test]
fn files_that_everybody_may_change_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    files()
        .iter()
        .for_each(|(name, text)| std::fs::write(at(name), text).unwrap());
    std::fs::write(at("policy.toml"), WHOLE).unwrap();
    let contacts = contacts();
    let surroundings = Surroundings {
        contacts: &contacts,
        own: None,
    };
    let mode = |name: &str, bits: u32| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(bits)).unwrap();
    };
    let load = || Policy::load(at("policy.toml"), &surroundings).map_err(|error| chain(&error));
    for name in ["policy.toml", "home.crt", "home.crl"] {
        mode(name, 0o664);
        assert!(load().is_ok(), "{name}");
        mode(name, 0o646);
        let said = load().unwrap_err();
        let advice = format!("run: chmod o-w {}", at(name).display());
        assert!(said.ends_with(&advice), "{said}");
        mode(name, 0o644);
    }
}

#[test]
fn a_newer_revocation_list_takes_effect_when_the_file_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    files().iter().for_each(|(name, text)| write(name, text));
    write("policy.toml", WHOLE);
    let home = authority(10);
    let certificate = device(&home, &["admins"]);
    let shown = Presented::new(vec![vec![certificate.clone()]], Vec::new()).unwrap();
    let verdict = || {
        let surroundings = Surroundings {
            contacts: &contacts(),
            own: None,
        };
        let policy = Policy::load(&path, &surroundings).unwrap().policy;
        let credentials = policy.examine(&id(2), &shown, now());
        policy
            .decide(&credentials, &Action::new("chat"), now())
            .is_allowed()
    };
    assert!(verdict());
    let revocation = Revocation {
        serial: certificate.serial().clone(),
        since: now(),
    };
    let list = home
        .revocation_list(&[revocation], 2, (now(), DAY))
        .unwrap();
    write("home.crl", &list.to_pem());
    assert!(!verdict());
}

#[test]
fn the_examples_in_the_book_are_policies_and_pass_their_own_tests() {
    let book = include_str!("../../../../docs/policy.md");
    let blocks: Vec<_> = book.split("```toml\n").skip(1).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let text = block.split("```").next().unwrap();
        let policy = try_parse(text).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(!policy.tests().is_empty());
        assert_eq!(policy.run_tests(now()), []);
    }
}

#[test]
fn every_action_of_the_tools_is_in_the_book() {
    let book = include_str!("../../../../docs/policy.md");
    for known in dhtnet_identity::policy::permission::KNOWN_ACTIONS {
        assert!(
            book.contains(&format!("| `{}` |", known.name)),
            "{}",
            known.name
        );
    }
}
