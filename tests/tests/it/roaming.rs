//! Transfers go on when the network around them changes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhtnet_tests::device::{Device, await_found};
use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{INTERFACE, LinkSpec, Process};
use dhtnet_tests::nat_router::Nat;
use dhtnet_tests::payload::{hash_file, write_file};
use dhtnet_tests::turn_server::{PASSWORD, PORT, TurnServer, TurnServerError};

use crate::hole_punching::{Street, street};
use crate::pair::{LIMIT, bulk_len, bulk_limit, tools};

/// Bytes of a transfer and megabits a second of each router: slow enough to last some seconds, and to
/// leave the machine room for other tests. 1 GiB with `DHTNET_TEST_FULL=1`.
fn size() -> (u64, u32) {
    match bulk_len() {
        full @ 0x4000_0000.. => (full, 400),
        _ => (60_000_000, 80),
    }
}

/// Longest a transfer may take.
fn limit() -> Duration {
    bulk_limit(size().0)
}

/// A file on its way from the caller to the listener.
pub(crate) struct Transfer {
    pub(crate) listener: Process,
    pub(crate) caller: Process,
    arrived: PathBuf,
    hash: String,
}

impl Transfer {
    /// Begins one, through routers that are slow, and waits until a quarter is there.
    pub(crate) fn begin(street: &Street, more: &[&str]) -> Self {
        let (len, megabits) = size();
        for router in &street.routers {
            router.set_rate(megabits).unwrap();
        }
        let folder = street.lab.folder();
        let (sent, arrived) = (folder.join("sent"), folder.join("arrived"));
        let hash = write_file(&sent, len, 7).unwrap();
        let listener = street.listener.dnc().lifetime(LIMIT + limit());
        let listener = listener
            .args(["-l", "-vv", "--no-mdns", "--no-portmap"])
            .args(["--bootstrap", &street.entry])
            .args(["--allow", street.caller.id()])
            .env("DHTNET_TURN_PASSWORD", PASSWORD)
            .args(more)
            .stdout_file(&arrived);
        let mut listener = street.listener.listen(listener).unwrap();
        await_found(&mut listener, LIMIT).unwrap();
        let caller = street.caller.dnc().lifetime(LIMIT + limit());
        let caller = caller
            .args(["-vv", "--no-mdns", "-w", "20"])
            .args(["--bootstrap", &street.entry])
            .env("DHTNET_TURN_PASSWORD", PASSWORD)
            .args(more)
            .arg(street.listener.id())
            .stdin_file(&sent)
            .start()
            .unwrap();
        let transfer = Self {
            listener,
            caller,
            arrived,
            hash,
        };
        // Both sides have long exchanged data by then.
        transfer.await_bytes(len / 4);
        transfer
    }

    fn len(&self) -> u64 {
        self.listener.stdout_len()
    }

