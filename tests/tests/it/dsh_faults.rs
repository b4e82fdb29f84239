//! What can go wrong with a session: nothing hangs, nothing is left, and others do not notice.

use std::time::{Duration, Instant};

use dhtnet::identity::key_file;
use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{ChannelError, ChannelRequest, ConnectError, DeclineCode, Node, PeerAddress};
use dhtnet_tests::device::as_oneself;
use dhtnet_tests::lab::{Families, Process, Usage, skip};
use dhtnet_tests::ssh::find;

use crate::dsh::{await_only, output_of};
use crate::pair::{LIMIT, PORT, Pair, assert_failed, pair};

/// Longest a peer that vanished without a word may be waited for.
const VANISHED_LIMIT: Duration = Duration::from_secs(75);

/// A command that runs, does not heed SIGHUP, and has children.
const STUBBORN: &str = "trap '' HUP; echo ready >&2; sleep 1000 & sh -c 'sleep 1000; :'; :";

fn start_ready(pair: &Pair, words: &[&str]) -> Process {
    let mut client = pair.dsh().args(words).stdin_pipe().start().unwrap();
    client
        .await_line("that it runs", LIMIT, |line| {
            line.contains("ready").then_some(())
        })
        .unwrap();
    client
}

/// Files that a process has open.
fn open_files(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

#[test]
fn a_killed_client_leaves_no_process_and_no_file() {
    let name = "a_killed_client_leaves_no_process_and_no_file";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    assert_eq!(output_of(pair.remote("echo up")), "up");
    let files = open_files(&server);
    let address = pair.address();
    let mut clients = vec![start_ready(&pair, &[&address, STUBBORN])];
    // The standard error of a terminal is its output.
    let terminal = "trap '' HUP; sleep 1000 & sleep 1000; :";
    clients.push(
        pair.dsh()
            .args(["-tt", &address, terminal])
            .stdin_pipe()
            .start()
            .unwrap(),
    );
    let deadline = Instant::now() + LIMIT;
    while pair.b.host().processes().len() < 2 + 4 + 2 {
        assert!(Instant::now() < deadline, "{:?}", pair.b.host().processes());
        std::thread::sleep(Duration::from_millis(50));
    }
    for client in &mut clients {
        client.kill();
    }
    let deadline = Instant::now() + VANISHED_LIMIT;
    while pair.b.host().processes().len() > 2 {
        assert!(Instant::now() < deadline, "{:?}", pair.b.host().processes());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(output_of(pair.remote("echo still")), "still");
    let deadline = Instant::now() + LIMIT;
    while open_files(&server) > files {
        assert!(
            Instant::now() < deadline,
            "{} files, {files} before",
            open_files(&server)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_server_leaves_no_process_and_its_client_says_so() {
    let name = "a_killed_server_leaves_no_process_and_its_client_says_so";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let mut server = pair.serve_shells(&[]);
    let client = start_ready(&pair, &[&pair.address(), STUBBORN]);
    server.kill();
    await_only(&pair, 0);
    let finished = client.finish(VANISHED_LIMIT).unwrap();
    assert_eq!(finished.code(), Some(255), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("lost the connection"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_terminated_server_ends_its_sessions_and_tells_their_clients() {
    let name = "a_terminated_server_ends_its_sessions_and_tells_their_clients";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    let client = start_ready(&pair, &[&pair.address(), STUBBORN]);
    server.signal(rustix::process::Signal::TERM);
    let finished = client.finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(255), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("the server ends"),
        "{}",
        finished.stderr
    );
    assert_eq!(server.finish(LIMIT).unwrap().code(), Some(143));
    await_only(&pair, 0);
}

#[test]
fn a_client_that_never_reads_stalls_its_own_session_only() {
    let name = "a_client_that_never_reads_stalls_its_own_session_only";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    let unread = pair.remote("yes").stdout_pipe().start().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    for _ in 0..3 {
        assert_eq!(output_of(pair.remote("echo other")), "other");
    }
    let resident = Usage::of_process(server.id()).unwrap().resident;
    assert!(resident < 96 << 20, "the server holds {resident} bytes");
    drop(unread);
    await_only(&pair, 2);
}

#[test]
fn as_many_sessions_as_one_peer_may_have_and_one_more() {
    let name = "as_many_sessions_as_one_peer_may_have_and_one_more";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let address = pair.address();
    let mut held: Vec<Process> = (0..64)
        .map(|_| start_ready(&pair, &[&address, "echo ready >&2; cat"]))
        .collect();
    let finished = pair.remote("true").start().unwrap().finish(LIMIT).unwrap();
    assert_failed(
        &finished,
        255,
        &["busy", "as many sessions as there may be"],
    );
    drop(held.pop().unwrap().take_stdin());
    let deadline = Instant::now() + LIMIT;
    while pair
        .remote("true")
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap()
        .code()
        != Some(0)
    {
        assert!(Instant::now() < deadline);
    }
    drop(held);
}

#[test]
fn no_terminal_is_free_and_commands_still_run() {
    let name = "no_terminal_is_free_and_commands_still_run";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || find("unshare").is_none() {
        return skip::report(name, "root and unshare are needed");
    }
    let script = "mount -t devpts -o newinstance,max=1,ptmxmode=0666 devpts /dev/pts && \
                  mount --bind /dev/pts/ptmx /dev/ptmx && exec \"$@\"";
    let server = pair
        .b
        .with_home(pair.b.host().command("unshare"))
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(pair.b.dsh_path())
        .args(pair.dsh_listener_words())
        .args(as_oneself());
    let _server = pair.b.listen(server).unwrap();
    let address = pair.address();
    let mut first = pair
        .dsh()
        .args(["-tt", &address, "echo first; cat"])
        .stdin_pipe()
        .start()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    while first.stdout_len() == 0 {
        assert!(Instant::now() < deadline, "{}", first.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    let second = pair.dsh().args(["-tt", &address, "true"]);
    let finished = second.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["busy", "cannot open a terminal"]);
    assert_eq!(output_of(pair.remote("echo without")), "without");
    drop(first.take_stdin());
    assert_eq!(first.finish(LIMIT).unwrap().code(), Some(0));
    let third = pair.dsh().args(["-tt", &address, "true"]);
    assert_eq!(
        third.start().unwrap().finish(LIMIT).unwrap().code(),
        Some(0)
    );
}

/// Runs `work` with a node of `a` that speaks for itself, and the address of the server.
fn as_client<T: Send, F: Future<Output = T>>(
    pair: &Pair,
    policy: Policy,
    work: impl FnOnce(Node, PeerAddress) -> F + Send,
) -> T {
    let key = key_file::load(pair.a.home().join("identity.pem")).unwrap();
    let to = format!("{}@{}:{PORT}", pair.b.id(), pair.b.host().ipv4());
    let to: PeerAddress = to.parse().unwrap();
    let done = pair.a.host().run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let builder = Node::builder(key).mdns(false).policy(policy);
            let node = builder.build().await.unwrap();
            let done = work(node.clone(), to).await;
            node.shutdown().await;
            done
        })
    });
    done.unwrap()
}

/// docs/wire-format/shell.md: version, token, no user, "cat", no terminal, no variables.
fn request_for_cat() -> Vec<u8> {
    [&[1][..], &[7; 16], &[0, 1, 3], b"cat", &[0, 0]].concat()
}

/// Garbage in the request, and on a control channel that was opened for nobody.
#[test]
fn garbage_is_declined_and_the_server_lives_on() {
    let name = "garbage_is_declined_and_the_server_lives_on";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    let answers = as_client(&pair, Policy::deny_all(), async |node, to| {
        let mut answers = Vec::new();
        let garbage: [&'static [u8]; 4] = [b"", b"\x01", b"\x02\x00", &[0xff; 4096]];
        for name in ["dsh.shell", "dsh.command"] {
            for metadata in garbage {
                let request = ChannelRequest::stream(name).metadata(metadata);
                answers.push(match node.connect(&to, request).await {
                    Err(ConnectError::Declined { reason, .. }) => reason.code(),
                    other => panic!("not declined: {other:?}"),
                });
            }
        }
        answers
    });
    assert!(answers.iter().all(|code| *code == DeclineCode::BadRequest));
    assert_eq!(output_of(pair.remote("echo alive")), "alive");
    drop(server);
}

/// A thousand requests at once, from a client that then takes nothing of what it asked for.
#[test]
fn a_flood_of_requests_is_answered_and_leaves_nothing() {
    let name = "a_flood_of_requests_is_answered_and_leaves_nothing";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    assert_eq!(output_of(pair.remote("echo up")), "up");
    let files = open_files(&server);
    let (refused, all) = as_client(&pair, Policy::deny_all(), async |node, to| {
        let requests = (0..1000).map(|_| {
            let request = ChannelRequest::stream("dsh.command").metadata(request_for_cat());
            node.connect(&to, request)
        });
        let answers = futures_util::future::join_all(requests).await;
        let refused = answers.iter().filter(|answer| match answer {
            Ok(_) => false,
            Err(ConnectError::Declined { reason, .. }) => reason.code() == DeclineCode::Busy,
            Err(error) => panic!("neither accepted nor busy: {error}"),
        });
        (refused.count(), answers.len())
    });
    assert_eq!(all, 1000);
    assert!(refused >= 500, "{refused} were refused");
    await_only(&pair, 2);
    assert_eq!(output_of(pair.remote("echo alive")), "alive");
    let deadline = Instant::now() + LIMIT;
    while open_files(&server) > files {
        assert!(Instant::now() < deadline, "{} files", open_files(&server));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A session whose control channel says nonsense ends, and leaves nothing.
#[test]
fn nonsense_on_the_control_channel_ends_that_session() {
    let name = "nonsense_on_the_control_channel_ends_that_session";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let server = pair.b.id().parse().unwrap();
    let policy = Policy::builder().grant(Subject::Peer(server), Grant::action("dsh.control"));
    let ended = as_client(&pair, policy.build(), async |node, to| {
        let mut listener = node.listen_unannounced("dsh.control").unwrap();
        let request = ChannelRequest::stream("dsh.command").metadata(request_for_cat());
        let (_send, mut recv) = node.connect(&to, request).await.unwrap().split();
        let (mut say, _) = listener.accept().await.unwrap().accept().split();
        say.write_chunk(vec![1, 0, 2, 0, 0].into()).await.unwrap();
        let error = recv.read_chunk(16).await.unwrap_err();
        ChannelError::from_io(&error).cloned()
    });
    assert!(matches!(ended, Some(ChannelError::Reset(_))));
    await_only(&pair, 2);
    assert_eq!(output_of(pair.remote("echo alive")), "alive");
}
