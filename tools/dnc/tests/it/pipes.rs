//! stdin and stdout.

use std::io::Read;

use crate::place::{Device, Running, late_answerer, noise};

#[test]
fn two_pipes_carry_bytes_both_ways_and_end_well() {
    let (a, b) = (Device::new(), Device::new());
    let (up, down) = (noise(3_000_001), noise(2_000_003));
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    listener.feed(down.clone());
    let caller = b.run_with(&[&peer], &up);
    let listener = listener.end();
    caller.assert_done();
    listener.assert_done();
    assert!(caller.stdout == down && listener.stdout == up);
}

#[test]
fn the_end_of_stdin_ends_one_direction_only() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["-a"]);
    assert_eq!(
        listener.next_line(),
        "dnc: warning: anyone may connect (-a)"
    );
    let mut caller = b.start(&[&peer]);
    caller.write(b"question");
    caller.close_stdin();
    assert_eq!(listener.read(8), b"question");
    // Only now is there an answer.
    listener.write(b"answer");
    assert_eq!(caller.read(6), b"answer");
    listener.write(b", and more");
    listener.close_stdin();
    let caller = caller.end();
    caller.assert_done();
    assert_eq!(caller.text(), ", and more");
    listener.end().assert_done();
}

#[test]
fn a_server_that_answers_after_the_end_is_heard_to_its_end() {
    let (a, b) = (Device::new(), Device::new());
    let target = late_answerer(300_000).to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let ended = b.run_with(&[&peer, &target], b"quite");
    ended.assert_done();
    assert!(ended.stdout == b"QUITE".repeat(300_000));
    let (host, port) = target.split_once(':').unwrap();
    let ended = b.run_with(&["-i", host, "-P", port, &peer], b"");
    ended.assert_done();
    assert_eq!(ended.text(), "");
}

#[test]
fn the_reader_of_a_listener_sees_the_end_before_it_answers() {
    let (a, b) = (Device::new(), Device::new());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = a.command(&["-l", "--allow", b.id()]);
    let mut listener = Running::start(command.stdout(writer));
    drop(command); // Holds the writer, too.
    let line = listener.next_line();
    let mut caller = b.start(&[line.strip_prefix("dnc ").unwrap()]);
    caller.write(b"q");
    caller.close_stdin();
    let mut question = String::new();
    reader.read_to_string(&mut question).unwrap();
    listener.feed(question.repeat(100_000).into_bytes());
    let caller = caller.end();
    caller.assert_done();
    assert!(caller.stdout == b"q".repeat(100_000));
    listener.end().assert_done();
}

#[test]
fn a_slow_reader_gets_everything_though_the_sender_is_gone() {
    let (a, b) = (Device::new(), Device::new());
    // A pipe that nobody reads yet.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = a.command(&["-l", "--allow", b.id()]);
    let mut listener = Running::start(command.stdout(writer));
    drop(command); // Holds the writer, too.
    listener.close_stdin();
    let command = listener.next_line();
    let bytes = noise(2_500_000);
    let caller = b.run_with(&[command.strip_prefix("dnc ").unwrap()], &bytes);
    caller.assert_done();
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap();
    assert!(received == bytes);
    listener.end().assert_done();
}

#[test]
fn without_half_close_the_end_of_stdin_ends_all() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    // The listener's stdin stays open; its peer does not wait for it.
    let caller = b.run_with(&["--no-half-close", &peer], b"all of it");
    caller.assert_done();
    assert_eq!(listener.read(9), b"all of it");
    listener.end().assert_done();
}

#[test]
fn with_k_one_peer_comes_after_the_other() {
    let (a, b, c) = (Device::new(), Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["-k", "--allow", b.id(), "--allow", c.id()]);
    listener.close_stdin();
    for (device, text) in [(&b, "first"), (&c, "second"), (&b, "third")] {
        device.run_with(&[&peer], text.as_bytes()).assert_done();
        assert_eq!(listener.read(text.len()), text.as_bytes());
    }
}

#[test]
fn a_second_peer_is_told_that_the_listener_is_busy() {
    let (a, b, c) = (Device::new(), Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id(), "--allow", c.id()]);
    let mut first = b.start(&[&peer]);
    first.write(b"x");
    listener.read(1);
    c.run(&[&peer]).assert_failed(
        1,
        &format!(
            "dnc: {} is busy: it is joined to another peer; try again later\n",
            a.short()
        ),
    );
    first.close_stdin();
    listener.close_stdin();
    first.end().assert_done();
    listener.end().assert_done();
}

#[test]
fn contacts_are_peers_by_name_and_v_tells_the_path() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    listener.close_stdin();
    let (id, hint) = peer.split_once('@').unwrap();
    let book = format!("[[peer]]\nname = \"home\"\nid = \"{id}\"\nhints = [\"{hint}\"]\n");
    std::fs::write(b.path("contacts.toml"), book).unwrap();
    let ended = b.run(&["-v", "home"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = format!(
        "dnc: connected to home ({}) via loopback {hint} in ",
        a.short()
    );
    assert!(ended.stderr.starts_with(&expected), "{}", ended.stderr);
    listener.end().assert_done();
}
