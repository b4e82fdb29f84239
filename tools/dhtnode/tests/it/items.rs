//! put and get of items (BEP 44).

use crate::place::{Net, Place};

#[test]
fn what_one_process_puts_another_gets() {
    let net = Net::of(5);
    let key = net.run(&["put", "hello world"]).text();
    // The SHA-1 of "11:hello world".
    assert_eq!(key, "6d33adc2b6b2c14c3036feefb7fedbca1a880527\n");
    let other = Place::new();
    let got = other.run(&net.words(&["get", key.trim()])).text();
    assert_eq!(got, "hello world\n");
    let json = net.run(&["get", key.trim(), "--json"]).json();
    assert_eq!(json[0]["kind"], "immutable");
    assert_eq!(
        (&json[0]["value"], &json[0]["encoding"]),
        (&"hello world".into(), &"utf8".into())
    );
    assert_eq!(
        net.run(&["get", key.trim(), "--all"]).text(),
        "hello world\n"
    );
}

#[test]
fn bytes_come_back_as_they_were() {
    let net = Net::of(3);
    let value: Vec<u8> = (0..=255).collect();
    let stored = net.run_with(&["put", "-", "--json"], &value).json();
    assert!(stored[0]["acknowledged"].as_u64().unwrap() > 0);
    let key = stored[0]["target"].as_str().unwrap();
    let got = net.run(&["get", key]);
    assert_eq!((got.code, got.stdout), (Some(0), value));
    let json = net.run(&["get", key, "--json"]).json();
    assert_eq!(json[0]["encoding"], "hex");
    let raw = net.run(&["put", "--raw", "li1ei2ee"]).text();
    let json = net.run(&["get", raw.trim(), "--json"]).json();
    assert_eq!(
        (&json[0]["value"], &json[0]["bencoded"]),
        (&"li1ei2ee".into(), &true.into())
    );
}

#[test]
fn a_signed_item_is_replaced_by_the_next_one_and_guarded_by_cas() {
    let net = Net::of(4);
    let public = net.run(&["genkey", "k"]).text();
    let put = |value, more: &[&str]| {
        net.run(&[&["put", value, "--key", "k", "--salt", "s"], more].concat())
    };
    let key = put("first", &[]).text();
    assert_eq!(put("second", &[]).text(), key);
    let get = |more: &[&str]| net.run(&[&["get", key.trim(), "--salt", "s"], more].concat());
    assert_eq!(get(&["--seq"]).text(), "2 second\n");
    let of = net.run(&["get", "--of", public.trim(), "--salt", "s"]);
    assert_eq!(of.text(), "second\n");

    let lower = put("third", &["--seq", "1"]).failed(1);
    assert!(
        lower.contains("302") && lower.contains("a higher --seq"),
        "{lower}"
    );
    let mismatch = put("third", &["--seq", "9", "--cas", "1"]).failed(1);
    assert!(
        mismatch.contains("301") && mismatch.contains("--cas"),
        "{mismatch}"
    );
    put("third", &["--seq", "9", "--cas", "2"]).text();
    let json = get(&["--json"]).json();
    assert_eq!(
        (&json[0]["value"], &json[0]["seq"]),
        (&"third".into(), &9.into())
    );
    assert_eq!(
        (&json[0]["kind"], &json[0]["salt"]),
        (&"mutable".into(), &"s".into())
    );
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let net = Net::of(2);
    let line = net.run(&["get", "nobody put this"]).failed(3);
    assert!(line.contains("nothing was found under"), "{line}");
    let alone = Place::new();
    let line = alone
        .run(&["-w", "2", "--network", "x", "get", "k"])
        .failed(3);
    assert!(line.contains("--bootstrap HOST:PORT"), "{line}");
}

#[test]
fn one_node_alone_can_be_asked() {
    let net = Net::of(3);
    let alone = Place::new();
    let remote = ["--network", "it", "--remote", &net.addresses[1]];
    let key = alone.run(&[&remote[..], &["put", "here"]].concat()).text();
    assert_eq!(
        alone
            .run(&[&remote[..], &["get", key.trim()]].concat())
            .text(),
        "here\n"
    );
}

#[test]
fn a_value_that_is_too_long_is_refused_before_it_is_sent() {
    let net = Net::of(2);
    let line = net.run(&["put", &"x".repeat(1001)]).failed(2);
    assert!(
        line.contains("1000 bytes") && line.contains("put --at"),
        "{line}"
    );
}
