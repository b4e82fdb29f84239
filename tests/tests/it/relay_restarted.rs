//! A TURN server that has forgotten its allocations, because it was restarted or let them expire,
//! while it is in use or in reserve; and one that gives IPv6 addresses, or refuses.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use dhtnet_tests::device::await_found;
use dhtnet_tests::lab::Process;
use dhtnet_tests::nat_router::{Nat, inside_v6};
use dhtnet_tests::turn_server::{PASSWORD, PORT, TurnServer};

use crate::hole_punching::{Street, street};
use crate::pair::LIMIT;
use crate::relayed::{
    HARD, assert_talked, await_text, call, dnc, listen, or_skip, server, with_server,
};
use crate::roaming::Transfer;

/// Longest time without a byte when the server in use is restarted. A second until it is asked, two
/// round trips, a call, and a path: less than three seconds where the machine is not busy with other
/// tests.
const GAP: Duration = Duration::from_secs(10);

/// Longest that a pipe lives: one of these tests waits for a keepalive, one for allocations to
/// expire.
const LONG: Duration = LIMIT.saturating_mul(3);

/// What a device says when data takes another path, when a path through a relay was found, and when
/// it has an allocation.
const DIRECT: [&str; 2] = ["another path", "kind=\"direct\""];
const RELAYED: [&str; 2] = ["another path", "kind=\"relayed\""];
const THROUGH_RELAY: [&str; 2] = ["a path works", "kind=relayed"];
const STANDS: &str = "an allocation stands";

/// What a device says whose allocation is gone.
const LOST: &str = "the allocation at the relay has expired; asking it for another one";

#[test]
fn a_transfer_survives_the_restart_of_the_only_relay() {
    let name = "a_transfer_survives_the_restart_of_the_only_relay";
    for words in ["", "?transport=tcp"] {
        let Some((street, mut server)) = with_server(name, HARD, PORT) else {
            return;
        };
        let turn = format!("{}{words}", server.uri());
        let transfer = Transfer::begin(&street, &["--turn", &turn]);
        server.restart().unwrap();
        let gap = transfer.longest_gap(Duration::from_secs(2));
        println!("{name}: {gap:.1?} without a byte {words}");
        let said = transfer.caller.stderr();
        if words.is_empty() {
            assert!(said.contains(LOST), "{said}");
        }
        assert!(gap < GAP, "{gap:?}: {said}");
        transfer.end();
    }
}

/// A pipe from the caller to the listener, into which lines are written.
struct Pipe {
    listener: Process,
    caller: Process,
    input: ChildStdin,
    got: std::path::PathBuf,
    wanted: String,
}

impl Pipe {
    fn new(street: &Street, words: &[&str]) -> Self {
        let got = street.lab.folder().join("got");
        let command = dnc(&street.listener, street)
            .args(["-l", "--allow", street.caller.id()])
            .args(words)
            .lifetime(LONG)
            .stdout_file(&got);
        let mut listener = street.listener.listen(command).unwrap();
        await_found(&mut listener, LIMIT).unwrap();
        let caller = dnc(&street.caller, street)
            .args(["-w", "20"])
            .args(words)
            .arg(street.listener.id())
            .lifetime(LONG)
            .stdin_pipe();
        let mut caller = caller.start().unwrap();
        let input = caller.take_stdin().unwrap();
        Self {
            listener,
            caller,
            input,
            got,
            wanted: String::new(),
        }
    }

