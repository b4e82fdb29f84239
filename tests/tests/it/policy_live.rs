//! What the policy takes back while something runs: a revoked certificate, a ban, a rule that is
//! gone or has ended, a file that is broken.

use std::time::{Duration, Instant, SystemTime};

use dhtnet_tests::device::START_LIMIT;
use dhtnet_tests::lab::{Command, Families, Finished, Process};
use rustix::process::Signal;

use crate::pair::{LIMIT, PORT, Pair, assert_words, pair};
use crate::policy_matrix::printed;

/// A second is the aim; this is for a loaded machine with unoptimised binaries.
const SOON: Duration = Duration::from_secs(5);

/// How long a transfer is watched that must not end.
const A_WHILE: Duration = Duration::from_millis(1_500);

impl Pair {
    fn write_policy(&self, text: &str) {
        std::fs::write(self.b.home().join("policy.toml"), text).unwrap();
    }

    /// `b` lets in whom its policy.toml and these words name, and throws away what comes.
    fn sink(&self, words: &[&str]) -> Process {
        let bind = format!("0.0.0.0:{PORT}");
        let command = self
            .b
            .dnc()
            .args(["-l", "-k", "--no-mdns", "--bind", &bind]);
        let command = command.args(words).stdout_file("/dev/null");
        self.b.listen(command).unwrap()
    }

    /// `a` sends without end, and is at it.
    fn endless(&self) -> Process {
        let command = self.client().arg("-v").stdin_file("/dev/zero");
        let mut client = command.start().unwrap();
        let connected = |line: &str| line.contains("connected to").then_some(());
        client
            .await_line("a connection", START_LIMIT, connected)
            .unwrap();
        client
    }

    fn rule(&self) -> String {
        format!(
            "version = 1\n[[rule]]\nname = \"a\"\nwho = [\"{}\"]\nallow = [\"dnc.pipe\"]\n",
            self.a.id()
        )
    }
}

fn is_running(process: &mut Process) -> bool {
    std::thread::sleep(A_WHILE);
    process.poll_exit().unwrap().is_none()
}

/// Does what takes the right away, and says how long the transfer then lived.
fn cut_by(what: &str, mut client: Process, take_back: impl FnOnce()) -> Finished {
    take_back();
    let begun = Instant::now();
    let ended = client.await_exit(SOON);
    let took = begun.elapsed();
    ended.unwrap();
    let finished = client.finish(LIMIT).unwrap();
    let said = format!("{what}, cut after {took:?}: {}", finished.stderr);
    assert_eq!(finished.code(), Some(4), "{said}");
    assert_words(&finished.stderr, &["refused", "policy"]);
    finished
}

#[test]
fn a_revoked_certificate_a_ban_and_a_rule_that_is_gone_cut_a_transfer() {
    let name = "a_revoked_certificate_a_ban_and_a_rule_that_is_gone_cut_a_transfer";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    printed(pair.b.crtmgr().args(["ca", "init", "--name", "Home"]));
    let file = pair.a.home().join("signed.crt");
    let sign = pair.b.crtmgr().args(["ca", "sign", pair.a.id()]);
    printed(sign.args(["--name", "a"]).arg("-o").arg(&file));
    printed(pair.a.crtmgr().arg("import").arg(&file));
    let ca = pair.b.home().join("ca/ca.crt");

    let listener = pair.sink(&["--allow-ca", ca.to_str().unwrap()]);
    cut_by("revoked", pair.endless(), || {
        printed(pair.b.crtmgr().args(["ca", "revoke", pair.a.id()]));
    });
    drop(listener);

    pair.write_policy(&pair.rule());
    let listener = pair.sink(&[]);
    let ban = format!("{}[[ban]]\nwho = [\"{}\"]\n", pair.rule(), pair.a.id());
    cut_by("banned", pair.endless(), || pair.write_policy(&ban));
    drop(listener);

    pair.write_policy(&pair.rule());
    let mut listener = pair.sink(&[]);
    let client = pair.endless();
    cut_by("no rule", client, || pair.write_policy("version = 1\n"));
    let told = |line: &str| line.contains("no longer allows it").then_some(());
    listener.await_line("who was cut", SOON, told).unwrap();
    // The listener waits on, for whom the policy allows.
    pair.write_policy(&pair.rule());
    let again = |line: &str| line.contains("read again").then(|| line.to_owned());
    listener.await_line("a new policy", SOON, again).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    drop(pair.endless());
}

