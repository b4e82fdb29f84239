//! The lab measures what it declares, and leaves nothing behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet_tests::lab::skip::lab_or_skip;
use dhtnet_tests::lab::{Families, Host, Lab, Link, LinkSpec, LinkState, namespace_is_populated};

const PORT: u16 = 4000;

fn two_hosts(lab: &Lab) -> (Host, Host) {
    (lab.host("a").unwrap(), lab.host("b").unwrap())
}

/// Sends back every datagram that arrives within the time limit of the socket.
fn start_echo(host: &Host) {
    let bind = SocketAddr::from(([0, 0, 0, 0], PORT));
    let socket = host.run(|| UdpSocket::bind(bind)).unwrap().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
}

fn connected_socket(from: &Host, to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    socket.connect(to).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

fn round_trip(socket: &UdpSocket) -> Duration {
    let started = Instant::now();
    socket.send(b"?").unwrap();
    socket.recv(&mut [0; 16]).unwrap();
    started.elapsed()
}

/// Bytes a second of one TCP connection that sends `bytes` from `a` to `b`.
fn tcp_rate(a: &Host, b: &Host, bytes: usize) -> f64 {
    let server = b
        .run(|| TcpListener::bind((b.ipv4(), PORT)))
        .unwrap()
        .unwrap();
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        stream.write_all(b".").unwrap();
    });
    let mut stream = a
        .run(|| TcpStream::connect((b.ipv4(), PORT)))
        .unwrap()
        .unwrap();
    let started = Instant::now();
    stream.write_all(&vec![7; bytes]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    sink.join().unwrap();
    bytes as f64 / started.elapsed().as_secs_f64()
}

fn linked(lab: &Lab, spec: LinkSpec) -> (Host, Host, Link) {
    let (a, b) = two_hosts(lab);
    let link = lab.link(&a, &b, Families::V4, spec).unwrap();
    (a, b, link)
}

#[test]
fn a_cable_joins_two_hosts_in_both_families_at_once() {
    let Some(lab) = lab_or_skip("a_cable_joins_two_hosts") else {
        return;
    };
    let (a, b) = two_hosts(&lab);
    lab.cable(&a, &b, Families::Both).unwrap();
    for address in [
        SocketAddr::from((b.ipv4(), PORT)),
        SocketAddr::from((b.ipv6(), PORT)),
    ] {
        let server = b.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        connected_socket(&a, address).send(b"hello").unwrap();
        assert_eq!(server.recv(&mut [0; 16]).unwrap(), 5);
    }
}

#[test]
fn a_host_without_a_family_has_no_address_of_it() {
    let Some(lab) = lab_or_skip("a_host_without_a_family") else {
        return;
    };
    let (a, b) = two_hosts(&lab);
    lab.cable(&a, &b, Families::V4).unwrap();
    assert!(a.run(|| UdpSocket::bind((a.ipv6(), 0))).unwrap().is_err());
    let c = lab.host("c").unwrap();
    let d = lab.host("d").unwrap();
    lab.cable(&c, &d, Families::V6).unwrap();
    assert!(c.run(|| UdpSocket::bind((c.ipv4(), 0))).unwrap().is_err());
    assert!(c.run(|| UdpSocket::bind((c.ipv6(), 0))).unwrap().is_ok());
}

#[test]
fn a_lan_carries_multicast_between_three_hosts() {
    let Some(lab) = lab_or_skip("a_lan_carries_multicast") else {
        return;
    };
    let lan = lab.lan().unwrap();
    let hosts: Vec<Host> = ["a", "b", "c"].map(|name| lab.host(name).unwrap()).into();
    let group = std::net::Ipv4Addr::new(224, 0, 0, 251);
    for host in &hosts {
        lan.attach(host, Families::Both).unwrap();
    }
    let heard: Vec<UdpSocket> = hosts[1..]
        .iter()
        .map(|host| {
            let socket = host
                .run(|| UdpSocket::bind((group, 5353)))
                .unwrap()
                .unwrap();
            socket.join_multicast_v4(&group, &host.ipv4()).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            socket
        })
        .collect();
    let speaker = hosts[0]
        .run(|| UdpSocket::bind((hosts[0].ipv4(), 0)))
        .unwrap()
        .unwrap();
    hosts[0]
        .run(|| speaker.send_to(b"who is there", (group, 5353)))
        .unwrap()
        .unwrap();
    for socket in heard {
        assert_eq!(socket.recv(&mut [0; 32]).unwrap(), 12);
    }
}

#[test]
fn a_pulled_cable_carries_nothing_until_it_is_back() {
    let Some(lab) = lab_or_skip("a_pulled_cable_carries_nothing") else {
        return;
    };
    let (a, b) = two_hosts(&lab);
    lab.cable(&a, &b, Families::V4).unwrap();
    start_echo(&b);
    let socket = connected_socket(&a, SocketAddr::from((b.ipv4(), PORT)));
    round_trip(&socket);
    b.set_link(LinkState::Down).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(
        socket
            .send(b"?")
            .and_then(|_| socket.recv(&mut [0; 16]))
            .is_err()
    );
    b.set_link(LinkState::Up).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while socket
        .send(b"?")
        .and_then(|_| socket.recv(&mut [0; 16]))
        .is_err()
    {
        assert!(Instant::now() < deadline, "the cable never came back");
    }
}