    fn await_bytes(&self, len: u64) {
        let begun = Instant::now();
        while self.len() < len {
            assert!(
                begun.elapsed() < LIMIT,
                "only {} bytes: {}",
                self.len(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The longest time within `span` in which nothing arrived.
    pub(crate) fn longest_gap(&self, span: Duration) -> Duration {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        let mut last = (self.len(), begun);
        while begun.elapsed() < span || last.1.elapsed() > longest {
            let (now, len) = (Instant::now(), self.len());
            if len != last.0 || len >= size().0 {
                longest = longest.max(now - last.1);
                last = (len, now);
            }
            if now - begun > LIMIT {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        longest
    }

    fn said(&self) -> String {
        format!(
            "the caller: {}; the listener: {}",
            self.caller.stderr(),
            self.listener.stderr()
        )
    }

    /// Every byte arrives, once and in order.
    pub(crate) fn end(self) {
        assert!(
            self.len() < size().0,
            "it was over before anything happened"
        );
        let caller = self.caller.finish(limit()).unwrap();
        let said = format!(
            "{}; the listener: {}",
            caller.stderr,
            self.listener.stderr()
        );
        assert_eq!(caller.code(), Some(0), "{said}");
        let listener = self.listener.finish(LIMIT).unwrap();
        assert_eq!(listener.code(), Some(0), "{said}");
        assert_eq!(hash_file(&self.arrived).unwrap(), self.hash);
    }
}

/// Another address in the same network for the host behind router `number`.
fn renumber(street: &Street, number: u8) {
    let device = [&street.listener, &street.caller][usize::from(number) - 1];
    let net = format!("192.168.{number}");
    let change = format!(
        "addr flush dev {INTERFACE}\naddr add {net}.77/24 dev {INTERFACE}\n\
         route add default via {net}.1"
    );
    device.host().ip(&change).unwrap();
}

const HOMES: [Nat; 2] = [Nat::PortRestricted, Nat::PortRestricted];
const HARD: [Nat; 2] = [Nat::Symmetric, Nat::Symmetric];

#[test]
fn a_transfer_survives_another_address_of_the_caller() {
    let name = "a_transfer_survives_another_address_of_the_caller";
    let Some(street) = street(name, HOMES, 3) else {
        return;
    };
    let transfer = Transfer::begin(&street, &[]);
    renumber(&street, 2);
    transfer.end();
}

#[test]
fn a_transfer_survives_another_address_of_the_listener() {
    let name = "a_transfer_survives_another_address_of_the_listener";
    let Some(street) = street(name, HOMES, 3) else {
        return;
    };
    let transfer = Transfer::begin(&street, &[]);
    renumber(&street, 1);
    transfer.end();
}

#[test]
fn a_transfer_survives_the_restart_of_either_router() {
    let name = "a_transfer_survives_the_restart_of_either_router";
    for number in [0, 1] {
        let Some(street) = street(name, HOMES, 3) else {
            return;
        };
        let transfer = Transfer::begin(&street, &[]);
        match street.routers[number].restart() {
            Ok(()) => {}
            Err(error @ RouterError::Missing(_)) => return report(name, &error.to_string()),
            Err(error) => panic!("{error}"),
        }
        transfer.end();
    }
}

/// A relay outside; `None` where there is no coturn.
fn relay(name: &str, street: &Street, number: u8) -> Option<TurnServer> {
    match TurnServer::start(&street.lab, &street.outside, (number, PORT), "") {
        Ok(server) => Some(server),
        Err(error @ TurnServerError::Missing) => {
            report(name, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_transfer_survives_the_death_of_the_relay_it_goes_through() {
    let name = "a_transfer_survives_the_death_of_the_relay_it_goes_through";
    let Some(street) = street(name, HARD, 3) else {
        return;
    };
    let (Some(mut first), Some(second)) = (relay(name, &street, 1), relay(name, &street, 2)) else {
        return;
    };
    let words = ["--turn", &first.uri(), "--turn", &second.uri()];
    let mut transfer = Transfer::begin(&street, &words);
    let through_second = format!("remote={}:", second.address().ip());
    transfer
        .listener
        .await_line("a path by the second relay", LIMIT, |line| {
            let fits = line.contains("a path works") && line.contains(&through_second);
            fits.then_some(())
        })
        .unwrap();
    first.process.kill();
    let gap = transfer.longest_gap(Duration::from_secs(2));
    println!("{name}: {gap:.1?} without a byte");
    transfer.end();
}

#[test]
fn a_relayed_transfer_becomes_direct_and_relayed_again() {
    let name = "a_relayed_transfer_becomes_direct_and_relayed_again";
    let Some(street) = street(name, HOMES, 3) else {
        return;
    };
    let Some(server) = relay(name, &street, 1) else {
        return;
    };
    // The two routers do not reach each other at first.
    let [theirs, ours] = &street.routers;
    let router = |number| IpAddr::V4(Ipv4Addr::new(11, 0, number, 101));
    ours.cut_off(&[router(1)]).unwrap();
    let mut transfer = Transfer::begin(&street, &["--turn", &server.uri()]);
    ours.cut_off(&[]).unwrap();
    let change = |kind: &str, line: &str| {
        (line.contains("another path") && line.contains(kind)).then_some(())
    };
    let direct = "that the path is direct";
    transfer
        .caller
        .await_line(direct, LIMIT, |line| change("kind=\"direct\"", line))
        .unwrap();
    theirs.cut_off(&[router(2)]).unwrap();
    let relayed = "that the path is relayed";
    transfer
        .caller
        .await_line(relayed, LIMIT, |line| change("kind=\"relayed\"", line))
        .unwrap();
    transfer.end();
}

#[test]
fn a_transfer_survives_loss_and_delay() {
    let name = "a_transfer_survives_loss_and_delay";
    let Some(mut street) = street(name, HOMES, 3) else {
        return;
    };
    let spec = LinkSpec {
        delay: Duration::from_millis(20),
        loss_ppm: 20_000,
        rate: Some(200_000_000),
        ..LinkSpec::default()
    };
    let (far, _link) = street.routers[1].far_away(&street.lab, spec).unwrap();
    street.caller = Device::new(far, &tools()).unwrap();
    Transfer::begin(&street, &[]).end();
}

/// These two NATs are opened by a session on both sides alone; the offers for it go over the relayed
/// connection.
#[test]
fn a_relayed_connection_becomes_direct_by_offers_that_it_carries() {
    let name = "a_relayed_connection_becomes_direct_by_offers_that_it_carries";
    let nats = [Nat::PortRestricted, Nat::Symmetric];
    let Some(street) = street(name, nats, 3) else {
        return;
    };
    let Some(server) = relay(name, &street, 1) else {
        return;
    };
    let router = IpAddr::V4(Ipv4Addr::new(11, 0, 1, 101));
    street.routers[1].cut_off(&[router]).unwrap();
    let turn = server.uri();
    let _listener = crate::relayed::listen(&street, &["--turn", &turn]);
    let ping = street.caller.dnc().lifetime(LIMIT * 2);
    let ping = ping
        .env("DHTNET_TURN_PASSWORD", PASSWORD)
        .args(["ping", "-vv", "--turn", &turn, "--no-mdns", "--no-portmap"])
        .args(["--bootstrap", &street.entry, "-w", "20"])
        .args(["-c", "300", "--interval", "0.2", "--until-direct"])
        .arg(street.listener.id());
    let mut ping = ping.start().unwrap();
    ping.await_line("that no direct path was found", LIMIT, |line| {
        line.contains("no path through the NATs").then_some(())
    })
    .unwrap();
    street.routers[1].cut_off(&[]).unwrap();
    // A change of the network on one side is reason enough to call.
    let change = format!("addr add 192.168.2.99/24 dev {INTERFACE}");
    street.caller.host().ip(&change).unwrap();
    let changed = Instant::now();
    ping.await_line("an answer over the connection", LIMIT, |line| {
        line.contains("answered over the connection").then_some(())
    })
    .unwrap();
    let ended = ping.finish(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let calls = ended.stderr.matches("calling through the DHT").count();
    assert_eq!(calls, 1, "the first: {}", ended.stderr);
    println!("{name}: direct after {:.1?}", changed.elapsed());
}
