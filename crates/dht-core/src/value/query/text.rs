//! The text form of a query, as people type it.
//!
//! ```text
//! query     = [ "SELECT" ( "*" | field *( "," field ) ) ] [ "WHERE" condition *( "AND" condition ) ]
//! field     = "id" | "type" | "owner" | "seq" | "expiry" | "body"
//! condition = "id" "=" number | "type" "=" number | "owner" "=" device-id | "seq" ">=" number
//! ```
//! Words may be in either case; numbers are decimal, or hexadecimal after `0x`.

use std::fmt;
use std::str::FromStr;

use dhtnet_identity::{DeviceId, ParseDeviceIdError};

use super::{Field, Filter, Select, ValueQuery};
use crate::value::record::{OwnerKey, ValueId, ValueType};
use crate::value::signing::MAX_SEQ;

/// Bytes of the longest text that is read: far above what all conditions take.
const MAX_TEXT_LEN: usize = 1024;

/// Characters of the text that an error repeats.
const MAX_SHOWN_CHARS: usize = 40;

/// Why a text is no query, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseQueryError {
    /// Longer than 1024 bytes.
    #[error("a query has at most {MAX_TEXT_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Neither SELECT nor WHERE where one must be.
    #[error("a query begins with SELECT or WHERE, not with {found}")]
    Start {
        /// What stands there.
        found: Found,
    },
    /// No field where one must be.
    #[error("write *, or one of id, type, owner, seq, expiry, body, instead of {found}")]
    Field {
        /// What stands there.
        found: Found,
    },
    /// Fields without a comma between them, or another word than WHERE behind them.
    #[error("write a comma, WHERE or nothing instead of {found}")]
    AfterField {
        /// What stands there.
        found: Found,
    },
    /// No condition where one must be.
    #[error("write a condition on id, type, owner or seq instead of {found}")]
    Condition {
        /// What stands there.
        found: Found,
    },
    /// Another comparison than the field has.
    #[error("write {field} {expected} … instead of {field} {found}")]
    Comparison {
        /// The field of the condition.
        field: &'static str,
        /// Its comparison.
        expected: &'static str,
        /// What stands there.
        found: Found,
    },
    /// No number, or one out of range.
    #[error("write a number from 0 to {max} for {field} instead of {found}")]
    Number {
        /// The field of the condition.
        field: &'static str,
        /// The largest number.
        max: u64,
        /// What stands there.
        found: Found,
    },
    /// No device id.
    #[error("write the id of a device for owner instead of {found}")]
    Owner {
        /// What stands there.
        found: Found,
        /// What is wrong with it.
        source: ParseDeviceIdError,
    },
    /// Two conditions on one field.
    #[error("write one condition on {field}, not two")]
    Twice {
        /// The field.
        field: &'static str,
    },
    /// Conditions without AND between them.
    #[error("write AND or nothing instead of {found}")]
    AfterCondition {
        /// What stands there.
        found: Found,
    },
}

/// What stands where something else must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found(Option<String>);

impl Found {
    fn new(word: Option<&str>) -> Self {
        Self(word.map(|word| word.chars().take(MAX_SHOWN_CHARS).collect()))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(word) => write!(f, "{word:?}"),
            None => f.write_str("nothing"),
        }
    }
}

impl FromStr for ValueQuery {
    type Err = ParseQueryError;

    fn from_str(text: &str) -> Result<Self, ParseQueryError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(ParseQueryError::TooLong { found: text.len() });
        }
        let mut words = Words(text);
        let mut query = Self::ALL;
        let mut next = words.next();
        if is(next, "SELECT") {
            (query.select, next) = selection(&mut words)?;
        } else if !is(next, "WHERE") {
            return next.map_or(Ok(query), |word| {
                let found = Found::new(Some(word));
                Err(ParseQueryError::Start { found })
            });
        }
        if is(next, "WHERE") {
            query.filter = conditions(&mut words)?;
        }
        Ok(query)
    }
}

/// The fields, and the word behind them: WHERE or none.
fn selection<'a>(
    words: &mut Words<'a>,
) -> Result<(Option<Select>, Option<&'a str>), ParseQueryError> {
    let mut fields = Vec::new();
    let mut is_all = false;
    loop {
        let word = words.next();
        match word.map(str::to_ascii_lowercase).as_deref() {
            Some("*") => is_all = true,
            Some("id") => fields.push(Field::Id),
            Some("type") => fields.push(Field::Type),
            Some("owner") => fields.push(Field::Owner),
            Some("seq") => fields.push(Field::Seq),
            Some("expiry") => fields.push(Field::Expiry),
            Some("body") => fields.push(Field::Body),
            _ => {
                let found = Found::new(word);
                return Err(ParseQueryError::Field { found });
            }
        }
        let next = words.next();
        if next == Some(",") {
            continue;
        }
        if next.is_some() && !is(next, "WHERE") {
            let found = Found::new(next);
            return Err(ParseQueryError::AfterField { found });
        }
        let select = if is_all { None } else { Select::of(&fields) };
        return Ok((select, next));
    }
}

