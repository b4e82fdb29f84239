//! What a file may say, and how mistakes in it are told.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use super::*;

fn said(text: &str) -> String {
    Configuration::check(text, "home.toml")
        .unwrap_err()
        .to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let configuration = Configuration::check("", "home.toml").unwrap();
    assert_eq!(configuration, Configuration::default());
    assert!(configuration.dns.is_none() && configuration.routes.nat);
    assert!(!configuration.kill_switch && !configuration.exit_node && !configuration.full_tunnel);
}

#[test]
fn the_example_of_the_documentation_is_read_whole() {
    let text = include_str!("../configuration.rs");
    let example: String = text
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start()))
        .filter(|line| !line.starts_with("full_tunnel"))
        .collect();
    let read = Configuration::check(&example, "x").unwrap();
    assert!(read.listen && read.exit_node && read.isolate && read.kill_switch);
    assert_eq!(read.join.len(), 1);
    assert_eq!(read.mtu, Some(1400));
    assert_eq!(read.pool, "10.80.77.0/24".parse().ok());
    assert_eq!(read.routes.offer, ["192.168.1.0/24".parse().unwrap()]);
    assert_eq!(read.dns.as_ref().unwrap().domains, ["office.example"]);
    let peer = &read.peers[0];
    assert_eq!(peer.address, Some(Ipv4Addr::new(10, 80, 77, 9)));
    assert_eq!(peer.name.as_ref().unwrap().to_string(), "anna");
    assert_eq!(peer.allowed, ["192.168.5.0/24".parse().unwrap()]);
}

#[test]
fn each_mistake_is_named_with_file_line_and_key() {
    let mistakes = [
        ("lissen = true", "home.toml:1: unknown key lissen"),
        ("\n[dns]\nserver = []", "home.toml:3: unknown key server"),
        (
            "mtu = 1200",
            "home.toml:1: mtu: 1200 is not between 1280 and 65535",
        ),
        ("mtu = 'big'", "home.toml:1: mtu: invalid type"),
        (
            "listen = true\nmtu = 70000",
            "home.toml:2: mtu: invalid value",
        ),
        ("[address]\npool = '10.80.77.1/24'", "home.toml:2: pool: "),
        (
            "[address]\npool = 'fd00::/64'",
            "home.toml:2: pool: only IPv4",
        ),
        (
            "network = 'a b'",
            "home.toml:1: network: the name of a network",
        ),
        (
            "interface = 'a/b'",
            "home.toml:1: interface: \"a/b\" is no name",
        ),
        (
            "[routes]\noffer = [\n  '10.0.0.0/8',\n  'x/8',\n]",
            "home.toml:4: offer: ",
        ),
        (
            "[routes]\noffer = ['0.0.0.0/0']",
            "home.toml:2: offer: 0.0.0.0/0 is everything",
        ),
        (
            "[routes]\noffer = ['10.0.0.0/8', '10.1.0.0/16']",
            "home.toml:2: offer: 10.1.0.0/16 overlaps 10.0.0.0/8",
        ),
        (
            "[address]\npool = '10.80.77.0/24'\n[routes]\noffer = ['10.0.0.0/8']",
            "home.toml:4: offer: 10.0.0.0/8 overlaps the pool 10.80.77.0/24",
        ),
        (
            "exit_node = true\nfull_tunnel = true",
            "home.toml:2: full_tunnel: ",
        ),
        (
            "[dns]\nservers = ['here']",
            "home.toml:2: servers: invalid IP address",
        ),
        (
            "[dns]\ndomains = ['a..b']",
            "home.toml:2: domains: \"a..b\" is no domain",
        ),
        ("[[peer]]\nname = 'x'", "home.toml:1: missing field `id`"),
        (
            "[[peer]]\nid = 'a'\n[[peer]]\nid = 'a'",
            "home.toml:3: peer: a stands here twice",
        ),
        (
            "[[peer]]\nid = 'a'\naddress = '10.0.0.2'\n[[peer]]\nid = 'b'\naddress = '10.0.0.2'",
            "home.toml:4: peer: 10.0.0.2 is fixed for two peers",
        ),
        (
            "[address]\npool = '10.1.0.0/24'\n[[peer]]\nid = 'a'\naddress = '10.0.0.2'",
            "home.toml:3: peer: 10.0.0.2 is not in the pool 10.1.0.0/24",
        ),
        (
            "[[peer]]\nid = 'a'\nallowed = ['10.1.0.0/16']\n\
             [[peer]]\nid = 'b'\nallowed = ['10.1.2.0/24']",
            "home.toml:4: peer: 10.1.2.0/24 overlaps 10.1.0.0/16, which a has",
        ),
        ("join = [", "home.toml:1: "),
        ("join = [' ']", "home.toml:1: "),
    ];
    for (text, expected) in mistakes {
        let said = said(text);
        assert!(said.starts_with(expected), "{text:?}: {said}");
    }
}

