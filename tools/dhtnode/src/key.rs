//! KEY, ID and HASH as the user writes them.

use std::str::FromStr;

use crate::dht::Id;

/// A place in the key space: 40 hexadecimal digits as they are, any other text by its SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Id);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty text is no key".to_owned());
        }
        Ok(Self(
            text.parse()
                .unwrap_or_else(|_| Id::hash_of(text.as_bytes())),
        ))
    }
}

/// The id of a value, in the form that [`value_id`] prints: up to 16 hexadecimal digits.
pub(crate) fn parse_value_id(text: &str) -> Result<u64, String> {
    let is_hex = text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match u64::from_str_radix(text, 16) {
        Ok(id) if is_hex => Ok(id),
        _ => Err("not 1 to 16 hexadecimal digits".to_owned()),
    }
}

/// The id of a value as it is printed.
pub(crate) fn value_id(id: u64) -> String {
    format!("{id:016x}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(text: &str) -> String {
        text.parse::<Key>().unwrap().0.to_string()
    }

    #[test]
    fn forty_hex_digits_are_a_key_and_any_other_text_is_hashed() {
        let digits = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
        assert_eq!(key(digits), digits);
        assert_eq!(key(&digits.to_uppercase()), digits);
        // SHA-1 of "abc" (FIPS 180-4).
        assert_eq!(key("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        // One digit less, one more, and one that is none: texts.
        for text in [
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('e', "g"),
        ] {
            assert_eq!(key(text), Id::hash_of(text.as_bytes()).to_string());
        }
        assert_eq!(key("two words"), Id::hash_of(b"two words").to_string());
        assert!("".parse::<Key>().is_err());
    }

    #[test]
    fn the_id_of_a_value_is_read_as_it_is_printed() {
        for id in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(parse_value_id(&value_id(id)), Ok(id));
        }
        assert_eq!(parse_value_id("ff"), Ok(255));
        for wrong in ["", "+1", "g", "00000000000000001"] {
            assert!(parse_value_id(wrong).is_err(), "{wrong}");
        }
    }
}
