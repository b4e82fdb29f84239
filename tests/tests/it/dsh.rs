//! Commands on a peer without a terminal: statuses, streams, signals, users, what is refused.

use std::time::Duration;

use dhtnet_tests::device::as_oneself;
use dhtnet_tests::lab::{Command, Families, Process, skip};
use dhtnet_tests::payload::noise;
use dhtnet_tests::ssh::find;
use rustix::process::Signal;

use crate::pair::{LIMIT, PORT, Pair, assert_done, assert_failed, bulk_limit, ended, pair};

/// Bytes of a bulk transfer each way.
const BULK: usize = 100 << 20;

impl Pair {
    /// `dsh -l` on `b` at [`PORT`] that lets `a` in, without mDNS. More words may follow.
    pub(crate) fn dsh_listener(&self) -> Command {
        self.b.dsh().args(self.dsh_listener_words())
    }

    /// The words of [`Pair::dsh_listener`]; who runs it as root has to name a user besides.
    pub(crate) fn dsh_listener_words(&self) -> Vec<String> {
        let bind = format!("[::]:{PORT}");
        ["-l", "--no-mdns", "--bind", &bind, "--allow", self.a.id()]
            .map(str::to_owned)
            .to_vec()
    }

    /// Starts it with these words more, and waits until it is ready.
    pub(crate) fn serve_shells(&self, more: &[&str]) -> Process {
        let mut server = self.dsh_listener().args(more);
        if !more.contains(&"--user") {
            server = server.args(as_oneself());
        }
        self.b.listen(server).unwrap()
    }

    /// `dsh` on `a`, without mDNS, ready for flags, the peer and a command.
    pub(crate) fn dsh(&self) -> Command {
        self.a.dsh().arg("--no-mdns")
    }

    /// A command on `b`, for `sh -c` there.
    pub(crate) fn remote(&self, command: &str) -> Command {
        self.dsh().args([&self.address(), command])
    }
}

/// What a command prints, having ended well.
#[track_caller]
pub(crate) fn output_of(command: Command) -> String {
    let finished = ended(command);
    assert_done(&finished);
    finished.text().trim().to_owned()
}

#[test]
fn statuses_streams_and_signals_of_a_command_are_passed_on() {
    let name = "statuses_streams_and_signals_of_a_command_are_passed_on";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    for (command, code, stdout, stderr) in [
        ("exit 7", 7, "", ""),
        ("echo out; echo err >&2; exit 1", 1, "out\n", "err\n"),
        ("kill -9 $$", 137, "", ""),
        ("kill -TERM $$", 143, "", ""),
        ("/etc/passwd", 126, "", "denied"),
        ("no-such-program-here", 127, "", "not found"),
        ("exit 255", 255, "", ""),
    ] {
        let finished = pair.remote(command).start().unwrap().finish(LIMIT).unwrap();
        assert_eq!(
            finished.code(),
            Some(code),
            "{command}: {}",
            finished.stderr
        );
        assert_eq!(finished.text(), stdout, "{command}");
        if stderr.ends_with('\n') || stderr.is_empty() {
            assert_eq!(finished.stderr, stderr, "{command}");
        } else {
            assert!(finished.stderr.contains(stderr), "{}", finished.stderr);
        }
    }
    // The words are joined by blanks, as ssh does; options end at the first.
    let words = pair
        .dsh()
        .args([&pair.address(), "echo", "a  b", "-t", "$((1 + 1))"]);
    assert_eq!(output_of(words), "a b -t 2");
    server.signal(Signal::TERM);
    assert_eq!(server.finish(LIMIT).unwrap().code(), Some(143));
    pair.assert_no_process_left();
}

#[test]
fn a_hundred_mebibytes_pass_both_ways_at_once() {
    let name = "a_hundred_mebibytes_pass_both_ways_at_once";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let bytes = noise(BULK);
    let remote = pair.remote("cat").stdin_bytes(bytes.clone());
    let finished = remote
        .start()
        .unwrap()
        .finish(bulk_limit(2 * BULK as u64))
        .unwrap();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout == bytes,
        "{} bytes came back",
        finished.stdout.len()
    );
}

