//! A key under a passphrase is of use to every tool, and to nobody without the passphrase.

use dhtnet_tests::lab::Families;

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
