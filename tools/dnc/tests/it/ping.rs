//! `dnc ping` against a listener of any kind.

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Device, some_id};

fn events(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_round_trip_is_a_line_and_the_end_is_a_summary() {
    let (a, b) = (Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["--allow", b.id()]);
    let address = peer.split_once('@').unwrap().1;
    let ended = b.run(&["ping", "-c", "3", "--interval", "0.05", &peer]);
    ended.assert_done();
    let lines: Vec<&str> = ended.text().lines().collect();
    let (first, last) = (lines[0], *lines.last().unwrap());
    let began = format!("{} connected in ", a.short());
    assert!(first.starts_with(&began), "{first}");
    let way = format!(" via loopback {address}: it answered first");
    assert!(first.ends_with(&way), "{first}");
    for number in 1..=3 {
        let begin = format!("{number}: ");
        let way = format!(" ms via loopback {address}");
        let is_it = |line: &&&str| line.starts_with(&begin) && line.contains(&way);
        assert!(lines.iter().any(|line| is_it(&line)), "{lines:?}");
    }
    let summary = format!(
        "{}: 3 sent, 3 received, 0% lost; min/avg/p95/max = ",
        a.short()
    );
    assert!(last.starts_with(&summary), "{last}");
}

#[test]
fn a_forwarding_server_answers_and_json_tells_everything() {
    let (a, b) = (Device::new(), Device::new());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", "127.0.0.1:22"]);
    let ended = b.run(&["ping", "-c", "2", "--interval", "0.05", "--json", &peer]);
    ended.assert_done();
    let events = events(ended.text());
    let of = |name: &str| {
        events
            .iter()
            .filter(|e| e["event"] == name)
            .collect::<Vec<_>>()
    };
    let connected = of("connected")[0];
    assert_eq!(connected["peer"], a.id());
    assert_eq!(connected["paths"][0]["path"], "loopback");
    assert_eq!(connected["reason"], "it answered first");
    assert_eq!(of("pong").len(), 2);
    assert_eq!(of("pong")[0]["path"], "loopback");
    assert!(of("pong")[0]["milliseconds"].as_f64().unwrap() > 0.0);
    let summary = of("summary")[0];
    assert_eq!(
        (&summary["sent"], &summary["received"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn a_ping_without_a_count_ends_well_by_ctrl_c() {
    let (a, b) = (Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["--allow", b.id()]);
    let mut running = b.start(&["ping", "--interval", "0.05", &peer]);
    running.await_word("\n2: ");
    running.signal(Signal::INT);
    let ended = running.end();
    ended.assert_done();
    assert!(
        ended.text().contains("% lost; min/avg/p95/max = "),
        "{}",
        ended.text()
    );
}

#[test]
fn pings_far_apart_keep_one_connection() {
    let (a, b) = (Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["--allow", b.id()]);
    // Longer than an idle connection lives.
    let ended = b.run(&["ping", "-c", "2", "--interval", "24", &peer]);
    ended.assert_done();
    let text = ended.text();
    assert!(!text.contains("disconnected"), "{text}");
    assert_eq!(text.matches("connected").count(), 1, "{text}");
}

#[test]
fn until_direct_ends_with_the_first_answer_on_a_direct_path() {
    let (a, b) = (Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["--allow", b.id()]);
    let ended = b.run(&["ping", "--until-direct", &peer]);
    ended.assert_done();
    assert!(
        ended.text().contains(": 1 sent, 1 received"),
        "{}",
        ended.text()
    );
}

#[test]
fn a_peer_that_goes_and_comes_again_is_pinged_again() {
    let (a, b) = (Device::new(), Device::new());
    let (listener, peer) = a.listen(&["--allow", b.id()]);
    let address = peer.split_once('@').unwrap().1;
    let mut running = b.start(&["ping", "--interval", "0.2", &peer]);
    running.await_word("\n1: ");
    listener.signal(Signal::TERM);
    running.await_word(": no answer");
    listener.end();
    let _listener = a.start_at(address, &["-l", "--allow", b.id()]);
    running.await_word(" ms via loopback ");
}

#[test]
fn nobody_and_a_refusal_have_their_exit_codes() {
    let (a, b, stranger) = (Device::new(), Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["--allow", b.id()]);
    assert_eq!(stranger.run(&["ping", &peer]).code, Some(4));
    let nobody = format!("{}@127.0.0.1:9", some_id());
    assert_eq!(b.run(&["ping", "-w", "0.5", &nobody]).code, Some(3));
    let usage = b.run(&["ping", "-c", "0", &peer]);
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}
