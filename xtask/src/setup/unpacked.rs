//! Packages that tests use and that must not be installed: they would take the resolver of this
//! machine over. They lie unpacked in `target/foreign`, where tests lay them over the system's
//! folders in file systems of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cargo::target_dir;
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt, find_program};

/// Packages, and what each is for.
const PACKAGES: &[(&str, &str)] = &[
    ("openresolv", "manages the resolver in a test of names"),
    ("resolvconf", "does so in another way"),
    ("systemd-resolved", "does so in a third way"),
];

/// Where a package lies.
pub(super) fn folder(package: &str) -> PathBuf {
    target_dir().join("foreign").join(package)
}

/// Prints which are there.
pub(super) fn list() {
    for (package, reason) in PACKAGES {
        let found = if folder(package).is_dir() {
            "found  "
        } else {
            "missing"
        };
        println!("{found}  {:19} {package:19} {reason}", "(unpacked)");
    }
}

/// Downloads and unpacks those that are not there. Without apt-get and dpkg-deb the tests say that
/// they are missing.
pub(super) fn fetch(interrupt: &Interrupt) -> Outcome {
    let tools = ["apt-get", "dpkg-deb"];
    if tools.iter().any(|tool| find_program(tool).is_err()) {
        return Ok(());
    }
    for (package, _) in PACKAGES {
        if !folder(package).is_dir() {
            unpack(package, &[], interrupt)?;
        }
    }
    Ok(())
}

/// Downloads a package, with further words for apt-get, and unpacks it.
pub(super) fn unpack(package: &str, words: &[&str], interrupt: &Interrupt) -> Outcome {
    let last = folder(package);
    // A half of one must not be taken for it.
    let partial = last.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).tried(|| format!("make {}", partial.display()))?;
    let mut download = Command::new("apt-get");
    download.args(words).args(["download", "-q", package]);
    run(download.current_dir(&partial), interrupt)?;
    let archive = fs::read_dir(&partial)
        .tried(|| format!("read {}", partial.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| Failure::new(format!("apt-get brought no package {package}")))?;
    let mut unpack = Command::new("dpkg-deb");
    run(unpack.arg("-x").arg(&archive).arg(&partial), interrupt)?;
    fs::remove_file(&archive).tried(|| format!("remove {}", archive.display()))?;
    fs::rename(&partial, &last).tried(|| format!("make {}", last.display()))
}

fn run(command: &mut Command, interrupt: &Interrupt) -> Outcome {
    let status = process::run(command, interrupt)?;
    let program = command.get_program().to_string_lossy().into_owned();
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("{program} failed ({status})"))),
    }
}
