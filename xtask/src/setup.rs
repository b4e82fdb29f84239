//! `cargo xtask setup`: installs what the tests use and this machine lacks.
//!
//! Packages come by apt, as root and without questions. Elsewhere the list of what is missing is
//! the result: the tests that need it say so and are counted as skipped.

mod unpacked;
mod yardsticks;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::arguments::Arguments;
use crate::cargo::{cargo, has_subcommand};
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt, find_program};

/// One thing that tests call.
struct Need {
    /// A program, or a module of Debian's Python when `is_module`.
    name: &'static str,
    is_module: bool,
    package: &'static str,
    reason: &'static str,
}

/// Everything that is called by name, once.
const NEEDS: &[Need] = &[
    need(
        "ip",
        "iproute2",
        "network namespaces, veth pairs and addresses",
    ),
    need("tc", "iproute2", "delay, rate and loss on a link"),
    need("nft", "nftables", "firewalls and NATs between namespaces"),
    need(
        "ethtool",
        "ethtool",
        "switches offloads off on a link under test",
    ),
    need(
        "openssl",
        "openssl",
        "reads the identity file as a foreign implementation",
    ),
    need(
        "sshd",
        "openssh-server",
        "a real server behind the ProxyCommand test",
    ),
    need(
        "ssh",
        "openssh-client",
        "a real client in the ProxyCommand test",
    ),
    need("mosh", "mosh", "a yardstick of the shell benchmarks"),
    need(
        "socat",
        "socat",
        "a foreign peer for pipes and sockets, and a benchmark's yardstick",
    ),
    need(
        "ping",
        "iputils-ping",
        "shows that a link between namespaces is up",
    ),
    need("iperf3", "iperf3", "streams and datagrams through a tunnel"),
    need(
        "wireguard-go",
        "wireguard-go",
        "the VPN benchmark's yardstick",
    ),
    need("wg", "wireguard-tools", "sets the yardstick up"),
    need("openvpn", "openvpn", "a row of the VPN benchmark"),
    need(
        "dig",
        "bind9-dnsutils",
        "asks the name server of a VPN as a foreign client",
    ),
    need(
        "dbus-daemon",
        "dbus-daemon",
        "a bus for systemd-resolved in a test of names",
    ),
    need(
        "setpriv",
        "util-linux",
        "takes a privilege away from a tool",
    ),
    need("ps", "procps", "shows that no process was left behind"),
    need("tmux", "tmux", "a terminal that tests of dsh type into"),
    need(
        "vi",
        "vim-tiny",
        "a full-screen program in a terminal of dsh",
    ),
    need("less", "less", "a pager in a terminal of dsh"),
    need("top", "procps", "a table that moves in a terminal of dsh"),
    need("git", "git", "clones and pushes over dsh"),
    need("rsync", "rsync", "copies trees over dsh"),
    need(
        "miniupnpd",
        "miniupnpd-nftables",
        "a home router that maps ports by UPnP, NAT-PMP and PCP",
    ),
    need(
        "conntrack",
        "conntrack",
        "makes a router forget its connections, and shows what is left on it",
    ),
    need(
        "turnserver",
        "coturn",
        "a TURN relay between devices that have no direct path",
    ),
    need(
        "transmission-daemon",
        "transmission-daemon",
        "a foreign node that joins the DHT",
    ),
    module(
        "libtorrent",
        "python3-libtorrent",
        "a foreign node that stores and reads in the DHT",
    ),
    module(
        "opendht",
        "python3-opendht",
        "the DHT benchmark's yardstick",
    ),
];

const fn need(name: &'static str, package: &'static str, reason: &'static str) -> Need {
    Need {
        name,
        is_module: false,
        package,
        reason,
    }
}

const fn module(name: &'static str, package: &'static str, reason: &'static str) -> Need {
    Need {
        is_module: true,
        ..need(name, package, reason)
    }
}

