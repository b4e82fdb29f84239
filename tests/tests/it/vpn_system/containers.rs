//! Hosts behind a client, such as containers: what their packets may do while the kill switch is on.

use dhtnet_tests::lab::Host;

use super::state::{assert_as_before, state};
use super::{Journey, SERVER, assert_cut_off, assert_seen_as, journey};
use crate::pair::{LIMIT, assert_done};
use crate::vpn::await_ping;

/// Counts what comes from the client beside neighbour discovery.
const COUNTER: &str = "table inet watch {
  chain in {
    type filter hook prerouting priority raw; policy accept;
    meta l4proto { tcp, udp, icmp } ip saddr CLIENT4 counter comment \"v4\"
    meta l4proto { tcp, udp } ip6 saddr CLIENT6 counter comment \"v6\"
    icmpv6 type { echo-request, echo-reply } ip6 saddr CLIENT6 counter comment \"v6\"
  }
}";

fn nft(host: &Host, script: &str) {
    let command = host.command("nft").args(["-f", "-"]);
    let command = command.stdin_bytes(script);
    assert_done(&command.start().unwrap().finish(LIMIT).unwrap());
}

/// A host behind the client, which the client gives its own address, as container engines do.
fn container(journey: &Journey) -> Host {
    let (client, inner) = (
        journey.client.host(),
        journey.lab.host("container").unwrap(),
    );
    let resident = inner.command("sleep").arg("600").start().unwrap();
    client.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    client
        .set_sysctl("net/ipv6/conf/all/forwarding", "1")
        .unwrap();
    client
        .ip(&format!(
            "link add box0 type veth peer name eth0 netns {}\naddr add 172.30.0.1/24 dev box0\n\
             addr add fd30::1/64 dev box0 nodad\nlink set box0 up",
            resident.id()
        ))
        .unwrap();
    inner
        .ip(
            "addr add 172.30.0.2/24 dev eth0\naddr add fd30::2/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via 172.30.0.1\nroute add default via fd30::1",
        )
        .unwrap();
    nft(
        client,
        "table inet boxes {
           chain out {
             type nat hook postrouting priority srcnat;
             ip saddr 172.30.0.0/24 oifname != \"box0\" masquerade
             ip6 saddr fd30::/64 oifname != \"box0\" masquerade
           }
         }",
    );
    inner
}

#[test]
fn the_kill_switch_holds_for_what_is_forwarded_too() {
    let name = "the_kill_switch_holds_for_what_is_forwarded_too";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (journey.client.host(), journey.server.host());
    let inner = container(&journey);
    let before = state(client);
    assert_seen_as(&inner, client);

    let mut serving = journey.serve("exit_node = true\n");
    let mut joined = journey.join("full_tunnel = true\nkill_switch = true\n");
    await_ping(&journey.client, SERVER.into(), 1_280);
    assert_seen_as(&inner, server);

    let (v4, v6) = (client.ipv4().to_string(), client.ipv6().to_string());
    nft(
        &journey.far,
        &COUNTER.replace("CLIENT4", &v4).replace("CLIENT6", &v6),
    );
    serving.kill();
    drop(serving);
    assert_cut_off(&inner);
    joined.kill();
    drop(joined);
    assert_cut_off(&inner);
    assert_cut_off(client);
    let counted = journey
        .far
        .command("nft")
        .args(["list", "table", "inet", "watch"]);
    let counted = counted.start().unwrap().finish(LIMIT).unwrap().text();
    assert_eq!(
        counted.matches("counter packets 0 ").count(),
        3,
        "{counted}"
    );

    assert_done(&journey.run(&journey.client, &["down", "dvpn0"]));
    assert_as_before(&before, &state(client), "the client after down");
    assert_seen_as(&inner, client);
    // The counters count what comes by this way.
    let counted = journey
        .far
        .command("nft")
        .args(["list", "table", "inet", "watch"]);
    let counted = counted.start().unwrap().finish(LIMIT).unwrap().text();
    assert_eq!(
        counted.matches("counter packets 0 ").count(),
        1,
        "{counted}"
    );
}
