//! `dsh` as the transport of others, and its forwards.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use dhtnet_tests::lab::{Families, Host, Process, skip};
use dhtnet_tests::ssh::find;

use crate::pair::{LIMIT, Pair, assert_done, pair};

/// Makes the peer known by the name that a URL can hold.
fn name_peer(pair: &Pair) {
    let named = pair
        .a
        .crtmgr()
        .args(["peer", "add", "far", &pair.address()]);
    assert_done(&named.start().unwrap().finish(LIMIT).unwrap());
}

/// Runs a script on `a`.
#[track_caller]
fn run(pair: &Pair, script: &str) -> String {
    let command = pair
        .a
        .with_home(pair.a.host().command("sh").args(["-ec", script]));
    let finished = command.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&finished);
    finished.text()
}

#[test]
fn git_clones_and_pushes_over_dsh() {
    let Some(pair) = pair("git_clones_and_pushes_over_dsh", Families::Both) else {
        return;
    };
    if find("git").is_none() {
        return skip::report("git_clones_and_pushes_over_dsh", "git is not installed");
    }
    let _server = pair.serve_shells(&[]);
    name_peer(&pair);
    let folder = pair.lab.folder().display();
    let dsh = pair.a.dsh_path();
    run(
        &pair,
        &format!(
            "export GIT_SSH_COMMAND='{} --no-mdns' GIT_CONFIG_NOSYSTEM=1\n\
             git config --global user.name T; git config --global user.email t@example.org\n\
             git config --global safe.directory '*'\n\
             git init -q '{folder}/origin'; cd '{folder}/origin'\n\
             head -c 3000000 /dev/urandom > file; git add file; git commit -qm one\n\
             git clone -q 'far:{folder}/origin' '{folder}/clone'\n\
             cmp file '{folder}/clone/file'\n\
             cd '{folder}/clone'; echo two > two; git add two; git commit -qm two\n\
             git push -q origin HEAD:other; cd ../origin; git show other:two | grep -qx two",
            dsh.display()
        ),
    );
}

#[test]
fn rsync_works_over_dsh_with_and_without_a_user() {
    let name = "rsync_works_over_dsh_with_and_without_a_user";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if find("rsync").is_none() {
        return skip::report(name, "rsync is not installed");
    }
    let _server = pair.serve_shells(&[]);
    name_peer(&pair);
    let folder = pair.lab.folder().display();
    let dsh = format!("{} --no-mdns", pair.a.dsh_path().display());
    run(
        &pair,
        &format!(
            "cd '{folder}'; mkdir -p tree/sub; head -c 2000000 /dev/urandom > tree/file\n\
             ln -s file tree/link; echo x > 'tree/sub/a b'\n\
             rsync -a -e '{dsh}' tree/ 'far:{folder}/there/'; diff -r tree there\n\
             rsync -a -e '{dsh}' \"$(id -un)@far:{folder}/there/\" back/; diff -r tree back"
        ),
    );
}

/// Answers each connection to a port of the host with what came, in capitals.
fn start_target(host: &Host, port: u16) {
    let listener = host
        .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        .unwrap()
        .unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = Vec::new();
            let _ = stream.set_read_timeout(Some(LIMIT));
            let _ = stream.read_to_end(&mut question);
            let _ = stream.write_all(&question.to_ascii_uppercase());
        }
    });
}

fn ask(host: &Host, port: u16) -> Vec<u8> {
    let mut stream = host
        .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Waits until dsh says that a port is ready.
fn await_forward(client: &mut Process, words: &str) {
    client
        .await_line(words, LIMIT, |line| line.contains(words).then_some(()))
        .unwrap();
}

#[test]
fn forwards_work_beside_a_command_and_alone() {
    let Some(pair) = pair("forwards_work_beside_a_command_and_alone", Families::Both) else {
        return;
    };
    start_target(pair.b.host(), 4001);
    start_target(pair.a.host(), 4002);
    let _server = pair.serve_shells(&[]);
    let address = pair.address();
    let forwards = ["-L", "4010:127.0.0.1:4001", "-R", "4020:127.0.0.1:4002"];
    let mut alone = pair
        .dsh()
        .arg("-N")
        .args(forwards)
        .arg(&address)
        .start()
        .unwrap();
    await_forward(&mut alone, "127.0.0.1:4010 leads to");
    assert_eq!(ask(pair.a.host(), 4010), b"QUESTION");
    assert_eq!(ask(pair.b.host(), 4020), b"QUESTION");
    drop(alone);
    let mut beside = pair
        .dsh()
        .args([
            "-L",
            "4011:127.0.0.1:4001",
            &address,
            "read line; echo got $line",
        ])
        .stdin_pipe()
        .start()
        .unwrap();
    let mut stdin = beside.take_stdin().unwrap();
    await_forward(&mut beside, "127.0.0.1:4011 leads to");
    assert_eq!(ask(pair.a.host(), 4011), b"QUESTION");
    stdin.write_all(b"it\n").unwrap();
    drop(stdin);
    let finished = beside.finish(LIMIT).unwrap();
    assert_eq!(
        (finished.code(), finished.text().as_str()),
        (Some(0), "got it\n")
    );
}

#[test]
fn who_may_run_commands_only_cannot_forward() {
    let Some(pair) = pair("who_may_run_commands_only_cannot_forward", Families::Both) else {
        return;
    };
    start_target(pair.b.host(), 4001);
    let _server = pair.serve_shells(&["--allow-command", "true"]);
    let address = pair.address();
    let mut local = pair
        .dsh()
        .args(["-N", "-L", "4010:127.0.0.1:4001", &address])
        .start()
        .unwrap();
    await_forward(&mut local, "127.0.0.1:4010 leads to");
    let mut stream = pair
        .a
        .host()
        .run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 4010)))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = stream.write_all(b"question");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    await_forward(&mut local, "dsh.forward 127.0.0.1:4001 is not allowed");
    let reverse = pair
        .dsh()
        .args(["-N", "-R", "4020:127.0.0.1:4002", &address]);
    let finished = reverse.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(255));
    assert!(
        finished
            .stderr
            .contains("dsh.forward 127.0.0.1:4020 is not allowed"),
        "{}",
        finished.stderr
    );
}
