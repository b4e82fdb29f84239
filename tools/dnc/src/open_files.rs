//! Room for many connections at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors beside those of connections: streams, sockets, files.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit of open files so far that `connections` fit, or to the hard limit.
pub(crate) fn allow(connections: usize) {
    let wanted = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return;
    };
    let raised = limit
        .maximum
        .map_or(wanted, |maximum| maximum.min(wanted))
        .max(current);
    // If it is refused, connections beyond the old limit fail one by one and say why.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        },
    );
}
