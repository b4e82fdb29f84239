//! What `dvpn` changes on a host: the way out through an exit, the kill switch, names, `up`, `down`
//! and `status`; and that everything is as it was before, however it ends.

mod containers;
mod exit_right;
mod neighbours;
mod resolvers;
mod router;
mod state;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Instant;

use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Finished, Host, Lab, Lan, Process};
use dhtnet_tests::ssh::find;
use rustix::process::Signal;

use self::state::{assert_as_before, state};
use crate::pair::{LIMIT, PORT, assert_done, assert_failed, assert_words, tools};
use crate::vpn::{addresses, await_ping, await_up, dvpn, status};

/// Addresses of a host that is not on the local network.
const FAR_V4: &str = "12.0.0.1";
const FAR_V6: &str = "2001:db8:99::1";

/// The server's address in the pool.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 80, 77, 1);

/// A client, a server and a far host; the client can also go to the far host by itself.
struct Journey {
    client: Device,
    server: Device,
    tools: Tools,
    /// Tells who connects to it.
    _telling: Process,
    far: Host,
    _lan: Lan,
    lab: Lab,
}

fn journey(name: &str) -> Option<Journey> {
    let lab = lab_or_skip(name)?;
    if find("socat").is_none() {
        report(name, "socat is not installed");
        return None;
    }
    let (lan, tools) = (lab.lan().unwrap(), tools());
    let host = |name: &str| {
        let host = lab.host(name).unwrap();
        lan.attach(&host, Families::Both).unwrap();
        host
    };
    let (client, server, far) = (host("client"), host("server"), host("far"));
    far.ip(&format!(
        "addr add {FAR_V4}/32 dev lo\naddr add {FAR_V6}/128 dev lo nodad"
    ))
    .unwrap();
    for way in [&client, &server] {
        let (v4, v6) = (far.ipv4(), far.ipv6());
        way.ip(&format!(
            "route add default via {v4}\nroute add default via {v6}"
        ))
        .unwrap();
    }
    let listening = far.command("socat").lifetime(LIMIT * 3).args([
        "TCP6-LISTEN:80,ipv6only=0,fork,reuseaddr",
        "SYSTEM:echo $SOCAT_PEERADDR",
    ]);
    Some(Journey {
        _telling: listening.start().unwrap(),
        far,
        client: Device::new(client, &tools).unwrap(),
        server: Device::new(server, &tools).unwrap(),
        tools,
        _lan: lan,
        lab,
    })
}

impl Journey {
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab.folder().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A server that lets the client in, with this configuration.
    fn serve(&self, configuration: &str) -> Process {
        let file = self.file("server.toml", configuration);
        let bind = format!("[::]:{PORT}");
        let command = dvpn(&self.server, &self.tools).args(["-l", "--bind", &bind, "-C"]);
        let command = command.arg(file).args(["--allow", self.client.id()]);
        let mut process = command.start().unwrap();
        await_up(&mut process);
        process
    }

    fn address(&self) -> String {
        format!("{}@{}:{PORT}", self.server.id(), self.server.host().ipv4())
    }

    fn join(&self, configuration: &str) -> Process {
        let file = self.file("client.toml", configuration);
        let command = dvpn(&self.client, &self.tools).arg(self.address());
        let mut process = command.arg("-C").arg(file).start().unwrap();
        await_up(&mut process);
        process
    }

    /// `dvpn` of a device, waited for.
    fn run(&self, device: &Device, words: &[&str]) -> Finished {
        let command = device.host().command(self.tools.path("dvpn")).args(words);
        let command = device.with_home(command).lifetime(LIMIT);
        command.start().unwrap().finish(LIMIT).unwrap()
    }

    #[track_caller]
    fn assert_seen_as(&self, device: &Device) {
        assert_seen_as(self.client.host(), device.host());
    }

    #[track_caller]
    fn assert_cut_off(&self) {
        assert_cut_off(self.client.host());
    }
}

/// As whom the far host sees `host`, or why it does not get there.
fn seen_as(host: &Host, to: &str) -> Result<String, String> {
    let to = match to.contains(':') {
        true => format!("TCP6:[{to}]:80,connect-timeout=3"),
        false => format!("TCP4:{to}:80,connect-timeout=3"),
    };
    let asked = host.command("socat").args(["-T3", "-u", &to, "-"]);
    let told = asked.start().unwrap().finish(LIMIT).unwrap();
    match told.text().trim() {
        "" => Err(told.stderr),
        address => Ok(address.to_owned()),
    }
}

