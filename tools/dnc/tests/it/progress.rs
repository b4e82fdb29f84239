//! The line that moves, at a terminal only.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::place::Device;

/// A terminal: the side of a person, and that of a program.
fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let path = name.to_str().unwrap();
    let program = File::options().read(true).write(true).open(path).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&program, size).unwrap();
    (File::from(person), program)
}

/// What a person at the terminal sees while `len` bytes are sent from a file, with these flags.
fn seen(flags: &[&str], len: u64) -> String {
    let (a, b) = (Device::new(), Device::new());
    let (mut listener, peer) = a.listen(&["--allow", b.id()]);
    listener.close_stdin();
    let path = b.path("file");
    // With a hole, so that it takes no room.
    File::create(&path).unwrap().set_len(len).unwrap();
    let (mut person, program) = terminal();
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        // The end of a terminal is an error.
        let _ = person.read_to_end(&mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let mut command = b.command(&[flags, &[&peer]].concat());
    command
        .stdin(File::open(&path).unwrap())
        .stderr(program)
        .env("TERM", "xterm");
    let status = command.stdout(Stdio::null()).status().unwrap();
    drop(command); // Holds the terminal, too.
    assert!(status.success());
    assert_eq!(listener.end().stdout.len() as u64, len);
    reader.join().unwrap()
}

#[test]
fn a_file_sent_from_a_terminal_shows_how_far_it_is() {
    let seen = seen(&[], 20_000_000);
    assert!(seen.contains(" of 19.07 MiB  "), "{seen:?}");
    assert!(seen.contains("%  ") && seen.contains("iB/s  "), "{seen:?}");
}

#[test]
fn quiet_is_quiet_at_a_terminal_too() {
    assert_eq!(seen(&["-q"], 5_000_000), "");
}
