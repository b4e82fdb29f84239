//! Keys, configuration and usage: what is wrong is named, and nothing half-starts.

use std::os::unix::fs::PermissionsExt;

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::Lab;
use dhtnet_tests::lab::skip::lab_or_skip;

use crate::pair::{assert_done, assert_failed, assert_words, ended, tools};

fn device(lab: &Lab) -> Device {
    Device::new(lab.host("a").unwrap(), &tools()).unwrap()
}

#[test]
fn an_unknown_key_in_the_configuration_is_named_with_its_file_and_line() {
    let name = "an_unknown_key_in_the_configuration_is_named_with_its_file_and_line";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let file = device.home().join("config.toml");
    std::fs::write(&file, "no-mdns = true\nbindd = \"[::]:7000\"\n").unwrap();
    let place = format!("{}:2", file.display());
    for words in [&["-l", "-a"][..], &[device.id()]] {
        let finished = ended(device.dnc().args(words));
        assert_failed(&finished, 2, &[&place, "bindd"]);
    }
}

#[test]
fn a_bad_value_in_the_configuration_is_named_with_its_file_and_line() {
    let name = "a_bad_value_in_the_configuration_is_named_with_its_file_and_line";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let file = lab.folder().join("other.toml");
    for (text, line, key) in [
        ("bind = \"here\"\n", 1, "bind"),
        ("\ntimeout = \"soon\"\n", 2, "timeout"),
        ("no-mdns = true\n\nbind = = 3\n", 3, ""),
    ] {
        std::fs::write(&file, text).unwrap();
        let place = format!("{}:{line}", file.display());
        let command = device.dnc().arg("-l").arg("-a").arg("-d").arg(&file);
        assert_failed(&ended(command), 2, &[&place, key]);
    }
}

#[test]
fn a_configuration_that_was_asked_for_and_is_missing_is_an_error() {
    let name = "a_configuration_that_was_asked_for_and_is_missing_is_an_error";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let command = device
        .dnc()
        .args(["-l", "-a", "-d", "/nonexistent/config.toml"]);
    let finished = ended(command);
    assert_failed(&finished, 2, &["/nonexistent/config.toml"]);
}

#[test]
fn a_key_that_others_can_read_is_exit_5_until_it_is_closed() {
    let name = "a_key_that_others_can_read_is_exit_5_until_it_is_closed";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let key = device.home().join("identity.pem");
    let set = |bits| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(bits)).unwrap();
    };
    let mode = std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "as crtmgr made it");
    set(0o644);
    for command in [
        device.dnc().args(["-l", "--allow", device.id()]),
        device.crtmgr().arg("id"),
    ] {
        let finished = ended(command);
        assert_failed(&finished, 5, &["identity.pem", "chmod 600"]);
    }
    set(0o600);
    assert_done(&ended(device.crtmgr().arg("id")));
}

#[test]
fn a_garbage_key_is_exit_5_and_not_replaced() {
    let Some(lab) = lab_or_skip("a_garbage_key_is_exit_5_and_not_replaced") else {
        return;
    };
    let device = device(&lab);
    let key = device.home().join("identity.pem");
    let whole = std::fs::read_to_string(&key).unwrap();
    let secret = whole.lines().nth(1).unwrap().to_owned();
    let cut = whole.replace(&secret, &secret[..secret.len() - 12]);
    for garbage in ["not a key", "", cut.as_str()] {
        std::fs::write(&key, garbage).unwrap();
        for command in [
            device.dnc().args(["-l", "--allow", device.id()]),
            device.crtmgr().arg("id"),
        ] {
            let finished = ended(command);
            assert_failed(&finished, 5, &["identity.pem"]);
            assert!(
                !finished.stderr.contains(&secret[..20]),
                "the key itself: {}",
                finished.stderr
            );
        }
        assert_eq!(std::fs::read_to_string(&key).unwrap(), garbage);
    }
}

#[test]
fn a_missing_identity_file_that_was_asked_for_is_not_an_empty_one() {
    let name = "a_missing_identity_file_that_was_asked_for_is_not_an_empty_one";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let command = device
        .dnc()
        .args(["-l", "-a", "--identity", "/nonexistent/key.pem"]);
    let finished = ended(command);
    assert!(
        matches!(finished.code(), Some(1 | 5)),
        "{:?}: {}",
        finished.code(),
        finished.stderr
    );
    assert_words(&finished.stderr, &["/nonexistent/key.pem"]);
}

#[test]
fn an_identity_is_never_overwritten() {
    let Some(lab) = lab_or_skip("an_identity_is_never_overwritten") else {
        return;
    };
    let device = device(&lab);
    let finished = ended(device.crtmgr().arg("init"));
    assert_ne!(finished.code(), Some(0));
    let id = ended(device.crtmgr().arg("id"));
    assert_eq!(id.text().trim(), device.id());
}

#[test]
fn openssl_reads_the_identity() {
    let Some(lab) = lab_or_skip("openssl_reads_the_identity") else {
        return;
    };
    let device = device(&lab);
    if dhtnet_tests::ssh::find("openssl").is_none() {
        dhtnet_tests::lab::skip::report("openssl_reads_the_identity", "openssl is not installed");
        return;
    }
    let key = device.home().join("identity.pem");
    let openssl = device
        .host()
        .command("openssl")
        .args(["pkey", "-noout", "-text", "-in"]);
    let finished = ended(openssl.arg(key));
    assert_done(&finished);
    assert_words(&finished.text(), &["ed25519"]);
}

#[test]
fn the_first_use_makes_an_identity_and_says_so_in_one_line() {
    let name = "the_first_use_makes_an_identity_and_says_so_in_one_line";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let fresh = lab.folder().join("fresh");
    let command = device
        .dnc()
        .env("DHTNET_HOME", &fresh)
        .args(["-w", "1", device.id()]);
    let finished = ended(command);
    assert_eq!(finished.code(), Some(3), "{}", finished.stderr);
    let id = device.crtmgr().env("DHTNET_HOME", &fresh).arg("id");
    let id = ended(id);
    let id = id.text().trim().to_owned();
    let named: Vec<_> = finished
        .stderr
        .lines()
        .filter(|line| line.contains(&id))
        .collect();
    assert_eq!(named.len(), 1, "{}", finished.stderr);
    let mode = std::fs::metadata(&fresh).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn wrong_usage_is_exit_2_with_nothing_on_standard_output() {
    let name = "wrong_usage_is_exit_2_with_nothing_on_standard_output";
    let Some(lab) = lab_or_skip(name) else { return };
    let device = device(&lab);
    let id = device.id().to_owned();
    let wrong: [&[&str]; 7] = [
        &[],
        &["--no-such-flag"],
        &["-l", &id],
        &["-l", "-a", "--allow-target", "nonsense"],
        &[&id, "127.0.0.1:notaport"],
        &["-w", "0", &id],
        &["-N", "-L", "1:2:3:4:5:6", &id],
    ];
    for words in wrong {
        let finished = ended(device.dnc().args(words));
        assert_eq!(finished.code(), Some(2), "{words:?}: {}", finished.stderr);
        assert_eq!(finished.text(), "", "{words:?}");
        assert!(!finished.stderr.trim().is_empty(), "{words:?}");
    }
}
