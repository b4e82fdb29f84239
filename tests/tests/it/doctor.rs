//! `dhtnode doctor` in networks with one fault each: it names the fault, says how bad it is, and
//! what to do.

mod ground;
mod servers;

use std::net::Ipv4Addr;

use dhtnet_tests::device::{Device, await_found};
use dhtnet_tests::home_router::{HomeRouter, RouterError, Speaks};
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Families, Host, INTERFACE, Lan};
use dhtnet_tests::nat_router::Nat;

use self::ground::{
    Outside, PASSWORD, Said, Server, USER, doctor, outside, password_file, rule, slow_clock,
};
use crate::pair::LIMIT;

/// Behind a router that drops or rejects what the rule says.
fn behind_a_firewall(name: &str, verdict: &str) -> Option<Said> {
    let outside = outside(name, 2)?;
    let (device, router) = outside.behind(name, Nat::PortRestricted)?;
    rule(
        router.host(),
        &format!(
            "table ip fault {{\n chain forw {{\n type filter hook forward priority -10\n {verdict}\n }}\n}}"
        ),
    );
    Some(Said::by(outside.doctor(&device)))
}

#[test]
fn the_doctor_finds_nothing_wrong_without_a_nat() {
    let Some(outside) = outside("the_doctor_finds_nothing_wrong_without_a_nat", 3) else {
        return;
    };
    let device = outside.device();
    Said::by(outside.doctor(&device))
        .has("connection", ("ok", "works from here", ""))
        .has("home", ("ok", device.id(), ""))
        .has("bootstrap", ("ok", "answered", ""))
        .has("udp-ipv4", ("ok", "3 of 3 hosts answered", ""))
        .has("dht", ("ok", "3 of 3 nodes", ""))
        .has("external", ("ok", "11.0.50.1 as 3 hosts see it", ""))
        .has("mapping", ("ok", "there is no NAT", ""))
        .has("port-mapping", ("ok", "not needed", ""))
        .has("mtu", ("ok", "packets of 1500 bytes", ""));
}

#[test]
fn the_doctor_finds_that_there_is_no_route() {
    let Some(outside) = outside("the_doctor_finds_that_there_is_no_route", 0) else {
        return;
    };
    let host = outside.lab.host("alone").unwrap();
    let device = Device::new(host, &outside.tools).unwrap();
    Said::by(doctor(&outside.tools, &device).args(["-b", "11.0.200.1:6881"]))
        .has("connection", ("broken", "cannot work", "see udp-ipv4"))
        .has(
            "udp-ipv4",
            ("broken", "no route to the Internet", "ip route"),
        )
        .has(
            "bootstrap",
            ("broken", "11.0.200.1:6881 is silent", "udp-ipv4"),
        )
        .has(
            "dht",
            ("broken", "none of 1 node answered", "see bootstrap"),
        );
}

#[test]
fn the_doctor_finds_udp_dropped() {
    let name = "the_doctor_finds_udp_dropped";
    let Some(said) = behind_a_firewall(name, "meta l4proto udp drop") else {
        return;
    };
    said.has("connection", ("broken", "nothing outside answers", "see"))
        .has("udp-ipv4", ("broken", "silence: none of 2 hosts", "--turn"))
        .has(
            "dht",
            ("broken", "none of 2 nodes answered", "see bootstrap"),
        );
}

#[test]
fn the_doctor_finds_udp_rejected_and_by_whom() {
    let name = "the_doctor_finds_udp_rejected_and_by_whom";
    let reject = "meta l4proto udp reject with icmp type admin-prohibited";
    let Some(said) = behind_a_firewall(name, reject) else {
        return;
    };
    let found = "rejected by 192.168.1.1";
    said.has("udp-ipv4", ("broken", found, "let UDP out"));
}

#[test]
fn the_doctor_finds_the_relay_behind_a_firewall_that_lets_tcp_443_out_alone() {
    let name = "the_doctor_finds_the_relay_behind_a_firewall_that_lets_tcp_443_out_alone";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some((server, (device, router))) =
        Server::start(name, &outside, 443).zip(outside.behind(name, Nat::PortRestricted))
    else {
        return;
    };
    rule(
        router.host(),
        "table ip fault {\n chain forw {\n type filter hook forward priority -10\n policy drop\n \
         ct state established,related accept\n iifname \"home\" tcp dport 443 accept\n }\n}",
    );
    let turn = format!("turn:{USER}@{}?transport=tcp", server.address);
    let command = outside.doctor(&device).args(["--turn", &turn]);
    let command = command.arg("--turn-password-file");
    Said::by(command.arg(password_file(&device, PASSWORD)))
        .has(
            "connection",
            ("weak", "through the relay alone", "udp-ipv4"),
        )
        .has("udp-ipv4", ("broken", "silence", "let UDP out"))
        .has("tcp-443", ("ok", "11.0.210.1 took a connection", ""))
        .has("relay", ("ok", "over TCP", ""));
}