#[test]
fn the_end_of_input_is_the_end_of_that_direction_only() {
    let name = "the_end_of_input_is_the_end_of_that_direction_only";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let counted = pair
        .remote("wc -c; echo then")
        .stdin_bytes(vec![b'x'; 100_000]);
    assert_eq!(output_of(counted), "100000\nthen");
    // Nothing at all, from /dev/null and with -n.
    assert_eq!(output_of(pair.remote("cat; echo done")), "done");
    let nothing = pair.dsh().args(["-n", &pair.address(), "cat; echo done"]);
    assert_eq!(output_of(nothing.stdin_bytes(*b"not read")), "done");
    // A command that does not read ends all the same.
    let unread = pair.remote("echo early").stdin_bytes(vec![7; 8 << 20]);
    assert_eq!(output_of(unread), "early");
    // Who wants no more lets the command run into a closed pipe.
    let script = format!(
        "{} --no-mdns {} yes | head -1",
        pair.a.dsh_path().display(),
        pair.address()
    );
    let piped = pair
        .a
        .with_home(pair.a.host().command("sh").args(["-c", &script]));
    assert_eq!(output_of(piped), "y");
    // A background process that keeps the output open is waited for, as with ssh.
    assert_eq!(
        output_of(pair.remote("(sleep 0.3; echo late) & echo now")),
        "now\nlate"
    );
}

#[test]
fn variables_pass_by_the_list_of_the_server() {
    let Some(pair) = pair("variables_pass_by_the_list_of_the_server", Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&["--accept-env", "GIT_*", "--accept-env", "LD_*"]);
    let asked = pair
        .dsh()
        .args([
            "--env",
            "GIT_DIR=/g",
            "--env",
            "SECRET=s",
            "--env",
            "GIT_HERE",
            "--env",
            "HOME=/x",
        ])
        .args([
            &pair.address(),
            "echo $GIT_DIR,$GIT_HERE,$SECRET,$LC_TIME,$SHLVL,$HOME,$DSH_PEER",
        ])
        .env("GIT_HERE", "here")
        .env("LC_TIME", "C")
        .env("LC_ALL", "C");
    let said = output_of(asked);
    let fields: Vec<&str> = said.split(',').collect();
    assert_eq!(fields[..4], ["/g", "here", "", "C"], "{said}");
    assert_ne!(fields[5], "/x", "{said}");
    assert_eq!(fields[6], pair.a.id());
    // What would have an effect on the server's own program reaches the command only.
    let preload = pair.dsh().args([
        "--env",
        "LD_PRELOAD=/no/such.so",
        &pair.address(),
        "echo $LD_PRELOAD",
    ]);
    let finished = preload.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(finished.text().trim(), "/no/such.so");
    assert!(!finished.stderr.contains("dsh"), "{}", finished.stderr);
}

#[test]
fn an_interrupt_reaches_the_command_and_a_termination_ends_it() {
    let name = "an_interrupt_reaches_the_command_and_a_termination_ends_it";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let ready = |command: &str| {
        let mut client = pair.remote(command).start().unwrap();
        client
            .await_line("that it runs", LIMIT, |line| {
                line.contains("ready").then_some(())
            })
            .unwrap();
        client
    };
    let client =
        ready("trap 'echo caught; exit 5' INT; echo ready >&2; while :; do sleep 0.05; done");
    client.signal(Signal::INT);
    let finished = client.finish(LIMIT).unwrap();
    assert_eq!(
        (finished.code(), finished.text().trim()),
        (Some(5), "caught")
    );

    let client = ready("trap '' HUP TERM; echo ready >&2; sleep 1000 & sleep 1000");
    client.signal(Signal::TERM);
    assert_eq!(client.finish(LIMIT).unwrap().code(), Some(143));
    await_only(&pair, 2);
}

