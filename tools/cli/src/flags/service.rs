//! The name that tells listeners of one tool and identity apart.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes: that of a network of `dvpn`, which may be one.
const MAX_LEN: usize = 63;

/// The value of `--service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(String);

impl ServiceName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=MAX_LEN).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "the name of a service is 1 to {MAX_LEN} of a-z A-Z 0-9 . _ -"
            ))
        }
    }
}
