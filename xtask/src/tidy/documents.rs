//! Every path that a document names exists: the targets of its links, and what it puts in
//! backticks when that begins with a folder of the project. So does every test: what stands in
//! backticks and is written like the name of a test must be the name of a function.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Folders at the top whose names, in backticks and with a `/`, mean a path.
const FOLDERS: &[&str] = &[
    "crates", "tools", "docs", "tests", "xtask", "fuzz", ".ci", ".cargo", ".config",
];

/// Checks every Markdown file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let functions = functions(tree);
    for (path, text) in tree.with_extension("md") {
        let mut in_block = false;
        for (at, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
            }
            if in_block {
                continue;
            }
            for span in code_spans(line).filter(|span| is_path(span)) {
                if !named_path_exists(tree, path, span) {
                    findings.push(Finding::new(
                        path,
                        at + 1,
                        format!("`{span}` does not exist"),
                    ));
                }
            }
            for span in code_spans(line).filter(|span| is_test_name(span)) {
                if !functions.contains(span) {
                    findings.push(Finding::new(
                        path,
                        at + 1,
                        format!("no test is called `{span}`"),
                    ));
                }
            }
            for target in link_targets(line) {
                if !link_exists(tree, path, target) {
                    findings.push(Finding::new(
                        path,
                        at + 1,
                        format!("link to {target} leads nowhere"),
                    ));
                }
            }
        }
    }
    findings
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Names of tests are sentences; four words and more tell them from other names.
fn is_test_name(span: &str) -> bool {
    let is_name = span
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_name && span.matches('_').count() >= 3
}

fn functions(tree: &Tree) -> BTreeSet<&str> {
    let lines = tree.with_extension("rs").flat_map(|(_, text)| text.lines());
    lines
        .filter_map(|line| line.split_once("fn "))
        .map(|(_, rest)| rest.split(['(', '<']).next().unwrap_or_default())
        .collect()
}

fn is_path(span: &str) -> bool {
    let one_word = !span.is_empty() && !span.contains(char::is_whitespace) && !span.contains("::");
    let in_folder = FOLDERS.iter().any(|folder| {
        span.strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    let is_document = span.ends_with(".md") && !span.contains(['<', '*', '{']);
    one_word && (in_folder || is_document)
}

/// A path from the root, or from the document's folder. `{a,b}` stands for each, `*` and `<…>` for
/// anything, `:12` at the end for a line.
fn named_path_exists(tree: &Tree, document: &str, span: &str) -> bool {
    expand_braces(span).iter().all(|path| {
        let path = path.split(':').next().unwrap_or_default();
        if let Some(open) = path.find(['*', '<']) {
            return tree.any_starts_with(&path[..open]);
        }
        tree.exists(path) || resolve(document, path).is_some_and(|path| tree.exists(&path))
    })
}

fn expand_braces(text: &str) -> Vec<String> {
    let parts = text.split_once('{').and_then(|(before, rest)| {
        rest.split_once('}')
            .map(|(inside, after)| (before, inside, after))
    });
    match parts {
        None => vec![text.to_owned()],
        Some((before, inside, after)) => inside
            .split(',')
            .flat_map(|choice| expand_braces(&format!("{before}{}{after}", choice.trim())))
            .collect(),
    }
}

fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](")
        .filter_map(|(at, _)| line[at + 2..].split(')').next())
}

fn link_exists(tree: &Tree, document: &str, target: &str) -> bool {
    let target = target.split(['#', ' ']).next().unwrap_or_default();
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    target.is_empty()
        || is_elsewhere
        || resolve(document, target).is_some_and(|path| path.is_empty() || tree.exists(&path))
}

/// The path from the root that `target` means in `document`; `None` when it leaves the project.
fn resolve(document: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(document: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (document, text),
            ("crates/a/src/b.rs", ""),
            ("docs/guide.md", ""),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn paths_that_exist_pass_in_every_spelling() {
        let text = "`crates/a/` `crates/a/src/b.rs:12` `crates/{a,a}/src` `crates/*/src` \
                    [guide](guide.md#top) [b](../crates/a/src/b.rs) <https://x> [y](https://y) \
                    `docs/guide.md` `guide.md` `cargo test` `dnc -l`";
        assert_eq!(messages("docs/index.md", text), [""; 0]);
    }

    #[test]
    fn paths_that_do_not_exist_are_named() {
        let text =
            "`crates/c` `crates/{a,c}/src` `crates/c*` [x](missing.md) `missing.md` [up](../../x)";
        assert_eq!(messages("docs/index.md", text).len(), 6);
    }

    #[test]
    fn a_test_that_is_not_there_is_named() {
        let document = "`a_peer_is_refused` `a_peer_is_let_in` `short_name`";
        let tree = Tree::of(&[
            ("a.md", document),
            ("a.rs", "    async fn a_peer_is_refused() {"),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(found, ["no test is called `a_peer_is_let_in`"]);
    }

    #[test]
    fn blocks_of_code_are_not_read() {
        assert_eq!(messages("docs/index.md", "```\n`crates/c`\n```\n"), [""; 0]);
    }
}
