//! `dvpn` between hosts: through NATs, among several, restarted, cheated, and cut.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhtnet::identity::key_file;
use dhtnet::{ChannelRequest, Node, PeerAddress};
use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Finished, Lab, Lan, Process};
use dhtnet_tests::nat_router::Nat;
use dhtnet_tests::ssh::find;
use dhtnet_vpn_core::control::Join;

use crate::hole_punching::street;
use crate::pair::{LIMIT, PORT, assert_done, tools};

/// The interface, and the server's address in the pool that it has unless told otherwise.
pub(crate) const TUNNEL: &str = "dvpn0";
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 80, 77, 1);

/// The least that the inside carries (RFC 8200, section 5).
pub(crate) const LEAST_MTU: u32 = 1280;

pub(crate) fn dvpn(device: &Device, tools: &Tools) -> Command {
    let command = device.host().command(tools.path("dvpn"));
    let words = ["-v", "--no-mdns", "--no-portmap"];
    device.with_home(command).args(words).lifetime(LIMIT * 3)
}

pub(crate) fn await_up(process: &mut Process) {
    process
        .await_line("that the network is up", LIMIT, |line| {
            line.contains("is up on").then_some(())
        })
        .unwrap();
}

/// What `ping` on a device says about `to`, with don't-fragment and packets of `size` bytes inside.
pub(crate) fn ping(device: &Device, to: IpAddr, size: u32) -> Finished {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let payload = (size - headers).to_string();
    let (count, wait) = ("2", "5");
    let command = device.host().command("ping");
    let command = command.args([
        "-M", "do", "-c", count, "-i", "0.2", "-W", wait, "-s", &payload,
    ]);
    command
        .arg(to.to_string())
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap()
}

/// Waits until `from` reaches `to`.
#[track_caller]
pub(crate) fn await_ping(from: &Device, to: IpAddr, size: u32) {
    let begun = Instant::now();
    loop {
        let ping = ping(from, to, size);
        if ping.code() == Some(0) {
            return;
        }
        assert!(
            begun.elapsed() < LIMIT,
            "no answer of {to}: {}{}",
            ping.text(),
            ping.stderr
        );
    }
}

/// Addresses of the tunnel's interface: IPv4 if it has one, IPv6.
pub(crate) fn addresses(device: &Device) -> (Option<Ipv4Addr>, IpAddr) {
    let told = device
        .host()
        .command("ip")
        .args(["-j", "addr", "show", TUNNEL]);
    let told = told.start().unwrap().finish(LIMIT).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    let all: Vec<IpAddr> = told[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|info| info["local"].as_str()?.parse().ok())
        .collect();
    let v4 = all.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    (v4, *all.iter().find(|address| address.is_ipv6()).unwrap())
}

pub(crate) fn mtu(device: &Device) -> u32 {
    let told = device
        .host()
        .command("ip")
        .args(["-j", "link", "show", TUNNEL]);
    let told = told.start().unwrap().finish(LIMIT).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    told[0]["mtu"].as_u64().unwrap().try_into().unwrap()
}