#[test]
fn a_rule_that_ends_cuts_by_itself() {
    let Some(pair) = pair("a_rule_that_ends_cuts_by_itself", Families::V4) else {
        return;
    };
    let end = SystemTime::now() + Duration::from_secs(8);
    let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let date = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"])
        .arg(format!("@{}", since.as_secs()))
        .output()
        .unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    pair.write_policy(&format!("{}until = {}\n", pair.rule(), date.trim()));
    let _listener = pair.sink(&[]);
    let mut client = pair.endless();
    let ended = client.await_exit(Duration::from_secs(8) + SOON).unwrap();
    assert_eq!(ended.code(), Some(4), "{}", client.stderr());
    let late = SystemTime::now().duration_since(end).unwrap_or_default();
    assert!(late < SOON, "{late:?}");
}

#[test]
fn a_broken_file_keeps_the_policy_of_before_and_is_told_once() {
    let name = "a_broken_file_keeps_the_policy_of_before_and_is_told_once";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    pair.write_policy(&pair.rule());
    let mut listener = pair.sink(&[]);
    let mut client = pair.endless();
    pair.write_policy("version = 1\n[[rule]]\nwho = [\"anyone\"]\nalow = [\"*\"]\n");
    let kept = |line: &str| line.contains("stays in force").then(|| line.to_owned());
    let line = listener.await_line("the fault", SOON, kept).unwrap();
    assert_words(&line, &["policy.toml", "line 4", "alow"]);
    assert!(is_running(&mut client), "{}", client.stderr());
    let told = listener.stderr();
    assert_eq!(told.matches("stays in force").count(), 1, "{told}");
    // Asked for, it is told again.
    listener.signal(Signal::HUP);
    let hup = |line: &str| (line.contains("SIGHUP") && line.contains("stays")).then_some(());
    listener.await_line("an answer", SOON, hup).unwrap();
    pair.write_policy(&pair.rule());
    let again = |line: &str| line.contains("is in force").then_some(());
    listener.await_line("a good file", SOON, again).unwrap();
    listener.signal(Signal::HUP);
    let hup = |line: &str| {
        line.contains("SIGHUP: the policy was read again")
            .then_some(())
    };
    listener.await_line("an answer", SOON, hup).unwrap();
    assert!(is_running(&mut client), "{}", client.stderr());
}

#[test]
fn a_policy_that_is_broken_at_the_start_is_exit_2_with_line_and_key() {
    let name = "a_policy_that_is_broken_at_the_start_is_exit_2_with_line_and_key";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let run = |command: Command| command.start().unwrap().finish(LIMIT).unwrap();
    pair.write_policy("version = 1\n[[rule]]\nwho = [\"anyone\"]\nalow = [\"*\"]\n");
    let finished = run(pair.b.dnc().args(["-l", "-a"]));
    crate::pair::assert_failed(&finished, 2, &["policy.toml", "line 4", "alow"]);
    std::fs::remove_file(pair.b.home().join("policy.toml")).unwrap();
    let finished = run(pair.b.dnc().args(["-l", "-N"]));
    crate::pair::assert_failed(&finished, 2, &["nobody may connect"]);
    let finished = run(pair.b.dnc().args(["-l", "-N", "-a"]));
    crate::pair::assert_failed(&finished, 2, &["nothing to serve"]);
    let finished = run(pair.b.dnc().args(["-l", "--allow-ca", "/nonexistent.crt"]));
    crate::pair::assert_failed(&finished, 2, &["/nonexistent.crt"]);
    std::fs::write(pair.b.home().join("device.crt"), "nothing").unwrap();
    let finished = run(pair.b.dnc().args(["-l", "--allow", pair.a.id()]));
    crate::pair::assert_failed(&finished, 5, &["device.crt"]);
}

#[test]
fn a_server_by_policy_alone_serves_what_the_policy_allows() {
    let name = "a_server_by_policy_alone_serves_what_the_policy_allows";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let rule = pair.rule().replace("dnc.pipe", "dnc.target 127.0.0.1:*");
    pair.write_policy(&rule);
    let bind = format!("0.0.0.0:{PORT}");
    let command = pair
        .b
        .dnc()
        .args(["-l", "-N", "--no-mdns", "--bind", &bind]);
    let listener = pair.b.listen(command).unwrap();
    let ask = |target: &str| {
        let client = pair.client().args([target, "-z"]);
        client.start().unwrap().finish(LIMIT).unwrap().code()
    };
    // Nothing listens there: the target failed, and the policy had let it through.
    assert_eq!(ask("127.0.0.1:9"), Some(6), "{}", listener.stderr());
    assert_eq!(ask("127.0.0.2:9"), Some(4), "{}", listener.stderr());
    drop(listener);
    // Targets on the command line are all that is served, whatever the policy allows.
    let command = pair.b.dnc().args(["-l", "--no-mdns", "--bind", &bind]);
    let command = command.args(["--allow-target", "127.0.0.1:8"]);
    let listener = pair.b.listen(command).unwrap();
    assert_eq!(ask("127.0.0.1:8"), Some(6), "{}", listener.stderr());
    assert_eq!(ask("127.0.0.1:9"), Some(4), "{}", listener.stderr());
}
