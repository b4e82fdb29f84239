//! `dvpn` on paths and beside peers that are not kind: marks, fragments, a path that shrinks without
//! a word, a server that is killed under load, a client that floods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Host, INTERFACE};
use dhtnet_tests::ssh::find;

use crate::pair::LIMIT;
use crate::vpn::{
    LEAST_MTU, SERVER, TUNNEL, addresses, await_ping, iperf, mtu, office, settled_mtu, status,
};

/// Loads rules of nftables on a host.
fn nft(host: &Host, rules: &str) {
    let loaded = host.command("nft").args(["-f", "-"]).stdin_bytes(rules);
    let loaded = loaded.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.stderr);
}

/// Packets that the counters of a host have met, by their names.
fn counters(host: &Host) -> std::collections::BTreeMap<String, u64> {
    let told = host.command("nft").args(["-j", "list", "counters"]);
    let told = told.start().unwrap().finish(LIMIT).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    let all = told["nftables"].as_array().unwrap().iter();
    let counters = all.filter_map(|entry| {
        let counter = entry.get("counter")?;
        let name = counter["name"].as_str()?.to_owned();
        Some((name, counter["packets"].as_u64()?))
    });
    counters.collect()
}

fn all_installed(name: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| find(program).is_none());
    if let Some(missing) = missing {
        report(name, &format!("{missing} is not installed"));
    }
    missing.is_none()
}

#[test]
fn marks_and_fragments_pass_as_they_are() {
    let name = "marks_and_fragments_pass_as_they_are";
    if !all_installed(name, &["nft", "iperf3"]) {
        return;
    }
    let Some(office) = office(name, 1) else {
        return;
    };
    let _serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let client = &office.clients[0];
    let (_, v6) = addresses(&office.server);
    await_ping(client, SERVER.into(), LEAST_MTU);
    nft(
        office.server.host(),
        &format!(
            "table inet marks {{\n counter marked4 {{ }}\n counter marked6 {{ }}\n counter plain {{ }}\n \
             counter stream {{ }}\n chain in {{\n type filter hook input priority 0;\n \
             iifname \"{TUNNEL}\" icmp type echo-request ip dscp ef ip ecn ect1 counter name marked4\n \
             iifname \"{TUNNEL}\" icmpv6 type echo-request ip6 dscp ef ip6 ecn ect1 counter name marked6\n \
             iifname \"{TUNNEL}\" tcp dport 5201 ip dscp ef counter name stream\n \
             iifname \"{TUNNEL}\" tcp dport 5201 meta length > 4000 ip dscp != ef counter name plain\n }}\n}}\n"
        ),
    );
    for to in [IpAddr::V4(SERVER), v6] {
        // Three quarters of a marked packet of 4,000 bytes are fragments without a transport header.
        let words = ["-c", "3", "-i", "0.2", "-W", "5", "-Q", "0xb9"];
        for size in ["56", "4000"] {
            let ping = client.host().command("ping").args(words);
            let ping = ping.args(["-M", "dont", "-s", size]).arg(to.to_string());
            let done = ping.start().unwrap().finish(LIMIT).unwrap();
            assert_eq!(done.code(), Some(0), "{}{}", done.text(), done.stderr);
        }
    }
    // Streams are cut and joined on the way. iperf3 speaks to itself, in small packets, unmarked.
    let words = ["-S", "0xb8"];
    iperf(client, (&office.server, SERVER.into()), &words);
    let met = counters(office.server.host());
    assert!(met["marked4"] >= 6 && met["marked6"] >= 6, "{met:?}");
    assert!(met["stream"] > 100, "{met:?}");
    assert_eq!(met["plain"], 0, "{met:?}");
}