#[test]
fn the_doctor_finds_a_relay_with_a_wrong_password() {
    let name = "the_doctor_finds_a_relay_with_a_wrong_password";
    let Some(outside) = outside(name, 1) else {
        return;
    };
    let Some(server) = Server::start(name, &outside, 3478) else {
        return;
    };
    let device = outside.device();
    let turn = format!("turn:{USER}@{}", server.address);
    let try_it = |password| {
        let command = outside.doctor(&device).args(["--turn", &turn]);
        let command = command.arg("--turn-password-file");
        Said::by(command.arg(password_file(&device, password)))
    };
    let wrong = "refuses the user name or password";
    let next = "correct the user name and password";
    try_it("guess").has("relay", ("broken", wrong, next));
    let right = format!("{} gave the address 11.0.210.1:", server.address);
    try_it(PASSWORD).has("relay", ("ok", &right, ""));
}

#[test]
fn the_doctor_finds_relays_that_are_announced_and_whether_they_answer() {
    let name = "the_doctor_finds_relays_that_are_announced_and_whether_they_answer";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some(server) = Server::start(name, &outside, 3478) else {
        return;
    };
    let device = outside.device();
    let ask = || Said::by(outside.doctor(&device));
    ask().has(
        "relays",
        ("weak", "none is announced", "dhtnode run --relay"),
    );
    // A port where nobody answers, then the server's.
    server.announce(&outside, 1);
    ask().has("relays", ("weak", "none of them answers", "--turn"));
    server.announce(&outside, 3478);
    ask().has("relays", ("ok", "11.0.210.1:3478 answers", ""));
}

#[test]
fn the_doctor_finds_dead_bootstrap_hosts() {
    let name = "the_doctor_finds_dead_bootstrap_hosts";
    let Some(outside) = outside(name, 1) else {
        return;
    };
    let device = outside.device();
    let _idle = outside.host("idle", Ipv4Addr::new(11, 0, 60, 1));
    let one = |address| Said::by(doctor(&outside.tools, &device).args(["-b", address]));
    one("11.0.60.1:6881")
        .has(
            "connection",
            ("broken", "the DHT does not answer", "see bootstrap"),
        )
        .has(
            "bootstrap",
            ("broken", "nobody listens there", "-b HOST:PORT"),
        )
        .has("udp-ipv4", ("ok", "it gets out and back", ""));
    one("11.0.61.1:6881")
        .has("connection", ("broken", "", "bootstrap"))
        .has(
            "bootstrap",
            ("broken", "11.0.61.1:6881 is silent", "-b HOST:PORT"),
        );
    Said::by(outside.doctor(&device).args(["-b", "11.0.60.1:6881"]))
        .has("connection", ("ok", "", ""))
        .has(
            "bootstrap",
            ("weak", "1 of 2 answered", "correct or remove"),
        );
}

#[test]
fn the_doctor_finds_that_a_bootstrap_name_does_not_resolve() {
    let name = "the_doctor_finds_that_a_bootstrap_name_does_not_resolve";
    let Some(outside) = outside(name, 0) else {
        return;
    };
    let device = outside.device();
    Said::by(doctor(&outside.tools, &device).args(["-b", "nowhere.invalid:6881"]))
        .has("connection", ("broken", "", "bootstrap"))
        .has(
            "bootstrap",
            (
                "broken",
                "nowhere.invalid:6881 is not found",
                "/etc/resolv.conf",
            ),
        );
}

#[test]
fn the_doctor_finds_that_there_is_no_ipv6() {
    let name = "the_doctor_finds_that_there_is_no_ipv6";
    let Some(outside) = outside(name, 1) else {
        return;
    };
    Said::by(outside.doctor(&outside.device()))
        .has("ipv6", ("weak", "none: no address", "nothing must be done"))
        .has("udp-ipv6", ("unknown", "not tried", "see ipv6"))
        .has("udp-ipv4", ("ok", "", ""));
}

