//! Which crate may use which: the table below against every Cargo.toml, and Cargo.lock for what
//! comes in behind a dependency.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::lock::packages;
use super::{Finding, Tree};

/// One crate of ours: its package, the crates of ours it may use, and whether it is a protocol
/// crate, which knows no socket, runtime or clock.
struct Layer {
    package: &'static str,
    may_use: &'static [&'static str],
    is_core: bool,
}

const LAYERS: &[Layer] = &[
    core("dhtnet-identity", &[]),
    core("dhtnet-secure-transport", &["dhtnet-identity"]),
    core("dhtnet-channel-mux", &[]),
    core("dhtnet-dht-core", &["dhtnet-identity"]),
    core("dhtnet-nat-traversal", &["dhtnet-identity"]),
    core("dhtnet-vpn-core", &["dhtnet-identity"]),
    outer("dhtnet-simnet", &[]),
    outer(
        "dhtnet",
        &[
            "dhtnet-identity",
            "dhtnet-secure-transport",
            "dhtnet-channel-mux",
            "dhtnet-dht-core",
            "dhtnet-nat-traversal",
        ],
    ),
    outer("dhtnet-cli", TOOL_MAY_USE),
    outer("dhtnet-forward", TOOL_MAY_USE),
    outer("dnc", FORWARDER_MAY_USE),
    outer("crtmgr", TOOL_MAY_USE),
    outer("dhtnet-copy", &[]),
    outer("dhtnet-terminal", &[]),
    core("dhtnet-shell-wire", &[]),
    outer(
        "dsh",
        &[
            "dhtnet",
            "dhtnet-identity",
            "dhtnet-cli",
            "dhtnet-forward",
            "dhtnet-copy",
            "dhtnet-shell-wire",
            "dhtnet-terminal",
        ],
    ),
    outer(
        "dvpn",
        &["dhtnet", "dhtnet-identity", "dhtnet-cli", "dhtnet-vpn-core"],
    ),
    outer("dhtnode", TOOL_MAY_USE),
    outer("xtask", &[]),
];

const TOOL_MAY_USE: &[&str] = &["dhtnet", "dhtnet-identity", "dhtnet-cli"];

/// Tools that join streams and ports to channels.
const FORWARDER_MAY_USE: &[&str] = &["dhtnet", "dhtnet-identity", "dhtnet-cli", "dhtnet-forward"];

/// These may use all of ours: they test or fuzz it, or stand beside it as a foreign peer.
const UNRESTRICTED: &[&str] = &["dhtnet-tests", "dhtnet-fuzz", "dhtnet-mainline-peer"];

/// Allowed everywhere under `[dev-dependencies]`: the simulated network.
const DEV_ONLY: &str = "dhtnet-simnet";

/// What a protocol crate may not reach, directly or behind a dependency.
const FORBIDDEN_IN_CORES: &[&str] = &[
    "tokio",
    "tokio-util",
    "mio",
    "async-std",
    "smol",
    "async-io",
    "socket2",
    "quinn",
    "quinn-udp",
    "noq",
    "noq-udp",
    "mdns-sd",
    "if-addrs",
    "netwatch",
    "rtnetlink",
    "hickory-resolver",
    "dhtnet",
];

/// What a protocol crate may not name itself: randomness and time from the system. (Behind a
/// dependency getrandom is there, unused by us: ring and quinn-proto link it.)
const FORBIDDEN_DIRECTLY: &[&str] = &["getrandom", "web-time", "instant", "quanta", "chrono"];

/// Features that give a crate the system's generator.
const RANDOM_FEATURES: &[&str] = &["thread_rng", "sys_rng", "os_rng", "getrandom", "std_rng"];

const fn core(package: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer {
        package,
        may_use,
        is_core: true,
    }
}

