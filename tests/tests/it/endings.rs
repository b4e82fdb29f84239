//! How a transfer may end before its time: nothing hangs, and each side says in a line what
//! happened.

use std::io::{Read, Write};
use std::time::Duration;

use dhtnet_tests::lab::{Families, LinkState, Process};
use rustix::process::Signal;

use crate::pair::{LIMIT, Pair, assert_done, assert_failed, assert_words, pair};

/// Longest a peer that vanished without a word may be waited for. QUIC's idle timeout is within.
const VANISHED_LIMIT: Duration = Duration::from_secs(75);

/// A client that sends without end, joined to a listener whose output is read so far as to see
/// that data flows.
fn flowing(pair: &Pair) -> (Process, Process) {
    let mut server = pair.b.listen(pair.listener().stdout_pipe()).unwrap();
    let mut client = pair.client().stdin_pipe().start().unwrap();
    let mut stdin = client.take_stdin().unwrap();
    std::thread::spawn(move || while stdin.write_all(&[7; 65_536]).is_ok() {});
    let mut stdout = server.take_stdout().unwrap();
    stdout.read_exact(&mut vec![0; 1 << 20]).unwrap();
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    (client, server)
}

#[test]
fn a_killed_listener_ends_the_client_which_says_that_it_is_silent_and_then_lost() {
    let name = "a_killed_listener_ends_the_client_which_says_that_it_is_silent_and_then_lost";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let (client, mut server) = flowing(&pair);
    server.kill();
    let finished = client.finish(VANISHED_LIMIT).unwrap();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let [silent, lost] = lines[..] else {
        panic!("more or less than two lines: {}", finished.stderr);
    };
    assert_words(silent, &["is silent; looking for another path"]);
    assert_words(lost, &["lost|gone|closed|timed out"]);
    pair.assert_no_process_left();
}

#[test]
fn a_killed_client_ends_the_listener_with_one_line_more() {
    let name = "a_killed_client_ends_the_listener_with_one_line_more";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let (mut client, server) = flowing(&pair);
    client.kill();
    let finished = server.finish(VANISHED_LIMIT).unwrap();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    assert_words(&finished.stderr, &["lost|gone|closed|timed out"]);
    pair.assert_no_process_left();
}

#[test]
fn a_pulled_cable_ends_both_sides() {
    let Some(pair) = pair("a_pulled_cable_ends_both_sides", Families::Both) else {
        return;
    };
    let (client, server) = flowing(&pair);
    pair.a.host().set_link(LinkState::Down).unwrap();
    assert_eq!(client.finish(VANISHED_LIMIT).unwrap().code(), Some(1));
    assert_eq!(server.finish(VANISHED_LIMIT).unwrap().code(), Some(1));
}

#[test]
fn a_cable_that_is_back_soon_costs_nothing_but_time() {
    let name = "a_cable_that_is_back_soon_costs_nothing_but_time";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair.b.listen(pair.listener().stdout_pipe()).unwrap();
    let mut client = pair.client().stdin_pipe().start().unwrap();
    let (mut stdin, mut stdout) = (client.take_stdin().unwrap(), server.take_stdout().unwrap());
    stdin.write_all(b"before").unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    pair.b.host().set_link(LinkState::Down).unwrap();
    stdin.write_all(b"during").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    pair.b.host().set_link(LinkState::Up).unwrap();
    stdin.write_all(b"after").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "duringafter");
    assert_done(&client.finish(LIMIT).unwrap());
    assert!(
        server.await_exit(LIMIT).unwrap().success(),
        "{}",
        server.stderr()
    );
}

#[test]
fn a_listener_asked_to_end_tells_its_peer_at_once() {
    let name = "a_listener_asked_to_end_tells_its_peer_at_once";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let (client, server) = flowing(&pair);
    server.signal(Signal::TERM);
    let finished = client.finish(Duration::from_secs(10)).unwrap();
    assert_failed(&finished, 1, &[]);
    let finished = server.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(
        finished.code(),
        Some(143),
        "{:?}: {}",
        finished.status,
        finished.stderr
    );
}

#[test]
fn signals_end_a_waiting_tool_with_their_exit_code() {
    let name = "signals_end_a_waiting_tool_with_their_exit_code";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let server = pair.b.listen(pair.listener()).unwrap();
        server.signal(signal);
        let finished = server.finish(Duration::from_secs(10)).unwrap();
        assert_eq!(
            finished.code(),
            Some(code),
            "{:?}: {}",
            finished.status,
            finished.stderr
        );
        let mut server = pair.b.listen(pair.listener().stdin_pipe()).unwrap();
        let mut client = pair.client().stdin_pipe().start().unwrap();
        let mut stdin = client.take_stdin().unwrap();
        stdin.write_all(b"x").unwrap();
        let arrived = || server.stdout_len() == 1;
        let deadline = std::time::Instant::now() + LIMIT;
        while !arrived() {
            assert!(std::time::Instant::now() < deadline, "{}", client.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
        client.signal(signal);
        let finished = client.finish(Duration::from_secs(10)).unwrap();
        assert_eq!(
            finished.code(),
            Some(code),
            "{:?}: {}",
            finished.status,
            finished.stderr
        );
        server.await_exit(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn no_input_at_all_is_an_empty_transfer() {
    let Some(pair) = pair("no_input_at_all_is_an_empty_transfer", Families::Both) else {
        return;
    };
    let server = pair.b.listen(pair.listener()).unwrap();
    let finished = pair.client().start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "");
    let finished = server.finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "");
}

#[test]
fn a_reader_that_closes_early_ends_both_sides() {
    let name = "a_reader_that_closes_early_ends_both_sides";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    // As in `dnc ID | head -c 1`: the client's output is closed while the listener still sends.
    let mut server = pair.b.listen(pair.listener().stdin_pipe()).unwrap();
    let mut endless = server.take_stdin().unwrap();
    let writer = std::thread::spawn(move || while endless.write_all(&[7; 65_536]).is_ok() {});
    let mut client = pair.client().stdout_pipe().start().unwrap();
    let mut stdout = client.take_stdout().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    client.finish(LIMIT).unwrap();
    server.await_exit(LIMIT).unwrap();
    writer.join().unwrap();
}

#[test]
fn a_full_disk_behind_a_redirect_is_named_and_the_sender_does_not_hang() {
    let name = "a_full_disk_behind_a_redirect_is_named_and_the_sender_does_not_hang";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let disk = pair.lab.folder().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // A disk of 1 MiB in a mount namespace of its own, which ends with the listener.
    let script = format!(
        "mount -t tmpfs -o size=1m none '{0}' && exec '{1}' \"$@\" >'{0}/file'",
        disk.display(),
        pair.b.dnc_path().display()
    );
    let bind = format!("[::]:{}", crate::pair::PORT);
    let shell = pair
        .b
        .host()
        .command("unshare")
        .args(["-m", "sh", "-c", &script, "dnc", "-l"]);
    let shell = shell.args(["--no-mdns", "--bind", &bind, "--allow", pair.a.id()]);
    let server = pair.b.listen(pair.b.with_home(shell)).unwrap();
    let client = pair.client().stdin_bytes(vec![7; 8 << 20]).start().unwrap();
    let finished = client.finish(LIMIT).unwrap();
    assert_failed(&finished, 1, &[]);
    let finished = server.finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    assert_words(&finished.stderr, &["no space left"]);
}
