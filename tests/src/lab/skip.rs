//! A test that cannot run here says so, in a form that the build collects.

use std::fs::OpenOptions;
use std::io::Write;

use super::Lab;

/// Environment variable with the file that skipped tests are appended to, a line each.
pub const SKIP_LOG: &str = "DHTNET_SKIP_LOG";

/// Reports `SKIPPED: name: reason` on standard output, past the test runner's capture, and in the
/// file named by [`SKIP_LOG`].
pub fn report(name: &str, reason: &str) {
    let line = format!("SKIPPED: {name}: {reason}\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A lab for the test `name`, or `None` after [`report`] where none can be made.
pub fn lab_or_skip(name: &str) -> Option<Lab> {
    match Lab::new() {
        Ok(lab) => Some(lab),
        Err(error) => {
            report(name, &format!("failed to {error}"));
            None
        }
    }
}