#[test]
fn the_doctor_finds_an_ipv6_address_that_leads_nowhere() {
    let name = "the_doctor_finds_an_ipv6_address_that_leads_nowhere";
    let Some(outside) = outside(name, 1) else {
        return;
    };
    let device = outside.device();
    let own = "2001:db8:7::1";
    device
        .host()
        .set_sysctl(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "0")
        .unwrap();
    let add = format!("addr add {own}/64 dev {INTERFACE} nodad");
    device.host().ip(&add).unwrap();
    let ask = || outside.doctor(&device).args(["-b", "[2001:db8:9::1]:6881"]);
    let found = "2001:db8:7::1, but no route";
    Said::by(ask()).has("ipv6", ("weak", found, "renew the connection"));
    // A router that takes all packets and loses them.
    let router = outside.lab.host("router").unwrap();
    outside.lan.attach(&router, Families::V6).unwrap();
    router
        .ip(&format!("addr add 2001:db8:7::2/64 dev {INTERFACE} nodad"))
        .unwrap();
    router
        .set_sysctl("net/ipv6/conf/all/forwarding", "1")
        .unwrap();
    router.ip("route add blackhole 2001:db8:9::/64").unwrap();
    let way = format!("route add default via 2001:db8:7::2 dev {INTERFACE}");
    device.host().ip(&way).unwrap();
    Said::by(ask())
        .has("ipv6", ("weak", "leads nowhere", "switch IPv6 off"))
        .has("connection", ("ok", "", ""));
}

#[test]
fn the_doctor_tells_a_port_restricted_nat() {
    let name = "the_doctor_tells_a_port_restricted_nat";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some((server, (device, _router))) =
        Server::start(name, &outside, 3478).zip(outside.behind(name, Nat::PortRestricted))
    else {
        return;
    };
    let stun = server.address.to_string();
    let mapped = "endpoint-independent: ";
    let said = Said::by(outside.doctor(&device).args(["--stun", &stun]));
    for (name, key, detail) in [
        ("mapping", "mapping", "endpoint-independent".into()),
        (
            "filtering",
            "filtering",
            "address-and-port-dependent".into(),
        ),
        ("ports", "allocation", "kept".into()),
        ("external", "addresses", ["11.0.1.101"][..].into()),
        ("mtu", "bytes", 1_500.into()),
        ("dht", "answered", 2.into()),
    ] {
        let detail: serde_json::Value = detail;
        assert_eq!(*said.detail(name, key), detail, "{name}");
    }
    said.has("connection", ("ok", "works from here", ""))
        .has("external", ("ok", "11.0.1.101", ""))
        .has("mapping", ("ok", mapped, ""))
        .has("ports", ("ok", "kept: ", ""))
        .has("filtering", ("ok", "address-and-port-dependent", ""))
        .has("hairpin", ("weak", "does not work", "inside addresses"))
        .has(
            "port-mapping",
            ("weak", "no router answers", "switch on UPnP"),
        )
        .has("mtu", ("ok", "1500", ""));
    Said::by(outside.doctor(&device))
        .has("mapping", ("ok", mapped, ""))
        .has("filtering", ("unknown", "not tried", "give --stun"));
}

#[test]
fn the_doctor_tells_a_full_cone_by_its_filtering() {
    let name = "the_doctor_tells_a_full_cone_by_its_filtering";
    let Some(outside) = outside(name, 0) else {
        return;
    };
    let Some((server, (device, _router))) =
        Server::start(name, &outside, 3478).zip(outside.behind(name, Nat::FullCone))
    else {
        return;
    };
    let stun = server.address.to_string();
    Said::by(doctor(&outside.tools, &device).args(["--stun", &stun]))
        .has("udp-ipv4", ("ok", "the STUN server answered", ""))
        .has("filtering", ("ok", "endpoint-independent", ""))
        .has(
            "connection",
            ("unknown", "no DHT was asked", "-b HOST:PORT"),
        );
}

