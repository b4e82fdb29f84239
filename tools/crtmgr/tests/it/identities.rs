//! `crtmgr init --passphrase`, `id --qr`, `export` and `import`.

use std::fs;

use qrcode::{Color, QrCode};

use crate::{Place, is_there, mode, openssl};

const WORD: &str = "correct horse battery";

#[test]
fn a_key_under_a_passphrase_is_opened_by_file_by_variable_and_by_openssl() {
    if !is_there(
        "openssl",
        "a_key_under_a_passphrase_is_opened_by_file_by_variable_and_by_openssl",
    ) {
        return;
    }
    let place = Place::new();
    let word = place.write_private("word", &format!("{WORD}\n"));
    let id = place.good(&["init", "--passphrase", "--passphrase-file", &word]);
    let key = place.home().join("identity.pem");
    let pem = fs::read_to_string(&key).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert_eq!(mode(&key), 0o600);
    assert_eq!(place.good(&["id", "--passphrase-file", &word]), id);
    let by_variable = |value: &str| {
        let mut command = place.command(&["id"]);
        command.env("DHTNET_PASSPHRASE", value);
        place.ended(command)
    };
    assert_eq!(by_variable(WORD).stdout.trim(), id);
    let wrong = by_variable("wrong");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(5), ""));
    assert_eq!(
        wrong.stderr,
        "crtmgr: cannot use the identity: \"TMP/home/identity.pem\" holds no device key: the \
         passphrase does not open the key\n"
    );
    let key = key.to_str().unwrap();
    let (good, said) = openssl(&[
        "pkey",
        "-in",
        key,
        "-passin",
        &format!("file:{word}"),
        "-noout",
    ]);
    assert!(good, "{said}");
    assert!(!openssl(&["pkey", "-in", key, "-passin", "pass:wrong", "-noout"]).0);
}

#[test]
fn a_passphrase_file_that_others_may_read_is_refused_and_nothing_is_made() {
    let place = Place::new();
    let word = place.write("word", WORD);
    fs::set_permissions(&word, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let line = place.bad(5, &["init", "--passphrase", "--passphrase-file", &word]);
    assert!(
        line.contains("other users may read it (mode 0644); run: chmod 600"),
        "{line}"
    );
    assert!(!line.contains(WORD));
    assert!(!place.home().join("identity.pem").exists());
}

#[test]
fn a_copy_is_the_same_device_and_nothing_is_overwritten() {
    let (place, other) = (Place::new(), Place::new());
    let id = place.good(&["init"]);
    let copy = place.path("copy.pem");
    place.good(&["export", "-o", &copy]);
    assert_eq!(mode(&copy), 0o600);
    let line = place.bad(5, &["export", "-o", &copy]);
    assert!(
        line.contains("is there already and is not overwritten"),
        "{line}"
    );
    assert_eq!(other.good(&["import", &copy]), id);
    assert_eq!(other.good(&["id"]), id);
    let line = other.bad(5, &["import", &copy]);
    assert!(
        line.contains("is there already and is not overwritten"),
        "{line}"
    );
    let third = Place::new();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(third.bad(5, &["import", &copy]).contains("(mode 0644)"));
    assert!(!third.home().join("identity.pem").exists());
}

#[test]
fn an_imported_key_stays_under_its_passphrase() {
    let (place, other) = (Place::new(), Place::new());
    let word = place.write_private("word", WORD);
    let id = place.good(&["init"]);
    let copy = place.path("copy.pem");
    place.good(&[
        "export",
        "-o",
        &copy,
        "--passphrase",
        "--passphrase-file",
        &word,
    ]);
    assert_eq!(
        other.good(&["import", &copy, "--passphrase-file", &word]),
        id
    );
    let pem = fs::read_to_string(other.home().join("identity.pem")).unwrap();
    assert!(pem.contains("ENCRYPTED PRIVATE KEY"));
    let shown = other.json(&["show", &copy, "--passphrase-file", &word]);
    assert_eq!(
        shown,
        serde_json::json!([{ "kind": "key", "id": id, "passphrase": true }])
    );
}

#[test]
fn the_secret_key_is_on_no_stream() {
    let place = Place::new();
    place.good(&["init", "--name", "me"]);
    place.good(&["ca", "init"]);
    let secret = |path: &str| {
        let pem = fs::read_to_string(place.home().join(path)).unwrap();
        pem.lines().nth(1).unwrap().to_owned()
    };
    let secrets = [secret("identity.pem"), secret("ca/ca.key")];
    let copy = place.path("copy");
    for words in [
        &["id"][..],
        &["show", "home/identity.pem"],
        &["export", "-o", &copy],
        &["export", "--request", "me"],
        &["ca", "sign", "me"],
        &["ca", "list"],
        &["grant", "me", "chat", "--until", "1h"],
    ] {
        for json in [&[][..], &["--json"]] {
            let _ = fs::remove_file(&copy);
            let ended = place.run(&[words, json].concat());
            assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
            for secret in &secrets {
                assert!(
                    !ended.stdout.contains(secret) && !ended.stderr.contains(secret),
                    "{words:?}"
                );
            }
        }
    }
}

#[test]
fn the_qr_code_holds_the_id() {
    let place = Place::new();
    let id = place.good(&["id"]);
    let printed = place.good(&["id", "--qr"]);
    let (first, drawn) = printed.split_once('\n').unwrap();
    assert_eq!(first, id);
    // Lit is light; each character is two modules, one above the other.
    let rows: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
    let is_dark = |x: usize, y: usize| match (rows[y / 2][x], y % 2) {
        ('█', _) | ('▀', 0) | ('▄', 1) => false,
        (' ' | '▀' | '▄', _) => true,
        (other, _) => panic!("{other:?} in a code"),
    };
    let code = QrCode::new(&id).unwrap();
    let (width, quiet) = (code.width(), 4); // ISO/IEC 18004: a quiet zone of four modules.
    for (index, color) in code.to_colors().iter().enumerate() {
        let (x, y) = (index % width + quiet, index / width + quiet);
        assert_eq!(is_dark(x, y), *color == Color::Dark, "module {x}, {y}");
    }
    assert!((0..width + 2 * quiet).all(|x| !is_dark(x, 0) && !is_dark(x, 3)));
}
