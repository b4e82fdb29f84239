//! A full tunnel behind a home router: the router is asked beside the tunnel, never through it.

use std::time::{Duration, Instant};

use dhtnet_tests::device::Device;
use dhtnet_tests::home_router::{HomeRouter, INSIDE, RouterError, Speaks};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Host, INTERFACE};

use super::SERVER;
use crate::pair::{LIMIT, PORT, assert_done, tools};
use crate::vpn::{await_ping, await_up, dvpn};

/// Between a start and a mapping: a search by UPnP takes up to three seconds.
const MAP_LIMIT: Duration = Duration::from_secs(20);

/// Counts questions to routers that would go into the tunnel.
const COUNTER: &str = "table inet watch {
  chain out {
    type filter hook output priority filter; policy accept;
    oifname \"dvpn0\" udp dport { 1900, 5350, 5351 } counter
    oifname \"dvpn0\" ip daddr 192.168.1.0/24 counter
  }
}";

fn nft(host: &Host, words: &[&str], script: &str) -> String {
    let command = host.command("nft").args(words).stdin_bytes(script);
    let told = command.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&told);
    told.text()
}

#[track_caller]
fn await_rule(router: &HomeRouter, wanted: &str, rules: impl Fn() -> Vec<String>) {
    let begun = Instant::now();
    loop {
        let found = rules();
        if found.iter().any(|rule| rule.contains(wanted)) {
            return;
        }
        let said = router.said();
        assert!(
            begun.elapsed() < MAP_LIMIT,
            "no {wanted} in {found:?}; {said}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_full_tunnel_does_not_lead_questions_to_the_router_into_itself() {
    let name = "a_full_tunnel_does_not_lead_questions_to_the_router_into_itself";
    let Some(lab) = lab_or_skip(name) else {
        return;
    };
    let (outside, tools) = (lab.lan().unwrap(), tools());
    let router = match HomeRouter::new(&lab, &outside, Speaks::All) {
        Ok(router) => router,
        Err(error @ RouterError::Missing(_)) => return report(name, &error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let server = lab.host("server").unwrap();
    outside.attach(&server, Families::V4).unwrap();
    let server = Device::new(server, &tools).unwrap();
    let inside = router.inside(&lab, 10).unwrap();
    router.give_v6(&inside, 0x10).unwrap();
    let client = Device::new(inside, &tools).unwrap();

    let folder = lab.folder();
    std::fs::write(folder.join("exit.toml"), "exit_node = true\n").unwrap();
    std::fs::write(folder.join("client.toml"), "full_tunnel = true\n").unwrap();
    let bind = format!("0.0.0.0:{PORT}");
    let serving = dvpn(&server, &tools).args(["-l", "--bind", &bind, "--allow", client.id(), "-C"]);
    let mut serving = serving.arg(folder.join("exit.toml")).start().unwrap();
    await_up(&mut serving);
    // Who lets others in asks the router to.
    let joining = client.host().command(tools.path("dvpn"));
    let joining = client.with_home(joining).lifetime(LIMIT * 3);
    let joining = joining.args(["-v", "--no-mdns", "--allow", server.id(), "-C"]);
    let address = format!("{}@{}:{PORT}", server.id(), server.host().ipv4());
    let joining = joining.arg(folder.join("client.toml")).arg(address);
    let mut joined = joining.start().unwrap();
    await_up(&mut joined);
    await_ping(&client, SERVER.into(), 1_280);
    nft(client.host(), &["-f", "-"], COUNTER);

    // Everything is asked anew when the device has another address.
    client
        .host()
        .ip(&format!(
            "addr del 192.168.1.10/24 dev {INTERFACE}\naddr add 192.168.1.20/24 dev {INTERFACE}\n\
             route replace default via {INSIDE} dev {INTERFACE}"
        ))
        .unwrap();
    await_rule(&router, "192.168.1.20", || router.mappings().unwrap());
    // The address that packets to the internet leave from is that outside the tunnel.
    await_rule(&router, "0x20010db8000000010000000000000010", || {
        router.pinholes().unwrap()
    });
    await_ping(&client, SERVER.into(), 1_280);
    let counted = nft(client.host(), &["list", "table", "inet", "watch"], "");
    assert_eq!(
        counted.matches("counter packets 0 ").count(),
        2,
        "{counted}"
    );
}
