//! What a command has for stdout.

use dhtnet_cli::Failure;
use serde_json::Value;

/// What a command found or made, in both of its printed forms.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: Value,
    /// What is wrong with what was found; it is said after the answer, and its code ends the tool.
    pub(crate) failure: Option<Failure>,
}

impl Answer {
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
            failure: None,
        }
    }

    /// Changes say nothing on stdout unless JSON was asked for.
    pub(crate) fn change(json: Value) -> Self {
        Self::new(String::new(), json)
    }
}
