//! Whatever a program writes: a restored screen is the same screen, and memory is bounded.

use dhtnet_terminal::{MAX_SCROLLBACK_BYTES, MAX_SCROLLBACK_LINES, MAX_STRING, Screen};
use proptest::prelude::*;

/// Something that programs write, or might.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = 0u16..30;
    let csi = (
        prop::sample::select(vec!["", "?", ">", "=", "!"]),
        prop::collection::vec(number, 0..3),
        prop::sample::select(b"@ABCDEFGHIJKLMPSTXZabcdefghlmnpqrstu".to_vec()),
    )
        .prop_map(|(mark, numbers, end)| {
            let numbers: Vec<_> = numbers.iter().map(u16::to_string).collect();
            format!("\x1b[{mark}{}{}", numbers.join(";"), char::from(end)).into_bytes()
        });
    let modes = (
        prop::sample::select(vec![
            1, 3, 5, 6, 7, 9, 12, 25, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1048,
            1049, 2004, 2026,
        ]),
        prop::sample::select(vec!['h', 'l']),
    )
        .prop_map(|(mode, end)| format!("\x1b[?{mode}{end}").into_bytes());
    let text = "[a-zA-Z0-9 ]{1,20}".prop_map(String::into_bytes);
    let wide = "[a ä世界🦀e\u{301}\u{300}]{1,12}".prop_map(String::into_bytes);
    let breaks = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\t",
        "\x08",
        "\x0e",
        "\x0f",
        "\x1b(0",
        "\x1b(B",
        "\x1b)0",
        "\x1b7",
        "\x1b8",
        "\x1bD",
        "\x1bE",
        "\x1bM",
        "\x1bH",
        "\x1bc",
        "\x1b=",
        "\x1b>",
        "\x1b#8",
        "\x1b]0;title\x07",
        "\x1b]2;other\x1b\\",
        "\x1b[22t",
        "\x1b[23t",
        "\x1b[2J",
        "\x1b[3J",
        "\x1b[41m",
        "\x1b[38;5;99;1m",
        "\x1b[48;2;1;2;3m",
        "\x1b[4:3;58;5;9m",
        "\x1b[7m",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[5;15r",
        "\x1b[2 q",
        "\x1b[>1u",
        "\x1b[<u",
        "\x1b[>4;2m",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 1..8);
    prop_oneof![3 => csi, 1 => modes, 4 => text, 2 => wide, 5 => breaks, 1 => noise]
}

fn stream(pieces: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..pieces).prop_map(|pieces| pieces.concat())
}

fn copied(screen: &mut Screen) -> Screen {
    let (columns, rows) = screen.size();
    let mut copy = Screen::new(columns, rows);
    copy.feed(&screen.restore(0));
    copy
}

/// The text of a line without styles, and without blanks at its end.
fn text(line: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    let parts = line.split('\x1b').enumerate();
    let text: String = parts
        .map(|(at, part)| match at {
            0 => part,
            _ => part.split_once('m').map_or("", |(_, text)| text),
        })
        .collect();
    text.trim_end().as_bytes().to_vec()
}

#[test]
fn a_cursor_that_waits_at_the_end_of_a_joined_row_is_restored() {
    let mut screen = Screen::new(3, 3);
    screen.feed(b"abcdef\x1b[1;3Hc");
    let mut copy = copied(&mut screen);
    assert_eq!(copy.state(), screen.state());
    for screen in [&mut screen, &mut copy] {
        screen.feed(b"X");
    }
    assert_eq!(copy.state(), screen.state());
}

