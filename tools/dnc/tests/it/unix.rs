//! Unix sockets in the place of ports.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::Signal;

use crate::place::{Device, late_answerer};

#[test]
fn a_unix_socket_leads_to_a_target_and_is_removed_at_the_end() {
    let (a, b) = (Device::new(), Device::new());
    let target = late_answerer(1).to_string();
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", &target]);
    let path = b.path("entry");
    // What a dead process left behind.
    drop(UnixListener::bind(&path).unwrap());
    let forward = format!("unix:{}:{target}", path.display());
    let running = b.start(&["-L", &forward, &peer]);
    let line = running.next_line();
    assert!(
        line.contains(&format!("unix:{} leads to {target}", path.display())),
        "{line}"
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"q").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Q");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(143));
    assert!(!path.exists());
}

#[test]
fn nothing_but_a_dead_socket_is_replaced() {
    let (a, b) = (Device::new(), Device::new());
    let (_server, peer) = a.listen(&["--allow", b.id(), "--allow-target", "h:1"]);
    let file = b.path("precious");
    std::fs::write(&file, "precious").unwrap();
    let alive = b.path("alive");
    let _listener = UnixListener::bind(&alive).unwrap();
    for (path, why) in [
        (&file, "there is a file of another kind"),
        (&alive, "another program listens there"),
    ] {
        let forward = format!("unix:{}:h:1", path.display());
        b.run(&["-L", &forward, &peer]).assert_failed(
            1,
            &format!(
                "dnc: cannot listen on unix:{}: {why}; take another path, or remove it\n",
                path.display()
            ),
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}
