//! The system's resolver: systemd-resolved or resolvconf where they are, else, if that was asked
//! for, `/etc/resolv.conf`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::SystemError;
use crate::plan::{DnsPlan, ResolvConf};

/// The file that the C library reads (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps its state while it runs.
const RESOLVED_STATE: &str = "/run/systemd/resolve";

/// First line of a file of ours; also of one whose writing was interrupted.
const SIGNATURE: &str = "# Written by dvpn, which puts the former file back when it ends.\n";

/// Largest `/etc/resolv.conf` that is kept for putting back, bytes. The C library reads three
/// servers of it.
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// What was done to the resolver, with what is needed to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Resolver {
    /// systemd-resolved, asked through resolvectl(1): settings of the interface.
    Resolved {
        interface: String,
        servers: Vec<IpAddr>,
        /// With `~`: for routing only, not to complete names.
        domains: Vec<String>,
    },
    /// resolvconf(8), Debian's or openresolv: a record.
    Resolvconf {
        record: String,
        text: String,
        /// No other servers are asked meanwhile. Debian's resolvconf passes over it.
        is_exclusive: bool,
    },
    /// The file itself.
    File {
        path: PathBuf,
        before: String,
        after: String,
    },
}

impl Resolver {
    /// How the resolver is to be set; `None` when nothing here can be told.
    pub(super) fn plan(interface: &str, dns: &DnsPlan) -> Result<Option<Self>, SystemError> {
        if Path::new(RESOLVED_STATE).exists() && find("resolvectl") {
            return Ok(Some(Self::resolved(interface, dns)));
        }
        let text = resolv_conf(dns, "");
        if find("resolvconf") {
            return Ok(Some(Self::Resolvconf {
                record: record(interface),
                text,
                is_exclusive: dns.domains.is_empty(),
            }));
        }
        if dns.resolv_conf == ResolvConf::Leave {
            return Ok(None);
        }
        let path = PathBuf::from(RESOLV_CONF);
        let before = read_bounded(&path).map_err(|source| SystemError::ResolvConf { source })?;
        Ok(Some(Self::File {
            after: resolv_conf(dns, &before),
            path,
            before,
        }))
    }

    fn resolved(interface: &str, dns: &DnsPlan) -> Self {
        let domains = match dns.domains.is_empty() {
            true => vec!["~.".to_owned()],
            false => dns
                .domains
                .iter()
                .map(|domain| format!("~{domain}"))
                .collect(),
        };
        Self::Resolved {
            interface: interface.to_owned(),
            servers: dns.servers.clone(),
            domains,
        }
    }

    pub(super) fn set(&self) -> Result<(), SystemError> {
        match self {
            Self::Resolved {
                interface,
                servers,
                domains,
            } => {
                let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                call("resolvectl", &["dns", interface], &servers, "")?;
                call("resolvectl", &["domain", interface], domains, "")?;
                let all = if domains.iter().any(|domain| domain == "~.") {
                    "yes"
                } else {
                    "no"
                };
                call("resolvectl", &["default-route", interface, all], &[], "")
            }
            Self::Resolvconf {
                record,
                text,
                is_exclusive,
            } => {
                let words = ["-a", record, "-x"];
                let words = if *is_exclusive {
                    &words[..]
                } else {
                    &words[..2]
                };
                call("resolvconf", words, &[], text)
            }
            Self::File { path, after, .. } => {
                overwrite(path, after).map_err(|source| SystemError::ResolvConf { source })
            }
        }
    }

    pub(super) fn restore(&self) -> Result<(), SystemError> {
        match self {
            // What belongs to an interface that is gone is gone with it.
            Self::Resolved { interface, .. } => match super::interface_number(interface) {
                Ok(_) => call("resolvectl", &["revert", interface], &[], ""),
                Err(_) => Ok(()),
            },
            // openresolv takes it for an error when there is none.
            Self::Resolvconf { record, .. } if !has_record(record) => Ok(()),
            Self::Resolvconf { record, .. } => call("resolvconf", &["-d", record], &[], ""),
            Self::File {
                path,
                before,
                after,
            } => match read_bounded(path) {
                // Somebody else has written it since: it is theirs.
                Ok(now) if now != *after && !now.starts_with(SIGNATURE) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                _ => overwrite(path, before).map_err(|source| SystemError::ResolvConf { source }),
            },
        }
    }
}

