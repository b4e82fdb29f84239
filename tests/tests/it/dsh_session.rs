//! Named sessions of `dsh`: what is there when somebody comes back.

use std::time::Duration;

use dhtnet_tests::lab::{Families, INTERFACE, Process, skip};
use dhtnet_tests::screen::Screen;
use dhtnet_tests::ssh::find;
use rustix::process::{Signal, kill_process};

use crate::dsh_screen::{ask, await_line, clients, screen};
use crate::pair::{LIMIT, Pair, assert_done, pair};

/// The command line that attaches to the session `work`, with these flags.
fn attach(pair: &Pair, flags: &str) -> String {
    let dsh = pair.a.dsh_path();
    format!(
        "{} --no-mdns -S work {flags} {}",
        dsh.display(),
        pair.address()
    )
}

/// Begins the session `work` with a shell that prompts `far> `.
fn begin(pair: &Pair, screen: &Screen<'_>, flags: &str) {
    let shell = "\"exec env PS1='far> ' ENV= sh -i\"";
    // Whatever happens to the client, the terminal is usable afterwards.
    let line = format!("{} {shell}; stty sane", attach(pair, flags));
    screen.type_line(&line).unwrap();
    await_line(screen, "far>");
}

/// The client dies at once, and the local shell is back.
fn kill_client(pair: &Pair, screen: &Screen<'_>) {
    for client in clients(pair) {
        kill_process(client, Signal::KILL).unwrap();
    }
    screen.await_text("Killed", LIMIT).unwrap();
    await_line(screen, "near>");
    screen.type_line("clear").unwrap();
    screen
        .await_that("an empty screen", LIMIT, |text| {
            text.split_whitespace().all(|word| word == "near>")
        })
        .unwrap();
}

fn setting(name: &str) -> Option<(Pair, Process)> {
    let pair = pair(name, Families::Both)?;
    let server = pair.serve_shells(&[]);
    Some((pair, server))
}