/// The far host sees `host` under the addresses of `as_whom`, in both families.
#[track_caller]
fn assert_seen_as(host: &Host, as_whom: &Host) {
    // socat writes all eight groups, of IPv4 too.
    let [a, b, c, d] = as_whom.ipv4().octets();
    let own = format!(":ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]");
    let begun = Instant::now();
    let told = loop {
        match seen_as(host, FAR_V4) {
            Ok(told) => break told,
            // The far host may not listen yet.
            Err(why) => assert!(begun.elapsed() < LIMIT, "{why}"),
        }
    };
    assert!(told.ends_with(&own), "{told} is not {own}");
    let own = as_whom.ipv6().segments()[7];
    let told = seen_as(host, FAR_V6).unwrap();
    assert!(
        told.ends_with(&format!(":{own:04x}]")),
        "{told} is not {own:x}"
    );
}

#[track_caller]
fn assert_cut_off(host: &Host) {
    seen_as(host, FAR_V4).unwrap_err();
    seen_as(host, FAR_V6).unwrap_err();
}

#[test]
fn an_exit_leads_to_the_internet_and_the_kill_switch_holds_until_down() {
    let name = "an_exit_leads_to_the_internet_and_the_kill_switch_holds_until_down";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    let before = [state(client.host()), state(server.host())];
    journey.assert_seen_as(client);

    let mut serving = journey.serve("exit_node = true\n");
    let mut joined = journey.join("full_tunnel = true\nkill_switch = true\n");
    await_ping(client, SERVER.into(), 1_280);
    journey.assert_seen_as(server);

    // What goes to the local network would go beside the tunnel.
    let beside = client.host().command("ping").args(["-c1", "-W2"]);
    let beside = beside.arg(server.host().ipv4().to_string());
    assert_ne!(
        beside.start().unwrap().finish(LIMIT).unwrap().code(),
        Some(0)
    );

    serving.kill();
    drop(serving);
    journey.assert_cut_off();
    joined.kill();
    drop(joined);
    journey.assert_cut_off();

    let told = journey.run(client, &["status"]);
    assert_words(&told.stderr, &["dvpn0", "killed", "dvpn down dvpn0"]);
    for device in [client, server] {
        let down = journey.run(device, &["down", "dvpn0"]);
        assert_done(&down);
        assert_words(&down.stderr, &["undone"]);
    }
    journey.assert_seen_as(client);
    assert_as_before(&before[0], &state(client.host()), "the client after down");
    assert_as_before(&before[1], &state(server.host()), "the server after down");
}

#[test]
fn after_a_signal_everything_is_as_before() {
    let name = "after_a_signal_everything_is_as_before";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    // A host that checks where packets come from, and one that forwards already.
    client
        .host()
        .set_sysctl("net/ipv4/conf/all/rp_filter", "1")
        .unwrap();
    server
        .host()
        .set_sysctl("net/ipv4/ip_forward", "1")
        .unwrap();
    let before = [state(client.host()), state(server.host())];
    let serving = journey.serve("exit_node = true\n[routes]\noffer = ['192.168.9.0/24']\n");
    let joined = journey.join("full_tunnel = true\n");
    await_ping(client, SERVER.into(), 1_280);
    journey.assert_seen_as(server);
    assert_ne!(state(client.host()), before[0]);
    assert_ne!(state(server.host()), before[1]);
    for process in [joined, serving] {
        process.signal(Signal::TERM);
        assert_eq!(process.finish(LIMIT).unwrap().code(), Some(143));
    }
    assert_as_before(&before[0], &state(client.host()), "the client");
    assert_as_before(&before[1], &state(server.host()), "the server");

    // A second one ends it at once, and puts everything back all the same.
    let serving = journey.serve("exit_node = true\n");
    serving.signal(Signal::INT);
    serving.signal(Signal::TERM);
    let code = serving.finish(LIMIT).unwrap().code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert_as_before(&before[1], &state(server.host()), "after two signals");
}

