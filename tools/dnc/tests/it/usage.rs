//! Wrong usage and configuration: exit code 2, one line, and nothing is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::place::{Device, Running, some_id};

#[test]
fn a_listener_without_policy_says_how_to_give_one() {
    Device::new().run(&["-l"]).assert_failed(
        2,
        "dnc: nobody may connect; name who may with --allow PEER, --allow-ca FILE or policy.toml, or let anyone in with -a\n",
    );
}

#[test]
fn a_mistyped_peer_is_named_for_what_it_is() {
    let b = Device::new();
    let id = some_id();
    let swapped = format!(
        "{}{}{}",
        &id[..10],
        if &id[10..11] == "a" { "b" } else { "a" },
        &id[11..]
    );
    for (peer, fault) in [
        (swapped.as_str(), "checksum"),
        (&id[..55], "55"),
        ("Home!", "contact name"),
        (
            "nobody",
            "no contact is called nobody; add it with: crtmgr peer add nobody ID",
        ),
    ] {
        let ended = b.run(&[peer]);
        assert_eq!(
            (ended.code, ended.stdout.len()),
            (Some(2), 0),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn the_own_id_is_no_peer() {
    let b = Device::new();
    b.run(&[b.id()]).assert_failed(
        2,
        &format!(
            "dnc: cannot connect to {}: the id is this device's own; name another peer\n",
            b.short()
        ),
    );
}

#[test]
fn a_configuration_mistake_names_file_line_and_key() {
    let b = Device::new();
    let file = b.path("config.toml");
    let name = file.display();
    for (text, expected) in [
        (
            "no-mdns = true\nbootstrp = 'none'",
            format!("dnc: {name}:2: unknown key \"bootstrp\"; did you mean \"bootstrap\"?\n"),
        ),
        (
            "bind = 'x'",
            format!("dnc: {name}:1: bind: invalid value \"x\": invalid socket address syntax\n"),
        ),
        (
            "[dnc]\nhalf-close = 'x'",
            format!("dnc: {name}:2: half-close: invalid value \"x\": value was not a boolean\n"),
        ),
    ] {
        fs::write(&file, text).unwrap();
        b.run(&["-la"]).assert_failed(2, &expected);
    }
}

#[test]
fn a_bad_value_in_the_environment_names_its_variable() {
    let mut command = Device::new().command(&["-la"]);
    command.env("DHTNET_TIMEOUT", "soon");
    Running::start(&mut command).end().assert_failed(
        2,
        "dnc: $DHTNET_TIMEOUT: invalid value 'soon' for '--timeout <SECS>': not a number of \
         seconds; see dnc --help\n",
    );
}

#[test]
fn a_damaged_key_is_exit_code_5() {
    let b = Device::new();
    fs::write(b.path("identity.pem"), "-----BEGIN NOTHING-----").unwrap();
    fs::set_permissions(b.path("identity.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let ended = b.run(&["-la"]);
    assert_eq!(
        (ended.code, ended.stdout.len()),
        (Some(5), 0),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("dnc: cannot use the identity: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn help_version_completions_and_manual_go_to_stdout() {
    for (words, part) in [
        (&["--help"][..], "DHTNET_NO_MDNS"),
        (&["-V"], "dnc 0."),
        (&["completions", "zsh"], "#compdef dnc"),
        (&["man"], ".TH dnc 1"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnc"));
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let ended = Running::start(&mut command).end();
        ended.assert_done();
        assert!(ended.text().contains(part), "{words:?}: {}", ended.text());
    }
}
