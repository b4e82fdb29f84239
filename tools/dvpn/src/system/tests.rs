//! The kernel's own state, before and after, in a network namespace of its own.
//!
//! A test starts this executable again inside `unshare --net --mount`, with a copy of
//! `/etc/resolv.conf` mounted over the real one, so that nothing of the machine is touched.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod neighbours;

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::*;
use crate::plan::{DnsPlan, Forwarding, KillSwitch, NODE_MARK, ResolvConf, network_of};

/// Set in the process inside the namespace.
const INSIDE: &str = "DVPN_TEST_INSIDE_NAMESPACE";

const NAME: &str = "dvpn0";

/// Runs `work` in a namespace with one Ethernet interface, `eth0` 192.0.2.2/24, and the
/// interface [`NAME`]. `test` is the name of the calling test.
fn inside(test: &str, work: impl FnOnce(&Home)) {
    if std::env::var_os(INSIDE).is_some() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().as_os_str().to_owned();
        let resolve = |name: &str| (name == "DHTNET_HOME").then(|| path.clone());
        work(&Home::resolve(resolve, None).unwrap());
        return;
    }
    let made = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return skip(test, "no network namespace can be made here");
    }
    let setup = format!(
        "set -e
         f=$(mktemp); printf 'nameserver 192.0.2.1\\nsearch lan\\n' > $f
         mount --make-rprivate / ; mount --bind $f /etc/resolv.conf; rm -f $f
         for s in all default; do echo 0 > /proc/sys/net/ipv6/conf/$s/accept_dad; done
         ip link set lo up
         ip link add eth0 type veth peer name far
         ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad
         ip link set eth0 up; ip link set far up
         ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1
         ip tuntap add {NAME} mode tun
         exec \"$0\" --exact system::tests::{test} --nocapture --test-threads=1"
    );
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", &setup])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Says that a test cannot run here, as all tests of the project do.
fn skip(test: &str, why: &str) {
    use std::io::Write;
    let line = format!("SKIPPED: {test}: {why}\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("DHTNET_SKIP_LOG") {
        let mut log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// Everything that a VPN may touch, as text; what an interface of our own brings along left out.
fn state() -> String {
    let mut text = String::new();
    let commands = [
        "ip -o addr",
        "ip -4 -o route show table all",
        "ip -6 -o route show table all",
        "ip -4 rule",
        "ip -6 rule",
        "nft list ruleset",
    ];
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{command}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let _ = writeln!(text, "{command}: {line}");
        }
    }
    for root in ["net/ipv4", "net/ipv6"] {
        append_knobs(&Path::new("/proc/sys").join(root), &mut text);
    }
    text.push_str(&fs::read_to_string("/etc/resolv.conf").unwrap());
    text
}

fn append_knobs(folder: &Path, text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            append_knobs(&path, text);
        } else if let Ok(value) = fs::read_to_string(&path) {
            let _ = writeln!(text, "{}={}", path.display(), value.trim());
        }
    }
}

/// The lines that differ, for a message.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|line| format!("- {line}\n"));
    let come = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}

#[track_caller]
fn assert_as_before(before: &str, when: &str) {
    let after = state();
    assert!(before == after, "{when}:\n{}", difference(before, &after));
}

/// Takes the interface away and makes it anew, as the end of its process would.
fn renew_interface() {
    renew_interface_called(NAME);
}

fn renew_interface_called(name: &str) {
    let ip = |words: &[&str]| Command::new("ip").args(words).output().unwrap().status;
    // It may not be there yet.
    ip(&["link", "del", name]);
    assert!(ip(&["tuntap", "add", name, "mode", "tun"]).success());
}

fn networks(texts: &[&str]) -> Vec<dhtnet_identity::target::Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A plan that uses everything at once.
fn everything() -> Plan {
    Plan {
        addresses: vec![
            ("10.80.77.2".parse().unwrap(), 24),
            ("fd5a::2".parse().unwrap(), 64),
        ],
        mtu: 1_340,
        routes: networks(&["0.0.0.0/0", "::/0", "10.9.0.0/16"]),
        mark: Some(NODE_MARK),
        forwarding: Forwarding {
            exit: true,
            subnets: networks(&["192.0.2.0/24"]),
            isolated: true,
            ..Forwarding::default()
        },
        kill_switch: KillSwitch::On,
        dns: Some(DnsPlan {
            servers: vec!["10.80.77.2".parse().unwrap()],
            domains: Vec::new(),
            resolv_conf: ResolvConf::Rewrite,
        }),
        ..Plan::of_interface(NAME)
    }
}

fn claim(home: &Home) -> Claimed {
    Instance::claim(home, NAME, Path::new("/run/x.sock")).unwrap()
}

