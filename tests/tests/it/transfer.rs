//! The main job: what goes into one device comes out of another, named by its id.

use std::io::{Read, Write};
use std::net::TcpListener;

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::Families;
use dhtnet_tests::lab::skip::lab_or_skip;
use dhtnet_tests::payload::{hash_file, write_file};

use crate::pair::{LIMIT, PORT, Pair, assert_done, bulk_len, bulk_limit, pair, tools};

/// Enough for several congestion windows, little enough for a debug build.
const SMALL: u64 = 3 << 20;

/// `from` connects to `to` by id alone and sends `up` bytes while it receives `down` bytes.
fn exchange(folder: &std::path::Path, from: &Device, to: &Device, up: u64, down: u64) {
    let file = |name: &str| {
        folder.join(format!(
            "{}-{}-{name}",
            from.host().name(),
            to.host().name()
        ))
    };
    let sent_up = write_file(&file("up"), up, 1).unwrap();
    let sent_down = write_file(&file("down"), down, 2).unwrap();
    let limit = bulk_limit(up + down);
    let listener = to.dnc().lifetime(limit).args(["-l", "--allow", from.id()]);
    let listener = listener
        .stdin_file(file("down"))
        .stdout_file(file("up-arrived"));
    let server = to.listen(listener).unwrap();
    let client = from.dnc().lifetime(limit).arg(to.id());
    let client = client
        .stdin_file(file("up"))
        .stdout_file(file("down-arrived"));
    assert_done(&client.start().unwrap().finish(limit).unwrap());
    assert_done(&server.finish(LIMIT).unwrap());
    assert_eq!(
        hash_file(&file("up-arrived")).unwrap(),
        sent_up,
        "client to server"
    );
    assert_eq!(
        hash_file(&file("down-arrived")).unwrap(),
        sent_down,
        "server to client"
    );
}

fn exchange_both_ways(pair: &Pair, len: u64) {
    exchange(pair.lab.folder(), &pair.a, &pair.b, len, 0);
    exchange(pair.lab.folder(), &pair.a, &pair.b, 0, len);
    pair.assert_no_process_left();
}

#[test]
fn a_large_file_arrives_whole_in_each_direction_by_id_alone() {
    let name = "a_large_file_arrives_whole_in_each_direction_by_id_alone";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    exchange_both_ways(&pair, bulk_len());
}

#[test]
fn the_id_is_enough_where_there_is_only_ipv4() {
    let name = "the_id_is_enough_where_there_is_only_ipv4";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    exchange_both_ways(&pair, SMALL);
}

#[test]
fn the_id_is_enough_where_there_is_only_ipv6() {
    let name = "the_id_is_enough_where_there_is_only_ipv6";
    let Some(pair) = pair(name, Families::V6) else {
        return;
    };
    exchange_both_ways(&pair, SMALL);
}

#[test]
fn both_directions_flow_at_once() {
    let Some(pair) = pair("both_directions_flow_at_once", Families::Both) else {
        return;
    };
    exchange(pair.lab.folder(), &pair.a, &pair.b, SMALL, SMALL + 1);
    exchange(pair.lab.folder(), &pair.b, &pair.a, SMALL, SMALL + 1);
}

#[test]
fn three_devices_on_a_lan_find_the_one_that_is_meant() {
    let name = "three_devices_on_a_lan_find_the_one_that_is_meant";
    let Some(lab) = lab_or_skip(name) else { return };
    let lan = lab.lan().unwrap();
    let tools = tools();
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        let host = lab.host(name).unwrap();
        lan.attach(&host, Families::Both).unwrap();
        Device::new(host, &tools).unwrap()
    });
    // A bystander that listens too: it must not be taken for the peer.
    let mut bystander = c.listen(c.dnc().args(["-l", "--allow", a.id()])).unwrap();
    exchange(lab.folder(), &a, &b, SMALL, 0);
    assert!(
        bystander.poll_exit().unwrap().is_none(),
        "{}",
        bystander.stderr()
    );
    drop(bystander);
    exchange(lab.folder(), &c, &b, 0, SMALL);
}

