//! `dsh` in a terminal, typed into and looked at.

use std::time::Duration;

use dhtnet_tests::lab::{Families, Process, skip};
use dhtnet_tests::screen::Screen;
use dhtnet_tests::ssh::find;
use rustix::process::Signal;

use crate::dsh::await_only;
use crate::dsh_screen::{ask, await_far, await_line, clients, paste_a_mebibyte, screen};
use crate::pair::{LIMIT, Pair, pair};

/// A server, and a terminal on `a`; `None` after a report where there can be none.
fn open<'p>(pair: &'p Pair, name: &str, more: &[&str]) -> Option<(Process, Screen<'p>)> {
    let screen = screen(pair, name)?;
    Some((pair.serve_shells(more), screen))
}

/// Types the command for a shell on `b`, and waits for its prompt, `far> `.
fn log_in(pair: &Pair, screen: &Screen<'_>) {
    let dsh = pair.a.dsh_path();
    let line = format!(
        "{} --no-mdns -t {} 'exec sh -i'",
        dsh.display(),
        pair.address()
    );
    screen.type_line(&line).unwrap();
    screen.await_prompt(LIMIT).unwrap();
    screen.type_line("PS1='far> '").unwrap();
    screen
        .await_that("the prompt", LIMIT, |screen| {
            screen.lines().any(|line| line.starts_with("far>"))
        })
        .unwrap();
}

#[test]
fn a_terminal_has_size_kind_signals_and_job_control() {
    let name = "a_terminal_has_size_kind_signals_and_job_control";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let Some((_server, screen)) = open(&pair, name, &[]) else {
        return;
    };
    log_in(&pair, &screen);
    ask(&screen, "tty; echo $(stty size) kind-$TERM", "30 100 kind-");
    screen.resize(120, 40).unwrap();
    ask(&screen, "echo now $(stty size)", "now 40 120");
    screen.type_line("clear; sleep 1000; echo code $?").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    screen.press("C-c").unwrap();
    screen
        .await_that("the prompt after Ctrl-C", LIMIT, |screen| {
            screen.contains("^C")
                && screen
                    .lines()
                    .filter(|line| line.starts_with("far>"))
                    .count()
                    >= 1
        })
        .unwrap();
    ask(&screen, "echo after-$((40 + 2))", "after-42");
    screen.type_line("sleep 1001").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    screen.press("C-z").unwrap();
    screen.await_text("Stopped", LIMIT).unwrap();
    ask(
        &screen,
        "bg; jobs; kill %1; wait; echo killed-$((1 + 1))",
        "killed-2",
    );
    ask(&screen, "stty -a | tr ';' '\\n' | grep -c erase", "1");
    ask(
        &screen,
        "printf 'gr\\303\\274n \\342\\202\\254\\n'",
        "grün €",
    );
    screen.press("C-d").unwrap();
    screen.await_text("has ended", LIMIT).unwrap();
    await_line(&screen, "near>");
    ask(
        &screen,
        "stty -a | grep -o 'isig icanon'; echo sane-$((1 + 2))",
        "sane-3",
    );
    assert!(screen.text().unwrap().contains("isig icanon"));
}

#[test]
fn full_screen_programs_work() {
    let Some(pair) = pair("full_screen_programs_work", Families::Both) else {
        return;
    };
    let Some((_server, screen)) = open(&pair, "full_screen_programs_work", &[]) else {
        return;
    };
    let missing = ["vi", "less", "top"]
        .into_iter()
        .find(|program| find(program).is_none());
    if let Some(missing) = missing {
        return skip::report(
            "full_screen_programs_work",
            &format!("{missing} is not installed"),
        );
    }
    log_in(&pair, &screen);
    let file = pair.lab.folder().join("note");
    let file = file.display();
    ask(
        &screen,
        &format!("seq 1 500 > {file}; echo $((7 * 6))-made"),
        "42-made",
    );

    screen.type_line(&format!("less {file}")).unwrap();
    screen.await_text("29", LIMIT).unwrap();
    screen.press("G").unwrap();
    screen.await_text("500", LIMIT).unwrap();
    screen.press("q").unwrap();
    await_far(&screen);

    screen
        .type_line(&format!("vi -u NONE -c 'set nocompatible showmode' {file}"))
        .unwrap();
    screen
        .await_that("the file in vi", LIMIT, |screen| {
            screen.lines().next().is_some_and(|line| line.trim() == "1")
        })
        .unwrap();
    screen.press("i").unwrap();
    screen.await_text("INSERT", LIMIT).unwrap();
    screen.type_line("typed").unwrap();
    screen.await_text("typed", LIMIT).unwrap();
    screen.resize(90, 20).unwrap();
    screen.press("Escape").unwrap();
    screen.type_line(":1").unwrap();
    screen
        .await_that("the end of typing", LIMIT, |screen| {
            screen.starts_with("typed") && !screen.contains("INSERT")
        })
        .unwrap();
    screen.type_line(":wq").unwrap();
    await_far(&screen);
    ask(
        &screen,
        &format!("clear; head -1 {file}; echo $((6 * 7))-written"),
        "42-written",
    );
    assert!(screen.text().unwrap().contains("typed"));

    screen.type_line("top -d 1").unwrap();
    screen
        .await_that("a table of processes", LIMIT, |screen| {
            screen.contains("PID") && screen.contains("COMMAND")
        })
        .unwrap();
    screen.press("q").unwrap();
    await_far(&screen);
    ask(&screen, "echo $((5 * 5))-left", "25-left");
}