/// The MTU of a tunnel once it has found the size of its path.
pub(crate) fn settled_mtu(device: &Device) -> u32 {
    let begun = Instant::now();
    while mtu(device) <= LEAST_MTU {
        assert!(begun.elapsed() < LIMIT, "the tunnel stays at {LEAST_MTU}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // The last step of the search may still be to come.
    std::thread::sleep(Duration::from_secs(2));
    mtu(device)
}

pub(crate) fn status(device: &Device, tools: &Tools) -> serde_json::Value {
    let command = device
        .host()
        .command(tools.path("dvpn"))
        .args(["status", "--json"]);
    let told = device
        .with_home(command)
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_done(&told);
    serde_json::from_str(&told.text()).unwrap()
}

/// What `iperf3` says of `seconds` seconds from `from` to the server at `to`, more words before.
pub(crate) fn iperf(from: &Device, to: (&Device, IpAddr), words: &[&str]) -> serde_json::Value {
    let server = to.0.host().command("iperf3").args(["-s", "-1", "-J"]);
    let server = server.lifetime(LIMIT).start().unwrap();
    let begun = Instant::now();
    loop {
        let client = from.host().command("iperf3").args(["-J", "-t", "2", "-c"]);
        let client = client.arg(to.1.to_string()).args(words).lifetime(LIMIT);
        let client = client.start().unwrap().finish(LIMIT).unwrap();
        let told: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
        // It may say that it failed and end well.
        if client.code() == Some(0) && told["error"].is_null() {
            drop(server);
            return told;
        }
        // The server may not listen yet.
        assert!(begun.elapsed() < LIMIT, "{told}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn two_devices_behind_nats_reach_each_other_at_the_announced_size() {
    let name = "two_devices_behind_nats_reach_each_other_at_the_announced_size";
    let Some(street) = street(name, [Nat::PortRestricted; 2], 3) else {
        return;
    };
    let tools = tools();
    let (server, client) = (&street.listener, &street.caller);
    let words = ["--bootstrap", &street.entry];
    let listening = dvpn(server, &tools).args(["-l", "-v", "--allow", client.id()]);
    let mut listening = listening.args(words).start().unwrap();
    listening
        .await_line("that it can be found", LIMIT, |line| {
            line.contains("presence record stored").then_some(())
        })
        .unwrap();
    let joining = dvpn(client, &tools).args(words).arg(server.id());
    let mut joining = joining.start().unwrap();
    await_up(&mut joining);
    let (client_v4, client_v6) = addresses(client);
    let (server_v4, server_v6) = addresses(server);
    assert_eq!(server_v4, Some(SERVER));
    await_ping(client, SERVER.into(), LEAST_MTU);
    let announced = settled_mtu(client).min(settled_mtu(server));
    for (from, to) in [
        (client, IpAddr::V4(SERVER)),
        (client, server_v6),
        (server, client_v4.unwrap().into()),
        (server, client_v6),
    ] {
        await_ping(from, to, announced);
        let larger = ping(from, to, announced + 200);
        assert_ne!(larger.code(), Some(0), "{}", larger.text());
    }
    if find("iperf3").is_none() {
        return report(name, "iperf3 is not installed (no streams were carried)");
    }
    for words in [&[][..], &["-R"], &["-u", "-b", "5M"]] {
        for to in [IpAddr::V4(SERVER), server_v6] {
            let told = iperf(client, (server, to), words);
            let bytes = told["end"]["sum_received"]["bytes"].as_u64();
            let bytes = bytes.or_else(|| told["end"]["sum"]["bytes"].as_u64());
            assert!(
                bytes.unwrap_or_default() > 100_000,
                "{words:?} to {to}: {told}"
            );
        }
    }
    for process in [joining, listening] {
        process.signal(rustix::process::Signal::TERM);
        assert_eq!(process.finish(LIMIT).unwrap().code(), Some(143));
    }
}

/// A server and clients on one bridge.
pub(crate) struct Office {
    pub(crate) server: Device,
    pub(crate) clients: Vec<Device>,
    pub(crate) tools: Tools,
    _lan: Lan,
    lab: Lab,
}

pub(crate) fn office(name: &str, clients: usize) -> Option<Office> {
    let lab = lab_or_skip(name)?;
    let (lan, tools) = (lab.lan().unwrap(), tools());
    let device = |name: &str| {
        let host = lab.host(name).unwrap();
        lan.attach(&host, Families::V4).unwrap();
        Device::new(host, &tools).unwrap()
    };
    let server = device("server");
    let clients = (0..clients).map(|_| device("client")).collect();
    Some(Office {
        server,
        clients,
        tools,
        _lan: lan,
        lab,
    })
}

impl Office {
    /// `dvpn -l` that lets all clients in.
    pub(crate) fn serve(&self, words: &[&str]) -> Process {
        let bind = format!("0.0.0.0:{PORT}");
        let command = dvpn(&self.server, &self.tools).args(["-l", "--bind", &bind]);
        let allowed = self
            .clients
            .iter()
            .flat_map(|client| ["--allow", client.id()]);
        let mut process = command.args(allowed).args(words).start().unwrap();
        await_up(&mut process);
        process
    }

    fn address(&self) -> String {
        format!("{}@{}:{PORT}", self.server.id(), self.server.host().ipv4())
    }

    pub(crate) fn join(&self, client: usize, words: &[&str]) -> Process {
        let command = dvpn(&self.clients[client], &self.tools).arg(self.address());
        let mut process = command.args(words).start().unwrap();
        await_up(&mut process);
        process
    }
}

#[test]
fn clients_reach_each_other_directly_where_they_allow_it_and_through_the_server_else() {
    let name = "clients_reach_each_other_directly_where_they_allow_it_and_through_the_server_else";
    let Some(office) = office(name, 3) else {
        return;
    };
    let [a, b, c] = &office.clients[..] else {
        panic!("three clients");
    };
    let _serving = office.serve(&[]);
    let mut joined_a = office.join(0, &["--allow", b.id()]);
    let mut joined_b = office.join(1, &["--allow", a.id()]);
    let _joined_c = office.join(2, &[]);
    let addresses: Vec<Ipv4Addr> = office
        .clients
        .iter()
        .map(|client| addresses(client).0.unwrap())
        .collect();
    let all: std::collections::BTreeSet<_> = addresses.iter().collect();
    assert_eq!(
        all.len(),
        3,
        "each has an address of its own: {addresses:?}"
    );
    for (process, other) in [(&mut joined_a, b), (&mut joined_b, a)] {
        process
            .await_line("that the other is reached directly", LIMIT, |line| {
                (line.contains("is reached directly") && line.contains(&other.id()[..8]))
                    .then_some(())
            })
            .unwrap();
    }
    for (from, to) in [(a, 1), (b, 0), (a, 2), (c, 1)] {
        await_ping(from, addresses[to].into(), LEAST_MTU);
    }
    let (_, v6) = self::addresses(c);
    await_ping(a, v6, LEAST_MTU);
    // Those two need no server any more.
    drop(_serving);
    await_ping(a, addresses[1].into(), LEAST_MTU);
}

#[test]
fn a_client_that_sends_from_another_address_is_not_heard_and_counted() {
    let name = "a_client_that_sends_from_another_address_is_not_heard_and_counted";
    let Some(office) = office(name, 1) else {
        return;
    };
    let _serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let client = &office.clients[0];
    await_ping(client, SERVER.into(), LEAST_MTU);
    let stolen = "10.80.77.99";
    client
        .host()
        .ip(&format!("addr add {stolen}/24 dev {TUNNEL}"))
        .unwrap();
    let ping = client.host().command("ping");
    let ping = ping.args(["-c", "3", "-i", "0.2", "-W", "1", "-I", stolen]);
    let ping = ping
        .arg(SERVER.to_string())
        .start()
        .unwrap()
        .finish(LIMIT)
        .unwrap();
    assert_eq!(ping.code(), Some(1), "{}", ping.text());
    let told = status(&office.server, &office.tools);
    assert_eq!(
        told[0]["drops"]["spoofed_source"].as_u64(),
        Some(3),
        "{told}"
    );
    await_ping(client, SERVER.into(), LEAST_MTU);
}

/// A client that says that it leaves and goes on sending would hold addresses that are given to
/// others.
#[test]
fn packets_of_a_client_that_has_left_are_carried_no_more() {
    let name = "packets_of_a_client_that_has_left_are_carried_no_more";
    let Some(office) = office(name, 1) else {
        return;
    };
    let mut serving = office.serve(&[]);
    let client = &office.clients[0];
    let key = key_file::load(client.home().join("identity.pem")).unwrap();
    let to: PeerAddress = office.address().parse().unwrap();
    let ended = client.host().run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let node = Node::builder(key).mdns(false).build().await.unwrap();
            let join = ChannelRequest::stream("dvpn.join").metadata(Join::default().encode());
            let (mut send, mut recv) = node.connect(&to, join).await.unwrap().split();
            let welcome = recv.read_chunk(usize::MAX).await.unwrap();
            assert!(welcome.is_some_and(|welcome| !welcome.is_empty()));
            let packets = ChannelRequest::datagrams("dvpn.packets");
            let packets = node.connect(&to, packets).await.unwrap();
            let carried = packets.recv_datagram();
            let carried = tokio::time::timeout(Duration::from_millis(500), carried).await;
            assert!(carried.is_err(), "ended while it takes part: {carried:?}");
            send.finish();
            let ended = tokio::time::timeout(LIMIT, packets.recv_datagram()).await;
            node.shutdown().await;
            ended
        })
    });
    let ended = ended.unwrap();
    assert!(matches!(ended, Ok(Ok(None) | Err(_))), "{ended:?}");
    let told = |line: &str| line.contains("it has left").then_some(());
    serving.await_line("that it has left", LIMIT, told).unwrap();
}

