//! Commands on stdin, as in the prompt.

use crate::place::{Net, Place};

#[test]
fn commands_are_read_from_stdin_line_by_line() {
    let net = Net::of(3);
    let commands = b"# a remark\n\nput hello world\nping \"127.0.0.1:9\" -w 30\nstats --json\n";
    let ended = net.run_with(&[], commands);
    let stdout = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        (lines.len(), lines[0].len()),
        (2, 40),
        "{stdout}\n{}",
        ended.stderr
    );
    assert!(lines[1].starts_with('{'));
    // The failure of the one in the middle.
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("127.0.0.1:9"), "{}", ended.stderr);
    assert_eq!(net.run(&["get", lines[0]]).text(), "hello world\n");
}

#[test]
fn help_and_leaving_need_no_network() {
    let place = Place::new();
    let text = place
        .run_with(&["--network", "x"], b"help\nexit\nput x\n")
        .text();
    assert!(
        text.contains("\n  listen ") && text.contains("help COMMAND"),
        "{text}"
    );
    let line = place
        .run_with(&["--network", "x"], b"frobnicate\n")
        .failed(2);
    assert!(line.ends_with("see help"), "{line}");
}
