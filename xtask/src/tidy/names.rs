//! Names that say nothing are not used for files, folders and modules.

use super::tree::without_comment;
use super::{Finding, Tree};

const FORBIDDEN: &[&str] = &[
    "common", "util", "utils", "helper", "helpers", "manager", "misc", "base", "magic", "data",
    "info",
];

/// Checks the path of every Rust file and every `mod` line.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        for part in path.trim_end_matches(".rs").split('/') {
            if let Some(word) = forbidden_in(part) {
                findings.push(Finding::new(
                    path,
                    0,
                    format!("`{word}` in a name says nothing"),
                ));
            }
        }
        for (at, line) in text.lines().enumerate() {
            // `mod name;` is judged by its file.
            let module = module_name(without_comment(line));
            if let Some(word) = module.and_then(forbidden_in) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("`{word}` in a name says nothing"),
                ));
            }
        }
    }
    findings
}

fn module_name(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix('{')?.trim_end();
    let (before, name) = line.rsplit_once("mod ")?;
    let is_item = before.is_empty() || before.starts_with("pub");
    is_item.then(|| name.trim())
}

fn forbidden_in(name: &str) -> Option<&str> {
    name.split(['_', '-'])
        .find(|segment| FORBIDDEN.contains(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_a_folder_and_a_module_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/socket_utils.rs", ""),
            ("crates/common/src/b.rs", ""),
            ("crates/a/src/c.rs", "//! c\npub(crate) mod helpers {\n}\n"),
        ]);
        let found: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/a/src/c.rs:2: `helpers` in a name says nothing",
                "crates/a/src/socket_utils.rs: `utils` in a name says nothing",
                "crates/common/src/b.rs: `common` in a name says nothing"
            ]
        );
    }

    #[test]
    fn a_word_that_only_holds_one_passes() {
        let tree = Tree::of(&[("crates/a/src/database.rs", "mod datagram {\nmod base32 {\n")]);
        assert_eq!(check(&tree), []);
    }
}