#[test]
fn a_paste_of_a_mebibyte_arrives_whole() {
    let name = "a_paste_of_a_mebibyte_arrives_whole";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let Some((_server, screen)) = open(&pair, name, &[]) else {
        return;
    };
    log_in(&pair, &screen);
    paste_a_mebibyte(&pair, &screen);
}

#[test]
fn escapes_end_suspend_and_explain() {
    let Some(pair) = pair("escapes_end_suspend_and_explain", Families::Both) else {
        return;
    };
    let Some((_server, screen)) = open(&pair, "escapes_end_suspend_and_explain", &[]) else {
        return;
    };
    log_in(&pair, &screen);
    screen.press("Enter").unwrap();
    screen.press("~").unwrap();
    screen.press("?").unwrap();
    screen.await_text("end the connection", LIMIT).unwrap();
    screen.press("Enter").unwrap();
    screen.press("~").unwrap();
    screen.press("C-z").unwrap();
    await_line(&screen, "near>");
    ask(&screen, "stty -a | grep -o 'isig icanon'", "isig icanon");
    screen.type_line("clear; fg").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    ask(&screen, "echo again-$((4 + 4))", "again-8");
    screen.press("~").unwrap();
    screen.press(".").unwrap();
    screen.await_text("left the session", LIMIT).unwrap();
    ask(
        &screen,
        "echo code $? $(stty -a | grep -o 'isig icanon')",
        "code 255 isig icanon",
    );
    await_only(&pair, 2);
}

#[test]
fn a_lost_server_and_a_signal_leave_the_terminal_as_it_was() {
    let name = "a_lost_server_and_a_signal_leave_the_terminal_as_it_was";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let Some((mut server, screen)) = open(&pair, name, &[]) else {
        return;
    };
    log_in(&pair, &screen);
    server.kill();
    screen
        .await_text("lost the connection", Duration::from_secs(75))
        .unwrap();
    ask(
        &screen,
        "echo code $? $(stty -a | grep -o 'isig icanon')",
        "code 255 isig icanon",
    );
    let _server = pair.serve_shells(&[]);
    screen.type_line("clear").unwrap();
    let is_clear = |screen: &str| screen.trim() == "near>";
    screen
        .await_that("a clear screen", LIMIT, is_clear)
        .unwrap();
    log_in(&pair, &screen);
    let client = clients(&pair)[0];
    rustix::process::kill_process(client, Signal::TERM).unwrap();
    await_line(&screen, "near>");
    ask(
        &screen,
        "echo code $? $(stty -a | grep -o 'isig icanon')",
        "code 143 isig icanon",
    );
    await_only(&pair, 2);
}

#[test]
fn a_terminal_is_recorded_for_its_owner_alone() {
    let name = "a_terminal_is_recorded_for_its_owner_alone";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let folder = pair.lab.folder().join("casts");
    let _server = pair.serve_shells(&["--record", folder.to_str().unwrap()]);
    let command = pair
        .dsh()
        .args(["-tt", &pair.address(), "echo shown; stty size"]);
    let finished = command.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(
        (finished.code(), finished.text().as_str()),
        (Some(0), "shown\r\n24 80\r\n")
    );
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["version"], &lines[0]["width"]),
        (&2.into(), &80.into())
    );
    let shown: String = lines[1..]
        .iter()
        .filter_map(|event| event[2].as_str())
        .collect();
    assert_eq!(shown, "shown\r\n24 80\r\n");
}