#[test]
fn the_doctor_tells_nats_that_give_each_peer_another_port() {
    let name = "the_doctor_tells_nats_that_give_each_peer_another_port";
    for (nat, ports) in [
        (Nat::Symmetric, "random"),
        (Nat::Sequential, "counted in steps of 1"),
    ] {
        let Some(outside) = outside(name, 4) else {
            return;
        };
        let Some((device, _router)) = outside.behind(name, nat) else {
            return;
        };
        Said::by(outside.doctor(&device))
            .has("connection", ("weak", "not to peers behind", "see mapping"))
            .has("mapping", ("weak", "address-and-port-dependent", "IPv6"))
            .has("ports", ("weak", ports, "UPnP"));
    }
}

/// A carrier's router in front of the home, with these addresses of the home outside and of the
/// carrier inside.
fn carrier(outside: &Outside, lan: &Lan, inside: &str) -> Host {
    let host = outside.lab.host("carrier").unwrap();
    host.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    outside.lan.attach(&host, Families::V4).unwrap();
    host.ip(&format!(
        "link set {INTERFACE} down\nlink set {INTERFACE} name wan\naddr flush dev wan\n\
         link set wan up\naddr add 11.0.9.101/16 dev wan"
    ))
    .unwrap();
    lan.attach(&host, Families::V4).unwrap();
    host.ip(&format!(
        "addr flush dev {INTERFACE}\naddr add {inside} dev {INTERFACE}"
    ))
    .unwrap();
    rule(
        &host,
        "table ip nat {\n chain post {\n type nat hook postrouting priority srcnat\n \
         oifname \"wan\" masquerade\n }\n}\ntable ip guard {\n chain inp {\n \
         type filter hook input priority filter\n \
         iifname \"wan\" meta l4proto { tcp, udp } ct state new,invalid drop\n }\n}",
    );
    host
}

#[test]
fn the_doctor_finds_a_providers_nat_behind_the_own() {
    let name = "the_doctor_finds_a_providers_nat_behind_the_own";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let between = outside.lab.lan().unwrap();
    let _carrier = carrier(&outside, &between, "100.64.0.1/16");
    let Some((device, router)) = outside.behind(name, Nat::PortRestricted) else {
        return;
    };
    // The home router's outside is moved from the Internet to the provider's network.
    router.host().ip("link del wan").unwrap();
    between.attach(router.host(), Families::V4).unwrap();
    router
        .host()
        .ip(&format!(
            "link set {INTERFACE} down\nlink set {INTERFACE} name wan\naddr flush dev wan\n\
             link set wan up\naddr add 100.64.0.11/16 dev wan\nroute add default via 100.64.0.1"
        ))
        .unwrap();
    Said::by(outside.doctor(&device))
        .has("connection", ("ok", "works from here", ""))
        .has("external", ("ok", "11.0.9.101", ""))
        .has("double-nat", ("weak", "100.64.0.1", "IPv6"));
}

