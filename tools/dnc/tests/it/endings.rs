//! Transfers that do not end well: one clear line on each side, and never a hang.

use std::process::Stdio;

use rustix::process::Signal;

use crate::place::{Device, Running, full_disk, noise};

#[test]
fn a_full_disk_is_told_on_both_sides() {
    let (a, b) = (Device::new(), Device::new());
    let listener = Running::start(a.command(&["-l", "--allow", b.id()]).stdout(full_disk()));
    let command = listener.next_line();
    let peer = command.strip_prefix("dnc ").unwrap();
    let caller = b.run_with(&[peer], &noise(1_000_000));
    caller.assert_failed(
        1,
        &format!(
            "dnc: {} ended the transfer early: its output could not be written there; the data \
             is incomplete; see the messages there\n",
            a.short()
        ),
    );
    listener.end().assert_failed(
        1,
        &format!(
            "dnc: cannot write to stdout: No space left on device (os error 28); {} was told \
             that the data did not arrive\n",
            b.short()
        ),
    );
}

#[test]
fn a_reader_that_had_enough_is_told_on_both_sides() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut caller = Running::start(b.command(&[&peer]).stdout(writer));
    caller.close_stdin();
    listener.feed(noise(5_000_000));
    caller.end().assert_failed(
        1,
        &format!(
            "dnc: cannot write to stdout: Broken pipe (os error 32); {} was told that the data \
             did not arrive\n",
            a.short()
        ),
    );
    let listener = listener.end();
    assert!(
        listener
            .stderr
            .contains("its output could not be written there"),
        "{listener:?}"
    );
    assert_eq!(listener.code, Some(1));
}

#[test]
fn an_input_that_cannot_be_read_is_told_on_both_sides() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    listener.close_stdin();
    let directory = std::fs::File::open("/").unwrap();
    let caller = Running::start(b.command(&[&peer]).stdin(Stdio::from(directory))).end();
    caller.assert_failed(
        1,
        &format!(
            "dnc: cannot read stdin: Is a directory (os error 21); {} was told that the data is \
             incomplete\n",
            a.short()
        ),
    );
    listener.end().assert_failed(
        1,
        &format!(
            "dnc: {} ended the transfer early: its input could not be read there; the data is \
             incomplete; see the messages there\n",
            b.short()
        ),
    );
}

#[test]
fn a_listener_that_is_killed_is_noticed() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    let mut caller = b.start(&[&peer]);
    caller.write(b"x");
    listener.read(1);
    listener.signal(Signal::KILL);
    // The caller waits and is not sending: it must notice by itself.
    let caller = caller.end();
    assert_eq!(caller.code, Some(1), "{}", caller.stderr);
    let silent = format!("dnc: {} is silent; looking for another path", a.short());
    let lost = format!("dnc: lost the connection to {}: ", a.short());
    // That it is silent is told first, if there was time to notice.
    let mut lines = caller.stderr.lines().filter(|line| *line != silent);
    let line = lines.next().unwrap();
    assert!(line.starts_with(&lost), "{}", caller.stderr);
    assert_eq!(lines.next(), None);
}

#[test]
fn signals_end_both_sides_in_order() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (a, b) = (Device::new(), Device::new());
        let (mut listener, peer) = a.listen(&["--allow", b.id()]);
        let mut caller = b.start(&[&peer]);
        caller.write(b"x");
        listener.read(1);
        caller.signal(signal);
        let caller = caller.end();
        assert_eq!((caller.code, caller.stderr.as_str()), (Some(code), ""));
        listener.end().assert_failed(
            1,
            &format!(
                "dnc: {} ended the transfer early: it was interrupted there; the data is \
                 incomplete; see the messages there\n",
                b.short()
            ),
        );
    }
}

#[test]
fn a_waiting_listener_ends_by_signal_and_by_its_time_limit() {
    let a = Device::new();
    let (listener, _) = a.listen(&["-a"]);
    assert_eq!(
        listener.next_line(),
        "dnc: warning: anyone may connect (-a)"
    );
    listener.signal(Signal::TERM);
    let ended = listener.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(143), ""));

    let (listener, _) = a.listen(&["-w", "0.1", "--allow", a.id()]);
    listener
        .end()
        .assert_failed(3, "dnc: no peer came within 0.1 s; wait longer with -w\n");
}

#[test]
fn a_broken_peer_does_not_end_a_listener_that_keeps_open() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["-k", "--allow", b.id()]);
    let mut caller = b.start(&[&peer]);
    caller.write(b"x");
    listener.read(1);
    caller.signal(Signal::INT);
    assert!(
        listener
            .next_line()
            .contains("ended the transfer early: it was interrupted there")
    );
    listener.close_stdin();
    b.run_with(&[&peer], b"again").assert_done();
    assert_eq!(listener.read(5), b"again");
}