#[test]
fn up_returns_when_it_is_up_and_status_tells_of_it_until_down() {
    let name = "up_returns_when_it_is_up_and_status_tells_of_it_until_down";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    let before = state(client.host());
    let _serving = journey.serve("");
    let text = format!("join = ['{}']\n", journey.address());
    let file = journey.file("home.toml", &text);
    let words = [
        "--no-mdns",
        "-w",
        "20",
        "-C",
        file.to_str().unwrap(),
        "up",
        "home",
    ];
    let up = journey.run(client, &words);
    assert_done(&up);
    assert_words(&up.stderr, &["home is up"]);
    await_ping(client, SERVER.into(), 1_280);

    let told = status_of(&journey, &["status", "home", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let peer = &told[0]["peers"][0];
    assert_eq!(told[0]["interface"].as_str(), Some("home"));
    assert_eq!(peer["id"].as_str(), Some(server.id()));
    assert_eq!(peer["is_connected"].as_bool(), Some(true));
    assert_eq!(peer["path"]["kind"].as_str(), Some("lan"));
    assert!(peer["received_bytes"].as_u64() > Some(1_000), "{told}");
    let text = status_of(&journey, &["status"]);
    assert_words(
        &text,
        &[
            "interface: home",
            server.id(),
            "path: lan",
            "latest handshake",
        ],
    );
    let metrics = status_of(&journey, &["status", "--metrics"]);
    assert_words(
        &metrics,
        &[
            "dvpn_peer_connected{network=\"home\"",
            "# TYPE dvpn_mtu_bytes",
        ],
    );
    let from_server = status(server, &journey.tools);
    assert_eq!(from_server[0]["peers"][0]["id"].as_str(), Some(client.id()));

    assert_failed(
        &journey.run(client, &words),
        2,
        &["home is up already", "dvpn down home"],
    );
    let down = journey.run(client, &["down", "home"]);
    assert_done(&down);
    assert_words(&down.stderr, &["home is down"]);
    assert_as_before(&before, &state(client.host()), "after down");
    assert_done(&journey.run(client, &["down", "home"]));
    assert_failed(
        &journey.run(client, &["status", "home"]),
        1,
        &["home is not up"],
    );
    assert_eq!(client.host().processes(), [0_u32; 0], "left on the client");
}

fn status_of(journey: &Journey, words: &[&str]) -> String {
    let told = journey.run(&journey.client, words);
    assert_done(&told);
    told.text()
}

#[test]
fn up_fails_as_the_network_does() {
    let name = "up_fails_as_the_network_does";
    let Some(journey) = journey(name) else {
        return;
    };
    let before = state(journey.client.host());
    let text = format!("join = ['{}']\n", journey.address());
    let file = journey.file("home.toml", &text);
    let words = [
        "--no-mdns",
        "-w",
        "1",
        "-C",
        file.to_str().unwrap(),
        "up",
        "home",
    ];
    assert_failed(&journey.run(&journey.client, &words), 3, &["cannot reach"]);
    let missing = journey.run(&journey.client, &["up", "no-such-network"]);
    assert_failed(&missing, 2, &["/etc/dhtnet/vpn/no-such-network.toml"]);
    assert_as_before(&before, &state(journey.client.host()), "after failures");
}

#[test]
fn names_of_peers_resolve_and_the_resolver_is_put_back() {
    let name = "names_of_peers_resolve_and_the_resolver_is_put_back";
    let Some(journey) = journey(name) else {
        return;
    };
    if let Some(program) = ["resolvectl", "resolvconf"]
        .into_iter()
        .find(|p| find(p).is_some())
    {
        return report(
            name,
            &format!("{program} manages the resolver of this machine"),
        );
    }
    let client = &journey.client;
    let add = client
        .crtmgr()
        .args(["peer", "add", "office", &journey.address()]);
    assert_done(&add.start().unwrap().finish(LIMIT).unwrap());
    let _serving = journey.serve("");
    let former = "nameserver 192.0.2.53\nsearch lan\n";
    let resolv_conf = journey.file("resolv.conf", former);
    let file = journey.file("client.toml", "[dns]\nrewrite = true\n");
    // In a mount namespace of its own: hosts of the lab share the files of the machine.
    let script = "mount --make-rprivate / && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let command = client
        .host()
        .command("unshare")
        .args(["--mount", "sh", "-c", script]);
    let command = client
        .with_home(command)
        .lifetime(LIMIT * 3)
        .arg(&resolv_conf);
    let command = command
        .arg(journey.tools.path("dvpn"))
        .args(["--no-mdns", "-C"]);
    let mut joined = command.arg(file).arg("office").start().unwrap();
    await_up(&mut joined);
    await_ping(client, SERVER.into(), 1_280);

    let own = IpAddr::from(addresses(client).0.unwrap());
    let server_v6 = addresses(&journey.server).1;
    let inside = |words: &[&str]| {
        let command = client.host().command("nsenter");
        let command = command
            .args(["-m", "-t", &joined.id().to_string()])
            .args(words);
        command.start().unwrap().finish(LIMIT).unwrap()
    };
    let rewritten = fs::read_to_string(&resolv_conf).unwrap();
    assert!(
        rewritten.contains(&format!("nameserver {own}")),
        "{rewritten}"
    );
    assert!(rewritten.contains("search lan") && !rewritten.contains("192.0.2.53"));
    let v4 = inside(&["getent", "ahostsv4", "office.dn"]);
    assert_words(&v4.text(), &[&SERVER.to_string()]);
    let v6 = inside(&["getent", "ahostsv6", "office.dn"]);
    assert_words(&v6.text(), &[&server_v6.to_string()]);
    assert_ne!(inside(&["getent", "ahostsv4", "nobody.dn"]).code(), Some(0));
    if find("dig").is_some() {
        let at = format!("@{own}");
        let told = inside(&["dig", "+short", "+tcp", &at, "-x", &SERVER.to_string()]);
        assert_words(&told.text(), &["office.dn."]);
        let told = inside(&["dig", &at, "nobody.dn", "A"]);
        assert_words(&told.text(), &["NXDOMAIN"]);
    } else {
        report(
            name,
            "dig is not installed (reverse names were not asked for)",
        );
    }
    joined.signal(Signal::TERM);
    assert_eq!(joined.finish(LIMIT).unwrap().code(), Some(143));
    assert_eq!(fs::read_to_string(&resolv_conf).unwrap(), former);
}

#[test]
fn what_hinders_is_said_in_one_line() {
    let name = "what_hinders_is_said_in_one_line";
    let Some(journey) = journey(name) else {
        return;
    };
    let server = &journey.server;
    let before = state(server.host());
    let serve = |text: &str| {
        let file = journey.file("x.toml", text);
        journey.run(server, &["-l", "-a", "-q", "-C", file.to_str().unwrap()])
    };
    let mistakes = [
        ("exit_nod = true\n", &["x.toml:1", "exit_nod"][..]),
        ("\n[address]\npool = 'ten'\n", &["x.toml:3", "pool", "ten"]),
        (
            "[address]\npool = '11.0.0.0/24'\n",
            &["11.0.0.0/24", "11.0.0.0/16", "eth0"],
        ),
        (
            "[routes]\noffer = ['10.80.77.0/25']\n",
            &["10.80.77.0/25", "pool 10.80.77.0/24", "[routes]"],
        ),
        ("interface = 'eth0'\n", &["eth0 already", "--interface"]),
        ("interface = 'far too long a name'\n", &["interface", "15"]),
    ];
    for (text, words) in mistakes {
        assert_failed(&serve(text), 2, words);
    }
    let unprivileged = server
        .host()
        .command("setpriv")
        .args(["--bounding-set", "-net_admin"]);
    let unprivileged = server.with_home(unprivileged).lifetime(LIMIT);
    let unprivileged = unprivileged
        .arg(journey.tools.path("dvpn"))
        .args(["-l", "-a", "-q"]);
    let refused = unprivileged.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&refused, 2, &["no privilege", "CAP_NET_ADMIN"]);
    let script = "mount --make-rprivate / && mount -t tmpfs none /dev/net && exec \"$0\" -l -a -q";
    let without = server.host().command("unshare");
    let without = server.with_home(without).lifetime(LIMIT);
    let without = without.args(["--mount", "sh", "-c", script]);
    let without = without.arg(journey.tools.path("dvpn"));
    let refused = without.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&refused, 2, &["no /dev/net/tun", "modprobe tun"]);
    let serving = journey.serve("");
    let held = addresses(server).1.to_string();
    drop(serving);
    assert_done(&journey.run(server, &["down"]));
    server
        .host()
        .ip(&format!("addr add {held}/128 dev lo nodad"))
        .unwrap();
    assert_failed(&serve(""), 2, &[&held, "lo", "another"]);
    server
        .host()
        .ip(&format!("addr del {held}/128 dev lo"))
        .unwrap();
    assert_as_before(&before, &state(server.host()), "after refusals");
}
