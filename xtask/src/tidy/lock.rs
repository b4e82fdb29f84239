//! What stands in a Cargo.lock.

use toml::{Table, Value};

/// The locked packages; none of a text that is no lock file.
pub(super) fn packages(lock: &str) -> Vec<Value> {
    let packages = lock.parse::<Table>().ok();
    let packages = packages.and_then(|mut lock| lock.remove("package"));
    match packages {
        Some(Value::Array(packages)) => packages,
        _ => Vec::new(),
    }
}