/// Tests what happens to a session that was begun in a terminal; not where there can be none.
fn with_session(name: &str, test: impl FnOnce(&Pair, Process, &Screen<'_>)) {
    let Some((pair, server)) = setting(name) else {
        return;
    };
    let Some(screen) = screen(&pair, name) else {
        return;
    };
    begin(&pair, &screen, "");
    test(&pair, server, &screen);
}

#[test]
fn a_session_outlives_its_client_with_its_screen_and_its_scrollback() {
    let name = "a_session_outlives_its_client_with_its_screen_and_its_scrollback";
    with_session(name, |pair, server, screen| {
        ask(
            screen,
            "seq -f 'line-%g' 1 3000; echo all-$((40 + 2))",
            "all-42",
        );
        ask(
            screen,
            "kept=yes; sleep 1000 & echo $((1 + 1))-behind",
            "2-behind",
        );
        let before = screen.text().unwrap();
        kill_client(pair, screen);
        screen.type_line(&attach(pair, "")).unwrap();
        screen.await_text("2-behind", LIMIT).unwrap();
        assert_eq!(screen.text().unwrap().trim_end(), before.trim_end());
        let history = screen.history().unwrap();
        let lines: Vec<_> = history
            .lines()
            .filter(|line| line.starts_with("line-"))
            .collect();
        // tmux keeps 2,000 lines, and drops a tenth of them at a time.
        assert!(lines.len() > 1750, "{} lines", lines.len());
        assert!(
            lines
                .windows(2)
                .all(|pair| number(pair[0]) + 1 == number(pair[1]))
        );
        ask(
            screen,
            "echo still-$kept $(kill -0 $! && echo 1)",
            "still-yes 1",
        );
        // The end of the shell is the end of the session, and of what it left behind.
        screen.type_line("exit").unwrap();
        screen.await_text("has ended", LIMIT).unwrap();
        server.signal(Signal::TERM);
        assert_eq!(server.finish(LIMIT).unwrap().code(), Some(143));
        assert_eq!(pair.b.host().processes(), [0_u32; 0], "left on b");
    });
}

fn number(line: &str) -> u32 {
    line.trim_start_matches("line-").trim().parse().unwrap()
}

#[test]
fn an_editor_is_there_again_after_leaving_and_in_another_size() {
    let name = "an_editor_is_there_again_after_leaving_and_in_another_size";
    if find("vi").is_none() {
        return skip::report(name, "vi is not installed");
    }
    with_session(name, |pair, _server, screen| {
        let file = pair.lab.folder().join("note");
        screen.type_line(&format!("vi {}", file.display())).unwrap();
        screen.await_text("\n~", LIMIT).unwrap();
        screen.press("i").unwrap();
        screen.type_line("first words").unwrap();
        screen.press("Escape").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        // Escapes count at the beginning of a line.
        screen.press("Enter").unwrap();
        screen.press("~").unwrap();
        screen.press("d").unwrap();
        screen.await_text("comes back to it", LIMIT).unwrap();
        await_line(screen, "near>");
        screen.type_line("clear").unwrap();
        screen.resize(80, 20).unwrap();
        screen.type_line(&attach(pair, "")).unwrap();
        screen.await_text("first words", LIMIT).unwrap();
        screen.press("G").unwrap();
        screen.type_line("osecond words").unwrap();
        screen.press("Escape").unwrap();
        screen.type_line(":wq").unwrap();
        await_line(screen, "far>");
        ask(
            screen,
            "stty size; cat note 2>/dev/null; echo $((6 * 7))-size",
            "42-size",
        );
        assert!(screen.text().unwrap().contains("20 80"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("first words") && text.contains("second words"),
            "{text}"
        );
    });
}

#[test]
fn a_session_goes_on_when_the_clients_address_changes() {
    let name = "a_session_goes_on_when_the_clients_address_changes";
    with_session(name, |pair, _server, screen| {
        ask(screen, "echo before-$((1 + 1))", "before-2");
        let mut octets = pair.a.host().ipv4().octets();
        octets[3] = 77;
        let other = std::net::Ipv4Addr::from(octets);
        let change = format!("addr flush dev {INTERFACE}\naddr add {other}/24 dev {INTERFACE}");
        pair.a.host().ip(&change).unwrap();
        ask(screen, "echo after-$((2 + 2))", "after-4");
        assert!(!screen.text().unwrap().contains("connection lost"));
    });
}

#[test]
fn a_session_is_found_again_after_the_network_was_gone() {
    let name = "a_session_is_found_again_after_the_network_was_gone";
    with_session(name, |pair, _server, screen| {
        ask(screen, "echo before-$((1 + 1))", "before-2");
        pair.a
            .host()
            .set_link(dhtnet_tests::lab::LinkState::Down)
            .unwrap();
        screen
            .await_text("connection lost, trying again", Duration::from_secs(75))
            .unwrap();
        // What is typed meanwhile arrives once.
        screen.type_line("echo typed-$((3 + 3))").unwrap();
        pair.a
            .host()
            .set_link(dhtnet_tests::lab::LinkState::Up)
            .unwrap();
        screen
            .await_text("typed-6", Duration::from_secs(75))
            .unwrap();
        let text = screen.text().unwrap();
        assert!(!text.contains("connection lost"), "{text}");
        assert_eq!(text.matches("typed-6").count(), 1, "{text}");
        assert_eq!(text.matches("before-2").count(), 1, "{text}");
    });
}

#[test]
fn others_look_and_take_over_and_the_list_tells() {
    let name = "others_look_and_take_over_and_the_list_tells";
    let Some((pair, _server)) = setting(name) else {
        return;
    };
    let (Some(first), Some(second)) = (screen(&pair, name), screen(&pair, name)) else {
        return;
    };
    let list = |more: &[&str]| {
        let command = pair.dsh().arg("--list").args(more).arg(pair.address());
        let finished = command.start().unwrap().finish(LIMIT).unwrap();
        assert_done(&finished);
        finished
    };
    let none = list(&[]);
    assert_eq!(none.text(), "");
    assert!(none.stderr.contains("no named sessions"), "{}", none.stderr);
    second.type_line(&attach(&pair, "--view")).unwrap();
    second
        .await_text("there is no session work", LIMIT)
        .unwrap();

    begin(&pair, &first, "");
    ask(&first, "echo seen-$((5 + 5))", "seen-10");
    second.type_line("clear").unwrap();
    second.type_line(&attach(&pair, "--view")).unwrap();
    second.await_text("seen-10", LIMIT).unwrap();
    ask(&first, "echo live-$((6 + 6))", "live-12");
    second.await_text("live-12", LIMIT).unwrap();
    second.type_line("echo viewer-$((7 + 7))").unwrap();
    ask(&first, "echo next-$((8 + 8))", "next-16");
    second.await_text("next-16", LIMIT).unwrap();
    assert!(!first.text().unwrap().contains("viewer"), "a viewer typed");
    let table = list(&[]).text();
    assert!(
        table.contains("work") && table.contains("yes, 1 viewing"),
        "{table}"
    );

    second.press("Enter").unwrap();
    second.press("~").unwrap();
    second.press(".").unwrap();
    await_line(&second, "near>");
    second.type_line("clear").unwrap();
    second.type_line(&attach(&pair, "")).unwrap();
    second.await_text("next-16", LIMIT).unwrap();
    first
        .await_text("another client has attached", LIMIT)
        .unwrap();
    await_line(&first, "near>");
    ask(&second, "echo mine-$((9 + 9))", "mine-18");
    let json: serde_json::Value = serde_json::from_str(&list(&["--json"]).text()).unwrap();
    assert_eq!(json[0]["name"], "work");
    assert_eq!(json[0]["attached"], true);
    assert_eq!(json[0]["viewers"], 0);
}

#[test]
fn a_flood_that_nobody_sees_does_not_stop_its_program_and_keys_get_through() {
    let name = "a_flood_that_nobody_sees_does_not_stop_its_program_and_keys_get_through";
    with_session(name, |pair, _server, screen| {
        let done = pair.lab.folder().join("done");
        let flood = format!("seq 1 60000; touch {}", done.display());
        screen.type_line(&flood).unwrap();
        screen
            .await_that("numbers", LIMIT, |text| {
                text.lines().any(|line| line.trim().parse::<u32>().is_ok())
            })
            .unwrap();
        for client in clients(pair) {
            // It neither reads nor answers, and is not gone.
            kill_process(client, Signal::STOP).unwrap();
        }
        let deadline = std::time::Instant::now() + LIMIT * 2;
        while !done.exists() {
            assert!(std::time::Instant::now() < deadline, "the program waits");
            std::thread::sleep(Duration::from_millis(50));
        }
        screen.type_line("fg").unwrap();
        screen.await_text("60000", LIMIT).unwrap();
        screen.type_line("yes flooding").unwrap();
        screen.await_text("flooding", LIMIT).unwrap();
        screen.press("C-c").unwrap();
        await_line(screen, "far>");
        ask(screen, "echo calm-$((1 + 2))", "calm-3");
    });
}
