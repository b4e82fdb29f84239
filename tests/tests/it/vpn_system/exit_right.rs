//! The right to use an exit, taken back and given again while a client uses it.

use std::fs;
use std::time::{Duration, Instant};

use dhtnet_tests::lab::{Host, Process};
use rustix::process::Signal;

use super::{Journey, SERVER, journey};
use crate::pair::{LIMIT, PORT};
use crate::vpn::{await_ping, await_up, dvpn, ping, status};

/// Counts packets of the client's stream that reach the far host.
const COUNTER: &str = "table inet watch {
  counter met { }
  chain in {
    type filter hook input priority filter; policy accept;
    udp dport 9 counter name met
  }
}";

/// A policy that lets the client take part, and use the exit where `exit` says so.
fn write_policy(journey: &Journey, rights: &[&str]) {
    let id = journey.client.id();
    let text =
        format!("version = 1\n[[rule]]\nname = \"c\"\nwho = [\"{id}\"]\nallow = {rights:?}\n");
    fs::write(journey.server.home().join("policy.toml"), text).unwrap();
}

const WITH_EXIT: [&str; 2] = ["dvpn.join", "dvpn.exit"];
const WITHOUT: [&str; 1] = ["dvpn.join"];

/// An exit that lets in whom its policy file names.
fn serve(journey: &Journey) -> Process {
    let file = journey.file("server.toml", "exit_node = true\n");
    let bind = format!("[::]:{PORT}");
    let command = dvpn(&journey.server, &journey.tools).args(["-l", "--bind", &bind, "-C"]);
    let mut process = command.arg(file).start().unwrap();
    await_up(&mut process);
    process
}

#[track_caller]
fn await_said(process: &mut Process, words: &str) {
    process
        .await_line(words, LIMIT, |line| line.contains(words).then_some(()))
        .unwrap();
}

/// The default routes that the client's status shows, and whether it is connected.
fn shown(journey: &Journey) -> (Vec<String>, bool) {
    let told = status(&journey.client, &journey.tools);
    let routes = told[0]["routes"].as_array().unwrap().iter();
    let routes = routes.filter_map(|route| route.as_str());
    let defaults = routes.filter(|route| route.ends_with("/0"));
    let is_connected = told[0]["peers"][0]["is_connected"].as_bool();
    (
        defaults.map(ToOwned::to_owned).collect(),
        is_connected.unwrap(),
    )
}

#[track_caller]
fn await_shown(journey: &Journey, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let (defaults, is_connected) = shown(journey);
        assert!(is_connected);
        if defaults == wanted {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{defaults:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_client_whose_right_to_the_exit_is_taken_back_stays_without_the_internet() {
    let name = "a_client_whose_right_to_the_exit_is_taken_back_stays_without_the_internet";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    write_policy(&journey, &WITH_EXIT);
    let mut serving = serve(&journey);
    let mut joined = journey.join("full_tunnel = true\nkill_switch = true\n");
    await_ping(client, SERVER.into(), 1_280);
    journey.assert_seen_as(server);
    await_shown(&journey, &["0.0.0.0/0", "::/0"]);

    write_policy(&journey, &WITHOUT);
    await_said(&mut serving, "may no longer use the exit");
    await_said(&mut joined, "no longer leads to 0.0.0.0/0");
    journey.assert_cut_off();
    await_shown(&journey, &[]);
    assert_eq!(ping(client, SERVER.into(), 1_280).code(), Some(0));

    write_policy(&journey, &WITH_EXIT);
    await_said(&mut serving, "may use the exit now");
    await_said(&mut joined, "leads to 0.0.0.0/0 now");
    journey.assert_seen_as(server);
    await_shown(&journey, &["0.0.0.0/0", "::/0"]);
    joined.signal(Signal::TERM);
    assert_eq!(joined.finish(LIMIT).unwrap().code(), Some(143));

    // Without a kill switch everything goes beside the tunnel again, as it did before.
    let _joined = journey.join("full_tunnel = true\n");
    journey.assert_seen_as(server);
    write_policy(&journey, &WITHOUT);
    await_said(&mut serving, "may no longer use the exit");
    await_shown(&journey, &[]);
    journey.assert_seen_as(client);
    assert_eq!(ping(client, SERVER.into(), 1_280).code(), Some(0));
    assert_eq!(serving.stderr().matches("has joined").count(), 2);
}

fn met(far: &Host) -> String {
    let words = ["list", "counter", "inet", "watch", "met"];
    let told = far.command("nft").args(words).start().unwrap();
    let told = told.finish(LIMIT).unwrap().text();
    let mut words = told.split_whitespace();
    let count = words.find(|word| *word == "packets").and(words.next());
    count.unwrap().to_owned()
}

#[test]
fn a_server_passes_nothing_on_for_a_client_that_has_not_heard_that_it_may_not() {
    let name = "a_server_passes_nothing_on_for_a_client_that_has_not_heard_that_it_may_not";
    let Some(journey) = journey(name) else {
        return;
    };
    let client = &journey.client;
    let loaded = journey.far.command("nft").args(["-f", "-"]);
    let loaded = loaded.stdin_bytes(COUNTER).start().unwrap();
    assert_eq!(loaded.finish(LIMIT).unwrap().code(), Some(0));
    write_policy(&journey, &WITH_EXIT);
    let mut serving = serve(&journey);
    let joined = journey.join("full_tunnel = true\nkill_switch = true\n");
    await_ping(client, SERVER.into(), 1_280);
    let send = |packets: usize| {
        let work = || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..packets {
                socket.send_to(b"on the way", (super::FAR_V4, 9)).unwrap();
            }
        };
        client.host().run(work).unwrap();
    };
    let begun = Instant::now();
    while met(&journey.far) == "0" {
        send(1);
        assert!(begun.elapsed() < LIMIT, "nothing comes through the exit");
    }

    // It stands still, with packets that wait in its interface, while the right is taken back.
    joined.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(500));
    let before = met(&journey.far);
    send(100);
    write_policy(&journey, &WITHOUT);
    await_said(&mut serving, "may no longer use the exit");
    joined.signal(Signal::CONT);
    let begun = Instant::now();
    while !joined.stderr().contains("no longer leads to 0.0.0.0/0") {
        assert!(begun.elapsed() < LIMIT, "{}", joined.stderr());
        send(1);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ping(client, SERVER.into(), 1_280).code(), Some(0));
    assert_eq!(met(&journey.far), before);
    let dropped = |device| {
        let told = status(device, &journey.tools);
        told[0]["drops"]["no_route"].as_u64().unwrap_or_default()
    };
    // By one of the two, whichever was first.
    let all = dropped(&journey.server) + dropped(client);
    assert!(all >= 100, "{all} were dropped");
}
