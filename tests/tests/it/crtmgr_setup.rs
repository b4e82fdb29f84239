//! What `crtmgr setup` writes is enough for an ssh session by key, with nothing edited by hand.

use dhtnet_tests::lab::{Command, Families, skip};
use dhtnet_tests::ssh::{SshError, SshServer};

use crate::pair::{LIMIT, assert_done, pair};

/// Runs what has to succeed, and gives what it said.
fn said(command: Command) -> String {
    let finished = command.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    finished.stderr
}

#[test]
fn two_devices_that_were_set_up_have_an_ssh_session_by_key() {
    let name = "two_devices_that_were_set_up_have_an_ssh_session_by_key";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let ssh = match SshServer::start(pair.b.host(), 22) {
        Ok(server) => server,
        Err(error @ SshError::NotInstalled(_)) => {
            skip::report(name, &format!("failed to {error}"));
            return;
        }
        Err(error) => panic!("failed to {error}"),
    };
    // The server by answers, the client by flags.
    let answers = format!("{}\nlaptop\n\n\n", pair.a.id());
    let server = pair.b.crtmgr().args(["setup", "server"]);
    let server = said(server.stdin_bytes(answers.into_bytes()));
    let start = "crtmgr: start it with: dnc -l";
    assert!(server.lines().any(|line| line == start), "{server}");
    let known = format!("home={}", pair.b.id());
    let client = ["setup", "client", "--server", &known, "--ssh", "yes"];
    let client = said(pair.a.crtmgr().args(client));
    assert!(client.contains("ssh USER@home.dn"), "{client}");

    let _listener = pair.b.listen(pair.b.dnc().arg("-l")).unwrap();
    let tools = pair.a.dnc_path().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools).chain(std::env::split_paths(&path));
    let session = pair.a.with_home(ssh.client(pair.a.host()));
    let session = session
        .env("PATH", std::env::join_paths(path).unwrap())
        .arg("-F")
        .arg(pair.a.home().join(".ssh").join("config"))
        .args(["home.dn", "cat; exit 7"])
        .stdin_bytes(b"by key".to_vec());
    let finished = session.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(7), "{}", finished.stderr);
    assert_eq!(finished.stdout, b"by key");

    // Who was not named is not let in by what was written.
    let stranger = pair
        .a
        .dnc()
        .env("DHTNET_HOME", pair.a.host().folder().join("stranger"));
    let refused = stranger.args([pair.b.id(), "127.0.0.1:22"]);
    let refused = refused.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(refused.code(), Some(4), "{}", refused.stderr);
}
