//! Other tools on devices that `dvpn` joins: their connections do not go through the tunnel.

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::{Finished, Process};
use dhtnet_tests::nat_router::Nat;

use crate::hole_punching::{Street, street};
use crate::pair::{LIMIT, PORT, assert_done, tools};
use crate::vpn::{LEAST_MTU, SERVER, TUNNEL, addresses, await_ping, await_up, dvpn};

/// `dvpn` on both devices of a street, up.
fn join(street: &Street) -> [Process; 2] {
    let tools = tools();
    let (server, client) = (&street.listener, &street.caller);
    let words = ["--bootstrap", &street.entry];
    let listening = dvpn(server, &tools).args(["-l", "-vv", "--allow", client.id()]);
    let mut listening = listening.args(words).start().unwrap();
    listening
        .await_line("that it can be found", LIMIT, |line| {
            line.contains("presence record stored").then_some(())
        })
        .unwrap();
    let mut joining = dvpn(client, &tools).args(words).arg(server.id());
    joining = joining.arg("-vv");
    let mut joining = joining.start().unwrap();
    await_up(&mut joining);
    await_ping(client, SERVER.into(), LEAST_MTU);
    [listening, joining]
}

/// `dnc -l` beside it, once it can be found.
fn listen(street: &Street) -> Process {
    let bind = format!("0.0.0.0:{PORT}");
    let listener = street
        .listener
        .dnc()
        .args(["-l", "-k", "-vv", "--no-mdns", "--no-portmap"])
        .args(["--bind", &bind, "--bootstrap", &street.entry])
        .args(["--allow", street.caller.id()]);
    let mut listener = street.listener.listen(listener).unwrap();
    listener
        .await_line("that it can be found", LIMIT, |line| {
            line.contains("presence record stored").then_some(())
        })
        .unwrap();
    listener
}

/// `dnc ping`, long enough for a better path to be found and taken.
fn ping(street: &Street, peer: &str) -> Finished {
    let words = ["ping", "-vv", "--no-mdns", "-c", "12", "--interval", "0.25"];
    let caller = street.caller.dnc().args(words).arg("--json");
    let caller = caller.args(["--bootstrap", &street.entry, peer]);
    let done = caller.start().unwrap().finish(LIMIT).unwrap();
    assert_done(&done);
    done
}

/// The beginnings of addresses inside the tunnel, as they are written in lists and logs.
fn inside(device: &Device) -> [String; 2] {
    let (_, v6) = addresses(device);
    let v6 = v6.to_string();
    // The /48 that a network shares.
    let network: Vec<&str> = v6.split(':').take(3).collect();
    ["10.80.77.".to_owned(), network.join(":")]
}

/// Neither the paths nor anything that was offered or called is inside the tunnel.
#[track_caller]
fn assert_outside(street: &Street, what: &str, text: &str) {
    for address in inside(&street.caller) {
        let line = text.lines().find(|line| line.contains(&address));
        assert!(line.is_none(), "{what}: {line:?}");
    }
}

#[test]
fn addresses_of_the_tunnel_are_neither_offered_nor_called() {
    let name = "addresses_of_the_tunnel_are_neither_offered_nor_called";
    let Some(street) = street(name, [Nat::PortRestricted; 2], 1) else {
        return;
    };
    let joined = join(&street);
    let listener = listen(&street);
    let called = ping(&street, street.listener.id());
    // What the log shows of candidates, it shows of those of the local network too.
    assert!(listener.stderr().contains("192.168.1.10:"));
    assert!(called.text().contains("11.0.1.101"), "{}", called.text());
    assert_outside(&street, "the pings", &called.text());
    assert_outside(&street, "the caller", &called.stderr);
    assert_outside(&street, "the listener", &listener.stderr());
    for process in &joined {
        let talk = process.stderr();
        let of_network = |line: &&str| {
            line.contains("presence record stored") || line.contains("trying an address")
        };
        let lines: Vec<&str> = talk.lines().filter(of_network).collect();
        assert_outside(&street, "dvpn", &lines.join("\n"));
    }
}

#[test]
fn an_address_of_the_tunnel_that_a_peer_offers_is_not_called_unless_the_user_names_it() {
    let name = "an_address_of_the_tunnel_that_a_peer_offers_is_not_called_unless_the_user_names_it";
    let Some(street) = street(name, [Nat::PortRestricted; 2], 1) else {
        return;
    };
    let _joined = join(&street);
    // To the programs of that device it is an interface like any other.
    let unmark = street.listener.host().command("ip");
    let unmark = unmark.args(["link", "set", "dev", TUNNEL, "alias", ""]);
    assert_done(&unmark.start().unwrap().finish(LIMIT).unwrap());
    let mut listener = listen(&street);
    listener
        .await_line("that it offers the address", LIMIT, |line| {
            (line.contains("presence record stored") && line.contains("10.80.77.1:")).then_some(())
        })
        .unwrap();
    let called = ping(&street, street.listener.id());
    assert_outside(&street, "the pings", &called.text());
    let refused = called.stderr.contains("inside a tunnel of ours");
    assert!(refused, "{}", called.stderr);

    let named = format!("{}@{SERVER}:{PORT}", street.listener.id());
    let called = ping(&street, &named);
    let first = called.text();
    let first = first.lines().next().unwrap_or_default();
    assert!(first.contains("connected"), "{first}");
    let tried = format!("address={SERVER}:{PORT}");
    assert!(called.stderr.contains(&tried), "{}", called.stderr);
}