#[test]
fn everything_is_made_and_put_back() {
    inside("everything_is_made_and_put_back", |home| {
        let before = state();
        let mut applied = claim(home).instance.apply(&everything()).unwrap();
        let during = state();
        for sign in [
            "10.80.77.2/24",
            "fd5a::2/64",
            "10.9.0.0/16 dev dvpn0",
            "unreachable 10.80.77.0/24 table",
            "unreachable fd5a::/64",
            "not from all fwmark 0x64687670 lookup",
            "from all lookup main suppress_prefixlength 0",
            "table inet dhtnet_dvpn0",
            "net/ipv4/ip_forward=1",
            "net/ipv6/conf/all/forwarding=1",
            "nameserver 10.80.77.2",
        ] {
            assert!(
                during.contains(sign),
                "no {sign:?} in\n{}",
                difference(&before, &during)
            );
        }
        let journal = home.state().join("vpn").join("dvpn0.journal");
        let mode = fs::metadata(&journal).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
        applied.undo().unwrap();
        assert!(!journal.exists());
        renew_interface();
        assert_as_before(&before, "after undoing");
    });
}

#[test]
fn a_failure_at_any_step_leaves_everything_as_it_was() {
    inside(
        "a_failure_at_any_step_leaves_everything_as_it_was",
        |home| {
            let before = state();
            let mut failing = 0;
            loop {
                let step = Cell::new(0);
                let gate = |_: &Change| {
                    step.set(step.get() + 1);
                    match step.get() == failing + 1 {
                        true => Err(SystemError::SecondFullTunnel { name: None }),
                        false => Ok(()),
                    }
                };
                let applied = claim(home).instance.apply_gated(&everything(), gate);
                if let Ok(mut applied) = applied {
                    assert_eq!(failing, step.get());
                    assert!(failing > 15, "only {failing} steps");
                    applied.undo().unwrap();
                    break;
                }
                renew_interface();
                assert_as_before(&before, &format!("after a failure at step {failing}"));
                failing += 1;
            }
        },
    );
}

#[test]
fn what_a_killed_process_left_is_undone_by_down_and_by_the_next_claim() {
    inside(
        "what_a_killed_process_left_is_undone_by_down_and_by_the_next_claim",
        |home| {
            let before = state();
            for by_down in [true, false] {
                let mut applied = claim(home).instance.apply(&everything()).unwrap();
                // A process that is killed undoes nothing, and the kernel takes its lock and interface.
                applied.is_undone = true;
                drop(applied);
                renew_interface();
                assert_ne!(
                    before,
                    state(),
                    "rules, tables and the resolver outlive the interface"
                );
                if by_down {
                    assert_eq!(down(home, NAME).unwrap(), Down::CleanedUp);
                } else {
                    let claimed = claim(home);
                    assert!(claimed.has_cleaned_up);
                }
                assert_as_before(&before, "after cleaning up");
                assert!(matches!(
                    down(home, NAME).unwrap(),
                    Down::WasNotUp | Down::CleanedUp
                ));
            }
        },
    );
}

#[test]
fn a_changed_plan_changes_the_difference_and_still_goes_back_to_the_beginning() {
    inside(
        "a_changed_plan_changes_the_difference_and_still_goes_back_to_the_beginning",
        |home| {
            let before = state();
            let mut plan = everything();
            let mut applied = claim(home).instance.apply(&plan).unwrap();
            plan.routes = networks(&["10.9.0.0/16", "10.10.0.0/16"]);
            plan.kill_switch = KillSwitch::Off;
            plan.mtu = 1_400;
            plan.addresses[0].0 = "10.80.77.3".parse().unwrap();
            applied.change(&plan).unwrap();
            let during = state();
            assert!(during.contains("10.10.0.0/16 dev dvpn0"));
            assert!(during.contains("10.80.77.3/24") && !during.contains("10.80.77.2/24"));
            assert!(!during.contains("kill_switch") && during.contains("masquerade"));
            assert!(!during.contains("suppress_prefixlength"));
            assert!(during.contains("net/ipv4/ip_forward=1"));
            plan.forwarding = Forwarding::default();
            plan.dns = None;
            applied.change(&plan).unwrap();
            let during = state();
            assert!(during.contains("net/ipv4/ip_forward=0") && !during.contains("masquerade"));
            assert!(during.contains("nameserver 192.0.2.1"));
            applied.change(&everything()).unwrap();
            drop(applied);
            renew_interface();
            assert_as_before(&before, "after three plans");
        },
    );
}