#[test]
fn as_many_peers_as_allowed_are_taken_and_one_more_is_not() {
    let file = |count: usize| {
        let peers = (0..count).map(|number| format!("'p{number}',"));
        format!("join = [{}]", peers.collect::<String>())
    };
    assert_eq!(
        Configuration::check(&file(MAX_PEERS), "x")
            .unwrap()
            .join
            .len(),
        MAX_PEERS
    );
    assert!(said(&file(MAX_PEERS + 1)).contains("at most 4096"));
    let networks = |count: usize| {
        let all = (0..count).map(|number| format!("'10.0.{number}.0/32',"));
        format!("[routes]\naccept = [{}]", all.collect::<String>())
    };
    Configuration::check(&networks(MAX_NETWORKS), "x").unwrap();
    let one_more = format!(
        "{}'11.0.0.0/8']",
        networks(MAX_NETWORKS).trim_end_matches(']')
    );
    assert!(
        said(&one_more).contains("at most 256"),
        "{}",
        said(&one_more)
    );
}

#[test]
fn what_a_server_may_be_configured_to_tell_is_what_clients_take() {
    use dhtnet_vpn_core::control::{Message, Welcome};
    let file = |routes: usize, domains: usize| {
        let routes = (0..routes).map(|number| format!("'10.1.{number}.0/24',"));
        let domains = (0..domains).map(|number| format!("'d{number}.example',"));
        format!(
            "exit_node = true\n[routes]\noffer = [{}]\n[dns]\ndomains = [{}]",
            routes.collect::<String>(),
            domains.collect::<String>()
        )
    };
    let fullest = Configuration::check(&file(MAX_OFFERED, MAX_DOMAINS), "x").unwrap();
    let everything = ["0.0.0.0/0", "::/0"].map(|text| text.parse::<Network>().unwrap());
    let routes = fullest.routes.offer.iter().chain(&everything);
    let welcome = Message::Welcome(Welcome {
        routes: routes.copied().map(Into::into).collect(),
        domains: fullest.dns.unwrap().domains,
        ..Welcome::default()
    });
    let bytes = welcome.encode().unwrap();
    assert_eq!(Message::decode(&bytes[2..]), Ok(welcome));
    for more in [(MAX_OFFERED + 1, 0), (0, MAX_DOMAINS + 1)] {
        let told = said(&file(more.0, more.1));
        assert!(told.contains("at most"), "{told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let failure = Configuration::load(Path::new("/nonexistent/x.toml")).unwrap_err();
    assert!(failure.to_string().contains("/nonexistent/x.toml"));
    assert_eq!(failure.code(), dhtnet_cli::ExitCode::Usage);
    assert_eq!(
        Configuration::path_of("home").unwrap(),
        Path::new("/etc/dhtnet/vpn/home.toml")
    );
    assert!(Configuration::path_of("../home").is_err());
}

#[test]
fn domains_are_those_of_hosts() {
    for fine in ["dn", "office.example", "a-1.b"] {
        assert!(domain(fine), "{fine}");
    }
    for wrong in [
        "",
        ".",
        "a.",
        "A",
        "-a",
        "a-",
        "a_b",
        "a b",
        &"a".repeat(64),
    ] {
        assert!(!domain(wrong), "{wrong}");
    }
}