const fn outer(package: &'static str, may_use: &'static [&'static str]) -> Layer {
    Layer {
        package,
        may_use,
        is_core: false,
    }
}

/// Checks all manifests.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifests: Vec<(&str, Table)> = manifests(tree, &mut findings);
    let ours: BTreeSet<&str> = manifests
        .iter()
        .filter_map(|(_, manifest)| package_name(manifest))
        .collect();
    let lock = tree
        .text("Cargo.lock")
        .map(locked_dependencies)
        .unwrap_or_default();
    for (path, manifest) in &manifests {
        let Some(package) = package_name(manifest) else {
            continue;
        };
        if UNRESTRICTED.contains(&package) {
            continue;
        }
        let Some(layer) = LAYERS.iter().find(|layer| layer.package == package) else {
            findings.push(Finding::new(
                path,
                0,
                format!(
                    "{package} has no place in the layering table of xtask/src/tidy/layering.rs"
                ),
            ));
            continue;
        };
        for dependency in dependencies(manifest) {
            check_ours(path, layer, &dependency, &ours, &mut findings);
            if layer.is_core {
                check_core(path, layer, &dependency, &lock, &mut findings);
            }
        }
    }
    findings
}

fn check_ours(
    path: &str,
    layer: &Layer,
    dependency: &Dependency<'_>,
    ours: &BTreeSet<&str>,
    findings: &mut Vec<Finding>,
) {
    let name = dependency.name;
    let is_dev_simnet = dependency.is_dev && name == DEV_ONLY;
    if ours.contains(name) && !layer.may_use.contains(&name) && !is_dev_simnet {
        let kind = if dependency.is_dev {
            "dev-depend"
        } else {
            "depend"
        };
        findings.push(Finding::new(
            path,
            0,
            format!("{} may not {kind} on {name}", layer.package),
        ));
    }
}

fn check_core(
    path: &str,
    layer: &Layer,
    dependency: &Dependency<'_>,
    lock: &BTreeMap<String, BTreeSet<String>>,
    findings: &mut Vec<Finding>,
) {
    let package = layer.package;
    let name = dependency.name;
    if FORBIDDEN_IN_CORES.contains(&name) {
        let message = format!("{package} is a protocol crate and may not use {name}");
        findings.push(Finding::new(path, 0, message));
        return;
    }
    if dependency.is_dev {
        return;
    }
    if FORBIDDEN_DIRECTLY.contains(&name) {
        let message =
            format!("{package} is a protocol crate: take what {name} gives as an argument");
        findings.push(Finding::new(path, 0, message));
    }
    if let Some(feature) = dependency
        .features
        .iter()
        .find(|name| RANDOM_FEATURES.contains(name))
    {
        let message =
            format!("{package} is a protocol crate: {name} with `{feature}` is global randomness");
        findings.push(Finding::new(path, 0, message));
    }
    for reached in reachable(name, lock) {
        if FORBIDDEN_IN_CORES.contains(&reached.as_str()) {
            let message =
                format!("{package} is a protocol crate and reaches {reached} through {name}");
            findings.push(Finding::new(path, 0, message));
        }
    }
}

pub(super) fn manifests<'a>(tree: &'a Tree, findings: &mut Vec<Finding>) -> Vec<(&'a str, Table)> {
    let mut manifests = Vec::new();
    for (path, text) in tree
        .files()
        .filter(|(path, _)| path.ends_with("Cargo.toml"))
    {
        match text.parse::<Table>() {
            Ok(manifest) => manifests.push((path, manifest)),
            Err(error) => findings.push(Finding::new(path, 0, error.message())),
        }
    }
    manifests
}

pub(super) fn package_name(manifest: &Table) -> Option<&str> {
    manifest.get("package")?.get("name")?.as_str()
}

pub(super) struct Dependency<'a> {
    pub(super) name: &'a str,
    is_dev: bool,
    features: Vec<&'a str>,
}

/// All dependency tables of a manifest, those under `[target.…]` too; names are those of packages.
pub(super) fn dependencies(manifest: &Table) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for table in std::iter::once(manifest).chain(tables) {
        for (kind, is_dev) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            let entries = table.get(kind).and_then(Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                let name = value.get("package").and_then(Value::as_str).unwrap_or(key);
                let features = value.get("features").and_then(Value::as_array);
                let features = features
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                found.push(Dependency {
                    name,
                    is_dev,
                    features,
                });
            }
        }
    }
    found
}

