//! Typing into `dsh` while something else is going on: a bulk transfer, a guess at the echo, a paste.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dhtnet_tests::lab::{Families, Process};
use dhtnet_tests::payload::Stream;
use dhtnet_tests::screen::Screen;
use rustix::process::Signal;

use crate::dsh_screen::{ask, await_far, await_line, paste_a_mebibyte, screen};
use crate::pair::{LIMIT, Pair, bulk_len, bulk_limit, pair};

/// Where the bulk goes on `b`, and where it is put in on `a`.
const SINK: u16 = 4001;
const ENTRY: u16 = 4010;

/// How long something that must not be shown is looked for.
const LOOK: Duration = Duration::from_millis(800);

/// Runs `dsh` with these flags and a plain shell on `b`, which prompts `far> `.
fn log_in(pair: &Pair, screen: &Screen<'_>, flags: &str) {
    let dsh = pair.a.dsh_path();
    let shell = "\"exec env PS1='far> ' ENV= sh -i\"";
    let line = format!(
        "{} --no-mdns {flags} {} {shell}; stty sane",
        dsh.display(),
        pair.address()
    );
    screen.type_line(&line).unwrap();
    await_line(screen, "far>");
}

/// Counts what comes to [`SINK`] on `b`, and compares it with what was sent.
fn start_sink(pair: &Pair) -> (Arc<AtomicU64>, JoinHandle<bool>) {
    let host = pair.b.host();
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, SINK)));
    let listener = listener.unwrap().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut expected = Stream::new(7);
        let (mut block, mut wanted) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            // Whole blocks, since the stream is made of them.
            let mut filled = 0;
            while filled < block.len() {
                match stream.read(&mut block[filled..]).unwrap() {
                    0 => return filled == 0,
                    read => {
                        filled += read;
                        counted.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
            }
            expected.fill(&mut wanted);
            if block != wanted {
                return false;
            }
        }
    });
    (count, sink)
}

#[test]
fn keys_arrive_in_order_while_bulk_runs_through_the_same_connection() {
    let name = "keys_arrive_in_order_while_bulk_runs_through_the_same_connection";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let Some(screen) = screen(&pair, name) else {
        return;
    };
    let (count, sink) = start_sink(&pair);
    log_in(&pair, &screen, &format!("-t -L {ENTRY}:127.0.0.1:{SINK}"));
    let len = bulk_len();
    let (host, place) = (pair.a.host(), (Ipv4Addr::LOCALHOST, ENTRY));
    let mut stream = host.run(|| TcpStream::connect(place)).unwrap().unwrap();
    let sending = std::thread::spawn(move || {
        let (mut bytes, mut block) = (Stream::new(7), vec![0; 64 << 10]);
        for _ in 0..len / block.len() as u64 {
            bytes.fill(&mut block);
            stream.write_all(&block).unwrap();
        }
    });
    let mut progress = Vec::new();
    for key in 1.. {
        let before = count.load(Ordering::Relaxed);
        ask(
            &screen,
            &format!("echo key-$(({key} + 1000))"),
            &format!("key-{}", key + 1000),
        );
        progress.push((before, count.load(Ordering::Relaxed)));
        if sending.is_finished() {
            break;
        }
    }
    let during = progress
        .iter()
        .filter(|(before, after)| *before > 0 && after > before);
    assert!(
        during.count() > 0,
        "no key while the bulk moved: {progress:?}"
    );
    sending.join().unwrap();
    let deadline = Instant::now() + bulk_limit(len);
    while !sink.is_finished() {
        assert!(Instant::now() < deadline, "{count:?} of {len} bytes");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(sink.join().unwrap(), "the bytes of the bulk are others");
    let history = screen.history().unwrap();
    let keys: Vec<u32> = history
        .lines()
        .filter_map(|line| line.strip_prefix("key-")?.trim().parse().ok())
        .collect();
    assert!(keys.windows(2).all(|two| two[0] + 1 == two[1]), "{keys:?}");
}

/// Puts in what a forward takes while nobody reads at its other end.
fn put_in(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(LOOK))?;
    let block = vec![7; 64 << 10];
    loop {
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn forwards_to_a_program_that_hangs_leave_the_shell_alone() {
    let name = "forwards_to_a_program_that_hangs_leave_the_shell_alone";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let Some(screen) = screen(&pair, name) else {
        return;
    };
    let host = pair.b.host();
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, SINK)));
    let _unread = listener.unwrap().unwrap();
    log_in(&pair, &screen, &format!("-t -L {ENTRY}:127.0.0.1:{SINK}"));
    let place = (Ipv4Addr::LOCALHOST, ENTRY);
    // Windows of 2 MiB each: more than the 16 MiB with which a connection begins.
    let mut streams: Vec<TcpStream> = (0..12)
        .map(|_| pair.a.host().run(|| TcpStream::connect(place)))
        .map(|stream| stream.unwrap().unwrap())
        .collect();
    std::thread::scope(|scope| {
        for stream in &mut streams {
            scope.spawn(|| put_in(stream).unwrap());
        }
    });
    ask(&screen, "echo still-$((40 + 2))", "still-42");
}