impl Need {
    fn is_installed(&self) -> bool {
        if !self.is_module {
            return find_program(self.name).is_ok();
        }
        // Debian's own interpreter: its packages belong to no other.
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", &format!("import {}", self.name)]);
        let output = python.stderr(Stdio::null()).status();
        output.is_ok_and(|status| status.success())
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    check: bool,
    ci: bool,
    bench: bool,
}

impl Options {
    /// `--check` looks and changes nothing; `--ci` adds the cargo tools that are built from source,
    /// `--bench` the yardsticks that this Debian has no package of.
    pub(crate) fn parse(arguments: &mut Arguments) -> Self {
        Self {
            check: arguments.flag("--check"),
            ci: arguments.flag("--ci"),
            bench: arguments.flag("--bench"),
        }
    }
}

/// Installs, or with `--check` lists, what is missing.
pub(crate) fn run(options: Options, interrupt: &Interrupt) -> Outcome {
    for need in NEEDS {
        let found = if need.is_installed() {
            "found  "
        } else {
            "missing"
        };
        println!(
            "{found}  {:19} {:19} {}",
            need.name, need.package, need.reason
        );
    }
    unpacked::list();
    yardsticks::list();
    if options.check {
        let missing = missing_packages(Need::is_installed);
        return match missing.as_slice() {
            [] => Ok(()),
            names => Err(Failure::new(format!("missing: {}", names.join(" ")))),
        };
    }
    ensure(interrupt)?;
    if options.ci {
        install_cargo_tool("nextest", "cargo-nextest", interrupt)?;
        install_cargo_tool("deny", "cargo-deny", interrupt)?;
    }
    if options.bench {
        yardsticks::ensure(interrupt)?;
    }
    println!("setup: done");
    Ok(())
}

/// Installs what is missing, or says in one line why it cannot.
pub(crate) fn ensure(interrupt: &Interrupt) -> Outcome {
    install(interrupt)?;
    unpacked::fetch(interrupt)
}

fn install(interrupt: &Interrupt) -> Outcome {
    let missing = missing_packages(Need::is_installed);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if find_program("apt-get").is_err() {
        return Err(Failure::new(format!(
            "no apt-get here; install by hand: {names}"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(format!(
            "not root; run: apt-get install {names}"
        )));
    }
    let _no_services = ServicesStayDown::new()?;
    apt(&["update", "-q"], interrupt)?;
    let install_all = |packages: &[&'static str]| {
        let words = ["install", "-q", "-y", "--no-install-recommends"];
        apt(&[&words, packages].concat(), interrupt)
    };
    let Err(failure) = install_all(&missing) else {
        return Ok(());
    };
    if failure.is_interrupt() {
        return Err(failure);
    }
    // One that this system does not have keeps none of the others away.
    let mut refused = Vec::new();
    for package in missing {
        match install_all(&[package]) {
            Err(failure) if failure.is_interrupt() => return Err(failure),
            Err(_) => refused.push(package),
            Ok(()) => {}
        }
    }
    match refused.as_slice() {
        [] => Ok(()),
        names => Err(Failure::new(format!("not installed: {}", names.join(" ")))),
    }
}

/// The packages of what `is_installed` does not know, each once, in the table's order.
fn missing_packages(is_installed: impl Fn(&Need) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in NEEDS {
        if !is_installed(need) && !packages.contains(&need.package) {
            packages.push(need.package);
        }
    }
    packages
}

fn apt(words: &[&str], interrupt: &Interrupt) -> Outcome {
    let mut command = Command::new("apt-get");
    command
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_MODE", "a");
    let status = process::run(&mut command, interrupt)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "apt-get {} failed ({status})",
            words.join(" ")
        )))
    }
}

fn install_cargo_tool(subcommand: &str, package: &str, interrupt: &Interrupt) -> Outcome {
    if has_subcommand(subcommand) {
        return Ok(());
    }
    install_from_source(package, interrupt)
}

fn install_from_source(package: &str, interrupt: &Interrupt) -> Outcome {
    println!("building {package}: this takes minutes");
    let status = process::run(&mut cargo(&["install", "--locked", package]), interrupt)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("installing {package} failed")))
    }
}

/// While this lives, installing a package starts no service: the tests need sshd's program, not a
/// shell server on this machine.
struct ServicesStayDown {
    written: bool,
}

const POLICY_FILE: &str = "/usr/sbin/policy-rc.d";

impl ServicesStayDown {
    fn new() -> Outcome<Self> {
        if Path::new(POLICY_FILE).exists() {
            return Ok(Self { written: false });
        }
        fs::write(POLICY_FILE, "#!/bin/sh\nexit 101\n").tried(|| format!("write {POLICY_FILE}"))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(POLICY_FILE, executable).tried(|| format!("chmod {POLICY_FILE}"))?;
        Ok(Self { written: true })
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.written && fs::remove_file(POLICY_FILE).is_err() {
            eprintln!("xtask: could not remove {POLICY_FILE}; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_when_all_programs_are_there() {
        assert!(missing_packages(|_| true).is_empty());
    }

    #[test]
    fn a_package_of_two_missing_programs_is_named_once() {
        let missing = missing_packages(|need| !matches!(need.name, "ip" | "tc" | "socat"));
        assert_eq!(missing, ["iproute2", "socat"]);
    }
}