/// Waits until only so many processes are on `b`: the server and its warden.
#[track_caller]
pub(crate) fn await_only(pair: &Pair, count: usize) {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let left = pair.b.host().processes();
        if left.len() <= count {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "left on b: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_peer_has_what_the_policy_names_and_nothing_else() {
    let name = "a_peer_has_what_the_policy_names_and_nothing_else";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&["--allow-command", "echo fixed", "--allow-command", "echo *"]);
    assert_eq!(output_of(pair.remote("echo fixed")), "fixed");
    assert_eq!(output_of(pair.remote("echo any words")), "any words");
    let address = pair.address();
    for (words, refused) in [
        (
            &[&address, "echo a; id"][..],
            "dsh.command echo a; id is not allowed",
        ),
        (&[&address, "id"], "dsh.command id is not allowed"),
        (&[&address], "dsh.shell is not allowed"),
        (&["-tt", &address, "echo fixed"], "dsh.shell is not allowed"),
        (
            &[&format!("daemon@{address}"), "echo fixed"],
            "dsh.user daemon is not allowed",
        ),
    ] {
        let finished = pair
            .dsh()
            .args(words)
            .start()
            .unwrap()
            .finish(LIMIT)
            .unwrap();
        assert_failed(&finished, 255, &["refused", refused, "ask its owner"]);
    }
    drop(server);
    let stranger = pair.b.dsh().args([
        "-l",
        "--no-mdns",
        "--bind",
        "[::]:7001",
        "--allow",
        pair.b.id(),
    ]);
    let _stranger = pair.b.listen(stranger.args(as_oneself())).unwrap();
    let elsewhere = format!("{}@{}:7001", pair.b.id(), pair.b.host().ipv4());
    let finished = pair
        .dsh()
        .args([&elsewhere, "id"])
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_failed(&finished, 255, &["refused", "--allow"]);
}

#[test]
fn a_connection_that_fails_is_255_and_wrong_usage_2() {
    let name = "a_connection_that_fails_is_255_and_wrong_usage_2";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let absent = pair.dsh().args(["-w", "1", &pair.address(), "true"]);
    let finished = absent.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["cannot reach"]);
    let wrong = pair.dsh().args(["-N", &pair.address()]);
    assert_failed(
        &wrong.start().unwrap().finish(LIMIT).unwrap(),
        2,
        &["-N has nothing to do"],
    );
    let nobody = pair.b.dsh().arg("-l");
    assert_failed(
        &nobody.start().unwrap().finish(LIMIT).unwrap(),
        2,
        &["nobody may connect"],
    );
    let _server = pair.serve_shells(&[]);
    let long = pair.remote(&"x".repeat(60_000));
    assert_failed(
        &long.start().unwrap().finish(LIMIT).unwrap(),
        2,
        &["too long", "stdin"],
    );
}

/// `dsh -l` on `b` with users of its own, that are nowhere else on this machine.
fn serve_with_users(pair: &Pair, users: &str, groups: &str, more: &[&str]) -> Process {
    let words = pair.dsh_listener_words();
    let more = more.iter().map(|word| (*word).to_owned());
    serve_words_with_users(pair, users, groups, words.into_iter().chain(more).collect())
}

fn serve_words_with_users(pair: &Pair, users: &str, groups: &str, words: Vec<String>) -> Process {
    let folder = pair.lab.folder();
    std::fs::write(folder.join("passwd"), users).unwrap();
    std::fs::write(folder.join("group"), groups).unwrap();
    let script = format!(
        "mount --bind {0}/passwd /etc/passwd && mount --bind {0}/group /etc/group && exec \"$@\"",
        folder.display()
    );
    let server = pair
        .b
        .with_home(pair.b.host().command("unshare"))
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(pair.b.dsh_path())
        .args(words);
    pair.b.listen(server).unwrap()
}

