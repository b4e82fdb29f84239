//! The shape of source files: how long, how they open, where they lie.

use super::tree::before_tests;
use super::{Finding, Tree};

/// Above this many lines before its tests a file is worth a second look.
const SOFT_LINES: usize = 600;
/// Above this many a file holds two ideas.
const HARD_LINES: usize = 800;

/// Checks every Rust file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let lines = before_tests(text).count();
        if lines > HARD_LINES {
            let message = format!("{lines} lines before the tests; the limit is {HARD_LINES}");
            findings.push(Finding::new(path, 0, message));
        } else if lines > SOFT_LINES {
            let message = format!("{lines} lines before the tests; aim at {SOFT_LINES}");
            findings.push(Finding::warning(path, 0, message));
        }
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        if !first.starts_with("//!") {
            findings.push(Finding::new(
                path,
                1,
                "a file opens with a `//!` account of itself",
            ));
        }
        if path.ends_with("/mod.rs") {
            findings.push(Finding::new(
                path,
                0,
                "no mod.rs: `foo.rs` stands beside `foo/`",
            ));
        }
        if is_second_test_binary(tree, path) {
            let message = "integration tests are one binary: tests/it/main.rs";
            findings.push(Finding::new(path, 0, message));
        }
    }
    findings
}

/// `tests/NAME.rs`, or `tests/NAME/main.rs` beside `tests/it/main.rs`: each would be linked alone.
fn is_second_test_binary(tree: &Tree, path: &str) -> bool {
    let folders: Vec<&str> = path.split('/').collect();
    match folders.as_slice() {
        ["crates" | "tools", _, "tests", _] => true,
        [
            kind @ ("crates" | "tools"),
            package,
            "tests",
            name,
            "main.rs",
        ] => *name != "it" && tree.exists(&format!("{kind}/{package}/tests/it/main.rs")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: usize) -> String {
        "//! x\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n" + &"// y\n".repeat(1000) + "}\n"
    }

    #[test]
    fn a_file_fails_one_line_past_the_limit_and_tests_do_not_count() {
        for (lines, expected) in [
            (SOFT_LINES, None),
            (SOFT_LINES + 1, Some(true)),
            (HARD_LINES, Some(true)),
            (HARD_LINES + 1, Some(false)),
        ] {
            let text = file(lines);
            let findings = check(&Tree::of(&[("a.rs", &text)]));
            assert_eq!(
                findings.first().map(|finding| finding.is_warning),
                expected,
                "{lines}"
            );
        }
    }

    #[test]
    fn a_file_without_an_account_a_mod_rs_and_a_second_test_binary_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/b.rs", "use x;\n//! late"),
            ("crates/a/src/c/mod.rs", "//! c"),
            ("crates/a/tests/wire.rs", "//! w"),
            ("crates/a/tests/it/main.rs", "//! fine"),
            ("crates/a/tests/slow/main.rs", "//! second"),
            ("crates/b/tests/slow/main.rs", "//! only one"),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(
            found,
            [
                "crates/a/src/b.rs",
                "crates/a/src/c/mod.rs",
                "crates/a/tests/slow/main.rs",
                "crates/a/tests/wire.rs"
            ]
        );
    }
}
