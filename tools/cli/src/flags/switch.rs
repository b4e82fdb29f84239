//! Flags that are on or off, also by environment and file.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction};

/// What a switch of all tools is, for `#[arg(long, env = "DHTNET_NAME", switch = "false")]`.
pub trait Switch {
    /// Alone it means true; `--name=false` overrules the environment and the file. `default` is
    /// "true" or "false".
    #[must_use]
    fn switch(self, default: &'static str) -> Self;
}

impl Switch for Arg {
    fn switch(self, default: &'static str) -> Self {
        self.value_name("BOOL")
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value(default)
            .hide_possible_values(true)
            .value_parser(BoolishValueParser::new())
    }
}