/// Nothing of `text` appears on the screen for a while.
#[track_caller]
fn assert_not_shown(screen: &Screen<'_>, text: &str) {
    let until = Instant::now() + LOOK;
    while Instant::now() < until {
        let seen = screen.text().unwrap();
        assert!(!seen.contains(text), "{text:?} is shown:\n{seen}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn type_keys(screen: &Screen<'_>, keys: &str) {
    for key in keys.chars() {
        screen.press(&key.to_string()).unwrap();
    }
}

/// What is typed while the server stands still, and the server goes on again.
fn while_it_stands_still(server: &Process, typing: impl FnOnce()) {
    server.signal(Signal::STOP);
    typing();
    server.signal(Signal::CONT);
}

#[test]
fn a_guess_is_shown_before_its_echo_and_nothing_of_a_password_is() {
    let name = "a_guess_is_shown_before_its_echo_and_nothing_of_a_password_is";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.serve_shells(&[]);
    let Some(screen) = screen(&pair, name) else {
        return;
    };
    log_in(&pair, &screen, "-S work --predict always");
    // One guess has come true in this line, so the next are shown, echo or not.
    type_keys(&screen, "echoq");
    screen.await_text("far> echoq", LIMIT).unwrap();
    while_it_stands_still(&server, || {
        type_keys(&screen, "wert");
        screen.await_text("far> echoqwert", LIMIT).unwrap();
    });
    screen.press("C-c").unwrap();
    for (prompt, read) in [
        // Lines without echo, as a password is read by most.
        ("line", "stty -echo; read x; stty echo"),
        // Single characters without echo, as by the rest.
        (
            "keys",
            "stty -echo -icanon; x=$(dd bs=1 count=7 2>/dev/null); stty sane",
        ),
    ] {
        await_far(&screen);
        let line = format!("printf '%s: ' pass-{prompt}; {read}; echo; echo got-${{#x}}-{prompt}");
        screen.type_line(&line).unwrap();
        await_line(&screen, &format!("pass-{prompt}:"));
        while_it_stands_still(&server, || {
            type_keys(&screen, "hunter");
            assert_not_shown(&screen, "hun");
        });
        assert_not_shown(&screen, "hun");
        screen.press("2").unwrap();
        screen.press("Enter").unwrap();
        screen
            .await_text(&format!("got-7-{prompt}"), LIMIT)
            .unwrap();
    }
}

#[test]
fn a_paste_of_a_mebibyte_into_a_named_session_arrives_whole() {
    let name = "a_paste_of_a_mebibyte_into_a_named_session_arrives_whole";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let _server = pair.serve_shells(&[]);
    let Some(screen) = screen(&pair, name) else {
        return;
    };
    log_in(&pair, &screen, "-S work");
    paste_a_mebibyte(&pair, &screen);
}