#[test]
fn root_becomes_the_user_with_groups_home_and_a_clean_environment() {
    let name = "root_becomes_the_user_with_groups_home_and_a_clean_environment";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || find("unshare").is_none() {
        return skip::report(name, "root and unshare are needed");
    }
    let home = pair.lab.folder().join("home-of-ann");
    std::fs::create_dir(&home).unwrap();
    let users = format!(
        "root:x:0:0::/root:/bin/sh\nann:x:4711:4711::{0}:/bin/sh\n\
         bob:x:4712:4712::/no/home:/no/shell\nweb:x:4713:4713::/:/usr/sbin/nologin\n",
        home.display()
    );
    let groups = "root:x:0:\nann:x:4711:\nbob:x:4712:\nmore:x:4800:ann\nother:x:4801:bob\n";
    let _server = serve_with_users(&pair, &users, groups, &["--user", "ann"]);
    let said = output_of(pair.remote(
        "echo $(id -u) $(id -g) $(id -G) $(id -nG); pwd; umask; ls /proc/self/fd | wc -l; \
         grep -c '^CapEff:.0000000000000000' /proc/self/status; env | sort",
    ));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "4711 4711 4711 4800 ann more", "{said}");
    assert_eq!(lines[1], home.to_str().unwrap());
    assert_eq!(lines[2..5], ["0022", "4", "1"], "{said}");
    let names: Vec<&str> = lines[5..]
        .iter()
        .filter_map(|line| line.split('=').next())
        .collect();
    let known = "DSH_PEER HOME LANG LC_ALL LOGNAME MAIL OLDPWD PATH PWD SHELL SHLVL USER _";
    for name in names {
        assert!(
            known.split(' ').any(|known| known == name) || name.starts_with("LC_"),
            "{said}"
        );
    }
    assert!(
        said.contains("\nUSER=ann") && said.contains("\nSHELL=/bin/sh"),
        "{said}"
    );
    // A terminal belongs to its user.
    let finished = pair
        .dsh()
        .args(["-tt", &pair.address(), "stat -c %U $(tty); echo $0"])
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_eq!(
        finished.text().lines().next(),
        Some("ann"),
        "{}",
        finished.stderr
    );
    // Only the user that the policy names, known or not.
    for other in ["root", "bob", "nobody-here"] {
        let finished = pair
            .dsh()
            .args([&format!("{other}@{}", pair.address()), "id"]);
        let refused = format!("dsh.user {other} is not allowed");
        assert_failed(
            &finished.start().unwrap().finish(LIMIT).unwrap(),
            255,
            &[&refused],
        );
    }
}

#[test]
fn the_policy_file_maps_a_peer_to_a_user_and_its_commands() {
    let name = "the_policy_file_maps_a_peer_to_a_user_and_its_commands";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || find("unshare").is_none() {
        return skip::report(name, "root and unshare are needed");
    }
    let users =
        "root:x:0:0::/root:/bin/sh\nann:x:4711:4711::/:/bin/sh\nbob:x:4712:4712::/:/bin/sh\n";
    let rule = |allowed: &str| {
        let text = format!(
            "version = 1\n[[rule]]\nwho = [\"{}\"]\nallow = [{allowed}]\n",
            pair.a.id()
        );
        std::fs::write(pair.b.home().join("policy.toml"), text).unwrap();
    };
    rule("'dsh.command id *', 'dsh.user ann'");
    let mut words = pair.dsh_listener_words();
    words.truncate(words.len() - 2);
    words.push("-v".to_owned());
    // What the log says of the users that were asked about.
    let decisions = |server: Process| {
        server.signal(Signal::TERM);
        let log = server.finish(LIMIT).unwrap().stderr;
        let of_users = log.lines().filter(|line| line.contains("action=dsh.user"));
        of_users.map(str::to_owned).collect::<Vec<_>>()
    };
    let server = serve_words_with_users(&pair, users, "root:x:0:\nann:x:4711:\n", words.clone());
    assert_eq!(output_of(pair.remote("id -un")), "ann");
    let finished = pair.remote("uname").start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["dsh.command uname is not allowed"]);
    let found = decisions(server);
    assert!(
        found.len() == 1 && found[0].contains("action=dsh.user ann verdict=allow"),
        "{found:?}"
    );
    await_only(&pair, 0);
    rule("'dsh.command id *', 'dsh.user ann', 'dsh.user bob'");
    let server = serve_words_with_users(&pair, users, "root:x:0:\nann:x:4711:\n", words);
    let finished = pair
        .remote("id -un")
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_failed(&finished, 255, &["several users are possible"]);
    let named = pair
        .dsh()
        .args([&format!("bob@{}", pair.address()), "id -un"]);
    assert_eq!(output_of(named), "bob");
    let found = decisions(server);
    assert!(
        found.len() == 1 && found[0].contains("action=dsh.user bob verdict=allow"),
        "{found:?}"
    );
}

