//! Two devices behind a router, which know each other's ids and one node of the DHT.

use std::net::Ipv4Addr;

use dhtnet_tests::device::Device;
use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::lab::skip::lab_or_skip;
use dhtnet_tests::lab::{Families, Host, INTERFACE, Lab, Lan};

use crate::dht_segment::PORT;
use crate::pair::{LIMIT, assert_done, tools};

/// A host alone on a segment with the router; its address is `11.0.THIRD.1`.
fn behind(router: &Host, lab: &Lab, third: u8) -> (Host, Lan) {
    let lan = lab.lan().unwrap();
    lan.attach(router, Families::V4).unwrap();
    let (outer, inner) = (
        Ipv4Addr::new(11, 0, third, 254),
        Ipv4Addr::new(11, 0, third, 1),
    );
    let port = format!("lan{third}");
    let batch = format!(
        "link set {INTERFACE} down\nlink set {INTERFACE} name {port}\naddr flush dev {port}\n\
         addr add {outer}/24 dev {port}\nlink set {port} up"
    );
    router.ip(&batch).unwrap();
    let host = lab.host(&format!("behind{third}")).unwrap();
    lan.attach(&host, Families::V4).unwrap();
    let batch = format!(
        "addr flush dev {INTERFACE}\naddr add {inner}/24 dev {INTERFACE}\n\
         route add default via {outer}"
    );
    host.ip(&batch).unwrap();
    (host, lan)
}

#[test]
fn a_device_is_reached_by_its_id_across_a_router_with_nothing_but_a_bootstrap_address() {
    let Some(lab) = lab_or_skip("a_device_is_reached_by_its_id_across_a_router") else {
        return;
    };
    let router = lab.host("router").unwrap();
    router.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    let [(a, _lan_a), (b, _lan_b), (c, _lan_c)] =
        [1, 2, 3].map(|third| behind(&router, &lab, third));
    let tools = tools();
    let bind = std::net::SocketAddrV4::new(Ipv4Addr::new(11, 0, 3, 1), PORT);
    let settings = Settings {
        bind,
        bootstrap: None,
        network: None,
        home: &lab.folder().join("bootstrap"),
    };
    let _bootstrap = command(&c, &tools, settings)
        .unwrap()
        .arg("run")
        .start()
        .unwrap();
    let (a, b) = (
        Device::new(a, &tools).unwrap(),
        Device::new(b, &tools).unwrap(),
    );
    let entry = bind.to_string();
    let listener = b
        .dnc()
        .args(["-l", "--bootstrap", &entry, "--allow", a.id()]);
    let listener = b.listen(listener.stdin_bytes("and back")).unwrap();
    let client = a.dnc().args(["--bootstrap", &entry, b.id()]);
    let client = client.stdin_bytes("across the router").start().unwrap();
    let client = client.finish(LIMIT).unwrap();
    assert_done(&client);
    assert_eq!(client.text(), "and back");
    let listener = listener.finish(LIMIT).unwrap();
    assert_done(&listener);
    assert_eq!(listener.text(), "across the router");
}
