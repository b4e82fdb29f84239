//! `dnc` as the `ProxyCommand` of a real ssh, against a real sshd.

use dhtnet_tests::lab::Families;
use dhtnet_tests::lab::skip;
use dhtnet_tests::ssh::{SshError, SshServer};

use crate::pair::{LIMIT, Pair, assert_done, pair};

/// A real sshd on `b`; `None` after a report where none is installed.
fn server(pair: &Pair, name: &str) -> Option<SshServer> {
    match SshServer::start(pair.b.host(), 22) {
        Ok(server) => Some(server),
        Err(error @ SshError::NotInstalled(_)) => {
            skip::report(name, &format!("failed to {error}"));
            None
        }
        Err(error) => panic!("failed to {error}"),
    }
}

#[test]
fn ssh_logs_in_through_a_proxy_command_by_id() {
    let name = "ssh_logs_in_through_a_proxy_command_by_id";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let Some(ssh) = server(&pair, name) else {
        return;
    };
    let command = pair.b.dnc().args([
        "-l",
        "--allow",
        pair.a.id(),
        "--allow-target",
        "127.0.0.1:22",
    ]);
    let _listener = pair.b.listen(command).unwrap();
    let proxy = format!(
        "ProxyCommand={} %h 127.0.0.1:22",
        pair.a.dnc_path().display()
    );
    let client = |command: &str| {
        let client = pair.a.with_home(ssh.client(pair.a.host()));
        client.args(["-o", &proxy, pair.b.id(), command])
    };
    assert_done(&client("true").start().unwrap().finish(LIMIT).unwrap());

    let remote = client("cat; echo done >&2; exit 7").stdin_bytes(vec![b'x'; 1 << 20]);
    let finished = remote.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(7), "{}", finished.stderr);
    assert_eq!(finished.stdout, vec![b'x'; 1 << 20]);
    assert_eq!(finished.stderr.trim(), "done");
}