#[test]
fn names_addresses_and_networks_that_are_taken_are_told() {
    inside(
        "names_addresses_and_networks_that_are_taken_are_told",
        |home| {
            let before = state();
            let apply = |plan: &Plan| claim(home).instance.apply(plan).map(drop);
            let mut plan = Plan::of_interface(NAME);
            plan.addresses = vec![("192.0.2.2".parse().unwrap(), 32)];
            assert!(matches!(
                apply(&plan),
                Err(SystemError::AddressTaken { .. })
            ));
            plan.addresses = vec![("192.0.2.7".parse().unwrap(), 24)];
            assert!(matches!(apply(&plan), Err(SystemError::Overlap { .. })));
            plan.addresses.clear();
            plan.interface = "dvpn9".into();
            assert!(matches!(apply(&plan), Err(SystemError::NoInterface { .. })));
            assert!(matches!(
                privilege::check_free("eth0"),
                Err(SystemError::InterfaceTaken { .. })
            ));
            let held = claim(home);
            assert!(matches!(
                Instance::claim(home, NAME, Path::new("/x")),
                Err(SystemError::Running { pid: Some(_), .. })
            ));
            drop(held);
            assert!(matches!(
                Instance::claim(home, "../x", Path::new("/x")),
                Err(SystemError::BadName { .. })
            ));
            assert_as_before(&before, "after refusals");
        },
    );
}

#[test]
fn what_clashes_is_left_out_and_what_cannot_be_leaves_the_former_plan_in_force() {
    inside(
        "what_clashes_is_left_out_and_what_cannot_be_leaves_the_former_plan_in_force",
        |home| {
            let before = state();
            let mut plan = Plan::of_interface(NAME);
            plan.mark = Some(NODE_MARK);
            let second = "10.80.78.2".parse().unwrap();
            plan.addresses = vec![("10.80.77.2".parse().unwrap(), 24), (second, 24)];
            plan.routes = networks(&["10.9.0.0/16", "10.10.0.0/16"]);
            plan.sources.insert(plan.routes[1], second);
            let mut applied = claim(home).instance.apply(&plan).unwrap();
            assert_eq!(applied.warnings(), [""; 0]);
            let first = state();
            let source = |route: &str| {
                let line = first.lines().find(|line| line.contains(route));
                line.unwrap().contains("src 10.80.78.2")
            };
            assert!(source("10.10.0.0/16 dev dvpn0"), "{first}");
            assert!(!source("10.9.0.0/16 dev dvpn0"), "{first}");

            let good = plan.clone();
            plan.routes.extend(networks(&["192.0.2.0/24"]));
            applied.change(&plan).unwrap();
            let [warning] = applied.warnings() else {
                panic!("one warning: {:?}", applied.warnings());
            };
            assert!(warning.contains("192.0.2.0/24") && warning.contains("eth0"));
            assert!(!state().contains("192.0.2.0/24 dev dvpn0"));

            plan.addresses.push(("192.0.2.2".parse().unwrap(), 32));
            let refused = applied.change(&plan);
            assert!(matches!(refused, Err(SystemError::AddressTaken { .. })));
            assert!(applied.is_up());
            let still = state();
            assert!(still.contains("10.10.0.0/16 dev dvpn0") && !still.contains("192.0.2.2/32"));
            // A machine that comes into a network that we have keeps going.
            let moved = ["addr", "add", "10.80.77.9/24", "dev", "eth0"];
            let moved = Command::new("ip").args(moved).status().unwrap();
            assert!(moved.success());
            applied.change(&good).unwrap();
            let back = ["addr", "del", "10.80.77.9/24", "dev", "eth0"];
            assert!(Command::new("ip").args(back).status().unwrap().success());
            applied.undo().unwrap();
            assert!(!applied.is_up());
            renew_interface();
            assert_as_before(&before, "after undoing");
        },
    );
}

#[test]
fn what_somebody_else_has_set_since_is_left_to_them() {
    inside("what_somebody_else_has_set_since_is_left_to_them", |home| {
        let mut applied = claim(home).instance.apply(&everything()).unwrap();
        fs::write("/etc/resolv.conf", "nameserver 203.0.113.1\n").unwrap();
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        applied.undo().unwrap();
        let after = state();
        assert!(after.contains("nameserver 203.0.113.1") && !after.contains("192.0.2.1\n"));
        assert!(after.contains("net/ipv4/ip_forward=0"));
    });
}

#[test]
fn the_network_of_an_address_is_its_first_bits() {
    let network = |address: &str, prefix| network_of(address.parse().unwrap(), prefix);
    assert_eq!(network("10.80.77.9", 24), "10.80.77.0/24".parse().ok());
    assert_eq!(network("10.80.77.9", 0), "0.0.0.0/0".parse().ok());
    assert_eq!(network("fd5a::9", 64), "fd5a::/64".parse().ok());
    assert_eq!(network("10.80.77.9", 33), None);
    assert_eq!(network("fd5a::9", 129), None);
}