#[test]
fn an_address_hint_needs_no_look_up() {
    let Some(pair) = pair("an_address_hint_needs_no_look_up", Families::Both) else {
        return;
    };
    let hints = [
        format!("{}:{PORT}", pair.b.host().ipv4()),
        format!("[{}]:{PORT}", pair.b.host().ipv6()),
        // The first leads nowhere.
        format!("11.0.9.9:{PORT},{}:{PORT}", pair.b.host().ipv4()),
    ];
    for hint in hints {
        let server = pair.b.listen(pair.listener()).unwrap();
        let peer = format!("{}@{hint}", pair.b.id());
        let client = pair.a.dnc().args(["--no-mdns", &peer]).stdin_bytes("hello");
        assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
        assert_eq!(server.finish(LIMIT).unwrap().text(), "hello", "{hint}");
    }
}

#[test]
fn a_contact_stands_for_its_id_on_both_sides() {
    let name = "a_contact_stands_for_its_id_on_both_sides";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    for (device, peer) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let add = device.crtmgr().args(["peer", "add", "friend", peer.id()]);
        assert_done(&add.start().unwrap().finish(LIMIT).unwrap());
    }
    let server = pair
        .b
        .listen(pair.b.dnc().args(["-l", "--allow", "friend"]))
        .unwrap();
    let client = pair.a.dnc().arg("friend").stdin_bytes("hello");
    assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
    assert_eq!(server.finish(LIMIT).unwrap().text(), "hello");
}

#[test]
fn the_command_that_a_listener_prints_reaches_it_when_pasted() {
    let name = "the_command_that_a_listener_prints_reaches_it_when_pasted";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair
        .b
        .listen(pair.b.dnc().args(["-l", "--allow", pair.a.id()]))
        .unwrap();
    let said = server.stderr();
    let first = said.lines().next().unwrap();
    let (_, words) = first
        .split_once("dnc ")
        .unwrap_or_else(|| panic!("no command in: {first}"));
    let words = words
        .strip_prefix("dnc ")
        .unwrap_or(words)
        .split_whitespace();
    let client = pair.a.dnc().args(words).stdin_bytes("hello");
    assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
    assert_eq!(server.finish(LIMIT).unwrap().text(), "hello");
}

#[test]
fn the_whole_reply_comes_from_a_server_that_answers_after_the_end_of_input() {
    let name = "the_whole_reply_comes_from_a_server_that_answers_after_the_end_of_input";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair.b.listen(
        pair.b
            .dnc()
            .args(["-l", "--allow", pair.a.id()])
            .stdin_pipe()
            .stdout_pipe(),
    );
    let server = server.as_mut().unwrap();
    let (mut asked, mut answer) = (server.take_stdout().unwrap(), server.take_stdin().unwrap());
    let client = pair
        .a
        .dnc()
        .arg(pair.b.id())
        .stdin_bytes("q")
        .start()
        .unwrap();
    let mut question = String::new();
    asked.read_to_string(&mut question).unwrap();
    assert_eq!(question, "q");
    let reply = vec![b'r'; 300_000];
    answer.write_all(&reply).unwrap();
    drop(answer);
    let finished = client.finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.stdout, reply);
    assert!(
        server.await_exit(LIMIT).unwrap().success(),
        "{}",
        server.stderr()
    );
}

#[test]
fn the_whole_reply_comes_from_a_target_that_answers_after_the_end_of_input() {
    let name = "the_whole_reply_comes_from_a_target_that_answers_after_the_end_of_input";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let target = pair
        .b
        .host()
        .run(|| TcpListener::bind("127.0.0.1:80"))
        .unwrap()
        .unwrap();
    let reply = vec![b'r'; 300_000];
    let answering = {
        let reply = reply.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = target.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            stream.write_all(&reply).unwrap();
            question
        })
    };
    let _server = pair.serve_targets(&["127.0.0.1:80"]);
    let client = pair.client().arg("127.0.0.1:80").stdin_bytes("q");
    let finished = client.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.stdout, reply);
    assert_eq!(answering.join().unwrap(), "q");
}

#[test]
fn a_listener_that_keeps_on_serves_one_peer_after_another() {
    let name = "a_listener_that_keeps_on_serves_one_peer_after_another";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair
        .b
        .listen(pair.listener().arg("-k").stdout_pipe())
        .unwrap();
    let mut heard = server.take_stdout().unwrap();
    for word in ["first", "other"] {
        let client = pair.client().stdin_bytes(word);
        assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
        let mut arrived = [0; 5];
        heard.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, word.as_bytes());
    }
    assert!(server.poll_exit().unwrap().is_none(), "{}", server.stderr());
}
