//! Every dependency is argued for in docs/design/dependencies.md, comes from the table of shared
//! versions, and every entry of that table is used. The fuzz workspace locks the same versions, so
//! that what is fuzzed is what ships.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::layering::{dependencies, manifests, package_name};
use super::lock::packages;
use super::{Finding, Tree};

const BOOK: &str = "docs/design/dependencies.md";
const ROOT: &str = "Cargo.toml";
const FUZZ_LOCK: &str = "fuzz/Cargo.lock";

/// Checks the manifests against the book and the root manifest.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What does not parse is the layering check's to report.
    let manifests = manifests(tree, &mut Vec::new());
    let ours: BTreeSet<&str> = manifests
        .iter()
        .filter_map(|(_, manifest)| package_name(manifest))
        .collect();
    let book = tree.text(BOOK).unwrap_or_default();
    let mut used = BTreeSet::new();
    for (path, manifest) in manifests.iter().filter(|(path, _)| *path != ROOT) {
        for name in dependencies(manifest)
            .into_iter()
            .map(|dependency| dependency.name)
        {
            used.insert(name);
            if !ours.contains(name) && !has_row(book, name) {
                findings.push(Finding::new(
                    path,
                    0,
                    format!("{name} has no row in {BOOK}"),
                ));
            }
        }
    }
    let root = manifests
        .iter()
        .find(|(path, _)| *path == ROOT)
        .map(|(_, manifest)| manifest);
    for (name, _) in root.and_then(shared).into_iter().flatten() {
        if !used.contains(name.as_str()) {
            findings.push(Finding::new(
                ROOT,
                0,
                format!("{name} is pinned and nobody uses it"),
            ));
        }
    }
    findings.extend(check_fuzz_lock(tree));
    findings
}

fn check_fuzz_lock(tree: &Tree) -> Vec<Finding> {
    let main = locked_versions(tree.text("Cargo.lock").unwrap_or_default());
    let fuzz = locked_versions(tree.text(FUZZ_LOCK).unwrap_or_default());
    let mut findings = Vec::new();
    for (name, versions) in fuzz {
        // A package of the fuzz workspace alone (libFuzzer) has no counterpart.
        let Some(shipped) = main.get(&name) else {
            continue;
        };
        for version in versions.difference(shipped) {
            let message =
                format!("{name} {version} is fuzzed, and the main workspace has another version");
            findings.push(Finding::new(FUZZ_LOCK, 0, message));
        }
    }
    findings
}

fn locked_versions(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut locked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages(lock) {
        let text = |key| package.get(key).and_then(Value::as_str).map(str::to_owned);
        if let (Some(name), Some(version)) = (text("name"), text("version")) {
            locked.entry(name).or_default().insert(version);
        }
    }
    locked
}

fn shared(root: &Table) -> Option<&Table> {
    root.get("workspace")?
        .get("dependencies")
        .and_then(Value::as_table)
}

/// Whether a row of a table names the crate as a whole word in its first cell.
fn has_row(book: &str, name: &str) -> bool {
    let first_cells = book
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    first_cells
        .flat_map(|cell| cell.split(|c| !is_part(c)))
        .any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(dependency: &str, book: &str) -> Vec<String> {
        let member =
            format!("[package]\nname = \"dnc\"\n[dependencies]\n{dependency}.workspace = true");
        let root = "[workspace.dependencies]\nserde = \"1\"";
        let tree = Tree::of(&[
            ("Cargo.toml", root),
            ("tools/dnc/Cargo.toml", &member),
            (BOOK, book),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn a_dependency_with_a_row_that_is_used_passes() {
        assert_eq!(messages("serde", "| toml 1, serde 1.0 | why |"), [""; 0]);
    }

    #[test]
    fn a_dependency_without_a_row_and_an_unused_pin_are_named() {
        let found = messages(
            "serde_json",
            "| serde 1.0 | with serde_json |\nserde_json in prose",
        );
        assert_eq!(
            found,
            [
                "serde_json has no row in docs/design/dependencies.md",
                "serde is pinned and nobody uses it"
            ]
        );
    }

    #[test]
    fn another_version_under_the_fuzz_targets_is_named() {
        let main = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n";
        let fuzz = "[[package]]\nname = \"a\"\nversion = \"1.0.1\"\n\
                    [[package]]\nname = \"only-here\"\nversion = \"1.0.0\"\n";
        let tree = Tree::of(&[("Cargo.lock", main), (FUZZ_LOCK, fuzz)]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(
            found,
            ["a 1.0.1 is fuzzed, and the main workspace has another version"]
        );
    }
}