    /// Writes a line and waits until it is there.
    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.wanted.push_str(line);
        self.wanted.push('\n');
        await_text(&self.got, &self.wanted, || {
            format!(
                "{}; the listener: {}",
                self.caller.stderr(),
                self.listener.stderr()
            )
        });
    }

    /// How many lines with all these words the caller has said.
    fn said(&self, words: &[&str]) -> usize {
        let fits = |line: &&str| words.iter().all(|word| line.contains(word));
        self.caller.stderr().lines().filter(fits).count()
    }

    /// Waits until the caller has said more than `before` such lines.
    fn await_more(&self, words: &[&str], before: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.said(words) <= before {
            let said = self.caller.stderr();
            assert!(
                Instant::now() < deadline,
                "no line more with {words:?}: {said}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(self) {
        drop(self.input);
        let caller = self.caller.finish(LIMIT).unwrap();
        let said = format!(
            "{}; the listener: {}",
            caller.stderr,
            self.listener.stderr()
        );
        assert_eq!(caller.code(), Some(0), "{said}");
        assert_eq!(
            std::fs::read_to_string(&self.got).unwrap(),
            self.wanted,
            "{said}"
        );
    }
}

/// The allocation is missed before it is needed, and another one is there when the direct path ends.
#[test]
fn a_relay_in_reserve_that_was_restarted_is_there_when_the_direct_path_ends() {
    let name = "a_relay_in_reserve_that_was_restarted_is_there_when_the_direct_path_ends";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some((street, mut server)) = with_server(name, nats, PORT) else {
        return;
    };
    let router = |number| IpAddr::V4(Ipv4Addr::new(11, 0, number, 101));
    // Relayed at first, so that the relay is known as a path.
    street.routers[1].cut_off(&[router(1)]).unwrap();
    let mut pipe = Pipe::new(&street, &["--turn", &server.uri()]);
    pipe.say("relayed");
    street.routers[1].cut_off(&[]).unwrap();
    pipe.await_more(&DIRECT, 0);
    pipe.say("direct");
    let (stood, worked) = (pipe.said(&[STANDS]), pipe.said(&THROUGH_RELAY));
    server.restart().unwrap();
    let restarted = Instant::now();
    pipe.await_more(&[LOST], 0);
    println!("{name}: noticed after {:.1?}", restarted.elapsed());
    pipe.await_more(&[STANDS], stood);
    pipe.await_more(&THROUGH_RELAY, worked);
    pipe.say("direct still");
    let relayed = pipe.said(&RELAYED);
    street.routers[0].cut_off(&[router(2)]).unwrap();
    let cut = Instant::now();
    pipe.say("after the direct path");
    println!("{name}: relayed {:.1?} after the cut", cut.elapsed());
    pipe.await_more(&RELAYED, relayed);
    pipe.end();
}

/// RFC 8656 section 7.2 lets no server grant less than ten minutes; this one does.
#[test]
fn a_pipe_outlives_allocations_that_expire_at_the_server() {
    let name = "a_pipe_outlives_allocations_that_expire_at_the_server";
    let Some(street) = street(name, HARD, 3) else {
        return;
    };
    let short = "max-allocate-lifetime=10";
    let Some(server) = server(name, &street, (1, PORT), short) else {
        return;
    };
    let mut pipe = Pipe::new(&street, &["--turn", &server.uri()]);
    let begun = Instant::now();
    for second in 0..25 {
        pipe.say(&format!("line {second}"));
        std::thread::sleep(Duration::from_secs(1));
    }
    let allocations = pipe.said(&[STANDS]);
    assert!(
        allocations > 1,
        "none has expired: {}",
        pipe.caller.stderr()
    );
    println!(
        "{name}: {allocations} allocations in {:.1?}",
        begun.elapsed()
    );
    pipe.end();
}

#[test]
fn a_relay_gives_an_ipv6_address_and_a_path_by_it() {
    let name = "a_relay_gives_an_ipv6_address_and_a_path_by_it";
    let nats = [Nat::Ipv6Firewall, Nat::Ipv6Firewall];
    let Some(street) = street(name, nats, 3) else {
        return;
    };
    let Some(server) = or_skip(name, TurnServer::start_v6(&street.lab, &street.outside)) else {
        return;
    };
    let _listener = listen(&street, &[]);
    let ping = street
        .caller
        .dnc()
        .env("DHTNET_TURN_PASSWORD", PASSWORD)
        .args(["ping", "-vv", "--turn", &server.uri(), "--path", "relay"])
        .args(["--no-mdns", "--no-portmap", "--bootstrap", &street.entry])
        .args([
            "-w",
            "20",
            "-c",
            "2",
            "--interval",
            "0.3",
            street.listener.id(),
        ]);
    let ping = ping.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(ping.code(), Some(0), "{}", ping.stderr);
    let wanted = format!(" ms via relayed [{}]:", inside_v6(1, 10));
    assert!(ping.text().contains(&wanted), "{}", ping.text());
}

#[test]
fn a_user_that_one_relay_refuses_is_told_once_and_another_relay_is_taken() {
    let name = "a_user_that_one_relay_refuses_is_told_once_and_another_relay_is_taken";
    let Some((street, refusing)) = with_server(name, HARD, PORT) else {
        return;
    };
    let Some(second) = server(name, &street, (2, PORT), "") else {
        return;
    };
    let refused = format!("turn:mallory@{}", refusing.address());
    let turn = ["--turn", &refused, "--turn", &second.uri()];
    let listener = listen(&street, &turn);
    let caller = call(&street, &turn);
    let told = format!(
        "relay turn:{}: the relay refuses the user name or password; \
         correct the user name and password of this relay",
        refusing.address()
    );
    assert_eq!(caller.stderr.matches(&told).count(), 1, "{}", caller.stderr);
    assert_talked(&caller, listener);
}
