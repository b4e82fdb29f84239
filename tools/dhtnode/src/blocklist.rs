//! The file of `--blocklist`: read at the start, and again when the user says so.

use std::fs;
use std::path::Path;

use dhtnet_cli::{Failure, Talk};

use crate::dht::Blocklist;

/// Longest blocklist that is read, in bytes. The largest public ones have some 20 MiB.
const MAX_BLOCKLIST_LEN: u64 = 64 << 20;

/// Reads `path`.
///
/// # Errors
/// Exit code 2 if the file cannot be read, or a line of it is no range.
pub(crate) fn load(path: &Path, talk: &Talk) -> Result<Blocklist, Failure> {
    let unusable = |why: String| {
        Failure::usage(format!(
            "cannot use the blocklist {}: {why}",
            path.display()
        ))
    };
    let length = fs::metadata(path)
        .map_err(|error| unusable(error.to_string()))?
        .len();
    if length > MAX_BLOCKLIST_LEN {
        return Err(unusable(format!(
            "it is longer than {} MiB",
            MAX_BLOCKLIST_LEN >> 20
        )));
    }
    let text = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let list = Blocklist::parse(&text).map_err(|error| {
        Failure::usage(format!(
            "{}:{}: {}",
            path.display(),
            error.line,
            error.problem
        ))
    })?;
    talk.detail(format_args!(
        "{} ranges of addresses are blocked",
        list.len()
    ));
    Ok(list)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dhtnet_cli::ExitCode;
    use dhtnet_cli::talk::Captured;

    use super::*;

    #[test]
    fn a_list_is_read_and_a_wrong_line_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.p2p");
        let captured = Captured::default();
        let talk = Talk::new("dhtnode", Box::new(captured.clone()));

        fs::write(&path, "# mine\nSome one:192.0.2.0-192.0.2.255\n").unwrap();
        let list = load(&path, &talk).unwrap();
        assert!(list.contains("192.0.2.7".parse().unwrap()));
        assert!(!list.contains("192.0.3.7".parse().unwrap()));

        fs::write(&path, "a:192.0.2.0-192.0.2.255\nb:here-there\n").unwrap();
        let failure = load(&path, &talk).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(failure.to_string().contains("list.p2p:2: "), "{failure}");

        let missing = load(&dir.path().join("none"), &talk).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot use the blocklist "),
            "{missing}"
        );
    }
}