#[test]
fn a_control_within_an_unfinished_sequence_is_done_once() {
    let mut screen = Screen::new(10, 2);
    screen.feed(b"ab\x1b\x08[1\x08");
    let mut copy = copied(&mut screen);
    assert_eq!(copy.state(), screen.state());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_screen_is_the_same(
        bytes in stream(120),
        columns in 3u16..50,
        rows in 2u16..20,
    ) {
        let mut screen = Screen::new(columns, rows);
        screen.feed(&bytes);
        let mut copy = copied(&mut screen);
        prop_assert_eq!(copy.state(), screen.state());
    }

    #[test]
    fn restoring_over_any_other_screen_gives_the_same_screen(
        bytes in stream(60),
        before in stream(60),
    ) {
        let mut screen = Screen::new(30, 10);
        screen.feed(&bytes);
        let mut terminal = Screen::new(30, 10);
        terminal.feed(&before);
        terminal.feed(b"\x18\x1b[3J\x1b]2;\x07");
        terminal.feed(&screen.restore(0));
        let mut got = terminal.state();
        let expected = screen.state();
        // What the terminal showed before stays above, and its name stays unless there is another.
        got.scrollback.drain(..got.scrollback.len() - expected.scrollback.len());
        got.title = expected.title.clone();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn a_restored_screen_goes_on_as_the_first_one_does(
        bytes in stream(60),
        cut in 0usize..10_000,
        more in stream(30),
    ) {
        let mut screen = Screen::new(40, 12);
        screen.feed(&bytes[..cut.min(bytes.len())]);
        let mut copy = copied(&mut screen);
        for rest in [&bytes[cut.min(bytes.len())..], &more] {
            screen.feed(rest);
            copy.feed(rest);
        }
        prop_assert_eq!(copy.size(), screen.size());
        let _ = copy.state();
    }

    #[test]
    fn any_bytes_in_any_size_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        sizes in prop::collection::vec((any::<u16>(), any::<u16>()), 1..4),
    ) {
        let mut screen = Screen::new(80, 24);
        for (part, (columns, rows)) in bytes.chunks(500).zip(&sizes) {
            screen.feed(part);
            screen.resize(*columns % 200, *rows % 60);
            let _ = screen.restore(0);
        }
    }

    #[test]
    fn a_screen_that_changed_its_size_can_be_restored(
        parts in prop::collection::vec((stream(30), 3u16..60, 2u16..20), 1..5),
    ) {
        let mut screen = Screen::new(20, 8);
        for (bytes, columns, rows) in parts {
            screen.feed(&bytes);
            screen.resize(columns, rows);
        }
        let (mut got, mut expected) = (copied(&mut screen).state(), screen.state());
        // A wrapped line of another width may have its colour behind its end, or not.
        for state in [&mut got, &mut expected] {
            state.scrollback = state.scrollback.iter().map(|line| text(line)).collect();
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn the_cuts_between_feeds_change_nothing(bytes in stream(60), cut in 0usize..2_000) {
        let mut whole = Screen::new(40, 12);
        whole.feed(&bytes);
        let mut parts = Screen::new(40, 12);
        let cut = cut.min(bytes.len());
        parts.feed(&bytes[..cut]);
        parts.feed(&bytes[cut..]);
        prop_assert_eq!(parts.state(), whole.state());
    }
}

#[test]
fn a_hundred_thousand_lines_leave_ten_thousand_and_bounded_memory() {
    let mut screen = Screen::new(200, 50);
    for number in 0..100_000 {
        screen.feed(
            format!(
                "\x1b[3{}mline {number}\x1b[m some more text\r\n",
                number % 8
            )
            .as_bytes(),
        );
    }
    let state = screen.state();
    assert_eq!(state.scrollback.len(), MAX_SCROLLBACK_LINES);
    assert!(String::from_utf8_lossy(&state.scrollback[0]).contains("line 89951"));
    assert!(screen.scrollback_bytes() < MAX_SCROLLBACK_BYTES / 4);
    let mut copy = copied(&mut screen);
    assert_eq!(copy.state(), state);
}

#[test]
fn lines_without_end_and_strings_without_end_are_bounded() {
    let mut screen = Screen::new(80, 24);
    screen.feed(&vec![b'x'; 30 * 1024 * 1024]);
    assert!(screen.scrollback_bytes() <= MAX_SCROLLBACK_BYTES + 256 * 1024);
    screen.feed(b"\x1b]2;");
    for _ in 0..100 {
        screen.feed(&vec![b't'; MAX_STRING]);
    }
    assert!(screen.title().is_none_or(|title| title.len() <= 1024));
    screen.feed(b"\x07\r\nafter");
    let (row, _) = screen.cursor();
    assert_eq!(screen.character(row, 0), 'a');
}

#[test]
fn marks_without_end_stay_few() {
    let mut screen = Screen::new(80, 24);
    screen.feed("e".as_bytes());
    screen.feed("\u{301}".repeat(100_000).as_bytes());
    assert!(screen.restore(0).len() < 1024);
}

#[test]
fn answers_nobody_takes_are_bounded() {
    let mut screen = Screen::new(80, 24);
    for _ in 0..100_000 {
        screen.feed(b"\x1b[c\x1b[6n");
    }
    let replies = screen.take_replies();
    assert!(replies.len() <= 4096 && replies.starts_with(b"\x1b[?62;22c\x1b[1;1R"));
    assert!(screen.take_replies().is_empty());
}
