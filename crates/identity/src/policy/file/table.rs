//! Typed access to the tables of the file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::{Datetime, Offset};
use x509_cert::der::DateTime;

use super::MAX_ENTRIES;
use super::fault::PolicyFault;
use super::place::Fault;
use crate::peer_address::shorten;

/// One table with the keys that it may have.
pub(super) struct Table<'t> {
    table: &'t DeTable<'t>,
    place: std::ops::Range<usize>,
}

/// A value and its place.
pub(super) type Value<'t> = &'t Spanned<DeValue<'t>>;

impl<'t> Table<'t> {
    /// Checks that a table has no other keys than `known`.
    pub(super) fn new(
        table: &'t DeTable<'t>,
        place: std::ops::Range<usize>,
        known: &[&str],
    ) -> Result<Self, Fault> {
        for key in table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                let fault = PolicyFault::UnknownKey {
                    key: shorten(key.get_ref()),
                    known: known.join(", "),
                };
                return Err(fault.at(key));
            }
        }
        Ok(Self { table, place })
    }

    pub(super) fn of_value(value: Value<'t>, key: &str, known: &[&str]) -> Result<Self, Fault> {
        match value.get_ref() {
            DeValue::Table(table) => Self::new(table, value.span(), known),
            _ => Err(PolicyFault::Type { wanted: "a table" }.in_key(key, value)),
        }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> usize {
        self.place.start
    }

    /// A fault of the table as a whole.
    pub(super) fn fault(&self, fault: PolicyFault) -> Fault {
        Fault::at_byte(self.place.start, fault)
    }

    pub(super) fn find(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(key)
    }

    pub(super) fn require(&self, key: &'static str) -> Result<Value<'t>, Fault> {
        let missing = PolicyFault::MissingKey { key };
        self.find(key).ok_or_else(|| self.fault(missing))
    }

    /// The tables of `[[key]]`, none if it is not there.
    pub(super) fn entries(&self, key: &str, known: &[&str]) -> Result<Vec<Self>, Fault> {
        let Some(value) = self.find(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(list) = value.get_ref() else {
            let wanted = "a list of tables, each with a heading in double brackets";
            return Err(PolicyFault::Type { wanted }.in_key(key, value));
        };
        if list.len() > MAX_ENTRIES {
            return Err(PolicyFault::TooManyEntries.in_key(key, value));
        }
        list.iter()
            .map(|entry| Self::of_value(entry, key, known))
            .collect()
    }

    /// The texts of a list with at least one, each with its place.
    pub(super) fn texts(&self, key: &'static str) -> Result<Vec<(&'t str, Value<'t>)>, Fault> {
        texts(key, self.require(key)?)
    }

    pub(super) fn text(&self, key: &'static str) -> Result<(&'t str, Value<'t>), Fault> {
        let value = self.require(key)?;
        Ok((text(key, value)?, value))
    }

    pub(super) fn moment(&self, key: &'static str) -> Result<Option<SystemTime>, Fault> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        let moment = match value.get_ref() {
            DeValue::Datetime(datetime) => read_moment(datetime),
            _ => None,
        };
        moment
            .map(Some)
            .ok_or_else(|| PolicyFault::Time.in_key(key, value))
    }
}

pub(super) fn text<'t>(key: &str, value: Value<'t>) -> Result<&'t str, Fault> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.as_ref()),
        _ => Err(PolicyFault::Type { wanted: "a text" }.in_key(key, value)),
    }
}

pub(super) fn texts<'t>(key: &str, value: Value<'t>) -> Result<Vec<(&'t str, Value<'t>)>, Fault> {
    let DeValue::Array(list) = value.get_ref() else {
        let wanted = "a list of texts";
        return Err(PolicyFault::Type { wanted }.in_key(key, value));
    };
    match list.is_empty() {
        true => Err(PolicyFault::Empty.in_key(key, value)),
        false => list
            .iter()
            .map(|item| Ok((text(key, item)?, item)))
            .collect(),
    }
}

/// A date, a time of day and a zone; years 1970 to 9999. A leap second counts as the next.
fn read_moment(datetime: &Datetime) -> Option<SystemTime> {
    let (date, time, zone) = (datetime.date?, datetime.time?, datetime.offset?);
    let second = time.second.unwrap_or(0);
    let (whole, leap) = (second.min(59), u64::from(second > 59));
    let local = DateTime::new(
        date.year,
        date.month,
        date.day,
        time.hour,
        time.minute,
        whole,
    );
    let local = local.ok()?;
    let seconds = local.unix_duration().as_secs() + leap;
    let east = match zone {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let seconds = i64::try_from(seconds).ok()?.checked_sub(east)?;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    UNIX_EPOCH.checked_add(since + Duration::from_nanos(u64::from(time.nanosecond.unwrap_or(0))))
}
