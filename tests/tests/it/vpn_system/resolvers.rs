//! Names where a program manages the resolver: Debian's resolvconf, openresolv and systemd-resolved,
//! the real ones, each in file systems of its own.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Command, Finished, Process};
use rustix::process::Signal;

use super::{Journey, SERVER, journey};
use crate::pair::{LIMIT, assert_done, assert_words};
use crate::vpn::{addresses, await_ping, await_up};

/// Lays the package in `$0` over the system's folders, in this mount namespace alone.
const LAY_OVER: &str = "set -e
mount --make-rprivate /
mount -t tmpfs run /run
mkdir -p /run/etc /run/work /run/resolvconf/interface /run/dbus /run/systemd
mount -t overlay etc -o lowerdir=\"$0/etc\":/etc,upperdir=/run/etc,workdir=/run/work /etc
mount -t overlay lib -o lowerdir=\"$0/lib\":/usr/lib /usr/lib
rm -f /etc/resolv.conf
";

/// Hands resolvconf one server and a search list, as a DHCP client does.
const RESOLVCONF: &str = "if [ -d /etc/resolvconf ]
then ln -s /run/resolvconf/resolv.conf /etc/resolv.conf; rm -f /etc/resolvconf/resolv.conf.d/head
     resolvconf --enable-updates
fi
printf 'nameserver 192.0.2.53\nsearch lan\n' | resolvconf -a eth0
echo ready >&2
exec sleep 600";

/// Starts systemd-resolved on a bus of its own; it has a server for the local network.
const RESOLVED: &str = "mount -t overlay share -o lowerdir=\"$0/usr/share\":/usr/share /usr/share
for user in messagebus systemd-resolve
do getent passwd $user || { echo \"$user:x:990:990::/:/usr/sbin/nologin\" >> /etc/passwd
                            echo \"$user:x:990:\" >> /etc/group; }
done
ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
dbus-daemon --system --nofork --nopidfile &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.1; done
/lib/systemd/systemd-resolved &
until [ -e /run/systemd/resolve/stub-resolv.conf ]; do sleep 0.1; done
resolvectl dns eth0 192.0.2.53
echo ready >&2
exec sleep 600";

/// Where `cargo xtask setup` unpacks what is not to be installed.
fn unpacked(journey: &Journey, package: &str) -> Option<PathBuf> {
    let tool = journey.tools.path("dvpn");
    let target = tool.parent().and_then(Path::parent)?;
    let folder = target.join("foreign").join(package);
    folder.is_dir().then_some(folder)
}

/// A place where the package manages the resolver.
struct Managed<'j> {
    journey: &'j Journey,
    holder: Process,
    path: String,
}

impl Managed<'_> {
    /// A program of the client in that place.
    fn command(&self, words: &[&str]) -> Command {
        let holder = self.holder.id().to_string();
        let command = self.journey.client.host().command("nsenter");
        let command = self.journey.client.with_home(command).lifetime(LIMIT * 3);
        let command = command.env("PATH", &self.path);
        command.args(["-m", "-t", &holder]).args(words)
    }

    fn run(&self, words: &[&str]) -> Finished {
        self.command(words).start().unwrap().finish(LIMIT).unwrap()
    }

    fn resolv_conf(&self) -> String {
        self.run(&["cat", "/etc/resolv.conf"]).text()
    }

    fn join(&self, configuration: &str) -> Process {
        let file = self.journey.file("client.toml", configuration);
        let dvpn = self.journey.tools.path("dvpn");
        let words = [
            dvpn.to_str().unwrap(),
            "--no-mdns",
            "-C",
            file.to_str().unwrap(),
            "office",
        ];
        let mut joined = self.command(&words).start().unwrap();
        await_up(&mut joined);
        joined
    }
}

/// The place, with a contact `office` for the server.
fn managed<'j>(
    journey: &'j Journey,
    name: &str,
    (package, script): (&str, &str),
) -> Option<Managed<'j>> {
    let Some(folder) = unpacked(journey, package) else {
        let why = format!("the package {package} is not unpacked (cargo xtask setup)");
        report(name, &why);
        return None;
    };
    let client = &journey.client;
    let add = client
        .crtmgr()
        .args(["peer", "add", "office", &journey.address()]);
    assert_done(&add.start().unwrap().finish(LIMIT).unwrap());
    let shown = folder.display();
    let path = format!("{shown}/sbin:{shown}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let holder = client.host().command("unshare").env("PATH", &path);
    let script = format!("{LAY_OVER}{script}");
    let holder = holder.args(["--mount", "sh", "-c", &script]).arg(&folder);
    let mut holder = holder.lifetime(LIMIT * 3).start().unwrap();
    let is_ready = |line: &str| (line == "ready").then_some(());
    if holder
        .await_line("that it is set up", LIMIT, is_ready)
        .is_err()
    {
        let said = holder.stderr();
        report(name, &format!("{package} does not run here: {said}"));
        return None;
    }
    Some(Managed {
        journey,
        holder,
        path,
    })
}

