//! Who may not, what is not there, and the exit codes that tell so.

use crate::place::{Device, closed_port, late_answerer, some_id};

#[test]
fn a_stranger_is_refused_with_exit_code_4() {
    let (a, b, stranger) = (Device::new(), Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    let line = format!(
        "dnc: {} refused: its policy does not allow this device; on the peer, allow it with: \
         --allow {}\n",
        a.short(),
        stranger.id()
    );
    stranger
        .run_with(&[&peer], b"let me in")
        .assert_failed(4, &line);
    stranger.run(&["-z", &peer]).assert_failed(4, &line);
    // The listener still waits for the one that may.
    listener.close_stdin();
    b.run_with(&[&peer], b"me").assert_done();
    let listener = listener.end();
    listener.assert_done();
    assert_eq!(listener.text(), "me");
}

#[test]
fn only_the_allowed_targets_are_served() {
    let (a, b) = (Device::new(), Device::new());
    let (target, other) = (late_answerer(1).to_string(), late_answerer(1).to_string());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let refused = |asked: &str, action: &str| {
        format!(
            "dnc: {} refused {asked}: {action} is not allowed by its policy; ask its owner to \
             allow {}\n",
            a.short(),
            b.id()
        )
    };
    let action = format!("dnc.target {other}");
    b.run(&[&peer, &other])
        .assert_failed(4, &refused(&other, &action));
    b.run(&[&peer])
        .assert_failed(4, &refused("a pipe", "dnc.pipe"));
    b.run_with(&[&peer, &target], b"hi").assert_done();
}

#[test]
fn a_target_that_refuses_is_exit_code_6() {
    let (a, b) = (Device::new(), Device::new());
    let target = closed_port().to_string();
    let (server, peer) = a.listen(&["--allow", b.id(), "--allow-target", "127.0.0.1:*"]);
    let line = format!(
        "dnc: the target behind {} failed: {target}: connection refused; check \
         the target there\n",
        a.short()
    );
    b.run(&[&peer, &target]).assert_failed(6, &line);
    assert_eq!(
        server.next_line(),
        format!(
            "dnc: warning: {} asked for {target}: connection refused",
            b.short()
        )
    );
    b.run(&["-z", &peer, &target]).assert_failed(6, &line);
}

#[test]
fn a_probe_disturbs_nobody_and_tells_by_its_exit_code() {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    let probe = b.run(&["-z", "--json", &peer]);
    assert_eq!(probe.code, Some(0), "{}", probe.stderr);
    assert!(
        probe
            .stderr
            .starts_with(&format!("dnc: {} is reachable via loopback", a.short()))
    );
    let event: serde_json::Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(
        (&event["event"], &event["peer"]),
        (&"reachable".into(), &a.id().into())
    );
    listener.close_stdin();
    b.run_with(&[&peer], b"still here").assert_done();
    assert_eq!(listener.end().text(), "still here");
}

#[test]
fn nobody_at_the_address_is_exit_code_3() {
    let b = Device::new();
    let address = closed_port();
    let peer = format!("{}@{address}", some_id());
    let ended = b.run(&["-w", "1", &peer]);
    let short = &some_id()[..8];
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with(&format!(
            "dnc: cannot reach {short}…: no answer from {address}"
        )),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.lines().count(), 1);

    let ended = b.run(&["-w", "0.5", "-z", &some_id()]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .starts_with(&format!("dnc: cannot reach {short}…: no address"))
    );
}

#[test]
fn the_right_address_with_a_wrong_id_gets_no_answer() {
    let (a, b) = (Device::new(), Device::new());
    let (_listener, peer) = a.listen(&["-a"]);
    let (_, hint) = peer.split_once('@').unwrap();
    let ended = b.run(&["-w", "1", &format!("{}@{hint}", some_id())]);
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(3), &[][..]),
        "{}",
        ended.stderr
    );
}