#[test]
fn a_link_delays_each_way_by_what_it_is_told() {
    let Some(lab) = lab_or_skip("a_link_delays_each_way") else {
        return;
    };
    let delay = Duration::from_millis(20);
    let (a, b, _link) = linked(
        &lab,
        LinkSpec {
            delay,
            ..LinkSpec::default()
        },
    );
    start_echo(&b);
    let socket = connected_socket(&a, SocketAddr::from((b.ipv4(), PORT)));
    round_trip(&socket); // the first one waits for ARP as well
    let best = (0..20).map(|_| round_trip(&socket)).min().unwrap();
    assert!(best >= 2 * delay, "faster than the link: {best:?}");
    assert!(best < 2 * delay + Duration::from_millis(10), "{best:?}");
}

#[test]
fn a_link_passes_its_rate_and_no_more() {
    let Some(lab) = lab_or_skip("a_link_passes_its_rate") else {
        return;
    };
    let spec = LinkSpec {
        rate: Some(50_000_000),
        queue: 200,
        ..LinkSpec::default()
    };
    let (a, b, link) = linked(&lab, spec);
    let megabits = tcp_rate(&a, &b, 8 << 20) * 8.0 / 1e6;
    assert!(megabits <= 50.5, "faster than the link: {megabits}");
    assert!(megabits >= 25.0, "{megabits}; {:?}", link.forward());
}

#[test]
fn a_link_loses_the_share_it_is_told() {
    let Some(lab) = lab_or_skip("a_link_loses_the_share") else {
        return;
    };
    let (a, b, link) = linked(
        &lab,
        LinkSpec {
            loss_ppm: 100_000,
            ..LinkSpec::default()
        },
    );
    let to = SocketAddr::from((b.ipv4(), PORT));
    let server = b.run(|| UdpSocket::bind(to)).unwrap().unwrap();
    server
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let socket = connected_socket(&a, to);
    let mut arrived = 0;
    // In bursts, so that no socket buffer overflows and counts as loss.
    for _ in 0..40 {
        for _ in 0..50 {
            socket.send(&[0; 100]).unwrap();
        }
        let sent = link.forward();
        let deadline = Instant::now() + Duration::from_secs(2);
        while link.forward() == sent && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.set_nonblocking(true).unwrap();
        while server.recv(&mut [0; 128]).is_ok() {
            arrived += 1;
        }
        server.set_nonblocking(false).unwrap();
    }
    while server.recv(&mut [0; 128]).is_ok() {
        arrived += 1;
    }
    assert!(
        (1_650..=1_920).contains(&arrived),
        "{arrived} of 2000 at 10 % loss"
    );
    assert!(
        link.forward().lost > 0 && link.forward().overflowed == 0,
        "{:?}",
        link.forward()
    );
}

#[test]
fn a_dropped_host_takes_its_processes_with_it() {
    let Some(lab) = lab_or_skip("a_dropped_host_takes_its_processes") else {
        return;
    };
    let host = lab.host("a").unwrap();
    let number = host.namespace_number();
    // One that the lab knows, and one that got away from it: a grandchild in its own session.
    let shell = host
        .command("sh")
        .args(["-c", "setsid sleep 300 & exec sleep 300"])
        .start();
    let _shell = shell.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while host.processes().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", host.processes());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(host);
    while namespace_is_populated(number) {
        assert!(
            Instant::now() < deadline,
            "a process is left in the namespace"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_panic_leaves_no_process_and_no_folder() {
    let Some(lab) = lab_or_skip("a_panic_leaves_no_process") else {
        return;
    };
    let folder = lab.folder().to_owned();
    let (told, heard) = std::sync::mpsc::channel();
    let ended = std::thread::spawn(move || {
        let host = lab.host("a").unwrap();
        let process = host.command("sleep").arg("300").start().unwrap();
        told.send((host.namespace_number(), process.id())).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(ended.is_err());
    let (number, pid) = heard.recv().unwrap();
    assert!(!namespace_is_populated(number));
    assert!(!std::path::Path::new(&format!("/proc/{pid}/ns")).exists());
    assert!(!folder.exists());
}

#[test]
fn a_process_past_its_deadline_is_an_error_that_tells_what_it_said() {
    let Some(lab) = lab_or_skip("a_process_past_its_deadline") else {
        return;
    };
    let host = lab.host("a").unwrap();
    let shell = host
        .command("sh")
        .args(["-c", "echo stuck >&2; exec sleep 300"]);
    let mut process = shell.start().unwrap();
    process
        .await_line("a word", Duration::from_secs(5), |line| Some(line.len()))
        .unwrap();
    let error = process.finish(Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("still running") && error.to_string().contains("stuck"));
}

#[test]
fn the_machine_itself_sees_nothing_of_the_lab() {
    let Some(lab) = lab_or_skip("the_machine_itself_sees_nothing") else {
        return;
    };
    let (a, b) = two_hosts(&lab);
    lab.cable(&a, &b, Families::Both).unwrap();
    assert!(UdpSocket::bind((a.ipv4(), 0)).is_err());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(
        !own.to_string_lossy()
            .contains(&a.namespace_number().to_string())
    );
}

#[test]
fn the_folder_of_a_killed_lab_is_removed_by_the_next_one() {
    let name = "the_folder_of_a_killed_lab_is_removed_by_the_next_one";
    let Some(lab) = lab_or_skip(name) else { return };
    // Above the largest process id that the kernel gives (PID_MAX_LIMIT, 2^22).
    let dead = std::env::temp_dir().join("dht-4194305-killed");
    std::fs::create_dir_all(dead.join("home")).unwrap();
    let other = Lab::new().unwrap();
    assert!(!dead.exists());
    assert!(lab.folder().exists() && other.folder().exists());
}
