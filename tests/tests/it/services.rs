//! Several tools listen with one identity on one host, and each is reached by those who look for it.

use std::time::Duration;

use dhtnet_tests::device::{Device, FOUND, Tools, as_oneself};
use dhtnet_tests::lab::{Command, Families, Finished, Process};
use dhtnet_tests::nat_router::Nat;
use rustix::process::Signal;

use crate::forwarding::{TARGET, start_target};
use crate::hole_punching::{Street, street};
use crate::pair::{LIMIT, Pair, assert_done, assert_failed, assert_words, pair, tools};
use crate::vpn::await_up;

/// Calls of each service, in turns.
const ROUNDS: usize = 10;

/// No process that listens runs longer.
const LONG: Duration = Duration::from_secs(8 * 60);

/// A device whose tools all listen, and one that calls it by its id alone.
struct Stage<'a> {
    home: &'a Device,
    away: &'a Device,
    tools: Tools,
    /// How both find each other.
    network: Vec<&'a str>,
    /// What a listener says when it can be found.
    ready: &'a str,
}

impl<'a> Stage<'a> {
    /// Both behind NATs of their own, where the DHT tells of the other.
    fn in_street(street: &'a Street) -> Self {
        Self {
            home: &street.listener,
            away: &street.caller,
            tools: tools(),
            network: vec!["--no-mdns", "--no-portmap", "--bootstrap", &street.entry],
            ready: FOUND,
        }
    }

    /// Both on one local network.
    fn in_pair(pair: &'a Pair) -> Self {
        Self {
            home: &pair.b,
            away: &pair.a,
            tools: tools(),
            network: vec!["--no-portmap"],
            ready: pair.b.id(),
        }
    }

    fn tool(&self, device: &Device, tool: &str) -> Command {
        let command = device.host().command(self.tools.path(tool));
        device.with_home(command).args(&self.network).lifetime(LONG)
    }

    fn listen(&self, tool: &str, words: &[&str]) -> Process {
        let words = words.iter().copied();
        let command = self.tool(self.home, tool).args(["-l", "-vv"]).args(words);
        let mut command = command.args(["--allow", self.away.id()]);
        if tool == "dsh" {
            command = command.args(as_oneself());
        }
        let mut process = command.stdin_bytes("").start().unwrap();
        process
            .await_line("that it can be found", LIMIT, |line| {
                line.contains(self.ready).then_some(())
            })
            .unwrap();
        process
    }

    /// Calls with a tool, of which the words before the peer and those after it are given.
    fn call(&self, tool: &str, (before, after): (&[&str], &[&str])) -> Finished {
        let command = self.tool(self.away, tool).args(before.iter().copied());
        let command = command.arg(self.home.id()).args(after.iter().copied());
        let command = command.stdin_bytes("from the caller");
        command.start().unwrap().finish(LIMIT).unwrap()
    }

    /// Joins the network, and leaves it.
    fn join(&self) {
        let command = self.tool(self.away, "dvpn").arg("-v").arg(self.home.id());
        let mut joined = command.start().unwrap();
        await_up(&mut joined);
        joined.signal(Signal::TERM);
        assert_eq!(joined.finish(LIMIT).unwrap().code(), Some(143));
    }

    /// All four listeners at once, each called in turn: every call reaches the right one.
    fn all_are_reached(&self) {
        start_target(self.home.host(), ROUNDS);
        let pipe = self.listen("dnc", &["-k"]);
        let targets = self.listen("dnc", &["--allow-target", TARGET]);
        let shells = self.listen("dsh", &[]);
        let vpn = self.listen("dvpn", &[]);
        for _ in 0..ROUNDS {
            let asked = self.call("dnc", (&["-w", "20"], &[TARGET]));
            assert_done(&asked);
            assert_eq!(asked.text(), "from the caller");
            assert_done(&self.call("dnc", (&["-w", "20"], &[])));
            let shell = self.call("dsh", (&["-w", "20"], &["echo from the shell"]));
            assert_done(&shell);
            assert_eq!(shell.text(), "from the shell\n");
            self.join();
        }
        // Whichever it is that answers.
        assert_done(&self.call("dnc", (&["ping", "-c", "1"], &[])));
        for process in [targets, shells, vpn] {
            process.signal(Signal::TERM);
            assert_eq!(process.finish(LIMIT).unwrap().code(), Some(143));
        }
        pipe.signal(Signal::TERM);
        let piped = pipe.finish(LIMIT).unwrap().text();
        assert_eq!(piped, "from the caller".repeat(ROUNDS));
    }
}

#[test]
fn four_listeners_with_one_identity_behind_a_nat_are_called_by_id_alone() {
    let name = "four_listeners_with_one_identity_behind_a_nat_are_called_by_id_alone";
    let Some(street) = street(name, [Nat::PortRestricted; 2], 3) else {
        return;
    };
    let stage = Stage::in_street(&street);
    stage.all_are_reached();
}

#[test]
fn four_listeners_with_one_identity_on_a_local_network_are_found_by_id_alone() {
    let name = "four_listeners_with_one_identity_on_a_local_network_are_found_by_id_alone";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let stage = Stage::in_pair(&pair);
    stage.all_are_reached();
    pair.assert_no_process_left();
}

#[test]
fn a_service_that_does_not_run_is_told_apart_from_a_device_that_is_not_there() {
    let name = "a_service_that_does_not_run_is_told_apart_from_a_device_that_is_not_there";
    let Some(street) = street(name, [Nat::PortRestricted; 2], 3) else {
        return;
    };
    let stage = Stage::in_street(&street);
    let nothing = stage.call("dnc", (&["-w", "8"], &[]));
    assert_failed(&nothing, 3, &["no address", "check that it is running"]);
    let _shells = stage.listen("dsh", &[]);
    let no_pipe = stage.call("dnc", (&["-w", "8"], &[]));
    assert_failed(
        &no_pipe,
        3,
        &["it is there as dsh", "the device is running"],
    );
    assert_done(&stage.call("dnc", (&["ping", "-c", "1"], &[])));
}

#[test]
fn a_second_listener_of_one_service_is_refused_unless_it_has_a_name() {
    let name = "a_second_listener_of_one_service_is_refused_unless_it_has_a_name";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let stage = Stage::in_pair(&pair);
    let first = stage.listen("dsh", &[]);
    let words = ["-l", "--allow", pair.a.id()];
    let second = stage.tool(&pair.b, "dsh").args(words).args(as_oneself());
    let second = second.start().unwrap();
    let second = second.finish(LIMIT).unwrap();
    assert_eq!(second.code(), Some(2), "{}", second.stderr);
    let number = format!("(process {})", first.id());
    assert_words(
        &second.stderr,
        &["listens as dsh", &number, "--service NAME"],
    );
    let named = stage.listen(
        "dsh",
        &["--service", "b", "--allow-command", "echo it is b"],
    );
    let words = format!("dsh --service b {}", pair.b.id());
    assert_words(&named.stderr(), &[&words]);
    let one = stage.call("dsh", (&[], &["echo it is the first"]));
    assert_eq!(one.text(), "it is the first\n", "{}", one.stderr);
    let other = stage.call("dsh", (&["--service", "b"], &["echo it is b"]));
    assert_eq!(other.text(), "it is b\n", "{}", other.stderr);
    // Killed, it leaves its file and no lock.
    first.signal(Signal::KILL);
    first.finish(LIMIT).unwrap();
    let again = stage.listen("dsh", &[]);
    let once_more = stage.call("dsh", (&[], &["echo it is there"]));
    assert_eq!(once_more.text(), "it is there\n", "{}", once_more.stderr);
    drop((named, again));
}
