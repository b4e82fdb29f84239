//! Times as text: RFC 3339 in UTC, whole seconds.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_cert::der::DateTime;

/// The last second that certificates can name (RFC 5280, section 4.1.2.5).
const MAX_SECONDS: u64 = 253_402_300_799;
const DAY: u64 = 86_400;

/// The moment as `2027-01-01T00:00:00Z`.
pub(crate) fn text(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = Duration::from_secs(since.as_secs().min(MAX_SECONDS));
    DateTime::from_unix_duration(seconds)
        .map_or_else(|_| "?".to_owned(), |moment| moment.to_string())
}

/// Days between two moments, a day that has begun counted whole.
pub(crate) fn days_until(end: SystemTime, now: SystemTime) -> u64 {
    end.duration_since(now).map_or(0, |left| {
        left.as_secs() / DAY + u64::from(left.as_secs() % DAY != 0 || left.subsec_nanos() != 0)
    })
}

/// An end as users give it: a moment, or a span from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    At(SystemTime),
    In(Duration),
}

impl End {
    /// The moment; `None` beyond what a clock can say.
    pub(crate) fn after(self, now: SystemTime) -> Option<SystemTime> {
        match self {
            Self::At(moment) => Some(moment),
            Self::In(span) => now.checked_add(span),
        }
    }
}

impl FromStr for End {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "give a date (2027-01-01), a date and time (2027-01-01T12:00:00Z), or a \
                             span (90m, 12h, 30d)";
        if let Some(span) = span(text) {
            return Ok(Self::In(span));
        }
        let full = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            _ => text.to_owned(),
        };
        let moment: DateTime = full.parse().map_err(|_| WRONG)?;
        Ok(Self::At(UNIX_EPOCH + moment.unix_duration()))
    }
}

fn span(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    (count > 0).then(|| Duration::from_secs(u64::from(count) * unit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn dates_times_and_spans_are_understood() {
        let at = |text: &str| text.parse::<End>();
        let day = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        assert_eq!(at("2027-01-01"), Ok(End::At(day)));
        assert_eq!(at("2027-01-01T00:00:00Z"), Ok(End::At(day)));
        assert_eq!(at("30d"), Ok(End::In(Duration::from_secs(30 * DAY))));
        assert_eq!(
            at("90m").unwrap().after(day).map(text).unwrap(),
            "2027-01-01T01:30:00Z"
        );
        for wrong in [
            "",
            "d",
            "0d",
            "-1d",
            "2027-13-01",
            "2027-01-01T00:00:00",
            "tomorrow",
            "30ä",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