/// The name of our record. The C library asks the first server of all records and believes it when
/// there is no such name, so ours has to come first: both programs put `tun*` before all others
/// (interface-order(5), `dynamic_order` of resolvconf.conf(5)).
fn record(interface: &str) -> String {
    format!("tun0.{interface}")
}

/// Whether resolvconf has this record, or does not say.
fn has_record(record: &str) -> bool {
    let listed = Command::new("resolvconf").arg("-i").output();
    let listed = listed.ok().filter(|listed| listed.status.success());
    listed.is_none_or(|listed| {
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        names.split_whitespace().any(|name| name == record)
    })
}

/// Servers that the system asks now, those of `/etc/resolv.conf`.
pub fn present_servers() -> Vec<IpAddr> {
    let text = read_bounded(Path::new(RESOLV_CONF)).unwrap_or_default();
    servers_in(&text)
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    // A zone names an interface, which a forwarder of ours cannot use.
    words.filter_map(|word| word.parse().ok()).collect()
}

/// A resolv.conf(5) that names our servers, and keeps the search list and options of `before`.
fn resolv_conf(dns: &DnsPlan, before: &str) -> String {
    let mut text = SIGNATURE.to_owned();
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for line in before.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if ["search", "domain", "options", "sortlist"].contains(&word) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Writes into the file that is there, so that its owner, mode, links and mounts stay: the file is
/// often a mount of its own, which cannot be replaced.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

fn read_bounded(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_RESOLV_CONF {
        return Err(io::Error::other(format!(
            "larger than {MAX_RESOLV_CONF} bytes"
        )));
    }
    fs::read_to_string(path)
}

fn find(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        fs::metadata(folder.join(program))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

fn call(
    program: &'static str,
    arguments: &[&str],
    more: &[String],
    input: &str,
) -> Result<(), SystemError> {
    let failed = |said: String| SystemError::Resolver { program, said };
    let mut child = Command::new(program)
        .args(arguments)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read says why by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        said.lines().next().unwrap_or("no reason given").to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn dns() -> DnsPlan {
        DnsPlan {
            servers: vec!["10.80.77.2".parse().unwrap(), "fd5a::2".parse().unwrap()],
            domains: vec!["dn".to_owned()],
            resolv_conf: ResolvConf::Rewrite,
        }
    }

    #[test]
    fn a_rewritten_file_names_our_servers_and_keeps_how_names_are_completed() {
        let before = "# DHCP\nnameserver 192.168.1.1\nsearch lan\noptions edns0\nnonsense\n";
        assert_eq!(
            resolv_conf(&dns(), before),
            "# Written by dvpn, which puts the former file back when it ends.\n\
             nameserver 10.80.77.2\nnameserver fd5a::2\nsearch lan\noptions edns0\n"
        );
    }

    #[test]
    fn servers_are_read_and_those_of_a_zone_are_not() {
        let text = "nameserver 9.9.9.9\n nameserver ::1 # x\nnameserver fe80::1%eth0\n#nameserver 1.1.1.1\nnameserver\n";
        let expected: [IpAddr; 2] = ["9.9.9.9".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(servers_in(text), expected);
    }

    #[test]
    fn the_file_is_put_back_to_the_byte_unless_somebody_else_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let before = "nameserver 9.9.9.9\nsearch a b c d e f g h i j k l m n o p\n".to_owned();
        fs::write(&path, &before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let resolver = Resolver::File {
            path: path.clone(),
            before: before.clone(),
            after: "nameserver 10.80.77.2\n".to_owned(),
        };
        resolver.set().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "nameserver 10.80.77.2\n"
        );
        resolver.restore().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o604
        );

        resolver.set().unwrap();
        fs::write(&path, "nameserver 8.8.8.8\n").unwrap();
        resolver.restore().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 8.8.8.8\n");
        fs::remove_file(&path).unwrap();
        resolver.restore().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn systemd_resolved_is_given_routing_domains() {
        let Resolver::Resolved { domains, .. } = Resolver::resolved("dvpn0", &dns()) else {
            panic!("not resolved");
        };
        assert_eq!(domains, ["~dn"]);
        let all = DnsPlan {
            domains: Vec::new(),
            ..dns()
        };
        let Resolver::Resolved { domains, .. } = Resolver::resolved("dvpn0", &all) else {
            panic!("not resolved");
        };
        assert_eq!(domains, ["~."]);
    }
}
