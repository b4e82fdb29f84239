//! Hosts on one segment whose addresses look public, each in a /24 of its own: a DHT takes one
//! node of a neighbourhood, and foreign ones refuse private ranges.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhtnet_tests::device::Tools;
use dhtnet_tests::dht_peers::PeerError;
use dhtnet_tests::dht_peers::dhtnode::{DhtNode, Settings};
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Host, INTERFACE, Lab, Lan};

use crate::pair::tools;

/// UDP port of every node: no two share a host.
pub(crate) const PORT: u16 = 6881;

/// Takes packets from host to host: neighbours are remembered in one table of about a thousand
/// for all namespaces, too few for a crowd where each host has each other one as a neighbour.
const ROUTER: Ipv4Addr = Ipv4Addr::new(11, 0, 255, 254);

/// For what has no report of its own: an announcement, an entry in a routing table.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// A switch with its hosts, which live as long as it. The lab comes last, so that they end before.
pub(crate) struct Segment {
    hosts: Vec<Host>,
    lan: Lan,
    lab: Lab,
    tools: Tools,
}

/// A host, and how a node of ours is started on it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) host: Host,
    pub(crate) address: SocketAddrV4,
    /// Of the node; kept when it ends.
    pub(crate) home: PathBuf,
}

/// A segment without hosts; `None` where there can be no lab.
pub(crate) fn segment(name: &str) -> Option<Segment> {
    let lab = lab_or_skip(name)?;
    let (lan, router) = (lab.lan().unwrap(), lab.host("router").unwrap());
    lan.attach(&router, Families::V4).unwrap();
    let change = format!("addr flush dev {INTERFACE}\naddr add {ROUTER}/16 dev {INTERFACE}");
    router.ip(&change).unwrap();
    router.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    for scope in ["all", INTERFACE] {
        let knob = format!("net/ipv4/conf/{scope}/send_redirects");
        router.set_sysctl(&knob, "0").unwrap();
    }
    Some(Segment {
        hosts: vec![router],
        lan,
        lab,
        tools: tools(),
    })
}

impl Segment {
    /// A new host with the address `11.0.THIRD.1`.
    pub(crate) fn place(&mut self, third: u8) -> Place {
        let host = self.lab.host(&format!("n{third}")).unwrap();
        self.lan.attach(&host, Families::V4).unwrap();
        let address = Ipv4Addr::new(11, 0, third, 1);
        let change = format!(
            "addr flush dev {INTERFACE}\naddr add {address}/32 dev {INTERFACE}\n\
                     route add {ROUTER}/32 dev {INTERFACE}\nroute add default via {ROUTER}"
        );
        host.ip(&change).unwrap();
        self.hosts.push(host.clone());
        Place {
            home: host.folder().join(format!("home-{third}")),
            address: SocketAddrV4::new(address, PORT),
            host,
        }
    }

    /// What further hosts are made of.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The switch, for what is joined by other means.
    pub(crate) fn lan(&self) -> &Lan {
        &self.lan
    }

    /// The built tools.
    pub(crate) fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A node of ours in the public network, which enters by `bootstrap`.
    pub(crate) fn node(&self, place: &Place, bootstrap: Option<SocketAddrV4>) -> DhtNode {
        self.node_of(None, place, bootstrap)
    }

    /// As [`Segment::node`], in a private network.
    pub(crate) fn node_of(
        &self,
        network: Option<&str>,
        place: &Place,
        bootstrap: Option<SocketAddrV4>,
    ) -> DhtNode {
        let settings = Settings {
            bind: place.address,
            bootstrap,
            network,
            home: &place.home,
        };
        DhtNode::start(&place.host, &self.tools, settings).unwrap()
    }
}

/// The peer, or `None` after a report where it is not installed.
pub(crate) fn peer_or_skip<T>(test: &str, started: Result<T, PeerError>) -> Option<T> {
    match started {
        Ok(peer) => Some(peer),
        Err(error @ PeerError::Missing { .. }) => {
            report(test, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Asks until there is an answer that `wanted` takes.
#[track_caller]
pub(crate) fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut ask: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let answer = ask();
        if wanted(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {answer:?} in the end");
        std::thread::sleep(Duration::from_millis(50));
    }
}
