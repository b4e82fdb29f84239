//! Times of certificates: whole seconds, years 1970 to 9999.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::der::DateTime;
use x509_cert::time::Time;

/// The last second that a certificate can name (RFC 5280, section 4.1.2.5): 9999-12-31. Sums with
/// it stay in the range of every clock.
pub(crate) const MAX_SECONDS: u64 = 253_402_300_799;

/// The moment, cut to the second and to what a certificate can name.
pub(super) fn to_x509(moment: SystemTime) -> Time {
    let seconds = seconds(moment).min(MAX_SECONDS);
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .expect("the seconds are in range")
        .into()
}

pub(super) fn of_x509(time: Time) -> SystemTime {
    UNIX_EPOCH + time.to_unix_duration()
}

/// Whole seconds since 1970; 0 for what is before.
pub(crate) fn seconds(moment: SystemTime) -> u64 {
    moment
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The moment as `YYYY-MM-DDTHH:MM:SSZ`.
pub(crate) fn text(moment: SystemTime) -> String {
    to_x509(moment).to_string()
}
