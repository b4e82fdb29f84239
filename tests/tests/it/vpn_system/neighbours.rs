//! Two networks on one machine: exits side by side, an exit beside another network, and what two cannot
//! both have.

use dhtnet_tests::device::Device;
use dhtnet_tests::lab::{Command, Families, Host, Process};
use rustix::process::Signal;

use super::state::{assert_as_before, state};
use super::{Journey, assert_cut_off, assert_seen_as, journey};
use crate::pair::{LIMIT, assert_done, assert_failed, assert_words};
use crate::vpn::{LEAST_MTU, await_ping, await_up, dvpn, ping};

/// A network: its name, which its interface has too, the port of its server, the third byte of its pool.
struct Network {
    name: &'static str,
    port: u16,
    pool: u8,
}

const ONE: Network = Network {
    name: "one",
    port: 7001,
    pool: 71,
};
const TWO: Network = Network {
    name: "two",
    port: 7002,
    pool: 72,
};

impl Network {
    /// An address in its pool.
    fn address(&self, last: u8) -> std::net::IpAddr {
        [10, 80, self.pool, last].into()
    }

    /// `dvpn` of a device in this network.
    fn command(&self, journey: &Journey, device: &Device, text: &str) -> Command {
        let name = self.name;
        let text = format!("network = '{name}'\ninterface = '{name}'\n{text}");
        let file = journey.file(&format!("{name}-{}.toml", device.id()), &text);
        dvpn(device, &journey.tools).arg("-C").arg(file)
    }

    /// An exit that lets one device in.
    fn serve(
        &self,
        journey: &Journey,
        server: &Device,
        (client, text): (&Device, &str),
    ) -> Process {
        let text = format!(
            "exit_node = true\n{text}[address]\npool = '10.80.{}.0/24'\n",
            self.pool
        );
        let command = self.command(journey, server, &text);
        let bind = format!("[::]:{}", self.port);
        let command = command.args(["-l", "--bind", &bind, "--allow", client.id()]);
        let mut process = command.start().unwrap();
        await_up(&mut process);
        process
    }

    fn joining(
        &self,
        journey: &Journey,
        client: &Device,
        (server, text): (&Device, &str),
    ) -> Command {
        let address = format!("{}@{}:{}", server.id(), server.host().ipv4(), self.port);
        self.command(journey, client, text).arg(address)
    }

    fn join(&self, journey: &Journey, client: &Device, server: (&Device, &str)) -> Process {
        let mut process = self.joining(journey, client, server).start().unwrap();
        await_up(&mut process);
        process
    }
}

/// One more host of the local network, which goes to the far one by `way`.
fn host_that_goes_by(journey: &Journey, name: &str, way: &Host) -> Host {
    let host = journey.lab.host(name).unwrap();
    journey._lan.attach(&host, Families::Both).unwrap();
    let (v4, v6) = (way.ipv4(), way.ipv6());
    host.ip(&format!(
        "route add default via {v4}\nroute add default via {v6}"
    ))
    .unwrap();
    host
}

#[track_caller]
fn end(process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.finish(LIMIT).unwrap().code(), Some(143));
}

#[track_caller]
fn kill_and_clean_up(journey: &Journey, device: &Device, (mut process, name): (Process, &str)) {
    process.kill();
    drop(process);
    let down = journey.run(device, &["down", name]);
    assert_done(&down);
    assert_words(&down.stderr, &["undone"]);
}

#[test]
fn two_exits_on_one_machine_serve_side_by_side_and_either_may_end_first() {
    let name = "two_exits_on_one_machine_serve_side_by_side_and_either_may_end_first";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    let guest = host_that_goes_by(&journey, "guest", &journey.far);
    let guest = Device::new(guest, &journey.tools).unwrap();
    let stranger = host_that_goes_by(&journey, "stranger", server.host());
    let before = state(server.host());

    let one = ONE.serve(&journey, server, (client, ""));
    let two = TWO.serve(&journey, server, (&guest, ""));
    let full = "full_tunnel = true\n";
    let _first = ONE.join(&journey, client, (server, full));
    let _second = TWO.join(&journey, &guest, (server, full));
    for device in [client, &guest] {
        assert_seen_as(device.host(), server.host());
    }
    // It is a router for its tunnels only, and none from one to the other.
    assert_cut_off(&stranger);
    await_ping(client, ONE.address(1), LEAST_MTU);
    assert_ne!(ping(client, TWO.address(2), LEAST_MTU).code(), Some(0));

    end(one);
    assert_seen_as(guest.host(), server.host());
    assert_cut_off(&stranger);

    // The other way round, and killed: the client comes back by itself.
    let one = ONE.serve(&journey, server, (client, ""));
    kill_and_clean_up(&journey, server, (two, TWO.name));
    assert_seen_as(client.host(), server.host());
    assert_cut_off(&stranger);
    end(one);
    assert_as_before(&before, &state(server.host()), "the machine of two exits");
}

#[test]
fn a_client_of_an_exit_is_in_another_network_beside_it_and_takes_no_second_exit() {
    let name = "a_client_of_an_exit_is_in_another_network_beside_it_and_takes_no_second_exit";
    let Some(journey) = journey(name) else {
        return;
    };
    let (client, server) = (&journey.client, &journey.server);
    let office = host_that_goes_by(&journey, "office", &journey.far);
    office.ip("addr add 192.168.9.1/24 dev lo").unwrap();
    let office = Device::new(office, &journey.tools).unwrap();
    let before = state(client.host());

    let _one = ONE.serve(&journey, server, (client, ""));
    let offer = "[routes]\noffer = ['192.168.9.0/24']\n";
    let _two = TWO.serve(&journey, &office, (client, offer));
    let full = "full_tunnel = true\nkill_switch = true\n";
    let by_exit = ONE.join(&journey, client, (server, full));
    assert_seen_as(client.host(), server.host());

    let refused = TWO.joining(&journey, client, (&office, "full_tunnel = true\n"));
    let refused = refused.start().unwrap().finish(LIMIT).unwrap();
    assert_failed(&refused, 2, &["one carries all traffic", "dvpn down one"]);
    assert_seen_as(client.host(), server.host());

    let beside = TWO.join(&journey, client, (&office, ""));
    await_ping(client, TWO.address(1), LEAST_MTU);
    await_ping(client, [192, 168, 9, 1].into(), LEAST_MTU);
    await_ping(client, ONE.address(1), LEAST_MTU);
    assert_seen_as(client.host(), server.host());
    // The kill switch holds for all else.
    let outside = client.host().command("ping").args(["-c1", "-W2"]);
    let outside = outside.arg(office.host().ipv4().to_string());
    let outside = outside.start().unwrap().finish(LIMIT).unwrap();
    assert_ne!(outside.code(), Some(0), "{}", outside.text());

    end(by_exit);
    assert_seen_as(client.host(), client.host());
    await_ping(client, [192, 168, 9, 1].into(), LEAST_MTU);
    kill_and_clean_up(&journey, client, (beside, TWO.name));
    assert_as_before(&before, &state(client.host()), "the client of two networks");
}
