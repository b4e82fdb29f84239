//! `cargo xtask tidy`: rules of the house that a compiler does not check.
//!
//! Each check is a function from the tree of files to findings, so that its tests can show it
//! failing on a small tree in memory.

mod dependencies;
mod documents;
mod layering;
mod lock;
mod names;
mod purity;
mod reasons;
mod shape;
mod traces;
mod tree;

use std::fmt;

use crate::failure::{Failure, Outcome};
use tree::Tree;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 when the whole file is meant.
    line: usize,
    message: String,
    /// A warning is shown and fails nothing.
    is_warning: bool,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            is_warning: false,
        }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::new(path, line, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_warning { "warning: " } else { "" };
        match self.line {
            0 => write!(out, "{}: {kind}{}", self.path, self.message),
            line => write!(out, "{}:{line}: {kind}{}", self.path, self.message),
        }
    }
}

type Check = fn(&Tree) -> Vec<Finding>;

/// All checks, with the word that stands before their findings.
const CHECKS: &[(&str, Check)] = &[
    ("layering", layering::check),
    ("dependencies", dependencies::check),
    ("purity", purity::check),
    ("shape", shape::check),
    ("names", names::check),
    ("reasons", reasons::check),
    ("traces", traces::check),
    ("documents", documents::check),
];

/// Runs every check on the work tree and prints what it found.
pub(crate) fn run() -> Outcome {
    let tree = Tree::load(&crate::cargo::root())?;
    let mut failed = 0;
    for (name, check) in CHECKS {
        for finding in check(&tree) {
            println!("{name}: {finding}");
            failed += usize::from(!finding.is_warning);
        }
    }
    if failed == 0 {
        println!(
            "tidy: {} files, {} checks, nothing found",
            tree.len(),
            CHECKS.len()
        );
        Ok(())
    } else {
        Err(Failure::new(format!("tidy: {failed} rules broken")))
    }
}
