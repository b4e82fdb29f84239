//! The files of the project as text, by path from the root.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::failure::{Outcome, Tried};

/// Names of results, not sources. (`.git` is a file in a linked work tree.)
const SKIPPED: &[&str] = &["target", ".git", "artifacts", "coverage"];

/// Path with `/` → text; a file that is not UTF-8 has an empty text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
    root: Option<String>,
}

impl Tree {
    /// Reads the work tree.
    pub(crate) fn load(root: &Path) -> Outcome<Self> {
        let mut tree = Self {
            root: root.to_str().map(str::to_owned),
            ..Self::default()
        };
        tree.load_folder(root, "")?;
        Ok(tree)
    }

    fn load_folder(&mut self, folder: &Path, prefix: &str) -> Outcome {
        let entries = fs::read_dir(folder).tried(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.tried(|| format!("list {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().tried(|| format!("look at {path}"))?;
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                self.load_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).tried(|| format!("read {path}"))?;
                self.files
                    .insert(path, String::from_utf8(bytes).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self {
            files: files.collect(),
            root: None,
        }
    }

    /// Where the tree was read from.
    pub(crate) fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// All files in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose name ends with `.EXTENSION`.
    pub(crate) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files().filter(move |(path, _)| {
            path.strip_suffix(extension)
                .is_some_and(|stem| stem.ends_with('.'))
        })
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether the path is a file or a folder with a file in it.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    /// Whether any path, cut at any `/` or at the end, begins with the text before a `*`.
    pub(crate) fn any_starts_with(&self, prefix: &str) -> bool {
        self.files.keys().any(|file| file.starts_with(prefix))
    }
}

/// The lines before the module of unit tests: what ships.
pub(crate) fn before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .iter()
        .enumerate()
        .position(|(at, line)| {
            line.trim() == "#[cfg(test)]"
                && lines[at + 1..]
                    .iter()
                    .find(|next| !next.trim_start().starts_with("#["))
                    .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        })
        .unwrap_or(lines.len());
    lines
        .into_iter()
        .take(end)
        .enumerate()
        .map(|(at, line)| (at + 1, line))
}

/// Whether the whole file is test code by its place.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.starts_with("tests/") || path.contains("/tests/")
}

/// The line without its `//` comment. A `//` inside a string cuts the line short, which can only
/// hide a finding behind a web address.
pub(crate) fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_module_is_cut_off_and_a_test_function_is_not() {
        let text = "//! a\n#[cfg(test)]\nfn one() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\n";
        assert_eq!(before_tests(text).last(), Some((3, "fn one() {}")));
    }

    #[test]
    fn a_folder_exists_when_a_file_is_in_it() {
        let tree = Tree::of(&[("a/b/c.rs", "")]);
        assert!(tree.exists("a/b") && tree.exists("a/b/") && tree.exists("a/b/c.rs"));
        assert!(!tree.exists("a/bc") && !tree.exists("a/b/c"));
    }
}
