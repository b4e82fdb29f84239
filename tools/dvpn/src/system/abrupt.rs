//! What is undone when a second signal ends the process at once: `sudo` and `timeout` pass a signal on to
//! who has had it already.

use std::sync::{Mutex, PoisonError};

use dhtnet_cli::process::on_abrupt_end;

use super::journal::{Files, undo_stale};

/// Files of the network of this process.
static PRESENT: Mutex<Option<Files>> = Mutex::new(None);

/// From now on a second signal undoes what stands in the journal. The caller has the lock.
pub(super) fn undo_at_second_signal(files: &Files) {
    *PRESENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(files.clone());
    on_abrupt_end(undo);
}

/// After a panic everything stays for `dvpn down`: nothing is to leave where a kill switch is on.
fn undo() {
    let present = PRESENT.try_lock().ok().and_then(|files| files.clone());
    let Some(files) = present.filter(|_| !std::thread::panicking()) else {
        return;
    };
    // What cannot be undone stays in the journal.
    if let Ok(Some(record)) = files.read() {
        let _ = undo_stale(&files, &record);
    }
}
