//! Room for many connections or nodes at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors beside those that are asked for: streams, sockets, files.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit of open files so far that `files` fit, or to the hard limit.
pub fn allow(files: usize) {
    let wanted = files as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return;
    };
    let raised = limit
        .maximum
        .map_or(wanted, |maximum| maximum.min(wanted))
        .max(current);
    // If it is refused, what goes beyond the old limit fails one by one and says why.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        },
    );
}
