//! OpenVPN between two hosts, as it is fastest here: TLS for the keys, AES-128-GCM for the packets.

use std::path::{Path, PathBuf};

use super::{LIMIT, Maker, PORT, Tunnel, await_sign, other, output};
use crate::bench::BenchError;
use crate::lab::{Host, Lab};
use crate::ssh::find;

/// Its last line before it carries packets; on standard output, where it says everything.
const READY: &str = "Initialization Sequence Completed";

/// What it calls itself.
pub(super) fn version() -> Option<String> {
    let mut command = std::process::Command::new(find("openvpn")?);
    // It ends with 1 when it is asked for its version.
    let told = command.arg("--version").output().ok()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.split_whitespace().nth(1).map(str::to_owned)
}

/// Both ends, which know each other by their certificates' fingerprints.
pub(super) fn tunnel(lab: Lab, hosts: [Host; 2]) -> Result<Tunnel, BenchError> {
    for needed in ["openvpn", "openssl"] {
        let missing = || Maker::OpenVpn.missing(format!("{needed} is not installed"));
        find(needed).ok_or_else(missing)?;
    }
    let mut ends = Vec::new();
    for host in &hosts {
        ends.push(End::new(host, lab.folder())?);
    }
    let mut processes = Vec::new();
    for (side, host) in hosts.iter().enumerate() {
        let (own, peer) = (
            format!("10.98.0.{}", side + 1),
            format!("10.98.0.{}", 2 - side),
        );
        let role: &[&str] = [&["--tls-server", "--dh", "none"][..], &["--tls-client"]][side];
        let command = host.command("openvpn").args(["--dev", "tun"]).args(role);
        let command = command.args(["--ifconfig", &own, &peer]);
        let remote = hosts[1 - side].ipv4().to_string();
        let command = command.args(["--remote", &remote, "--port", &PORT.to_string()]);
        let command = command.args(["--data-ciphers", "AES-128-GCM"]);
        let command = command.arg("--cert").arg(&ends[side].certificate);
        let command = command.arg("--key").arg(&ends[side].key);
        let command = command.args(["--peer-fingerprint", &ends[1 - side].fingerprint]);
        processes.push(command.lifetime(LIMIT * 5).start()?);
    }
    for process in &mut processes {
        await_sign(process, |process| process.stdout().contains(READY))?;
    }
    Ok(Tunnel {
        processes,
        to: std::net::Ipv4Addr::new(10, 98, 0, 1),
        hosts,
        sockets: Vec::new(),
        _lab: lab,
    })
}

/// What one end of OpenVPN shows.
struct End {
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: String,
}

impl End {
    fn new(host: &Host, folder: &Path) -> Result<Self, BenchError> {
        let (certificate, key) = (
            folder.join(format!("openvpn-{}.crt", host.name())),
            folder.join(format!("openvpn-{}.key", host.name())),
        );
        let make = host.command("openssl").args(["req", "-x509", "-nodes"]);
        let make = make.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        let make = make.args(["-subj", "/CN=end", "-days", "2", "-keyout"]);
        output(make.arg(&key).arg("-out").arg(&certificate))?;
        let ask = host.command("openssl").args(["x509", "-noout", "-sha256"]);
        let told = output(ask.arg("-fingerprint").arg("-in").arg(&certificate))?;
        let (_, fingerprint) = told
            .trim()
            .split_once('=')
            .ok_or_else(|| other("no fingerprint"))?;
        Ok(Self {
            certificate,
            key,
            fingerprint: fingerprint.to_owned(),
        })
    }
}
