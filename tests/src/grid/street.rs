//! Where a trial takes place: two devices, each behind what it is behind, and nodes of the DHT
//! outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{GridError, Kind, PortMapping};
use crate::device::{Device, Tools};
use crate::dht_peers::dhtnode::{Settings, command};
use crate::lab::{Families, Host, INTERFACE, Lab, Lan, Process};
use crate::nat_router::{Nat, NatRouter, inside_v6};

/// The one address that each device knows.
pub const ENTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200, 1), 6881);

/// Nodes of the DHT, each in a /24 of its own: a NAT's kind is judged by what they see.
pub const NODES: u8 = 5;

/// What `dhtnode run` is told besides at [`ENTRY`], so that it relays for others; `None` where
/// there is no relay, and pairs that need one are not connected.
pub const RELAY: Option<&[&str]> = Some(&["--relay"]);

/// Whether a device whose network blocks UDP finds and is found by TCP alone.
pub const WITHOUT_UDP: bool = true;

/// How long a relay may take until it is announced: it looks every two seconds whether others
/// reach it.
const ANNOUNCED: Duration = Duration::from_secs(15);

/// How long a node of the DHT may take until it is told of its neighbours.
const SETTLE: Duration = Duration::from_millis(1_500);

/// The devices and the nodes end first, the networks last.
#[derive(Debug)]
pub struct Street {
    /// The device that is called.
    pub listener: Device,
    /// The device that calls.
    pub caller: Device,
    _nodes: Vec<(Process, Host)>,
    routers: Vec<NatRouter>,
    _outside: Lan,
    _lab: Lab,
}

impl Street {
    /// A street of its own for these two, the listener first.
    ///
    /// # Errors
    /// [`RouterError::Missing`](crate::home_router::RouterError::Missing) among others, where a
    /// program is missing.
    pub fn new(tools: &Tools, kinds: [Kind; 2], mapping: PortMapping) -> Result<Self, GridError> {
        let lab = Lab::new()?;
        let outside = lab.lan()?;
        let begun = Instant::now();
        let mut nodes = Vec::new();
        for number in 0..NODES {
            nodes.push(node(&lab, &outside, tools, number)?);
        }
        let (mut routers, mut devices) = (Vec::new(), Vec::new());
        for (kind, number) in kinds.into_iter().zip(1..) {
            let host = match kind {
                Kind::Public => public(&lab, &outside, number)?,
                Kind::Behind(nat) => {
                    let mut router = NatRouter::new(&lab, &outside, (nat, number))?;
                    if mapping == PortMapping::On {
                        router.map_ports(&lab)?;
                    }
                    let inside = router.inside(&lab, 10)?;
                    routers.push(router);
                    inside
                }
            };
            devices.push(Device::new(host, tools)?);
        }
        if let [first, second] = routers.as_slice() {
            first.watch(second.outside().into())?;
            second.watch(first.outside().into())?;
            if kinds == [Kind::Behind(Nat::Ipv6Firewall); 2] {
                first.join_by_v6_alone(second)?;
                first.watch(IpAddr::V6(inside_v6(2, 10)))?;
                second.watch(IpAddr::V6(inside_v6(1, 10)))?;
            }
        } else if let [only] = routers.as_slice() {
            for number in [1, 2] {
                only.watch(public_address(number).into())?;
            }
        }
        let [Some(caller), Some(listener)] = [devices.pop(), devices.pop()] else {
            return Err(std::io::Error::other("there are not two devices").into());
        };
        if let (Some(_), Some((relay, _))) = (RELAY, nodes.first_mut()) {
            relay.await_line("that the relay can be found", ANNOUNCED, |line| {
                line.contains("the relay is announced").then_some(())
            })?;
        }
        std::thread::sleep(SETTLE.saturating_sub(begun.elapsed()));
        Ok(Self {
            listener,
            caller,
            _nodes: nodes,
            routers,
            _outside: outside,
            _lab: lab,
        })
    }

    /// The routers of those that are behind one, the listener's first.
    #[must_use]
    pub fn routers(&self) -> &[NatRouter] {
        &self.routers
    }
}

fn node(lab: &Lab, outside: &Lan, tools: &Tools, number: u8) -> Result<(Process, Host), GridError> {
    let host = lab.host("node")?;
    outside.attach(&host, Families::V4)?;
    let bind = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200 + number, 1), ENTRY.port());
    host.ip(&format!(
        "addr flush dev {INTERFACE}\naddr add {}/16 dev {INTERFACE}",
        bind.ip()
    ))?;
    let settings = Settings {
        bind,
        bootstrap: (number > 0).then_some(ENTRY),
        network: None,
        home: &lab.folder().join(format!("node-{number}")),
    };
    let node = command(&host, tools, settings)?.arg("run");
    let node = match RELAY {
        Some(words) if number == 0 => node.args(words),
        _ => node,
    };
    Ok((node.start()?, host))
}

/// The address of a public device.
fn public_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(11, 0, number, 10)
}

fn public(lab: &Lab, outside: &Lan, number: u8) -> Result<Host, GridError> {
    let host = lab.host("public")?;
    outside.attach(&host, Families::V4)?;
    host.ip(&format!(
        "addr flush dev {INTERFACE}\naddr add {}/16 dev {INTERFACE}",
        public_address(number)
    ))?;
    Ok(host)
}
