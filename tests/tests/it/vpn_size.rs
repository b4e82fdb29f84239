//! `dvpn` and the size of packets: who sends too large a one is told; where nobody may be told, TCP
//! is; a path that becomes narrower during a transfer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Host, INTERFACE};
use dhtnet_tests::nat_router::{Nat, NatRouter};
use dhtnet_tests::payload::noise;
use dhtnet_tests::ssh::find;

use crate::pair::{LIMIT, PORT, tools};
use crate::vpn::{
    LEAST_MTU, SERVER, addresses, await_ping, await_up, dvpn, iperf, mtu, office, ping,
    settled_mtu, status,
};
use crate::vpn_networks::{put_behind, town};

/// MTU of a client's cable that is narrower than those of all others.
const NARROW: u32 = 1_400;

/// What ping says of packets of `size` that may not be fragmented, answers and errors alike.
fn ping_says(from: &Device, to: IpAddr, size: u32) -> String {
    let done = ping(from, to, size);
    assert_ne!(done.code(), Some(0), "{}", done.text());
    done.text() + &done.stderr
}

/// Waits until `ping` is told of a size below that of the interface.
#[track_caller]
fn await_told(from: &Device, to: IpAddr, size: u32) -> u32 {
    let begun = Instant::now();
    loop {
        let said = ping_says(from, to, size);
        // "(mtu = 1330)" and "mtu=1330" of IPv4 and IPv6, of others and of its own kernel.
        let named = said.rsplit("mtu").next().map(|rest| {
            let digits = rest.trim_start_matches([' ', '=', ':']);
            let end = digits.find(|c: char| !c.is_ascii_digit());
            digits[..end.unwrap_or(digits.len())].to_owned()
        });
        if let Some(told) = named.and_then(|digits| digits.parse::<u32>().ok())
            && told < size
        {
            return told;
        }
        assert!(begun.elapsed() < LIMIT, "not told: {said}");
    }
}

#[test]
fn who_sends_more_than_the_path_to_one_peer_carries_is_told_the_size() {
    let name = "who_sends_more_than_the_path_to_one_peer_carries_is_told_the_size";
    let Some(office) = office(name, 2) else {
        return;
    };
    let [wide, narrow] = &office.clients[..] else {
        panic!("two clients");
    };
    narrow
        .host()
        .ip(&format!("link set {INTERFACE} mtu {NARROW}"))
        .unwrap();
    let _serving = office.serve(&[]);
    let _joined = [office.join(0, &[]), office.join(1, &[])];
    for client in [wide, narrow] {
        await_ping(client, SERVER.into(), LEAST_MTU);
    }
    // The interface of the server has the size of the larger path, that of the client its own.
    let large = settled_mtu(&office.server);
    let small = settled_mtu(narrow);
    assert!(large > NARROW && small < NARROW, "{large} and {small}");

    let (v4, v6) = addresses(narrow);
    for to in [IpAddr::V4(v4.unwrap()), v6] {
        // From the server itself, and by way of it from the other client.
        for from in [&office.server, wide] {
            let told = await_told(from, to, large);
            assert!((LEAST_MTU..=small).contains(&told), "{to}: told {told}");
            await_ping(from, to, told);
        }
    }
    let told = status(&office.server, &office.tools);
    assert!(told[0]["drops"]["too_big"].as_u64() >= Some(4), "{told}");
}

/// No router here says that a packet is too large.
fn filter_icmp(gateway: &Host) {
    let rules = "table inet filtered {\n\
        chain out {\n type filter hook output priority 0;\n\
        icmp type destination-unreachable drop\n icmpv6 type packet-too-big drop\n }\n\
        chain through {\n type filter hook forward priority 0;\n\
        icmp type destination-unreachable drop\n icmpv6 type packet-too-big drop\n }\n}\n";
    let loaded = gateway.command("nft").args(["-f", "-"]).stdin_bytes(rules);
    let loaded = loaded.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.stderr);
}

/// Sends a MiB and a half from one host to another by TCP.
#[track_caller]
fn assert_carries(from: &Host, (to, address): (&Host, Ipv4Addr)) {
    let payload = noise(3 << 19);
    let listening = to.command("socat").lifetime(LIMIT);
    let listening = listening.args(["-u", "TCP4-LISTEN:9000,reuseaddr", "STDOUT"]);
    let listening = listening.start().unwrap();
    let sending = from.command("socat").lifetime(LIMIT);
    let target = format!("TCP4:{address}:9000,retry=50,interval=0.1");
    let sending = sending
        .args(["-u", "STDIN", &target])
        .stdin_bytes(payload.clone());
    let sent = sending.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let received = listening.finish(LIMIT).unwrap();
    assert!(received.stdout == payload, "{}", received.stdout.len());
}

