//! What comes back, told by example.

use dhtnet_terminal::Screen;

fn screen(bytes: &[u8]) -> Screen {
    let mut screen = Screen::new(20, 5);
    screen.feed(bytes);
    screen
}

fn copied(screen: &mut Screen) -> Screen {
    let (columns, rows) = screen.size();
    let mut copy = Screen::new(columns, rows);
    copy.feed(&screen.restore(0));
    assert_eq!(copy.state(), screen.state());
    copy
}

fn line(screen: &Screen, row: u16) -> String {
    let line: String = (0..screen.size().0)
        .map(|column| screen.character(row, column))
        .collect();
    line.trim_end().to_owned()
}

#[test]
fn lines_above_the_screen_come_first() {
    let mut first = Screen::new(20, 5);
    for number in 0..50 {
        first.feed(format!("line {number}\r\n").as_bytes());
    }
    let mut copy = copied(&mut first);
    assert_eq!(line(&copy, 0), "line 46");
    assert_eq!(copy.state().scrollback.len(), 46);
    assert_eq!(copy.state().scrollback[0], b"line 0");
}

#[test]
fn only_the_lines_that_are_asked_for_come() {
    let mut first = Screen::new(20, 5);
    for number in 0..50 {
        first.feed(format!("line {number}\r\n").as_bytes());
    }
    let mut copy = Screen::new(20, 5);
    copy.feed(&first.restore(40));
    assert_eq!(copy.state().scrollback[0], b"line 40");
    assert_eq!(copy.state().primary, first.state().primary);
    let mut bare = Screen::new(20, 5);
    bare.feed(&first.restore(u64::MAX));
    assert!(bare.state().scrollback.is_empty());
}

#[test]
fn an_editor_comes_back_and_leaves_the_shell_behind() {
    let mut first =
        screen(b"$ vim\r\n\x1b[?1049h\x1b[?2004h\x1b[?1h\x1b=\x1b[1;4r\x1b[2;3Htext\x1b[7mbar");
    let mut copy = copied(&mut first);
    assert!(copy.is_alternate());
    for screen in [&mut first, &mut copy] {
        screen.feed(b"\x1b[r\x1b[?1049l");
        assert_eq!(line(screen, 0), "$ vim");
        assert_eq!(screen.cursor(), (1, 0));
    }
    assert_eq!(copy.state(), first.state());
}

#[test]
fn a_line_that_was_wrapped_can_be_unwrapped_by_a_wider_terminal() {
    let text = "0123456789012345678901234567890123456789abc";
    let mut first = screen(format!("{text}\r\n").as_bytes());
    let mut copy = copied(&mut first);
    copy.resize(60, 5);
    assert_eq!(line(&copy, 0), text);
}

#[test]
fn a_cursor_that_waits_at_the_end_of_a_row_waits_again() {
    let mut first = screen(b"01234567890123456789");
    let mut copy = copied(&mut first);
    copy.feed(b"x");
    assert_eq!(line(&copy, 0), "01234567890123456789");
    assert_eq!(line(&copy, 1), "x");
}

#[test]
fn a_sequence_that_is_cut_is_finished_in_the_copy() {
    let mut first = screen(b"a\x1b[31");
    let mut copy = copied(&mut first);
    copy.feed(b"mred");
    first.feed(b"mred");
    assert_eq!(copy.state(), first.state());
}

#[test]
fn wide_characters_and_marks_come_back() {
    let mut first = screen("世界 e\u{301} 🦀".as_bytes());
    let copy = copied(&mut first);
    assert_eq!(copy.character(0, 0), '世');
    assert_eq!(copy.character(0, 2), '界');
}

#[test]
fn a_smaller_screen_keeps_its_lines_above() {
    let mut first = screen(b"1\r\n2\r\n3\r\n4\r\n5");
    first.resize(20, 2);
    assert_eq!(line(&first, 1), "5");
    assert_eq!(first.state().scrollback, [b"1", b"2", b"3"]);
    copied(&mut first);
}

#[test]
fn a_shell_that_shrinks_under_an_editor_keeps_its_lines() {
    let mut first = screen(b"1\r\n2\r\n3\r\n4\r\n5\x1b[?1049heditor");
    first.resize(10, 2);
    assert!(first.is_alternate());
    copied(&mut first);
    first.feed(b"\x1b[?1049l");
    assert_eq!(line(&first, 1), "5");
    assert_eq!(first.state().scrollback, [b"1", b"2", b"3"]);
}

#[test]
fn erased_scrollback_stays_erased() {
    let mut first = screen(b"1\r\n2\r\n3\r\n4\r\n5\r\n6\x1b[H\x1b[2J\x1b[3J");
    assert!(first.state().scrollback.is_empty());
    copied(&mut first);
}
