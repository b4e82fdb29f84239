//! Devices without a direct path, and a relay of ours that they find in the DHT.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::lab::{Families, Host, INTERFACE, Process};

use crate::dht_segment::PORT;
use crate::hole_punching::Street;
use crate::hole_punching::street;
use crate::pair::{LIMIT, tools};
use crate::relayed::{HARD, assert_talked, call, listen};

/// A relay outside, once it is announced.
fn relay(street: &Street) -> (Process, Host) {
    let host = street.lab.host("relay").unwrap();
    street.outside.attach(&host, Families::V4).unwrap();
    let own = SocketAddrV4::new(Ipv4Addr::new(11, 0, 210, 1), PORT);
    let change = format!(
        "addr flush dev {INTERFACE}\naddr add {}/16 dev {INTERFACE}",
        own.ip()
    );
    host.ip(&change).unwrap();
    let settings = Settings {
        bind: own,
        bootstrap: Some(street.entry.parse().unwrap()),
        network: None,
        home: &street.lab.folder().join("relay"),
    };
    let own = own.ip().to_string();
    let command = command(&host, &tools(), settings).unwrap();
    let mut relay = command
        .args(["run", "--relay", "--relay-address", &own])
        .start()
        .unwrap();
    relay
        .await_line("that it is announced", LIMIT, |line| {
            line.contains("the relay is announced at").then_some(())
        })
        .unwrap();
    (relay, host)
}

#[test]
fn two_nats_with_random_ports_meet_at_a_relay_found_in_the_dht() {
    let name = "two_nats_with_random_ports_meet_at_a_relay_found_in_the_dht";
    let Some(street) = street(name, HARD, 3) else {
        return;
    };
    let _relay = relay(&street);
    let listener = listen(&street, &[]);
    let caller = call(&street, &[]);
    assert_talked(&caller, listener);
}
