//! `dvpn` and networks behind its devices: several servers at once, hosts behind a client, and what a
//! configuration that is read again changes for who is there already.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Host, Lab, Lan, Process};
use dhtnet_tests::ssh::find;

use crate::pair::{LIMIT, PORT, tools};
use crate::vpn::{addresses, await_ping, await_up, dvpn, ping, reload};

/// Large enough for any packet of a test.
const SIZE: u32 = 1_280;

/// Devices on one bridge.
pub(crate) struct Town {
    pub(crate) devices: Vec<Device>,
    tools: Tools,
    _lan: Lan,
    pub(crate) lab: Lab,
}

pub(crate) fn town(name: &str, devices: usize) -> Option<Town> {
    let lab = lab_or_skip(name)?;
    if find("nft").is_none() {
        report(name, "nft is not installed");
        return None;
    }
    let (lan, tools) = (lab.lan().unwrap(), tools());
    let device = |_| {
        let host = lab.host("device").unwrap();
        lan.attach(&host, Families::V4).unwrap();
        Device::new(host, &tools).unwrap()
    };
    Some(Town {
        devices: (0..devices).map(device).collect(),
        tools,
        _lan: lan,
        lab,
    })
}

impl Town {
    fn file(&self, device: usize, text: &str) -> PathBuf {
        let path = self.lab.folder().join(format!("{device}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `dvpn` of a device with this configuration.
    fn dvpn(&self, device: usize, text: &str) -> Command {
        let command = dvpn(&self.devices[device], &self.tools).arg("-C");
        command.arg(self.file(device, text))
    }

    /// `dvpn -l` of a device that lets all others in.
    pub(crate) fn serve(&self, device: usize, text: &str) -> Process {
        let bind = format!("0.0.0.0:{PORT}");
        let others = self.devices.iter().flat_map(|one| ["--allow", one.id()]);
        let command = self.dvpn(device, text).args(["-l", "--bind", &bind]);
        let mut process = command.args(others).start().unwrap();
        await_up(&mut process);
        process
    }

    fn address(&self, device: usize) -> String {
        let device = &self.devices[device];
        format!("{}@{}:{PORT}", device.id(), device.host().ipv4())
    }

    pub(crate) fn join(&self, device: usize, servers: &[usize], text: &str) -> Process {
        let servers = servers.iter().map(|server| self.address(*server));
        let mut process = self.dvpn(device, text).args(servers).start().unwrap();
        await_up(&mut process);
        process
    }

    fn ip(&self, device: usize, words: &str) -> String {
        self.devices[device].host().ip(words).unwrap()
    }
}

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Where packets of a host to `address` go, as `ip route get` says.
fn route_to(host: &Host, address: &str) -> String {
    let asked = host.command("ip").args(["route", "get", address]);
    let told = asked.start().unwrap().finish(LIMIT).unwrap();
    format!("{}{}", told.text(), told.stderr)
}

#[track_caller]
fn await_route(host: &Host, address: &str, wanted: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    loop {
        let route = route_to(host, address);
        if wanted(&route) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{address}: {route}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_client_of_two_servers_reaches_both_and_what_is_behind_each() {
    let name = "a_client_of_two_servers_reaches_both_and_what_is_behind_each";
    let Some(town) = town(name, 4) else {
        return;
    };
    let text = |pool: u8, behind: u8| {
        format!(
            "[address]\npool = '10.80.{pool}.0/24'\n[routes]\noffer = ['192.168.{behind}.0/24']\n"
        )
    };
    let mut serving = Vec::new();
    for (server, pool, behind) in [(0, 71, 71), (1, 72, 72), (2, 71, 73)] {
        town.ip(server, &format!("addr add 192.168.{behind}.1/24 dev lo"));
        serving.push(town.serve(server, &text(pool, behind)));
    }
    let client = &town.devices[3];
    let joined = town.join(3, &[0, 1], "");
    for to in ["10.80.71.1", "10.80.72.1", "192.168.71.1", "192.168.72.1"] {
        await_ping(client, v4(to), SIZE);
    }
    // Each server takes packets from the address that it gave alone.
    for (to, source) in [("192.168.71.1", "10.80.71."), ("192.168.72.1", "10.80.72.")] {
        let route = route_to(client.host(), to);
        assert!(route.contains(&format!("src {source}")), "{route}");
    }
    // One that is away takes nothing of the other along.
    serving.remove(0).kill();
    await_ping(client, v4("192.168.72.1"), SIZE);
    serving.insert(0, town.serve(0, &text(71, 71)));
    await_ping(client, v4("192.168.71.1"), SIZE);
    drop(joined);

    // Two with the same pool: the addresses of one are left out, and it is said; keys still do.
    let servers = [town.address(0), town.address(2)];
    let mut joined = town.dvpn(3, "").args(&servers).start().unwrap();
    joined
        .await_line("that two pools overlap", LIMIT, |line| {
            (line.contains("10.80.71.0/24") && line.contains("another [address] pool"))
                .then_some(())
        })
        .unwrap();
    await_ping(client, v4("10.80.71.1"), SIZE);
    for server in [0, 2] {
        await_ping(client, addresses(&town.devices[server]).1, SIZE);
    }
}

/// Joins `host` to a network behind a device, `interface` there, and makes the device its router.
pub(crate) fn put_behind(device: &Device, host: &Host, (interface, network): (&str, &str)) {
    let resident = host.command("sleep").arg("600").start().unwrap();
    let gateway = device.host();
    gateway
        .ip(&format!(
            "link add {interface} type veth peer name eth0 netns {}\n\
             addr add {network}.1/24 dev {interface}\nlink set {interface} up",
            resident.id()
        ))
        .unwrap();
    host.ip(&format!(
        "addr add {network}.2/24 dev eth0\nlink set eth0 up\nroute add default via {network}.1"
    ))
    .unwrap();
}

#[test]
fn hosts_behind_a_client_are_reached_and_reach_others_where_that_is_allowed() {
    let name = "hosts_behind_a_client_are_reached_and_reach_others_where_that_is_allowed";
    let Some(town) = town(name, 3) else {
        return;
    };
    let [server, branch, other] = &town.devices[..] else {
        panic!("three devices");
    };
    let printer = town.lab.host("printer").unwrap();
    put_behind(branch, &printer, ("branch", "192.168.5"));
    town.ip(
        1,
        "addr add 192.168.6.1/24 dev lo\naddr add 192.168.7.1/24 dev lo",
    );
    let serving = format!(
        "[[peer]]\nid = '{}'\nallowed = ['192.168.5.0/24', '192.168.6.0/24']\n",
        branch.id()
    );
    let _serving = town.serve(0, &serving);
    let _other = town.join(2, &[0], "");
    let open = |offer: &str| format!("[routes]\noffer = [{offer}]\nnat = false\ninbound = true\n");
    // The last one is offered, and the server does not allow it.
    let mut joined = town.join(1, &[0], &open("'192.168.5.0/24', '192.168.7.0/24'"));
    let from_printer = |to: &str| {
        let asked = printer.command("ping").args(["-c2", "-i0.2", "-W2", to]);
        let told = asked.start().unwrap().finish(LIMIT).unwrap();
        told.code() == Some(0)
    };
    await_ping(server, v4("192.168.5.2"), SIZE);
    await_ping(other, v4("192.168.5.2"), SIZE);
    assert!(from_printer("10.80.77.1"), "the server is not reached");
    let (other_v4, _) = addresses(other);
    assert!(from_printer(&other_v4.unwrap().to_string()));
    assert!(!route_to(server.host(), "192.168.7.1").contains("dvpn0"));

    // The client offers another one.
    town.file(1, &open("'192.168.5.0/24', '192.168.6.0/24'"));
    reload(&mut joined);
    await_ping(server, v4("192.168.6.1"), SIZE);
    await_ping(other, v4("192.168.6.1"), SIZE);
    drop(joined);
    await_route(server.host(), "192.168.5.2", |route| {
        !route.contains("dvpn0")
    });

    // By itself a client lets nobody in, and shows its own address there.
    let _joined = town.join(1, &[0], "[routes]\noffer = ['192.168.5.0/24']\n");
    await_ping(server, v4("192.168.5.2"), SIZE);
    assert!(!from_printer("10.80.77.1"));
}

#[test]
fn clients_are_told_of_what_a_server_offers_anew_and_stay() {
    let name = "clients_are_told_of_what_a_server_offers_anew_and_stay";
    let Some(town) = town(name, 2) else {
        return;
    };
    let [server, client] = &town.devices[..] else {
        panic!("two devices");
    };
    // The client is in the last one itself.
    town.ip(
        0,
        "addr add 192.168.71.1/24 dev lo\naddr add 192.168.72.1/24 dev lo",
    );
    town.ip(1, "addr add 192.168.72.9/24 dev eth0");
    let mut serving = town.serve(0, "");
    let mut joined = town.join(1, &[0], "[dns]\n");
    await_ping(client, v4("10.80.77.1"), SIZE);
    assert!(!route_to(client.host(), "192.168.71.1").contains("dvpn0"));

    town.file(
        0,
        "[routes]\noffer = ['192.168.71.0/24', '192.168.72.0/24']\n\
         [dns]\nservers = ['192.168.71.1']\n",
    );
    reload(&mut serving);
    await_ping(client, v4("192.168.71.1"), SIZE);
    joined
        .await_line("that it keeps its own network", LIMIT, |line| {
            line.contains("192.168.72.0/24 stays outside the tunnel")
                .then_some(())
        })
        .unwrap();
    assert!(!route_to(client.host(), "192.168.72.1").contains("dvpn0"));
    match (find("dig"), find("socat")) {
        (Some(_), Some(_)) => assert_asks(client, server, "192.168.71.1"),
        _ => report(
            name,
            "dig or socat is not installed (no name was asked for)",
        ),
    }

    // What cannot be done leaves all as it is.
    town.file(0, "[routes]\noffer = ['everything']\n");
    serving.signal(rustix::process::Signal::HUP);
    serving
        .await_line("that the file is wrong", LIMIT, |line| {
            (line.contains("stays as it was") && line.contains("offer")).then_some(())
        })
        .unwrap();
    await_ping(client, v4("192.168.71.1"), SIZE);

    town.file(0, "");
    reload(&mut serving);
    await_route(client.host(), "192.168.71.1", |route| {
        !route.contains("dvpn0")
    });
    await_ping(client, v4("10.80.77.1"), SIZE);
    let talk = joined.stderr();
    assert!(!talk.contains("trying again"), "{talk}");
    assert_eq!(serving.stderr().matches("has joined").count(), 1);
}

/// A question for a name that is none of ours gets from the client to a resolver behind the server.
fn assert_asks(client: &Device, server: &Device, resolver: &str) {
    let listening = server.host().command("socat").args([
        "-u",
        &format!("UDP-RECVFROM:53,bind={resolver},fork"),
        "SYSTEM:cat >/dev/null; echo asked >&2",
    ]);
    let mut listening = listening.lifetime(LIMIT).start().unwrap();
    let (own, _) = addresses(client);
    let own: Ipv4Addr = own.unwrap();
    let at = format!("@{own}");
    let asking = client.host().command("dig");
    let asking = asking.args(["+tries=8", "+time=1", &at, "www.example.", "A"]);
    let _asking = asking.lifetime(LIMIT).start().unwrap();
    listening
        .await_line("a question", LIMIT, |line| {
            line.contains("asked").then_some(())
        })
        .unwrap();
}

#[test]
fn without_nftables_what_needs_it_is_refused_and_the_rest_goes_on() {
    let name = "without_nftables_what_needs_it_is_refused_and_the_rest_goes_on";
    let Some(town) = town(name, 2) else {
        return;
    };
    let client = &town.devices[1];
    let bind = format!("0.0.0.0:{PORT}");
    let serve = |text: &str| {
        let command = town.dvpn(0, text).env("PATH", "/nonexistent");
        command.args(["-l", "--bind", &bind, "--allow", client.id()])
    };
    let refused = serve("exit_node = true\n").start().unwrap();
    let refused = refused.finish(LIMIT).unwrap();
    crate::pair::assert_failed(&refused, 2, &["cannot run nft", "install nftables"]);

    let mut serving = serve("").start().unwrap();
    await_up(&mut serving);
    let _joined = town.join(1, &[0], "");
    await_ping(client, v4("10.80.77.1"), SIZE);
    town.file(0, "exit_node = true\n");
    serving.signal(rustix::process::Signal::HUP);
    serving
        .await_line("that it cannot", LIMIT, |line| {
            (line.contains("stays as it was") && line.contains("install nftables")).then_some(())
        })
        .unwrap();
    assert_eq!(ping(client, v4("10.80.77.1"), SIZE).code(), Some(0));
}

#[test]
fn a_host_firewall_that_forwards_nothing_stays_in_force_and_is_told_of() {
    let name = "a_host_firewall_that_forwards_nothing_stays_in_force_and_is_told_of";
    let Some(town) = town(name, 2) else {
        return;
    };
    let [server, client] = &town.devices[..] else {
        panic!("two devices");
    };
    let behind = town.lab.host("behind").unwrap();
    put_behind(server, &behind, ("behind", "192.168.8"));
    let nft = |words: &str| {
        let command = server.host().command("nft").args(words.split(' '));
        let told = command.start().unwrap().finish(LIMIT).unwrap();
        assert_eq!(told.code(), Some(0), "{}", told.stderr);
    };
    nft("add table inet office");
    nft("add chain inet office f { type filter hook forward priority 0 ; policy drop ; }");
    let offer = "[routes]\noffer = ['192.168.8.0/24']\n";
    let mut serving = town.serve(0, offer);
    let is_told =
        |line: &str| (line.contains("chain inet office f") && line.contains("dvpn0")).then_some(());
    serving
        .await_line("of the firewall", LIMIT, is_told)
        .unwrap();
    let joined = town.join(1, &[0], "");
    await_ping(client, v4("10.80.77.1"), SIZE);
    assert_ne!(ping(client, v4("192.168.8.2"), SIZE).code(), Some(0));
    drop(joined);
    drop(serving);

    nft("add rule inet office f iifname dvpn0 accept");
    nft("add rule inet office f oifname dvpn0 accept");
    let serving = town.serve(0, offer);
    let _joined = town.join(1, &[0], "");
    await_ping(client, v4("192.168.8.2"), SIZE);
    assert!(
        !serving.stderr().contains("chain inet office f"),
        "{}",
        serving.stderr()
    );
}