/// Package name → names of what it depends on. Versions of one name are joined, which can only
/// find too much.
fn locked_dependencies(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut locked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages(lock) {
        let Some(name) = package.get("name").and_then(Value::as_str) else {
            continue;
        };
        let names = package
            .get("dependencies")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let names = names
            .filter_map(Value::as_str)
            .filter_map(|text| text.split(' ').next());
        locked
            .entry(name.to_owned())
            .or_default()
            .extend(names.map(str::to_owned));
    }
    locked
}

fn reachable(from: &str, lock: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in lock.get(&name).into_iter().flatten() {
            // Dev-dependencies of our own crates stand in the lock file as well: each of our
            // crates is judged by its own manifest instead.
            if !next.starts_with("dhtnet") && reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
        if name.starts_with("dhtnet") {
            return BTreeSet::new();
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(package: &str, rest: &str) -> String {
        format!("[package]\nname = \"{package}\"\n{rest}\n")
    }

    fn messages(package: &str, rest: &str, lock: &str) -> Vec<String> {
        let core = manifest(package, rest);
        let identity = manifest("dhtnet-identity", "");
        let simnet = manifest("dhtnet-simnet", "");
        let tree = Tree::of(&[
            ("crates/it/Cargo.toml", &core),
            ("crates/identity/Cargo.toml", &identity),
            ("crates/simnet/Cargo.toml", &simnet),
            ("Cargo.lock", lock),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn the_permitted_layers_pass() {
        let rest = "[dependencies]\ndhtnet-identity = { workspace = true }\nring = \"1\"\n\
                    [dev-dependencies]\ndhtnet-simnet = { workspace = true }";
        assert!(messages("dhtnet-secure-transport", rest, "").is_empty());
    }

    #[test]
    fn a_sibling_is_refused_even_under_another_key_and_for_one_target() {
        let rest = "[dependencies]\nkeys = { package = \"dhtnet-identity\", path = \"x\" }\n\
                    [target.'cfg(unix)'.dependencies]\ndhtnet-simnet = \"1\"";
        assert_eq!(
            messages("dhtnet-channel-mux", rest, ""),
            [
                "dhtnet-channel-mux may not depend on dhtnet-identity",
                "dhtnet-channel-mux may not depend on dhtnet-simnet"
            ]
        );
    }

    #[test]
    fn a_runtime_is_refused_in_a_core_and_fine_outside() {
        let rest = "[dependencies]\ntokio = { workspace = true }";
        assert_eq!(
            messages("dhtnet-channel-mux", rest, ""),
            ["dhtnet-channel-mux is a protocol crate and may not use tokio"]
        );
        assert!(messages("dnc", rest, "").is_empty());
    }

    #[test]
    fn a_socket_crate_behind_a_dependency_is_found() {
        let rest = "[dependencies]\ninnocent = \"1\"";
        let lock = "[[package]]\nname = \"innocent\"\ndependencies = [\"deep 1.0.0\"]\n\
                    [[package]]\nname = \"deep\"\ndependencies = [\"socket2\"]\n";
        assert_eq!(
            messages("dhtnet-channel-mux", rest, lock),
            ["dhtnet-channel-mux is a protocol crate and reaches socket2 through innocent"]
        );
    }

    #[test]
    fn global_randomness_is_refused_by_crate_and_by_feature() {
        let rest = "[dependencies]\ngetrandom = \"1\"\n\
                    rand = { workspace = true, features = [\"thread_rng\"] }";
        let found = messages("dhtnet-channel-mux", rest, "");
        assert_eq!(found.len(), 2);
        assert!(
            found[0].contains("getrandom") && found[1].contains("thread_rng"),
            "{found:?}"
        );
    }

    #[test]
    fn a_package_outside_the_table_is_named() {
        assert!(messages("dhtnet-new", "", "")[0].contains("no place in the layering table"));
    }
}
