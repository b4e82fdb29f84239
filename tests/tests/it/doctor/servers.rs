//! What the doctor learns from several STUN servers.

use dhtnet_tests::nat_router::Nat;
use dhtnet_tests::turn_server::TurnServer;

use super::ground::{Said, doctor, outside};
use crate::relayed::or_skip;

#[test]
fn the_doctor_tells_the_mapping_by_two_stun_servers_where_one_leaves_it_open() {
    let name = "the_doctor_tells_the_mapping_by_two_stun_servers_where_one_leaves_it_open";
    let Some(outside) = outside(name, 0) else {
        return;
    };
    let Some((device, _router)) = outside.behind(name, Nat::Symmetric) else {
        return;
    };
    // Each has one address, so it speaks no RFC 5780.
    let start = |number| TurnServer::start(&outside.lab, &outside.lan, (number, 3478), "");
    let (Some(first), Some(second)) = (or_skip(name, start(1)), or_skip(name, start(2))) else {
        return;
    };
    let [first, second] = [first, second].map(|server| (server.address().to_string(), server));
    let open = "one host alone told what it sees";
    Said::by(doctor(&outside.tools, &device).args(["--stun", &first.0]))
        .has("mapping", ("unknown", open, "--stun HOST:PORT"));
    let both = ["--stun", &first.0, "--stun", &second.0];
    Said::by(doctor(&outside.tools, &device).args(both))
        .has(
            "mapping",
            ("weak", "address-and-port-dependent: 2 places", ""),
        )
        .has(
            "filtering",
            ("unknown", "no second address to answer from: ", ""),
        );
    let both = format!("{} {}", first.0, second.0);
    Said::by(doctor(&outside.tools, &device).env("DHTNET_STUN", both)).has(
        "mapping",
        ("weak", "address-and-port-dependent: 2 places", ""),
    );
}