fn conditions(words: &mut Words<'_>) -> Result<Filter, ParseQueryError> {
    let mut filter = Filter::default();
    loop {
        condition(words, &mut filter)?;
        let next = words.next();
        if next.is_none() {
            return Ok(filter);
        }
        if !is(next, "AND") {
            let found = Found::new(next);
            return Err(ParseQueryError::AfterCondition { found });
        }
    }
}

fn condition(words: &mut Words<'_>, filter: &mut Filter) -> Result<(), ParseQueryError> {
    let word = words.next();
    match word.map(str::to_ascii_lowercase).as_deref() {
        Some("id") => {
            let id = ValueId(number(words, "id", "=", u64::MAX)?);
            once(&mut filter.id, id, "id")
        }
        Some("type") => {
            let kind = number(words, "type", "=", u16::MAX.into())?;
            once(&mut filter.kind, ValueType(kind as u16), "type")
        }
        Some("seq") => {
            let seq = number(words, "seq", ">=", MAX_SEQ)?;
            once(&mut filter.min_seq, seq, "seq")
        }
        Some("owner") => {
            let word = operand(words, "owner", "=")?;
            let owner: DeviceId = word.unwrap_or_default().parse().map_err(|source| {
                let found = Found::new(word);
                ParseQueryError::Owner { found, source }
            })?;
            once(&mut filter.owner, OwnerKey::from(owner), "owner")
        }
        _ => {
            let found = Found::new(word);
            Err(ParseQueryError::Condition { found })
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T, field: &'static str) -> Result<(), ParseQueryError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParseQueryError::Twice { field }),
    }
}

fn number(
    words: &mut Words<'_>,
    field: &'static str,
    comparison: &'static str,
    max: u64,
) -> Result<u64, ParseQueryError> {
    let word = operand(words, field, comparison)?;
    let text = word.unwrap_or_default();
    let hex = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|number| is_number && *number <= max)
        .ok_or_else(|| {
            let found = Found::new(word);
            ParseQueryError::Number { field, max, found }
        })
}

fn operand<'a>(
    words: &mut Words<'a>,
    field: &'static str,
    expected: &'static str,
) -> Result<Option<&'a str>, ParseQueryError> {
    let found = words.next();
    if found == Some(expected) {
        return Ok(words.next());
    }
    Err(ParseQueryError::Comparison {
        field,
        expected,
        found: Found::new(found),
    })
}

fn is(word: Option<&str>, keyword: &str) -> bool {
    word.is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}

/// Words, commas and comparisons.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let is_comparison = |letter: char| matches!(letter, '=' | '<' | '>' | '!');
        let first = text.chars().next()?;
        let len = if first == ',' || first == '*' {
            first.len_utf8()
        } else if is_comparison(first) {
            text.find(|letter| !is_comparison(letter))
                .unwrap_or(text.len())
        } else {
            let is_end = |letter: char| {
                letter.is_whitespace() || letter == ',' || letter == '*' || is_comparison(letter)
            };
            text.find(is_end).unwrap_or(text.len())
        };
        let (word, rest) = text.split_at(len);
        self.0 = rest;
        Some(word)
    }
}

impl fmt::Display for ValueQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        match self.select {
            None => f.write_str("*")?,
            Some(select) => {
                for (at, field) in select.fields().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", field_name(field))?;
                }
            }
        }
        let filter = &self.filter;
        let conditions = [
            filter.id.map(|id| format!("id = {id}")),
            filter.kind.map(|kind| format!("type = {}", kind.0)),
            filter.owner.map(|owner| format!("owner = {owner}")),
            filter.min_seq.map(|seq| format!("seq >= {seq}")),
        ];
        for (at, condition) in conditions.into_iter().flatten().enumerate() {
            let word = if at == 0 { "WHERE" } else { "AND" };
            write!(f, " {word} {condition}")?;
        }
        Ok(())
    }
}

const fn field_name(field: Field) -> &'static str {
    match field {
        Field::Body => "body",
        Field::Expiry => "expiry",
        Field::Id => "id",
        Field::Owner => "owner",
        Field::Seq => "seq",
        Field::Type => "type",
    }
}
