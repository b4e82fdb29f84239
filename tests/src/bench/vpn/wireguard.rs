//! wireguard-go and boringtun between two hosts: two programs that are set up alike, by `wg`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::{LIMIT, Maker, PORT, Tunnel, await_sign, other, output};
use crate::bench::BenchError;
use crate::device::Tools;
use crate::lab::{Host, Lab};
use crate::ssh::find;

/// Where both have their control sockets. Hosts of a lab share it, so names of interfaces are unlike
/// any other's.
const SOCKETS: &str = "/var/run/wireguard";

/// From which version on wireguard-go uses the offloads of the kernel: the release of December 2023,
/// which calls itself so.
const OFFLOADS_SINCE: u32 = 20_230_223;

/// One of the two, and how it is called.
pub(super) struct Program {
    path: PathBuf,
    words: &'static [&'static str],
    /// Of its interfaces' names.
    prefix: &'static str,
    /// As it says itself.
    pub(super) version: String,
}

impl Program {
    /// The program of `maker`. The wireguard-go with offloads is the one that `cargo xtask setup
    /// --bench` unpacked beside the tools, or the installed one where that is new enough.
    pub(super) fn find(maker: Maker, tools: Option<&Tools>) -> Result<Self, BenchError> {
        let missing = |reason: &str| maker.missing(reason);
        find("wg").ok_or_else(|| missing("wg is not installed"))?;
        if maker == Maker::Boringtun {
            let path = find("boringtun-cli");
            let path = path
                .ok_or_else(|| missing("boringtun-cli is not built: cargo xtask setup --bench"))?;
            return Ok(Self {
                version: version(&path).ok_or_else(|| missing("boringtun-cli does not run"))?,
                path,
                words: &["-f", "--disable-drop-privileges"],
                prefix: "bt",
            });
        }
        let installed = find("wireguard-go");
        let wants_offloads = maker == Maker::OffloadingWireguardGo;
        let mut all = unpacked(tools).into_iter().chain(installed);
        let found = all.find_map(|path| {
            let version = version(&path)?;
            (has_offloads(&version) == wants_offloads).then_some((path, version))
        });
        let (path, version) = found.ok_or_else(|| {
            missing(match wants_offloads {
                true => "none that has them is there: cargo xtask setup --bench",
                false => "none without offloads is installed",
            })
        })?;
        Ok(Self {
            path,
            version,
            words: &["-f"],
            prefix: if wants_offloads { "wo" } else { "wg" },
        })
    }
}

/// Where `cargo xtask setup --bench` unpacks one of a newer Debian.
fn unpacked(tools: Option<&Tools>) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let tool = tools.map(|tools| tools.path("dvpn"));
    let beside = [tool.as_deref(), Some(&own)].into_iter().flatten();
    let mut folders = beside.filter_map(|program| program.parent()?.parent());
    folders.find_map(|target| {
        let path = target.join("foreign/wireguard-go/usr/bin/wireguard-go");
        path.is_file().then_some(path)
    })
}

/// The word with digits in the first line of what it says of itself.
fn version(program: &Path) -> Option<String> {
    let told = std::process::Command::new(program)
        .arg("--version")
        .output();
    let told = String::from_utf8_lossy(&told.ok()?.stdout).into_owned();
    let mut words = told.lines().next()?.split_whitespace();
    let version = words.find(|word| word.contains(|c: char| c.is_ascii_digit()))?;
    Some(version.trim_start_matches('v').to_owned())
}

/// Whether a wireguard-go `0.0.DATE` is of a date at which it had offloads.
fn has_offloads(version: &str) -> bool {
    let date = version
        .rsplit('.')
        .next()
        .and_then(|date| date.parse().ok());
    date.is_some_and(|date: u32| date >= OFFLOADS_SINCE)
}

/// A pair of keys: the file of the secret one, and the public one.
fn key(host: &Host, folder: &Path) -> Result<(PathBuf, String), BenchError> {
    let secret = output(host.command("wg").arg("genkey"))?;
    let path = folder.join(format!("wg-{}.key", host.name()));
    std::fs::write(&path, &secret).map_err(other)?;
    let public = output(host.command("wg").arg("pubkey").stdin_bytes(secret))?;
    Ok((path, public.trim().to_owned()))
}

/// Both ends, with the MTU that WireGuard has on such a cable.
pub(super) fn tunnel(program: &Program, lab: Lab, hosts: [Host; 2]) -> Result<Tunnel, BenchError> {
    let keys = [key(&hosts[0], lab.folder())?, key(&hosts[1], lab.folder())?];
    let (mut processes, mut sockets) = (Vec::new(), Vec::new());
    for (side, host) in hosts.iter().enumerate() {
        let name = format!("{}{}{side}", program.prefix, std::process::id() % 100_000);
        let command = host.command(&program.path).args(program.words).arg(&name);
        let command = command.env("WG_PROCESS_FOREGROUND", "1");
        let mut process = command.lifetime(LIMIT * 5).start()?;
        let socket = Path::new(SOCKETS).join(format!("{name}.sock"));
        await_sign(&mut process, |_| socket.exists())?;
        processes.push(process);
        sockets.push(socket);
        let secret = keys[side].0.to_string_lossy();
        let port = PORT.to_string();
        let set = host
            .command("wg")
            .args(["set", &name, "listen-port", &port]);
        let set = set.args(["private-key", &secret, "peer", &keys[1 - side].1]);
        let allowed = format!("10.99.0.{}/32", 2 - side);
        let end = format!("{}:{PORT}", hosts[1 - side].ipv4());
        output(set.args(["allowed-ips", &allowed, "endpoint", &end]))?;
        let own = side + 1;
        host.ip(&format!(
            "addr add 10.99.0.{own}/24 dev {name}\nlink set {name} mtu 1420 up"
        ))?;
    }
    Ok(Tunnel {
        processes,
        to: Ipv4Addr::new(10, 99, 0, 1),
        hosts,
        sockets,
        _lab: lab,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wireguard_go_of_before_the_offloads_is_told_from_later_ones() {
        assert!(!has_offloads("0.0.20220316"));
        assert!(has_offloads("0.0.20230223") && has_offloads("0.0.20250522"));
        assert!(!has_offloads("unknown") && !has_offloads(""));
    }
}
