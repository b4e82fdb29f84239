//! What goes where: the payload on standard output, talk on standard error, help on request.

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::Families;
use dhtnet_tests::lab::skip::lab_or_skip;

use crate::pair::{LIMIT, assert_done, pair, tools};

#[test]
fn the_most_talkative_tool_keeps_its_standard_output_clean() {
    let name = "the_most_talkative_tool_keeps_its_standard_output_clean";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair
        .b
        .dnc()
        .args(["-vv", "-l", "--allow", pair.a.id()])
        .stdin_bytes("to the client");
    let server = pair.b.listen(server).unwrap();
    let client = pair
        .a
        .dnc()
        .args(["-vv", pair.b.id()])
        .stdin_bytes("to the server");
    let finished = client.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "to the client");
    let finished = server.finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "to the server");
}

#[test]
fn a_quiet_client_that_does_its_work_says_nothing() {
    let name = "a_quiet_client_that_does_its_work_says_nothing";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.b.listen(pair.listener()).unwrap();
    let client = pair.client().arg("-q").stdin_bytes("hello");
    let finished = client.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(
        (finished.text().as_str(), finished.stderr.as_str()),
        ("", "")
    );
    assert_eq!(server.finish(LIMIT).unwrap().text(), "hello");
}

#[test]
fn a_log_never_holds_the_secret_key() {
    let Some(pair) = pair("a_log_never_holds_the_secret_key", Families::Both) else {
        return;
    };
    let command = pair.listener().args(["--log", "trace"]);
    let server = pair.b.listen(command).unwrap();
    let client = pair.client().args(["--log", "trace"]).stdin_bytes("hello");
    let client = client.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&client);
    let server = server.finish(LIMIT).unwrap();
    for (device, said) in [(&pair.a, &client.stderr), (&pair.b, &server.stderr)] {
        let pem = std::fs::read_to_string(device.home().join("identity.pem")).unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(
            !said.contains(&secret[secret.len() - 30..]),
            "{}",
            device.host().name()
        );
    }
}

#[test]
fn help_and_version_are_on_standard_output() {
    let Some(lab) = lab_or_skip("help_and_version_are_on_standard_output") else {
        return;
    };
    let device = Device::new(lab.host("a").unwrap(), &tools()).unwrap();
    for words in [&["--help"][..], &["-V"], &["completions", "bash"]] {
        for command in [device.dnc(), device.crtmgr()] {
            let finished = command.args(words).start().unwrap().finish(LIMIT).unwrap();
            assert_done(&finished);
            assert!(!finished.text().trim().is_empty(), "{words:?}");
            assert_eq!(finished.stderr, "", "{words:?}");
        }
    }
}
