//! Nothing in the project speaks of one machine: no home folders, no mirrors of the registry, no
//! dependency from git or a path outside.

use super::{Finding, Tree};

/// Folders of a particular machine, written so that this file does not hold them; the folder of
/// the work tree itself is looked for as well.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

/// The only source of packages in a lock file.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every text; lock files for where packages come from.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        let is_lock = path.ends_with("Cargo.lock");
        let is_cargo_config = path.ends_with(".cargo/config.toml");
        for (at, line) in text.lines().enumerate() {
            let mut known = MACHINE_PATHS.iter().copied().chain(tree.root());
            if let Some(machine) = known.find(|machine| names_path(line, machine)) {
                let message = format!("`{machine}` is a path of one machine");
                findings.push(Finding::new(path, at + 1, message));
            }
            let source = line
                .strip_prefix("source = ")
                .map(|source| source.trim_matches('"'));
            if is_lock && source.is_some_and(|source| source != REGISTRY) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    "packages come from crates.io only",
                ));
            }
            if is_cargo_config && (line.contains("replace-with") || line.contains("registry")) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    "a registry is the user's own setting",
                ));
            }
        }
    }
    findings
}

/// The path begins a word: the same letters inside a longer path do not count.
fn names_path(line: &str, machine: &str) -> bool {
    line.match_indices(machine).any(|(at, _)| {
        !line[..at].ends_with(|before: char| {
            before.is_alphanumeric() || matches!(before, '.' | '_' | '-' | '}' | '*')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found_and_a_longer_path_is_not() {
        let bad = concat!("see /wo", "rk/main/a.rs");
        let good = concat!("docs/wo", "rk/a.md and https://host/ro", "ot/x");
        let tree = Tree::of(&[("a.md", bad), ("b.md", good)]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(found, ["a.md"]);
    }

    #[test]
    fn another_source_than_the_registry_is_found() {
        let lock = format!("source = \"{REGISTRY}\"\nsource = \"git+https://example.org/x\"\n");
        let tree = Tree::of(&[
            ("Cargo.lock", &lock),
            (".cargo/config.toml", "replace-with = \"x\""),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(found, [1, 2]);
    }
}
