//! Events as lines of JSON on stdout, for plans whose stdout is not the payload.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use dhtnet_cli::Failure;
use serde_json::Value;

/// Where events go, if anywhere.
#[derive(Debug, Default)]
pub struct Report {
    stdout: Option<Mutex<File>>,
}

impl Report {
    /// Events on `stdout`; the default says nothing.
    pub fn on(stdout: File) -> Self {
        Self {
            stdout: Some(Mutex::new(stdout)),
        }
    }

    /// One line, written at once.
    ///
    /// # Errors
    /// Exit code 1 when stdout cannot be written to.
    pub fn event(&self, event: &Value) -> Result<(), Failure> {
        let Some(stdout) = &self.stdout else {
            return Ok(());
        };
        let mut stdout = stdout.lock().unwrap_or_else(PoisonError::into_inner);
        stdout
            .write_all(format!("{event}\n").as_bytes())
            .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
    }
}
