//! A terminal on `a`, typed into and looked at, as the tests of `dsh` need it.

use dhtnet_tests::lab::skip;
use dhtnet_tests::screen::{Screen, ScreenError};
use rustix::process::Pid;

use crate::pair::{LIMIT, Pair};

/// A terminal on `a`; `None` after a report where there can be none.
pub(crate) fn screen<'p>(pair: &'p Pair, name: &str) -> Option<Screen<'p>> {
    match Screen::open(&pair.a) {
        Ok(screen) => Some(screen),
        Err(error @ ScreenError::NotInstalled) => {
            skip::report(name, &format!("failed to {error}"));
            None
        }
        Err(error) => panic!("failed to {error}"),
    }
}

/// Waits until the last line that is not empty begins like this.
#[track_caller]
pub(crate) fn await_line(screen: &Screen<'_>, start: &str) {
    screen
        .await_that(start, LIMIT, |text| {
            let last = text.trim_end().lines().last();
            // Where a client was killed, lines do not begin at the left for a moment.
            last.is_some_and(|line| line.trim_start().starts_with(start))
        })
        .unwrap();
}

/// Waits for the far prompt: what is typed before, the program that ends may throw away.
pub(crate) fn await_far(screen: &Screen<'_>) {
    let is_last = |screen: &str| {
        let last = screen.trim_end().lines().last();
        last.is_some_and(|line| line.trim() == "far>")
    };
    screen.await_that("the far prompt", LIMIT, is_last).unwrap();
}

/// Types a line whose output has the word, which is not in the line itself.
#[track_caller]
pub(crate) fn ask(screen: &Screen<'_>, line: &str, word: &str) {
    screen.type_line(line).unwrap();
    screen.await_text(word, LIMIT).unwrap();
}

/// The dsh processes on `a`: the tmux server and its shell are there, too.
pub(crate) fn clients(pair: &Pair) -> Vec<Pid> {
    let is_dsh = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "dsh")
    };
    let found = pair.a.host().processes().into_iter().filter(is_dsh);
    found
        .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect()
}

/// Pastes 1 MiB into `cat` at a far prompt, and looks whether all of it arrives in its order. The
/// screen is at the same prompt afterwards.
pub(crate) fn paste_a_mebibyte(pair: &Pair, screen: &Screen<'_>) {
    let pasted = pair.lab.folder().join("pasted");
    let line = |n: u32| format!("{n:06} {}\n", "x".repeat(56));
    let text: String = (0..16_384).map(line).collect();
    assert_eq!(text.len(), 1 << 20);
    std::fs::write(&pasted, &text).unwrap();
    let arrived = pair.lab.folder().join("arrived");
    let line = format!("stty -echo; cat > {}", arrived.display());
    screen.type_line(&line).unwrap();
    let has_begun = || arrived.exists();
    let deadline = std::time::Instant::now() + LIMIT;
    while !has_begun() {
        assert!(std::time::Instant::now() < deadline, "cat has not begun");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    screen.paste(pasted.to_str().unwrap()).unwrap();
    let deadline = std::time::Instant::now() + LIMIT;
    while std::fs::metadata(&arrived).map_or(0, |file| file.len()) < 1 << 20 {
        if std::time::Instant::now() >= deadline {
            let came = std::fs::read_to_string(&arrived).unwrap();
            let wrong = came.lines().zip(text.lines()).find(|(a, b)| a != b);
            panic!("{} bytes came; first wrong: {wrong:?}", came.len());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    screen.press("C-d").unwrap();
    ask(screen, "stty echo; echo $((3 * 3))-pasted", "9-pasted");
    assert!(std::fs::read_to_string(&arrived).unwrap() == text);
}