#[test]
fn a_path_that_shrinks_without_a_word_hangs_nothing() {
    let name = "a_path_that_shrinks_without_a_word_hangs_nothing";
    if !all_installed(name, &["nft", "iperf3", "ethtool"]) {
        return;
    }
    let Some(office) = office(name, 1) else {
        return;
    };
    let _serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let client = &office.clients[0];
    await_ping(client, SERVER.into(), LEAST_MTU);
    let found = settled_mtu(client);
    assert!(found > 1_400, "{found}");
    let hosts = [client.host(), office.server.host()];
    for host in hosts {
        // Rules would see many packets as one.
        let off = host.command("ethtool").args(["-K", INTERFACE]);
        let off = off.args(["tso", "off", "gso", "off", "gro", "off"]);
        let off = off.args(["tx-udp-segmentation", "off"]);
        assert_eq!(off.start().unwrap().finish(LIMIT).unwrap().code(), Some(0));
        nft(
            host,
            &format!(
                "table netdev small {{\n chain in {{\n type filter hook ingress device \"{INTERFACE}\" \
                 priority 0;\n meta length > 1350 drop\n }}\n}}\n"
            ),
        );
    }
    // A stream that begins with packets of the size of before goes on once that is found out.
    let told = iperf(client, (&office.server, SERVER.into()), &["-t", "15"]);
    let bytes = told["end"]["sum_received"]["bytes"].as_u64();
    assert!(bytes > Some(100_000), "{told}");
    let begun = Instant::now();
    while mtu(client) > 1_350 {
        assert!(begun.elapsed() < LIMIT, "the size stays at {}", mtu(client));
        std::thread::sleep(Duration::from_millis(100));
    }
    await_ping(client, SERVER.into(), LEAST_MTU);
}

/// Datagrams to the server's address inside the tunnel, as fast as the machine makes them.
struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Flood {
    /// From the addresses `from` of a device, of both small and large packets.
    fn from(device: &Device, from: &[Ipv4Addr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |from: Ipv4Addr| {
            let stop = stop.clone();
            let flood = move || {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                let to = SocketAddr::from((SERVER, 9));
                while !stop.load(Ordering::Relaxed) {
                    for size in [1, 200, 1_200] {
                        // Where nobody carries them they are lost, which is no concern of ours.
                        let _ = socket.send_to(&[0; 1_200][..size], to);
                    }
                }
            };
            device.host().thread(flood).unwrap()
        };
        let threads = from.iter().copied().map(thread).collect();
        Self { stop, threads }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_client_under_load_goes_on_when_its_killed_server_is_back() {
    let name = "a_client_under_load_goes_on_when_its_killed_server_is_back";
    let Some(office) = office(name, 1) else {
        return;
    };
    let mut serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let client = &office.clients[0];
    await_ping(client, SERVER.into(), LEAST_MTU);
    let own = addresses(client).0.unwrap();
    // Which of two things that end with the connection comes first is chance.
    for _ in 0..4 {
        let flood = Flood::from(client, &[own]);
        serving.kill();
        // Long enough for every queue to fill, and for the connection to be given up.
        std::thread::sleep(Duration::from_secs(4));
        drop(flood);
        serving = office.serve(&[]);
        await_ping(client, SERVER.into(), LEAST_MTU);
    }
}

#[test]
fn a_client_that_floods_costs_bounded_memory_and_the_others_are_served() {
    /// What a server has with both queues of a peer full: 8 MiB of datagrams in QUIC and 8 MiB in
    /// their channel, with the memory that they share, and its own 16 MiB or so.
    const MOST: u64 = 96 << 20;
    let name = "a_client_that_floods_costs_bounded_memory_and_the_others_are_served";
    let Some(office) = office(name, 2) else {
        return;
    };
    let serving = office.serve(&[]);
    let _joined = [office.join(0, &[]), office.join(1, &[])];
    let [floods, calm] = &office.clients[..] else {
        panic!("two clients");
    };
    for client in [floods, calm] {
        await_ping(client, SERVER.into(), LEAST_MTU);
    }
    let stolen = Ipv4Addr::new(10, 80, 77, 99);
    let add = format!("addr add {stolen}/24 dev {TUNNEL}");
    floods.host().ip(&add).unwrap();
    let flood = Flood::from(floods, &[addresses(floods).0.unwrap(), stolen]);
    let ping = calm.host().command("ping");
    let ping = ping.args(["-c", "100", "-i", "0.05", "-W", "2", "-q"]);
    let mut ping = ping.arg(SERVER.to_string()).start().unwrap();
    let mut most = 0;
    while ping.poll_exit().unwrap().is_none() {
        most = most.max(serving.usage().unwrap().resident);
        std::thread::sleep(Duration::from_millis(50));
    }
    let answered = ping.finish(LIMIT).unwrap();
    drop(flood);
    let text = answered.text();
    let received = text
        .split(", ")
        .find_map(|part| part.strip_suffix(" received"));
    let received: u32 = received.unwrap().parse().unwrap();
    assert!(received >= 50, "{text}");
    assert!(most < MOST, "{} MiB", most >> 20);
    let told = status(&office.server, &office.tools);
    assert!(
        told[0]["drops"]["spoofed_source"].as_u64() > Some(1_000),
        "{told}"
    );
    await_ping(floods, SERVER.into(), LEAST_MTU);
}
