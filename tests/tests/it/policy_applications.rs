//! What the tools decide beyond the opening of a channel is decided again when the policy changes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Finished, Process};
use dhtnet_tests::screen::{Screen, ScreenError};

use crate::dsh::await_only;
use crate::pair::{LIMIT, PORT, Pair, assert_failed, assert_words, pair, tools};
use crate::vpn::{await_ping, await_up, dvpn};

/// A second is the aim; this is for a loaded machine with unoptimised binaries.
const SOON: Duration = Duration::from_secs(5);

/// A rule of its own for each permission, so that one can be taken away.
fn policy(who: &str, allowed: &[&str]) -> String {
    let mut text = "version = 1\n".to_owned();
    for permission in allowed {
        let rule = format!("[[rule]]\nwho = ['{who}']\nallow = ['{permission}']\n");
        let _ = write!(text, "{rule}");
    }
    text
}

impl Pair {
    /// What `a` may do on `b` from now on.
    fn allow(&self, allowed: &[&str]) {
        let text = policy(self.a.id(), allowed);
        std::fs::write(self.b.home().join("policy.toml"), text).unwrap();
    }

    /// A server of shells for whom the policy file names.
    fn serve_by_policy(&self) -> Process {
        let bind = format!("[::]:{PORT}");
        let words = ["-l", "-v", "--no-mdns", "--bind", &bind];
        self.b.listen(self.b.dsh().args(words)).unwrap()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Ends soon, by the policy; says how.
fn cut(mut process: Process, since: Instant) -> Finished {
    let ended = process.await_exit(SOON);
    let took = since.elapsed();
    assert!(
        ended.is_ok(),
        "it runs after {took:?}: {}",
        process.stderr()
    );
    let finished = process.finish(LIMIT).unwrap();
    assert_failed(&finished, 255, &["ended", "policy no longer allows"]);
    finished
}

#[test]
fn a_command_ends_with_each_right_that_it_needs() {
    let name = "a_command_ends_with_each_right_that_it_needs";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let user = if is_root() { "dsh.user root" } else { "dsh.cp" };
    let all = ["dsh.command sleep *", "dsh.shell", user, "dsh.forward *"];
    pair.allow(&all);
    let mut server = pair.serve_by_policy();
    let ready = |line: &str| line.contains(" runs sleep").then_some(());
    let mut start = |command: Command| {
        let client = command.start().unwrap();
        server.await_line("the command", LIMIT, ready).unwrap();
        client
    };
    let quiet = || pair.remote("sleep 1000").stdin_file("/dev/null");
    let terminal = || pair.dsh().args(["-tt", &pair.address(), "sleep 1000"]);
    for (what, lost) in [
        ("a command", "dsh.command sleep *"),
        ("a terminal", "dsh.shell"),
        ("a user", "dsh.user root"),
    ] {
        if lost == "dsh.user root" && !is_root() {
            report(name, "root is needed (no user was taken away)");
            continue;
        }
        pair.allow(&all);
        std::thread::sleep(Duration::from_secs(1));
        let command = if what == "a terminal" {
            terminal()
        } else {
            quiet()
        };
        let client = start(command);
        let rest: Vec<&str> = all.into_iter().filter(|one| *one != lost).collect();
        pair.allow(&rest);
        let finished = cut(client, Instant::now());
        assert_words(&finished.stderr, &["sleep 1000"]);
        // The server and its warden are left.
        await_only(&pair, 2);
    }
    let told = server.stderr();
    assert_words(&told, &["was ended: the policy here no longer allows it"]);
}

#[test]
fn a_named_session_cannot_be_attached_by_who_lost_its_user_until_the_right_is_back() {
    let name = "a_named_session_cannot_be_attached_by_who_lost_its_user_until_the_right_is_back";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    if !is_root() {
        return report(name, "root is needed");
    }
    let screen = match Screen::open(&pair.a) {
        Ok(screen) => screen,
        Err(error @ ScreenError::NotInstalled) => {
            return report(name, &format!("failed to {error}"));
        }
        Err(error) => panic!("failed to {error}"),
    };
    let all = ["dsh.shell", "dsh.command *", "dsh.user root"];
    pair.allow(&all);
    let _server = pair.serve_by_policy();
    let dsh = pair.a.dsh_path();
    let attach = format!("{} --no-mdns -S work {}", dsh.display(), pair.address());
    let shell = "\"exec env PS1='far> ' ENV= sh -i\"";
    screen
        .type_line(&format!("{attach} {shell}; stty sane"))
        .unwrap();
    screen.await_text("far>", LIMIT).unwrap();
    screen
        .type_line("kept=$((40 + 2)); echo set-$kept")
        .unwrap();
    screen.await_text("set-42", LIMIT).unwrap();
    pair.allow(&all[..2]);
    screen.await_text("dsh.user", SOON).unwrap();
    screen.await_text("near>", LIMIT).unwrap();
    screen.type_line("clear").unwrap();
    // Nor is it there for who asks for it by name.
    let refused = |words: &[&str]| {
        let asked = pair.dsh().args(words).arg(pair.address());
        let finished = asked.start().unwrap().finish(LIMIT).unwrap();
        assert_failed(&finished, 255, &["refused", "dsh.user"]);
    };
    refused(&["--list"]);
    screen.type_line(&attach).unwrap();
    screen.await_text("refused", LIMIT).unwrap();
    pair.allow(&all);
    std::thread::sleep(Duration::from_secs(1));
    screen.type_line("clear").unwrap();
    screen.type_line(&attach).unwrap();
    screen.await_text("far>", LIMIT).unwrap();
    screen.type_line("echo still-$kept").unwrap();
    screen.await_text("still-42", LIMIT).unwrap();
}

#[test]
fn a_member_that_loses_its_route_stays_without_it_and_gets_it_back() {
    let name = "a_member_that_loses_its_route_stays_without_it_and_gets_it_back";
    let Some(lab) = lab_or_skip(name) else {
        return;
    };
    let (lan, tools) = (lab.lan().unwrap(), tools());
    let device = |name: &str| {
        let host = lab.host(name).unwrap();
        lan.attach(&host, Families::V4).unwrap();
        dhtnet_tests::device::Device::new(host, &tools).unwrap()
    };
    let (server, client) = (device("server"), device("client"));
    let behind = "10.99.5.0/24";
    client.host().ip("addr add 10.99.5.1/24 dev lo").unwrap();
    let all = ["dvpn.join", "dvpn.route 10.99.0.0/16"];
    let file = server.home().join("policy.toml");
    let allow = |allowed: &[&str]| std::fs::write(&file, policy(client.id(), allowed)).unwrap();
    allow(&all);
    let bind = format!("0.0.0.0:{PORT}");
    let serving = dvpn(&server, &tools).args(["-l", "--bind", &bind]);
    let mut serving = serving.start().unwrap();
    await_up(&mut serving);
    let configuration = lab.folder().join("client.toml");
    std::fs::write(&configuration, format!("[routes]\noffer = ['{behind}']\n")).unwrap();
    let address = format!("{}@{}:{PORT}", server.id(), server.host().ipv4());
    let joining = dvpn(&client, &tools)
        .arg(address)
        .arg("-C")
        .arg(&configuration);
    let mut joining = joining.start().unwrap();
    await_up(&mut joining);
    let routes = || {
        let told = server
            .host()
            .command("ip")
            .args(["route", "show", "table", "all"]);
        told.start().unwrap().finish(LIMIT).unwrap().text()
    };
    let await_routes = |wanted: bool| {
        let begun = Instant::now();
        while routes().contains(behind) != wanted {
            assert!(begun.elapsed() < LIMIT, "{}", routes());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    await_routes(true);
    await_ping(&server, "10.99.5.1".parse().unwrap(), 1280);
    allow(&all[..1]);
    let lost = |line: &str| {
        line.contains("may no longer bring 10.99.5.0/24")
            .then_some(())
    };
    serving.await_line("what it lost", SOON, lost).unwrap();
    await_routes(false);
    await_ping(&client, "10.80.77.1".parse().unwrap(), 1280);
    assert!(!routes().contains(behind), "{}", routes());
    allow(&all);
    await_routes(true);
    await_ping(&server, "10.99.5.1".parse().unwrap(), 1280);
    // It took part all the time.
    let said = joining.stderr();
    assert!(!said.contains("trying again"), "{said}");
}