fn names_resolve_where_it_is_managed_by(package: &str, name: &str) {
    let Some(journey) = journey(name) else {
        return;
    };
    let Some(managed) = managed(&journey, name, (package, RESOLVCONF)) else {
        return;
    };
    let client = &journey.client;
    let before = managed.resolv_conf();
    assert_words(&before, &["nameserver 192.0.2.53", "search lan"]);

    let _serving = journey.serve("");
    let joined = managed.join("[dns]\n");
    await_ping(client, SERVER.into(), 1_280);
    let own = IpAddr::from(addresses(client).0.unwrap()).to_string();
    let during = managed.resolv_conf();
    let first = during.lines().find(|line| line.starts_with("nameserver"));
    assert_eq!(
        first,
        Some(format!("nameserver {own}").as_str()),
        "{during}"
    );
    assert_words(&during, &["nameserver 192.0.2.53", "search lan"]);
    let told = managed.run(&["getent", "ahostsv4", "office.dn"]);
    assert_words(&told.text(), &[&SERVER.to_string()]);
    joined.signal(Signal::TERM);
    assert_eq!(joined.finish(LIMIT).unwrap().code(), Some(143));
    assert_eq!(managed.resolv_conf(), before);

    // Killed; and the record is gone by itself, as after a restart of the machine.
    let mut joined = managed.join("[dns]\n");
    assert_ne!(managed.resolv_conf(), before);
    joined.kill();
    drop(joined);
    assert_done(&managed.run(&["resolvconf", "-d", "tun0.dvpn0"]));
    let dvpn = journey.tools.path("dvpn");
    assert_done(&managed.run(&[dvpn.to_str().unwrap(), "down", "dvpn0"]));
    assert_eq!(managed.resolv_conf(), before);
    assert!(!fs::exists(client.home().join("vpn/dvpn0.journal")).unwrap());
}

#[test]
fn names_resolve_where_openresolv_manages_the_resolver() {
    let name = "names_resolve_where_openresolv_manages_the_resolver";
    names_resolve_where_it_is_managed_by("openresolv", name);
}

#[test]
fn names_resolve_where_resolvconf_manages_the_resolver() {
    let name = "names_resolve_where_resolvconf_manages_the_resolver";
    names_resolve_where_it_is_managed_by("resolvconf", name);
}

#[test]
fn names_resolve_where_systemd_resolved_is_and_other_names_stay_with_it() {
    let name = "names_resolve_where_systemd_resolved_is_and_other_names_stay_with_it";
    let Some(journey) = journey(name) else {
        return;
    };
    let Some(managed) = managed(&journey, name, ("systemd-resolved", RESOLVED)) else {
        return;
    };
    let client = &journey.client;
    let before = managed.run(&["resolvectl", "dns"]).text();
    assert_words(&before, &["192.0.2.53"]);
    let _serving = journey.serve("");
    let joined = managed.join("[dns]\n");
    await_ping(client, SERVER.into(), 1_280);
    let own = IpAddr::from(addresses(client).0.unwrap()).to_string();
    let during = managed.run(&["resolvectl", "dns"]).text();
    assert_words(&during, &["192.0.2.53", &own]);
    let domains = managed.run(&["resolvectl", "domain", "dvpn0"]).text();
    assert_words(&domains, &["~dn"]);
    let default = managed
        .run(&["resolvectl", "default-route", "dvpn0"])
        .text();
    assert_words(&default, &["no"]);
    let told = managed.run(&["getent", "ahostsv4", "office.dn"]);
    assert_words(&told.text(), &[&SERVER.to_string()]);
    joined.signal(Signal::TERM);
    assert_eq!(joined.finish(LIMIT).unwrap().code(), Some(143));
    assert_eq!(managed.run(&["resolvectl", "dns"]).text(), before);
}