/// A device behind a home router that speaks all protocols.
fn at_home(name: &str, outside: &Outside) -> Option<(Device, HomeRouter)> {
    match HomeRouter::new(&outside.lab, &outside.lan, Speaks::All) {
        Ok(router) => {
            let inside = router.inside(&outside.lab, 10).unwrap();
            Some((Device::new(inside, &outside.tools).unwrap(), router))
        }
        Err(error @ RouterError::Missing(_)) => {
            report(name, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_doctor_finds_a_router_that_maps_ports_and_leaves_nothing_there() {
    let name = "the_doctor_finds_a_router_that_maps_ports_and_leaves_nothing_there";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some((device, router)) = at_home(name, &outside) else {
        return;
    };
    let found = "UPnP, NAT-PMP, PCP: outside address 11.0.1.101, as others see it";
    Said::by(outside.doctor(&device))
        .has("port-mapping", ("ok", found, ""))
        .has("double-nat", ("ok", "one NAT", ""));
    assert_eq!(router.mappings().unwrap(), [""; 0]);
}

#[test]
fn the_doctor_finds_a_router_that_is_wrong_about_its_outside_address() {
    let name = "the_doctor_finds_a_router_that_is_wrong_about_its_outside_address";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some((device, router)) = at_home(name, &outside) else {
        return;
    };
    // What leaves the home gets another address on the way, of which the router knows nothing.
    let between = outside.lab.lan().unwrap();
    let _carrier = carrier(&outside, &between, "11.1.0.1/16");
    between.attach(router.host(), Families::V4).unwrap();
    router
        .host()
        .ip(&format!(
            "addr flush dev {INTERFACE}\naddr add 11.1.0.11/16 dev {INTERFACE}\n\
             route add 11.0.200.0/21 via 11.1.0.1"
        ))
        .unwrap();
    rule(
        router.host(),
        &format!(
            "table ip also {{\n chain post {{\n type nat hook postrouting priority srcnat\n \
             oifname \"{INTERFACE}\" masquerade\n }}\n}}"
        ),
    );
    Said::by(outside.doctor(&device))
        .has("external", ("ok", "11.0.9.101", ""))
        .has(
            "port-mapping",
            (
                "weak",
                "11.0.1.101, and others see 11.0.9.101",
                "double-nat",
            ),
        )
        .has(
            "double-nat",
            ("weak", "or the router is wrong", "status page"),
        );
}

#[test]
fn the_doctor_tells_a_short_link_from_a_black_hole() {
    let name = "the_doctor_tells_a_short_link_from_a_black_hole";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some((device, router)) = outside.behind(name, Nat::PortRestricted) else {
        return;
    };
    router.host().ip("link set wan mtu 1280").unwrap();
    let short = "packets of 1280 bytes get through; 192.168.1.1 reports a link of 1280 bytes";
    Said::by(outside.doctor(&device)).has("mtu", ("ok", short, ""));
    rule(
        router.host(),
        "table ip fault {\n chain out {\n type filter hook output priority 0\n \
         icmp type destination-unreachable drop\n }\n}",
    );
    let hole = "a black hole: packets of 1280 bytes get through, of 1400 vanish";
    Said::by(outside.doctor(&device))
        .has("mtu", ("weak", hole, "fragmentation needed"))
        .has("connection", ("ok", "", ""));
    router.host().ip("link set wan mtu 1000").unwrap();
    Said::by(outside.doctor(&device))
        .has(
            "mtu",
            ("broken", "packets of 1228 bytes do not", "raise the MTU"),
        )
        .has("connection", ("broken", "cut too short", "see mtu"));
}

#[test]
fn the_doctor_finds_that_the_clock_is_a_day_behind() {
    let name = "the_doctor_finds_that_the_clock_is_a_day_behind";
    let Some(outside) = outside(name, 2) else {
        return;
    };
    let Some(library) = slow_clock(name, &outside.lab) else {
        return;
    };
    let device = outside.device();
    let mut listening = Vec::new();
    for number in 1..=2 {
        let host = outside.host("peer", Ipv4Addr::new(11, 0, 70 + number, 1));
        let peer = Device::new(host, &outside.tools).unwrap();
        let entry = outside.entries[0].to_string();
        let listen = peer.dnc().args(["-l", "-vv", "--no-mdns", "--no-portmap"]);
        let listen = listen.args(["--bootstrap", &entry, "--allow", device.id()]);
        let mut listener = peer.listen(listen).unwrap();
        await_found(&mut listener, LIMIT).unwrap();
        let contact = device
            .crtmgr()
            .args(["peer", "add", &format!("peer{number}"), peer.id()]);
        let added = contact.start().unwrap().finish(LIMIT).unwrap();
        assert_eq!(added.code(), Some(0), "{}", added.stderr);
        listening.push((listener, peer));
        let (status, found) = match number {
            1 => ("weak", "behind the clock of peer1"),
            _ => ("broken", "23 h behind the clocks of 2 contacts"),
        };
        Said::by(outside.doctor(&device).env("LD_PRELOAD", &library))
            .has("clock", (status, found, "set the clock"));
        let count = if number == 1 {
            "1 contact "
        } else {
            "2 contacts "
        };
        Said::by(outside.doctor(&device)).has("clock", ("ok", count, ""));
    }
}

#[test]
fn the_doctor_finds_a_home_that_cannot_be_used() {
    let name = "the_doctor_finds_a_home_that_cannot_be_used";
    let Some(outside) = outside(name, 1) else {
        return;
    };
    let device = outside.device();
    let state = device.home().join("state");
    assert!(!state.exists());
    std::fs::write(&state, "").unwrap();
    Said::by(outside.doctor(&device))
        .has("connection", ("broken", "home is broken", "see home"))
        .has("home", ("broken", "cannot be used", "DHTNET_HOME"));
    std::fs::remove_file(state).unwrap();
    let key = device.home().join("identity.pem");
    std::fs::write(key, "no key").unwrap();
    Said::by(outside.doctor(&device))
        .has("home", ("broken", "the identity in", "restore the file"));
}
