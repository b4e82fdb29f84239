//! Networks with one fault each, and the doctor on a host in them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Host, INTERFACE, Lab, Lan, Process};
use dhtnet_tests::nat_router::{Nat, NatRouter};
use dhtnet_tests::ssh::find;
use serde_json::Value;

use crate::dht_segment::PORT;
use crate::pair::{LIMIT, tools};

/// How long a node of the DHT may take until it is told of its neighbours.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Longest that a server may take to listen.
const START: Duration = Duration::from_secs(15);

/// Nodes of the DHT on a network outside. They end first, the networks last.
pub(super) struct Outside {
    pub(super) entries: Vec<SocketAddrV4>,
    nodes: Vec<Process>,
    hosts: Vec<Host>,
    pub(super) lan: Lan,
    pub(super) tools: Tools,
    pub(super) lab: Lab,
}

/// A network with this many nodes, each in a /24 of its own; `None` where there can be no lab.
pub(super) fn outside(name: &str, nodes: u8) -> Option<Outside> {
    let lab = lab_or_skip(name)?;
    if find("nft").is_none() {
        report(name, "nft is missing: install nftables (cargo xtask setup)");
        return None;
    }
    let mut outside = Outside {
        entries: Vec::new(),
        nodes: Vec::new(),
        hosts: Vec::new(),
        lan: lab.lan().unwrap(),
        tools: tools(),
        lab,
    };
    for number in 0..nodes {
        outside.add_node(number);
    }
    if nodes > 0 {
        std::thread::sleep(SETTLE);
    }
    Some(outside)
}

impl Outside {
    fn add_node(&mut self, number: u8) {
        let address = Ipv4Addr::new(11, 0, 200 + number, 1);
        let host = self.host("node", address);
        let own = SocketAddrV4::new(address, PORT);
        let settings = Settings {
            bind: own,
            bootstrap: self.entries.first().copied(),
            network: None,
            home: &self.lab.folder().join(format!("node-{number}")),
        };
        let node = command(&host, &self.tools, settings).unwrap().arg("run");
        self.nodes.push(node.start().unwrap());
        self.hosts.push(host);
        self.entries.push(own);
    }

    /// A host on the network with this address.
    pub(super) fn host(&self, name: &str, address: Ipv4Addr) -> Host {
        let host = self.lab.host(name).unwrap();
        self.lan.attach(&host, Families::V4).unwrap();
        host.ip(&format!(
            "addr flush dev {INTERFACE}\naddr add {address}/16 dev {INTERFACE}"
        ))
        .unwrap();
        host
    }

    /// A device on the network itself, without a NAT.
    pub(super) fn device(&self) -> Device {
        let host = self.host("device", Ipv4Addr::new(11, 0, 50, 1));
        host.ip(&format!("route add default dev {INTERFACE}"))
            .unwrap();
        Device::new(host, &self.tools).unwrap()
    }

    /// A device behind a router of this kind.
    pub(super) fn behind(&self, name: &str, nat: Nat) -> Option<(Device, NatRouter)> {
        let router = match NatRouter::new(&self.lab, &self.lan, (nat, 1)) {
            Ok(router) => router,
            Err(error @ RouterError::Missing(_)) => {
                report(name, &error.to_string());
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let host = router.inside(&self.lab, 10).unwrap();
        Some((Device::new(host, &self.tools).unwrap(), router))
    }

    /// The doctor on a device, who is told of the nodes.
    pub(super) fn doctor(&self, device: &Device) -> Command {
        let entries = self
            .entries
            .iter()
            .flat_map(|at| ["-b".to_owned(), at.to_string()]);
        doctor(&self.tools, device).args(entries.collect::<Vec<_>>())
    }
}

/// The doctor on a device, who is told of nobody.
pub(super) fn doctor(tools: &Tools, device: &Device) -> Command {
    let program = device.host().command(tools.path("dhtnode"));
    device.with_home(program).args(["doctor", "--json"])
}

/// Loads rules into a host.
pub(super) fn rule(host: &Host, rules: &str) {
    let nft = host.command("nft").args(["-f", "-"]).stdin_bytes(rules);
    let loaded = nft.start().unwrap().finish(LIMIT).unwrap();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.stderr);
}

/// What the doctor said.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    json: Value,
}

