//! What the benchmark of the VPN measures beside, and this Debian has no package of: boringtun, built
//! from source, and a wireguard-go with offloads, of a newer Debian, unpacked like the packages of
//! [`super::unpacked`] and run from there.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::install_from_source;
use super::unpacked::{folder, unpack};
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt, find_program};

/// The first Debian whose wireguard-go has offloads (13).
const RELEASE: &str = "trixie";

const PACKAGE: &str = "wireguard-go";

/// Prints which are there.
pub(super) fn list() {
    let boringtun = find_program("boringtun-cli").is_ok();
    for (is_there, name, package) in [
        (boringtun, "boringtun-cli", "(built)"),
        (folder(PACKAGE).is_dir(), PACKAGE, "(unpacked)"),
    ] {
        let found = if is_there { "found  " } else { "missing" };
        println!("{found}  {name:19} {package:19} with --bench: a row of the VPN benchmark");
    }
}

/// Builds and unpacks those that are not there.
pub(super) fn ensure(interrupt: &Interrupt) -> Outcome {
    if find_program("boringtun-cli").is_err() {
        install_from_source("boringtun-cli", interrupt)?;
    }
    if folder(PACKAGE).is_dir() {
        return Ok(());
    }
    let Some(archive) = debian_archive() else {
        println!("no archive of Debian is configured for apt-get: no wireguard-go with offloads");
        return Ok(());
    };
    let lists = folder("apt");
    let fetched = fetch(&archive, &lists, interrupt);
    let _ = fs::remove_dir_all(&lists);
    fetched
}

/// Fetches the package with lists of its own: apt's own know nothing of the other release.
fn fetch(archive: &str, lists: &Path, interrupt: &Interrupt) -> Outcome {
    let made = ["lists/partial", "cache/archives/partial"]
        .iter()
        .try_for_each(|name| fs::create_dir_all(lists.join(name)));
    let source = lists.join("sources.list");
    let written = made.and_then(|()| fs::write(&source, format!("deb {archive} {RELEASE} main\n")));
    written.tried(|| format!("make {}", lists.display()))?;
    let place = |name: &str| lists.join(name).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", source.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", place("lists")),
        format!("Dir::Cache={}", place("cache")),
    ];
    let words: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    let mut update = Command::new("apt-get");
    update.args(&words).args(["update", "-q"]);
    let status = process::run(&mut update, interrupt)?;
    if !status.success() {
        return Err(Failure::new(format!("apt-get update failed ({status})")));
    }
    unpack(PACKAGE, &words, interrupt)
}

/// Where this machine's packages come from, if that is Debian.
fn debian_archive() -> Option<String> {
    let format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
    let mut command = Command::new("apt-get");
    let told = command.args(["indextargets", "--format", format]).output();
    archive_in(&String::from_utf8_lossy(&told.ok()?.stdout))
}

/// The first of Debian's own releases; updates of one are called `NAME-…` and lie elsewhere.
fn archive_in(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (origin, codename) = (words.next()?, words.next()?);
        let (component, archive) = (words.next()?, words.next()?);
        let is_release = origin == "Debian" && !codename.contains('-') && component == "main";
        is_release.then(|| archive.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_of_a_release_is_found_among_others() {
        let targets = "Debian bookworm-security main http://a.test/security/\n\
                       Other bookworm main http://b.test/\nDebian bookworm contrib http://c.test/\n\
                       Debian bookworm main http://d.test/debian/\n";
        assert_eq!(
            archive_in(targets).as_deref(),
            Some("http://d.test/debian/")
        );
        assert_eq!(archive_in("\nUbuntu noble main http://e.test/\n"), None);
    }
}