#[test]
fn tcp_between_hosts_behind_devices_fits_where_icmp_is_filtered() {
    let name = "tcp_between_hosts_behind_devices_fits_where_icmp_is_filtered";
    if find("socat").is_none() {
        return report(name, "socat is not installed");
    }
    let Some(town) = town(name, 2) else {
        return;
    };
    let [server, branch] = &town.devices[..] else {
        panic!("two devices");
    };
    let hosts = ["near", "far"].map(|name| town.lab.host(name).unwrap());
    put_behind(server, &hosts[0], ("home", "192.168.4"));
    put_behind(branch, &hosts[1], ("branch", "192.168.5"));
    let open = |network: &str| {
        format!("[routes]\noffer = ['{network}.0/24']\nnat = false\ninbound = true\n")
    };
    let serving = format!(
        "{}[[peer]]\nid = '{}'\nallowed = ['192.168.5.0/24']\n",
        open("192.168.4"),
        branch.id()
    );
    let _serving = town.serve(0, &serving);
    let _joined = town.join(1, &[0], &open("192.168.5"));
    await_ping(branch, IpAddr::from([192, 168, 4, 2]), LEAST_MTU);
    for gateway in [server, branch] {
        filter_icmp(gateway.host());
    }
    let addresses = [4, 5].map(|net| Ipv4Addr::new(192, 168, net, 2));
    assert_carries(&hosts[0], (&hosts[1], addresses[1]));
    assert_carries(&hosts[1], (&hosts[0], addresses[0]));
}

/// Bytes of the last seconds of what `iperf3` measured, second by second.
fn last_seconds(told: &serde_json::Value, seconds: usize) -> u64 {
    let intervals = told["intervals"].as_array().unwrap();
    let last = intervals.iter().rev().take(seconds);
    last.filter_map(|one| one["sum"]["bytes"].as_u64()).sum()
}

#[test]
fn a_transfer_goes_on_when_a_router_on_the_way_takes_smaller_packets() {
    let name = "a_transfer_goes_on_when_a_router_on_the_way_takes_smaller_packets";
    if find("iperf3").is_none() {
        return report(name, "iperf3 is not installed");
    }
    let Some(lab) = lab_or_skip(name) else {
        return;
    };
    let (outside, tools) = (lab.lan().unwrap(), tools());
    let router = match NatRouter::new(&lab, &outside, (Nat::PortRestricted, 1)) {
        Ok(router) => router,
        Err(error) => return report(name, &error.to_string()),
    };
    let server = lab.host("server").unwrap();
    outside.attach(&server, Families::V4).unwrap();
    let server = Device::new(server, &tools).unwrap();
    let client = Device::new(router.inside(&lab, 10).unwrap(), &tools).unwrap();
    let bind = format!("0.0.0.0:{PORT}");
    let serving = dvpn(&server, &tools).args(["-l", "--bind", &bind, "--allow", client.id()]);
    let mut serving = serving.start().unwrap();
    await_up(&mut serving);
    let address = format!("{}@{}:{PORT}", server.id(), server.host().ipv4());
    for words in [&["-t", "14"][..], &["-t", "14", "-R"]] {
        router.host().ip("link set wan mtu 1500").unwrap();
        // Anew for each direction: a path that has shrunk is tried with more only after a while.
        let mut joined = dvpn(&client, &tools).arg(&address).start().unwrap();
        await_up(&mut joined);
        await_ping(&client, SERVER.into(), LEAST_MTU);
        let begun = Instant::now();
        while mtu(&client).min(mtu(&server)) < 1_400 {
            assert!(begun.elapsed() < LIMIT, "the path stays small");
            std::thread::sleep(Duration::from_millis(100));
        }
        let told = std::thread::scope(|scope| {
            let transfer = scope.spawn(|| iperf(&client, (&server, SERVER.into()), words));
            std::thread::sleep(Duration::from_secs(3));
            router.host().ip("link set wan mtu 1300").unwrap();
            transfer.join().unwrap()
        });
        let last = last_seconds(&told, 5);
        assert!(last > 100_000, "{words:?}: {last} bytes at the end: {told}");
        // 1,272 bytes of datagrams carry less than an interface must: larger packets go in halves. The side
        // that has sent nothing large meanwhile learns it from what it loses now.
        await_ping(&client, SERVER.into(), LEAST_MTU);
    }
}