#[test]
fn addresses_are_kept_when_the_server_starts_again() {
    let name = "addresses_are_kept_when_the_server_starts_again";
    let Some(office) = office(name, 2) else {
        return;
    };
    let mut serving = office.serve(&[]);
    let joined = [office.join(0, &[]), office.join(1, &[])];
    let before: Vec<_> = office.clients.iter().map(addresses).collect();
    assert_ne!(before[0].0, before[1].0);
    // It tells nobody.
    serving.kill();
    drop(serving);
    let _serving = office.serve(&[]);
    for client in [1, 0] {
        await_ping(&office.clients[client], SERVER.into(), LEAST_MTU);
    }
    let after: Vec<_> = office.clients.iter().map(addresses).collect();
    assert_eq!(after, before);
    drop(joined);
    // A client that comes anew has the address it had, though it comes first.
    let _joined = office.join(1, &[]);
    assert_eq!(addresses(&office.clients[1]), before[1]);
}

#[test]
fn a_client_that_is_allowed_no_more_is_cut_off() {
    let name = "a_client_that_is_allowed_no_more_is_cut_off";
    let Some(office) = office(name, 2) else {
        return;
    };
    let file: PathBuf = office.lab.folder().join("office.toml");
    let [stays, goes] = &office.clients[..] else {
        panic!("two clients");
    };
    let allow = |ids: &[&str]| std::fs::write(&file, format!("listen = true\nallow = {ids:?}\n"));
    allow(&[stays.id(), goes.id()]).unwrap();
    let bind = format!("0.0.0.0:{PORT}");
    let serving = dvpn(&office.server, &office.tools).args(["--bind", &bind, "-C"]);
    let mut serving = serving.arg(&file).start().unwrap();
    await_up(&mut serving);
    let _joined = [office.join(0, &[]), office.join(1, &[])];
    await_ping(stays, SERVER.into(), LEAST_MTU);
    await_ping(goes, SERVER.into(), LEAST_MTU);
    allow(&[stays.id()]).unwrap();
    reload(&mut serving);
    let begun = Instant::now();
    while ping(goes, SERVER.into(), LEAST_MTU).code() == Some(0) {
        assert!(begun.elapsed() < LIMIT, "it still gets answers");
    }
    await_ping(stays, SERVER.into(), LEAST_MTU);
}

