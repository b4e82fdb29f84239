//! Who is not let in, who is not there, and what is not an id: one line and its exit code.

use std::time::{Duration, Instant};

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::Families;

use crate::pair::{LIMIT, PORT, Pair, assert_done, assert_failed, assert_words, pair, tools};

/// A device on the same host as `a` that nobody knows.
fn stranger(pair: &Pair) -> Device {
    Device::new(pair.a.host().clone(), &tools()).unwrap()
}

fn is_waiting(listener: &mut dhtnet_tests::lab::Process) -> bool {
    listener.poll_exit().unwrap().is_none() && listener.stdout_len() == 0
}

#[test]
fn a_stranger_is_refused_and_the_listener_waits_on_for_its_peer() {
    let name = "a_stranger_is_refused_and_the_listener_waits_on_for_its_peer";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let stranger = stranger(&pair);
    let mut server = pair.b.listen(pair.listener()).unwrap();
    let knock = |words: &[&str]| {
        let client = stranger
            .dnc()
            .args(["--no-mdns", &pair.address()])
            .args(words);
        client
            .stdin_bytes("secret")
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap()
    };
    assert_failed(&knock(&[]), 4, &["refused|policy|not allowed"]);
    assert_failed(
        &knock(&["127.0.0.1:22"]),
        4,
        &["refused|policy|not allowed"],
    );
    assert_failed(&knock(&["-z"]), 4, &["refused|policy|not allowed"]);
    assert!(is_waiting(&mut server), "{}", server.stderr());
    assert_done(
        &pair
            .client()
            .stdin_bytes("hello")
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap(),
    );
    assert_eq!(server.finish(LIMIT).unwrap().text(), "hello");
}

#[test]
fn a_listener_that_names_nobody_lets_nobody_in() {
    let name = "a_listener_that_names_nobody_lets_nobody_in";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let bind = format!("[::]:{PORT}");
    let command = pair
        .b
        .dnc()
        .args(["-l", "--no-mdns", "--bind", &bind])
        .start()
        .unwrap();
    // It may refuse to start, or start and refuse: both are default deny.
    let mut server = command;
    let finished = pair
        .client()
        .args(["-w", "5"])
        .stdin_bytes("x")
        .start()
        .unwrap();
    let finished = finished.finish(LIMIT).unwrap();
    match server.poll_exit().unwrap() {
        None => assert_failed(&finished, 4, &["refused|policy|not allowed"]),
        Some(status) => {
            assert_eq!(status.code(), Some(2), "{}", server.stderr());
            assert_failed(&finished, 3, &[]);
        }
    }
    assert_eq!(server.stdout_len(), 0);
}

#[test]
fn anyone_is_let_in_when_asked_for_with_a_warning() {
    let name = "anyone_is_let_in_when_asked_for_with_a_warning";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let stranger = stranger(&pair);
    let bind = format!("[::]:{PORT}");
    let server = pair.b.listen(
        pair.b
            .dnc()
            .args(["-l", "-a", "--no-mdns", "--bind", &bind]),
    );
    let server = server.unwrap();
    let client = stranger
        .dnc()
        .args(["--no-mdns", &pair.address()])
        .stdin_bytes("hello");
    assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
    let finished = server.finish(LIMIT).unwrap();
    assert_eq!(finished.text(), "hello");
    assert_words(&finished.stderr, &["anyone|anybody"]);
}

#[test]
fn a_mistyped_id_is_a_usage_error_that_names_the_fault() {
    let name = "a_mistyped_id_is_a_usage_error_that_names_the_fault";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let id = pair.b.id();
    let other = if id.starts_with('a') { "b" } else { "a" };
    let mistyped = [
        (format!("{other}{}", &id[1..]), "checksum|typing|mistyped"),
        (id[1..].to_owned(), "length|characters|long|short"),
        (
            format!("{}1{}", &id[..10], &id[11..]),
            "'1'|character|alphabet",
        ),
        (format!("{id}@11.0.0.2"), "address|port"),
        (format!("{id}@11.0.0.2:99999"), "address|port"),
    ];
    for (peer, word) in &mistyped {
        let finished = pair
            .a
            .dnc()
            .arg(peer)
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap();
        assert_failed(&finished, 2, &[word]);
    }
}

#[test]
fn an_unknown_contact_is_a_usage_error() {
    let Some(pair) = pair("an_unknown_contact_is_a_usage_error", Families::V4) else {
        return;
    };
    let finished = pair
        .a
        .dnc()
        .arg("nobody")
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_failed(&finished, 2, &["nobody"]);
}

#[test]
fn a_peer_that_is_not_there_is_exit_3_within_the_time_limit() {
    let name = "a_peer_that_is_not_there_is_exit_3_within_the_time_limit";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let (id, hint) = (pair.b.id().to_owned(), pair.address());
    // By mDNS alone; at an address with no listener; at an address with no host.
    let nowhere = format!("{id}@11.0.9.9:{PORT}");
    for words in [
        vec![id.as_str()],
        vec!["--no-mdns", &hint],
        vec!["--no-mdns", &nowhere],
    ] {
        let started = Instant::now();
        let client = pair.a.dnc().args(["-w", "2"]).args(&words).stdin_bytes("x");
        let finished = client.start().unwrap().finish(LIMIT).unwrap();
        assert_failed(
            &finished,
            3,
            &["not found|not reach|no answer|unreachable|not be reached|timed out"],
        );
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{:?}",
            started.elapsed()
        );
    }
}

#[test]
fn an_id_without_any_way_to_find_it_fails_within_the_time_limit() {
    let name = "an_id_without_any_way_to_find_it_fails_within_the_time_limit";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let client = pair.a.dnc().args(["--no-mdns", "-w", "2", pair.b.id()]);
    let finished = client
        .start()
        .unwrap()
        .finish(Duration::from_secs(10))
        .unwrap();
    assert_failed(&finished, 3, &[]);
}

#[test]
fn the_wrong_device_at_the_right_address_is_never_taken_for_the_peer() {
    let name = "the_wrong_device_at_the_right_address_is_never_taken_for_the_peer";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let other = stranger(&pair);
    let mut server = pair.b.listen(pair.listener()).unwrap();
    let peer = format!("{}@{}:{PORT}", other.id(), pair.b.host().ipv4());
    let client = pair
        .a
        .dnc()
        .args(["--no-mdns", "-w", "2", &peer])
        .stdin_bytes("secret");
    let finished = client.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 3, &[]);
    assert!(is_waiting(&mut server), "{}", server.stderr());
}

#[test]
fn connecting_to_oneself_is_answered_at_once() {
    let Some(pair) = pair("connecting_to_oneself_is_answered_at_once", Families::Both) else {
        return;
    };
    let client = pair.a.dnc().arg(pair.a.id());
    let finished = client
        .start()
        .unwrap()
        .finish(Duration::from_secs(10))
        .unwrap();
    assert_ne!(finished.code(), Some(0));
    assert_eq!(
        finished.stderr.trim().lines().count(),
        1,
        "{}",
        finished.stderr
    );
}
