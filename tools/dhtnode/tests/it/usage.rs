//! What is wrong on the command line, and what needs no network.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::place::Place;

#[test]
fn mistakes_are_one_line_and_exit_code_2() {
    let place = Place::new();
    for (words, part) in [
        (&["frobnicate"][..], "see dhtnode --help"),
        (&["get"], "KEY"),
        (&["get", ""], "an empty text is no key"),
        (&["ping", "nowhere"], "not HOST:PORT"),
        (&["put", "x", "--salt", "s"], "--key"),
        (&["put", "x", "--seq", "1"], "--seq needs --key"),
        (&["run", "--cluster", "0"], "--cluster"),
        (
            &["run", "--remote", "127.0.0.1:1"],
            "--remote does not go with run",
        ),
        (
            &["doctor", "--turn", "turn:ada:secret@127.0.0.1:1"],
            "the password does not belong into the URI",
        ),
        (
            &["doctor", "--turn", "turn:ada@127.0.0.1:1"],
            "the password of the user is missing",
        ),
        (&["doctor", "--stun", "nowhere"], "not HOST:PORT"),
        (&["--network", "a/b", "stats"], "a network's name is"),
        (
            &["--network", "a", "-b", "mainline", "stats"],
            "know nothing of the private network",
        ),
        (
            &["-b", "none", "-b", "127.0.0.1:1", "stats"],
            "--bootstrap none does not go with",
        ),
        (&["-b", "here", "stats"], "\"mainline\" or \"none\""),
        (
            &["--blocklist", "missing", "stats"],
            "cannot use the blocklist missing",
        ),
    ] {
        let line = place.run(words).failed(2);
        assert!(
            line.starts_with("dhtnode: ") && line.contains(part),
            "{words:?}: {line}"
        );
    }
}

#[test]
fn a_wrong_key_or_value_in_the_configuration_stops_everything() {
    let place = Place::new();
    fs::create_dir(place.path("home")).unwrap();
    for (text, part) in [
        (
            "[dhtnode]\nread-onyl = true\n",
            "config.toml:2: unknown key \"read-onyl\"; did you mean",
        ),
        (
            "network = 'a b'\n",
            "config.toml:1: network: invalid value \"a b\"",
        ),
        (
            "bootstrap = ['a:1', 'b']\n",
            "config.toml:1: bootstrap: invalid value \"b\"",
        ),
    ] {
        fs::write(place.path("home/config.toml"), text).unwrap();
        let line = place.run(&["sign", "x", "--key", "k"]).failed(2);
        assert!(line.contains(part), "{line}");
    }
    fs::write(
        place.path("home/config.toml"),
        "[dhtnode]\nread-only = true\n",
    )
    .unwrap();
    assert!(place.run(&["genkey", "k"]).code == Some(0));
}

#[test]
fn help_version_completions_and_manual_go_to_stdout() {
    let place = Place::new();
    for (words, part) in [
        (&["--help"][..], "DHTNET_BOOTSTRAP"),
        (&["put", "--help"], "--encrypt-to"),
        (&["-V"], "dhtnode 0."),
        (&["completions", "bash"], "_dhtnode"),
        (&["man"], ".TH dhtnode 1"),
    ] {
        let ended = place.run(words);
        assert_eq!(ended.stderr, "");
        let text = ended.text();
        assert!(text.contains(part), "{words:?}: {text}");
    }
    assert!(!place.path("home").exists());
}

#[test]
fn a_key_is_made_once_and_signs() {
    let place = Place::new();
    let public = place.run(&["genkey", "notes.pem"]).text();
    assert_eq!(
        fs::read_to_string(place.path("notes.pem.pub")).unwrap(),
        public
    );
    let mode = fs::metadata(place.path("notes.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = place.run(&["genkey", "notes.pem"]).failed(5);
    assert!(
        again.ends_with("is not overwritten; choose another name"),
        "{again}"
    );

    let signed = place
        .run(&["sign", "two words", "--key", "notes.pem", "--json"])
        .json();
    assert_eq!(signed[0]["k"], public.trim());
    assert_eq!(
        (&signed[0]["v"], &signed[0]["seq"]),
        (&"9:two words".into(), &1.into())
    );
    let from_stdin = place.run_with(&["sign", "-", "--key", "notes.pem", "--json"], b"two words");
    assert_eq!(from_stdin.json(), signed);
    let raw = place.run(&[
        "sign",
        "9:two words",
        "--raw",
        "--key",
        "notes.pem",
        "--json",
    ]);
    assert_eq!(raw.json(), signed);
    let wrong = place
        .run(&["sign", "9:two", "--raw", "--key", "notes.pem"])
        .failed(2);
    assert!(wrong.contains("not bencoded"), "{wrong}");
    let missing = place.run(&["sign", "x", "--key", "none.pem"]).failed(5);
    assert!(
        missing.ends_with("make it with: dhtnode genkey none.pem"),
        "{missing}"
    );
}
