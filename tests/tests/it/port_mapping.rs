//! A device behind a home router is reached from outside through the port that the router maps,
//! and leaves nothing behind there.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use dhtnet_tests::device::{Device, START_LIMIT};
use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::home_router::{HomeRouter, RouterError, Speaks};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Host, INTERFACE, Lab, Lan, Process};
use rustix::process::Signal;

use crate::dht_segment::PORT;
use crate::pair::{LIMIT, assert_done, tools};

/// Between the start of a listener and a mapping: a search by UPnP takes up to three seconds.
const MAP_LIMIT: Duration = Duration::from_secs(15);

/// Any question takes longer when it is not answered.
const QUESTION: Duration = Duration::from_secs(2);

/// A listener behind a router; a caller and one node of the DHT outside.
struct Home {
    listener: Device,
    caller: Device,
    entry: SocketAddrV4,
    router: HomeRouter,
    _bootstrap: (Process, Host),
    _outside: Lan,
    _lab: Lab,
}

fn home(name: &str, speaks: Speaks) -> Option<Home> {
    let lab = lab_or_skip(name)?;
    let tools = tools();
    let outside = lab.lan().unwrap();
    let router = match HomeRouter::new(&lab, &outside, speaks) {
        Ok(router) => router,
        Err(error @ RouterError::Missing(_)) => {
            report(name, &error.to_string());
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let [node, caller] = ["node", "caller"].map(|name| lab.host(name).unwrap());
    for host in [&node, &caller] {
        outside.attach(host, Families::V4).unwrap();
    }
    let entry = SocketAddrV4::new(node.ipv4(), PORT);
    let settings = Settings {
        bind: entry,
        bootstrap: None,
        network: None,
        home: &lab.folder().join("bootstrap"),
    };
    let bootstrap = command(&node, &tools, settings).unwrap().arg("run");
    let inside = router.inside(&lab, 10).unwrap();
    Some(Home {
        listener: Device::new(inside, &tools).unwrap(),
        caller: Device::new(caller, &tools).unwrap(),
        entry,
        router,
        _bootstrap: (bootstrap.start().unwrap(), node),
        _outside: outside,
        _lab: lab,
    })
}

impl Home {
    /// `dnc -l` that lets the caller in.
    fn listen(&self) -> Command {
        let (entry, caller) = (self.entry.to_string(), self.caller.id());
        self.listener
            .dnc()
            .args(["-l", "-vv", "--bootstrap", &entry, "--allow", caller])
            .stdin_bytes("from inside")
    }

    /// `dnc` to the listener, of which it knows the id alone.
    fn call(&self) -> Command {
        let entry = self.entry.to_string();
        let dnc = self.caller.dnc();
        dnc.args(["--bootstrap", &entry, self.listener.id()])
            .stdin_bytes("from outside")
    }

    #[track_caller]
    fn await_mapping_to(&self, inside: &str, listener: &Process) -> Vec<String> {
        let is_there = |rules: &[String]| rules.iter().any(|rule| rule.contains(inside));
        let found = self.router.await_mappings(MAP_LIMIT, is_there).unwrap();
        assert!(
            is_there(&found),
            "{found:?}; the router: {}; the listener: {}",
            self.router.said(),
            listener.stderr()
        );
        found
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(self.router.mappings().unwrap(), [""; 0]);
    }
}

fn a_device_is_reached_through_a_router_that_speaks(name: &str, speaks: Speaks, said: &str) {
    let Some(home) = home(name, speaks) else {
        return;
    };
    let listener = home.listener.listen(home.listen()).unwrap();
    let mapped = home.await_mapping_to("192.168.1.10", &listener);
    assert_eq!(mapped.len(), 1, "{mapped:?}");
    let caller = home.call().start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(
        caller.code(),
        Some(0),
        "{}; the listener: {}",
        caller.stderr,
        listener.stderr()
    );
    assert_eq!(caller.text(), "from inside");
    let listener = listener.finish(LIMIT).unwrap();
    assert_done(&listener);
    assert_eq!(listener.text(), "from outside");
    assert!(listener.stderr.contains(said), "{}", listener.stderr);
    home.assert_nothing_left();
}

#[test]
fn a_device_is_reached_through_a_port_mapped_by_upnp() {
    let name = "a_device_is_reached_through_a_port_mapped_by_upnp";
    a_device_is_reached_through_a_router_that_speaks(name, Speaks::Upnp, "asked by UPnP");
}

#[test]
fn a_device_is_reached_through_a_port_mapped_by_pcp() {
    let name = "a_device_is_reached_through_a_port_mapped_by_pcp";
    a_device_is_reached_through_a_router_that_speaks(name, Speaks::NatPmp, "asked by PCP");
}

#[test]
fn a_router_that_speaks_everything_is_left_with_nothing_by_a_listener_that_is_terminated() {
    let name = "a_router_that_speaks_everything_is_left_with_nothing";
    let Some(home) = home(name, Speaks::All) else {
        return;
    };
    let listener = home.listener.listen(home.listen().stdin_pipe()).unwrap();
    home.await_mapping_to("192.168.1.10", &listener);
    // UPnP has been found by now too, and stands by.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(home.router.mappings().unwrap().len(), 1);
    listener.signal(Signal::TERM);
    let begun = Instant::now();
    let ended = listener.finish(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(143), "{}", ended.stderr);
    assert!(begun.elapsed() < QUESTION, "{:?}", begun.elapsed());
    home.assert_nothing_left();
}

#[test]
fn nothing_is_mapped_when_it_is_switched_off() {
    let name = "nothing_is_mapped_when_it_is_switched_off";
    let Some(home) = home(name, Speaks::All) else {
        return;
    };
    let listener = home.listen().arg("--no-portmap");
    let listener = home.listener.listen(listener).unwrap();
    // The way in is a hole that both sides open.
    let caller = home.call().start().unwrap().finish(LIMIT).unwrap();
    assert_done(&caller);
    let listener = listener.finish(LIMIT).unwrap();
    assert_done(&listener);
    home.assert_nothing_left();
    assert!(!listener.stderr.contains("asking routers"));
}

#[test]
fn a_mapping_follows_a_device_that_gets_another_address() {
    let name = "a_mapping_follows_a_device_that_gets_another_address";
    let Some(home) = home(name, Speaks::NatPmp) else {
        return;
    };
    let listener = home.listener.listen(home.listen()).unwrap();
    home.await_mapping_to("192.168.1.10", &listener);
    let change = format!(
        "addr flush dev {INTERFACE}\naddr add 192.168.1.11/24 dev {INTERFACE}\n\
         route add default via 192.168.1.1"
    );
    home.listener.host().ip(&change).unwrap();
    home.await_mapping_to("192.168.1.11", &listener);
    let caller = home.call().start().unwrap().finish(LIMIT).unwrap();
    assert_done(&caller);
    assert_done(&listener.finish(LIMIT).unwrap());
    // The router does not let the new address take back what the old one got; that runs out.
    let left = home.router.mappings().unwrap();
    assert!(
        !left.iter().any(|rule| rule.contains("192.168.1.11")),
        "{left:?}"
    );
}

fn the_firewall_is_opened_by_a_router_that_speaks(name: &str, speaks: Speaks, said: &str) {
    let Some(home) = home(name, speaks) else {
        return;
    };
    home.router.give_v6(home.listener.host(), 0x10).unwrap();
    let listener = home.listener.listen(home.listen().stdin_pipe()).unwrap();
    let deadline = Instant::now() + MAP_LIMIT;
    while home.router.pinholes().unwrap().is_empty() {
        assert!(
            Instant::now() < deadline,
            "the router: {}; the listener: {}",
            home.router.said(),
            listener.stderr()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let rules = home.router.pinholes().unwrap();
    assert!(
        rules[0].contains("0x20010db8000000010000000000000010"),
        "{rules:?}"
    );
    listener.signal(Signal::TERM);
    let ended = listener.finish(LIMIT).unwrap();
    assert_eq!(ended.code(), Some(143));
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert_eq!(
        home.router.pinholes().unwrap(),
        [""; 0],
        "the router: {}; the listener: {}",
        home.router.said(),
        ended.stderr
    );
    home.assert_nothing_left();
}

#[test]
fn an_ipv6_firewall_is_opened_by_upnp_and_closed_at_the_end() {
    let name = "an_ipv6_firewall_is_opened_by_upnp_and_closed_at_the_end";
    the_firewall_is_opened_by_a_router_that_speaks(name, Speaks::Upnp, "granted method=Pinhole");
}

#[test]
fn an_ipv6_firewall_is_opened_by_pcp_and_closed_at_the_end() {
    let name = "an_ipv6_firewall_is_opened_by_pcp_and_closed_at_the_end";
    the_firewall_is_opened_by_a_router_that_speaks(name, Speaks::NatPmp, "granted method=Pcp6");
}

#[test]
fn a_silent_router_delays_neither_the_start_nor_the_end() {
    let name = "a_silent_router_delays_neither_the_start_nor_the_end";
    let Some(home) = home(name, Speaks::Nothing) else {
        return;
    };
    let start = |words: &[&str]| {
        let begun = Instant::now();
        let command = home.listen().args(words.iter()).stdin_pipe();
        let listener = home.listener.listen(command).unwrap();
        (listener, begun.elapsed())
    };
    let (without, quick) = start(&["--no-portmap"]);
    drop(without);
    let (mut asking, took) = start(&[]);
    assert!(took < quick + QUESTION, "{took:?}, without {quick:?}");
    asking
        .await_line("the question", START_LIMIT, |line| {
            line.contains("asking routers").then_some(())
        })
        .unwrap();
    asking.signal(Signal::TERM);
    let begun = Instant::now();
    assert_eq!(asking.finish(LIMIT).unwrap().code(), Some(143));
    assert!(begun.elapsed() < QUESTION, "{:?}", begun.elapsed());
}
