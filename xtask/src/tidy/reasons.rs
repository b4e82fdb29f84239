//! What steps around a rule says why: `unsafe` has a SAFETY comment, `allow` and `expect` a reason,
//! an open task the number of its issue.

use super::tree::without_comment;
use super::{Finding, Tree};

/// How far above an `unsafe` its comment may begin.
const SAFETY_REACH: usize = 8;

/// Lints that tests may switch off without a word.
const FREE_LINTS: &[&str] = &["clippy::unwrap_used", "clippy::expect_used"];

/// Words for unfinished work, written so that this file does not hold them.
const OPEN_TASKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Checks every Rust file; open tasks in scripts and manifests too.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let lines: Vec<&str> = text.lines().collect();
        for at in 0..lines.len() {
            if is_unsafe(lines[at]) && !has_safety_comment(&lines, at) {
                let message = "`unsafe` without a `SAFETY:` comment above it";
                findings.push(Finding::new(path, at + 1, message));
            }
            if let Some(attribute) = exemption(&lines, at)
                && !has_reason(&attribute, &lines, at)
            {
                let message = "an exemption without `reason = \"…\"` or a comment above it";
                findings.push(Finding::new(path, at + 1, message));
            }
        }
    }
    for (path, text) in tree.files() {
        let is_source = [".rs", ".toml", ".sh", "/run"]
            .iter()
            .any(|end| path.ends_with(end));
        for (at, line) in text.lines().enumerate().filter(|_| is_source) {
            if let Some(word) = open_task(line) {
                let message = format!("`{word}` without the number of an issue: `{word}(#7)`");
                findings.push(Finding::new(path, at + 1, message));
            }
        }
    }
    findings
}

fn is_unsafe(line: &str) -> bool {
    let code = without_comment(line);
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
        .iter()
        .any(|word| {
            code.find(word)
                .is_some_and(|at| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '"'))
        })
}

fn has_safety_comment(lines: &[&str], at: usize) -> bool {
    let from = at.saturating_sub(SAFETY_REACH);
    lines[from..=at]
        .iter()
        .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

/// The whole text of an `#[allow(…)]`, `#![allow(…)]`, `#[expect(…)]` that begins on this line.
fn exemption(lines: &[&str], at: usize) -> Option<String> {
    let line = lines[at].trim_start();
    let begins = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    if !begins.iter().any(|begin| line.starts_with(begin)) {
        return None;
    }
    let mut attribute = String::new();
    for line in &lines[at..] {
        attribute.push_str(line.trim());
        if line.contains(")]") {
            break;
        }
    }
    Some(attribute)
}

fn has_reason(attribute: &str, lines: &[&str], at: usize) -> bool {
    let inside = attribute.split_once('(').map_or("", |(_, inside)| inside);
    let inside = inside
        .rsplit_once(")]")
        .map_or(inside, |(inside, _)| inside);
    let all_free = inside
        .split(',')
        .map(str::trim)
        .all(|lint| FREE_LINTS.contains(&lint));
    let above = at
        .checked_sub(1)
        .map_or("", |above| lines[above].trim_start());
    let comment_above = above.starts_with("//") && !above.starts_with("///");
    all_free || attribute.contains("reason =") || lines[at].contains("// ") || comment_above
}

fn open_task(line: &str) -> Option<&'static str> {
    OPEN_TASKS.iter().copied().find(|word| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + word.len()..];
            let is_word = !before.is_some_and(char::is_alphanumeric)
                && !after.starts_with(|next: char| next.is_alphanumeric());
            let numbered = after
                .strip_prefix("(#")
                .and_then(|rest| rest.split_once(')'))
                .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            is_word && !numbered
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a.rs", text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn unsafe_needs_a_comment_near_it() {
        assert_eq!(lines_found(concat!("let x = uns", "afe { y };")), [1]);
        assert_eq!(
            lines_found(concat!("// SAFETY: y is live\nlet x = uns", "afe { y };")),
            []
        );
        let far = format!(
            "// SAFETY: y\n{}{}",
            "\n".repeat(SAFETY_REACH),
            concat!("uns", "afe { y }")
        );
        assert_eq!(lines_found(&far), [SAFETY_REACH + 2]);
    }

    #[test]
    fn an_exemption_needs_a_reason_except_unwrap_in_tests() {
        assert_eq!(lines_found("#[allow(dead_code)]"), [1]);
        assert_eq!(
            lines_found("#[allow(\n    dead_code,\n    reason = \"only on unix\"\n)]"),
            []
        );
        assert_eq!(lines_found("// read by serde\n#[expect(dead_code)]"), []);
        assert_eq!(lines_found("/// Doc.\n#[allow(dead_code)]"), [2]);
        assert_eq!(lines_found("#![allow(clippy::unwrap_used)]"), []);
        assert_eq!(
            lines_found("#![allow(clippy::unwrap_used, dead_code)]"),
            [1]
        );
    }

    #[test]
    fn an_open_task_needs_an_issue() {
        assert_eq!(lines_found(concat!("// TO", "DO: later")), [1]);
        assert_eq!(lines_found(concat!("// TO", "DO(#7): later")), []);
        assert_eq!(lines_found(concat!("// TO", "DO(me): later")), [1]);
        assert_eq!(lines_found("mktemp XXXXXX"), []);
    }
}
