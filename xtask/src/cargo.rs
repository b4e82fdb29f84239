//! Calling cargo, and where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Logs and lists that a task leaves for reading.
pub(crate) fn log_dir() -> PathBuf {
    target_dir().join("xtask")
}

/// `cargo WORDS…` in the root, in the environment of a plain shell: the variables that `cargo run`
/// set for this program would make build scripts that watch them (ring's) run again every time.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .current_dir(root())
        .args(words)
        .env("CARGO_TARGET_DIR", target_dir());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// The words that name the tools to cargo.
pub(crate) const TOOLS: [&str; 10] = [
    "-p", "dnc", "-p", "crtmgr", "-p", "dhtnode", "-p", "dsh", "-p", "dvpn",
];

/// Whether `cargo NAME` exists as an installed subcommand.
pub(crate) fn has_subcommand(name: &str) -> bool {
    let in_cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .is_some_and(|home| home.join("bin").join(format!("cargo-{name}")).is_file());
    in_cargo_home || crate::process::find_program(&format!("cargo-{name}")).is_ok()
}
