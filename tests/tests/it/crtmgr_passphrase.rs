//! A key under a passphrase is of use to every tool, and to nobody without the passphrase.

use dhtnet_tests::lab::Families;
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::ssh::find;

use crate::pair::{LIMIT, PORT, assert_done, pair};

#[test]
fn dnc_connects_with_a_key_under_a_passphrase_and_not_with_a_wrong_one() {
    let name = "dnc_connects_with_a_key_under_a_passphrase_and_not_with_a_wrong_one";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let home = pair.a.host().folder().join("protected");
    let with = |command: dhtnet_tests::lab::Command, word: &str| {
        let command = command.env("DHTNET_HOME", &home);
        command.env("DHTNET_PASSPHRASE", word)
    };
    let init = with(pair.a.crtmgr().args(["init", "--passphrase"]), "sesame");
    let init = init.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&init);
    let id = init.text().trim().to_owned();

    let bind = format!("[::]:{PORT}");
    let listen = ["-l", "--no-mdns", "--bind", &bind, "--allow", &id];
    let listener = pair.b.listen(pair.b.dnc().args(listen)).unwrap();
    let send = |word: &str| {
        let dnc = pair.a.dnc().args(["--no-mdns", &pair.address()]);
        let dnc = with(dnc, word).stdin_bytes(b"hello".to_vec());
        dnc.start().unwrap().finish(LIMIT).unwrap()
    };
    let refused = send("wrong");
    assert_eq!(refused.code(), Some(5), "{}", refused.stderr);
    let fault = "the passphrase does not open the key";
    assert!(refused.stderr.contains(fault), "{}", refused.stderr);
    assert_done(&send("sesame"));
    let heard = listener.finish(LIMIT).unwrap();
    assert_eq!(heard.stdout, b"hello");
}

#[test]
fn a_signal_ends_a_question_for_the_passphrase_and_the_terminal_is_as_before() {
    let name = "a_signal_ends_a_question_for_the_passphrase_and_the_terminal_is_as_before";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if find("script").is_none() {
        return report(
            name,
            "script is missing: install bsdutils (cargo xtask setup)",
        );
    }
    let home = pair.a.host().folder().join("asked");
    let init = pair.a.crtmgr().args(["init", "--passphrase"]);
    let init = init.env("DHTNET_HOME", &home);
    let init = init.env("DHTNET_PASSPHRASE", "sesame").start().unwrap();
    assert_done(&init.finish(LIMIT).unwrap());
    // A second after it was asked, the tool is told to end; then the terminal is looked at.
    let words = format!(
        "{} --no-mdns {} & tool=$!; sleep 1; kill -TERM $tool; wait $tool; echo \"ended $?\"; stty -a",
        pair.a.dnc_path().display(),
        pair.address()
    );
    let script = pair.a.host().command("script");
    let script = script.args(["-q", "-c", &words, "/dev/null"]);
    let script = pair.a.with_home(script).env("SHELL", "/bin/sh");
    let script = script.env("DHTNET_HOME", &home).stdin_pipe();
    let mut script = script.start().unwrap();
    // The end of its input would be an answer.
    let held = script.take_stdin();
    let seen = script.finish(LIMIT).unwrap().text();
    drop(held);
    assert!(seen.contains("Passphrase of "), "{seen}");
    assert!(seen.contains("ended 143"), "{seen}");
    assert!(
        seen.contains(" echo ") && seen.contains(" icanon "),
        "{seen}"
    );
}
