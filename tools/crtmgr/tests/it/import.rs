//! `crtmgr import` of certificates and capabilities.

use std::fs;

use crate::{Place, mode};

/// A CA with its home, and a device of another home.
fn places() -> (Place, Place, String) {
    let (authority, device) = (Place::new(), Place::new());
    authority.good(&["ca", "init", "--name", "Home"]);
    let id = device.good(&["id"]);
    (authority, device, id)
}

fn signed(authority: &Place, id: &str, file: &str, days: &str) -> String {
    let words = ["ca", "sign", id, "--name", "laptop", "--days", days];
    let pem = authority.good(&words);
    authority.write(file, &format!("{pem}\n"))
}

#[test]
fn a_certificate_becomes_that_of_the_home_and_a_later_one_takes_its_place() {
    let (authority, device, id) = places();
    let file = device.home().join("device.crt");
    let [brief, long] =
        [("brief.crt", "10"), ("long.crt", "20")].map(|(n, d)| signed(&authority, &id, n, d));
    assert_eq!(
        device.good(&["import", &brief]).replace("TMP", ""),
        file.display().to_string()
    );
    assert_eq!(mode(file.to_str().unwrap()), 0o644);
    device.good(&["import", &brief]);
    device.good(&["import", &long]);
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(kept, fs::read_to_string(&long).unwrap());
    let refused = device.run(&["import", &brief]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("is there already and ends no earlier"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), kept);
}

#[test]
fn the_certificate_of_another_device_is_exit_5() {
    let (authority, device, _) = places();
    let other = Place::new().good(&["id"]);
    let file = signed(&authority, &other, "other.crt", "10");
    let ended = device.run(&["import", &file]);
    assert_eq!(ended.code, Some(5));
    assert!(
        ended.stderr.contains("is not for this device"),
        "{}",
        ended.stderr
    );
    assert!(!device.home().join("device.crt").exists());
}

#[test]
fn a_capability_is_kept_whether_it_is_a_word_or_a_file() {
    let (issuer, device, id) = places();
    issuer.good(&["id"]);
    let grant = |until: &str| issuer.good(&["grant", &id, "dnc.pipe", "--until", until]);
    let (one, two) = (grant("1h"), grant("2h"));
    let kept = device.good(&["import", &one]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), format!("{one}\n"));
    assert_eq!(mode(&kept), 0o600);
    assert_eq!(device.good(&["import", &one]), kept, "twice is once");
    let file = device.write("two.cap", &two);
    device.good(&["import", &file]);
    let folder = device.home().join("capabilities");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

    let stranger = Place::new();
    stranger.good(&["id"]);
    let line = stranger.bad(5, &["import", &one]);
    assert!(line.contains("is not for this device"), "{line}");
}

#[test]
fn what_is_nothing_of_this_is_exit_5() {
    let place = Place::new();
    let file = place.write("note.txt", "hello");
    let line = place.bad(5, &["import", &file]);
    assert!(
        line.contains("it holds no key, certificate or capability"),
        "{line}"
    );
}