#[test]
fn nobody_becomes_root_because_nobody_thought_of_it() {
    let name = "nobody_becomes_root_because_nobody_thought_of_it";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skip::report(name, "root is needed");
    }
    let finished = pair.dsh_listener().start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 2, &["runs as root", "--user NAME", "dsh.user"]);
    // With a policy.toml it may serve those whom that maps; the others are told.
    let elsewhere = format!(
        "version = 1\n[[rule]]\nwho = [\"{}\"]\nallow = ['dsh.shell', 'dsh.user daemon']\n",
        pair.b.id()
    );
    std::fs::write(pair.b.home().join("policy.toml"), elsewhere).unwrap();
    let server = pair.b.listen(pair.dsh_listener()).unwrap();
    let finished = pair.remote("id").start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["it runs as root", "--user NAME"]);
    let copy = pair
        .dsh()
        .args(["cp", "/etc/passwd", &format!("{}:copied", pair.address())]);
    let finished = copy.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 4, &["it runs as root"]);
    drop(server);
    std::fs::remove_file(pair.b.home().join("policy.toml")).unwrap();
    let _server = pair.serve_shells(&["--user", "root"]);
    assert_eq!(output_of(pair.remote("id -un")), "root");
}

#[test]
fn a_command_of_fifty_kilobytes_and_what_it_prints_pass() {
    let name = "a_command_of_fifty_kilobytes_and_what_it_prints_pass";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    // Control characters would be six times as long in other forms.
    let words = format!("printf %s '{}' | wc -c", "\u{1}x".repeat(25_000));
    assert_eq!(output_of(pair.remote(&words)), "50000");
    let variable = pair.dsh().args([
        "--env",
        &format!("LC_LONG={}", "y".repeat(50_000)),
        &pair.address(),
        "echo ${#LC_LONG}",
    ]);
    assert_eq!(output_of(variable), "50000");
}

#[test]
fn a_missing_user_home_or_shell_is_told() {
    let Some(pair) = pair("a_missing_user_home_or_shell_is_told", Families::Both) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || find("unshare").is_none() {
        return skip::report(
            "a_missing_user_home_or_shell_is_told",
            "root and unshare are needed",
        );
    }
    let users = "root:x:0:0::/root:/bin/sh\nbob:x:4712:4712::/no/home:/no/shell\n";
    let server = serve_with_users(&pair, users, "root:x:0:\nbob:x:4712:\n", &["--user", "bob"]);
    let finished = pair.remote("true").start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(finished.code(), Some(127), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("cannot go to /no/home"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("cannot start /no/shell"),
        "{}",
        finished.stderr
    );
    drop(server);
    await_only(&pair, 0);
    let _server = serve_with_users(&pair, users, "root:x:0:\n", &["--user", "nobody-here"]);
    let named = pair
        .dsh()
        .args([&format!("nobody-here@{}", pair.address()), "id"]);
    let finished = named.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["there is no user nobody-here"]);
}