#[test]
fn isolated_clients_reach_the_server_and_not_each_other() {
    let name = "isolated_clients_reach_the_server_and_not_each_other";
    let Some(office) = office(name, 2) else {
        return;
    };
    let file = office.lab.folder().join("office.toml");
    std::fs::write(&file, "isolate = false\n").unwrap();
    let mut serving = office.serve(&["-C", file.to_str().unwrap()]);
    let _joined = [office.join(0, &[]), office.join(1, &[])];
    let [a, b] = &office.clients[..] else {
        panic!("two clients");
    };
    let other = addresses(b).0.unwrap();
    await_ping(a, other.into(), LEAST_MTU);
    std::fs::write(&file, "isolate = true\n").unwrap();
    reload(&mut serving);
    assert_ne!(ping(a, other.into(), LEAST_MTU).code(), Some(0));
    // Clients are told that there is nobody else; what one sends all the same the server drops.
    let drops = |device: &Device, reason: &str| {
        let told = status(device, &office.tools);
        told[0]["drops"][reason].as_u64().unwrap_or_default()
    };
    let dropped = drops(&office.server, "isolated") + drops(a, "no_route");
    assert!(dropped >= 1, "no drop was counted");
    for client in [a, b] {
        await_ping(client, SERVER.into(), LEAST_MTU);
    }
}

/// Has the server read its configuration again.
pub(crate) fn reload(serving: &mut Process) {
    serving.signal(rustix::process::Signal::HUP);
    serving
        .await_line("that it has read the file again", LIMIT, |line| {
            line.contains("took the configuration up anew")
                .then_some(())
        })
        .unwrap();
}