impl Said {
    /// Lets the doctor speak, and checks what is true of every report.
    #[track_caller]
    pub(super) fn by(command: Command) -> Self {
        let finished = command.start().unwrap().finish(LIMIT).unwrap();
        let text = finished.text();
        let json: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", finished.stderr));
        let said = Self {
            code: finished.code(),
            json,
        };
        let findings = said.json["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 20, "{findings:#?}");
        for finding in findings {
            let is_ok = finding["status"] == "ok";
            assert_eq!(finding["next"].is_null(), is_ok, "{finding}");
            assert!(!finding["found"].as_str().unwrap().is_empty(), "{finding}");
        }
        let broken = said.json["connection"] == "broken";
        assert_eq!(said.code, Some(i32::from(broken)), "{}", finished.stderr);
        assert_eq!(finished.stderr.contains("a connection by key"), broken);
        said
    }

    /// Checks one finding: its status, a part of what was found, and of the next step.
    #[track_caller]
    pub(super) fn has(&self, name: &str, (status, found, next): (&str, &str, &str)) -> &Self {
        let findings = self.json["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["name"] == name);
        let finding = finding.unwrap_or_else(|| panic!("no {name}: {findings:#?}"));
        let said = serde_json::to_string_pretty(&self.json).unwrap();
        assert_eq!(finding["status"], status, "{name}: {said}");
        let part = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        assert!(part("found").contains(found), "{name}: {finding}");
        assert!(part("next").contains(next), "{name}: {finding}");
        self
    }
}

impl Said {
    /// A detail of a finding.
    #[track_caller]
    pub(super) fn detail(&self, name: &str, key: &str) -> &Value {
        let findings = self.json["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["name"] == name);
        &finding.unwrap()["details"][key]
    }
}

/// A STUN and TURN server, coturn, with two addresses (RFC 5780).
pub(super) struct Server {
    pub(super) address: SocketAddrV4,
    _process: Process,
    host: Host,
}

/// Its user and password.
pub(super) const USER: &str = "ada";
pub(super) const PASSWORD: &str = "countess";

impl Server {
    /// On this port; `None` where coturn is missing.
    pub(super) fn start(name: &str, outside: &Outside, port: u16) -> Option<Self> {
        let Some(program) = find("turnserver") else {
            report(
                name,
                "turnserver is missing: install coturn (cargo xtask setup)",
            );
            return None;
        };
        let (first, second) = (Ipv4Addr::new(11, 0, 210, 1), Ipv4Addr::new(11, 0, 211, 1));
        let host = outside.host("turn", first);
        host.ip(&format!("addr add {second}/16 dev {INTERFACE}"))
            .unwrap();
        let folder = outside.lab.folder().join("turn");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("turn.conf");
        let text = format!(
            "listening-ip={first}\nlistening-ip={second}\nrelay-ip={first}\n\
             listening-port={port}\nalt-listening-port={}\nmin-port=50000\nmax-port=50999\n\
             realm=lab\nlt-cred-mech\nuser={USER}:{PASSWORD}\nfingerprint\nno-tls\nno-dtls\nno-cli\n\
             userdb={folder}/users\npidfile={folder}/pid\nlog-file=stdout\nsimple-log\nverbose\n",
            port + 1,
            folder = folder.display()
        );
        std::fs::write(&file, text).unwrap();
        // Its log goes to the standard output; the other one is read here.
        let run = "exec \"$1\" -c \"$2\" >&2";
        let command = host.command("sh").args(["-c", run, "sh"]);
        let mut process = command.arg(program).arg(&file).start().unwrap();
        process
            .await_line("that it listens", START, |line| {
                line.contains("(admin thread)").then_some(())
            })
            .unwrap();
        Some(Self {
            address: SocketAddrV4::new(first, port),
            _process: process,
            host,
        })
    }
}

impl Server {
    /// Announces it in the DHT as a relay at this port.
    pub(super) fn announce(&self, outside: &Outside, port: u16) {
        let settings = Settings {
            bind: SocketAddrV4::new(*self.address.ip(), 0),
            bootstrap: outside.entries.first().copied(),
            network: None,
            home: &outside.lab.folder().join("announcer"),
        };
        let announce = command(&self.host, &outside.tools, settings).unwrap();
        let announce = announce.args(["announce", "dhtnet 1 relays", "--port"]);
        let announced = announce.arg(port.to_string()).start().unwrap();
        let announced = announced.finish(LIMIT).unwrap();
        assert_eq!(announced.code(), Some(0), "{}", announced.stderr);
    }
}

/// A file with this password that only its owner can read.
pub(super) fn password_file(device: &Device, password: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = device.home().join("password");
    std::fs::write(&file, password).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A library that sets the clock of a program back by a day; `None` without a compiler.
pub(super) fn slow_clock(name: &str, lab: &Lab) -> Option<PathBuf> {
    const SOURCE: &str = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n\
        #include <sys/syscall.h>\n\
        int clock_gettime(clockid_t which, struct timespec *to) {\n\
        int failed = syscall(SYS_clock_gettime, which, to);\n\
        if (!failed && which == CLOCK_REALTIME) to->tv_sec -= 86400;\n return failed;\n}\n";
    let Some(compiler) = find("cc") else {
        report(name, "cc is missing: install gcc");
        return None;
    };
    let (source, library) = (lab.folder().join("clock.c"), lab.folder().join("clock.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built = std::process::Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
    Some(library)
}
