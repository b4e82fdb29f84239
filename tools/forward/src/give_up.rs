//! The codes with which dnc gives up a direction of a channel, so that the peer can say why.

use crate::join::JoinError;

/// Why a direction is given up. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// No cause was given: the half was dropped.
    Unsaid = 0,
    /// SIGINT or SIGTERM.
    Interrupted = 1,
    /// What was received could not be written.
    OutputFailed = 2,
    /// What was to be sent could not be read.
    InputFailed = 3,
    /// Nothing more is needed (`--no-half-close`).
    Done = 4,
}

impl GiveUp {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// What to tell the peer about a failure on this side.
    pub fn because_of(error: &JoinError) -> Self {
        match error {
            JoinError::Input(_) => Self::InputFailed,
            JoinError::Output(_) => Self::OutputFailed,
            JoinError::Channel(_) => Self::Unsaid,
        }
    }

    /// What a code of the peer means, as the end of a sentence.
    pub fn describe(code: u32) -> String {
        let known = [
            Self::Interrupted,
            Self::OutputFailed,
            Self::InputFailed,
            Self::Done,
        ];
        match known.into_iter().find(|known| known.code() == code) {
            Some(Self::Interrupted) => "it was interrupted there".to_owned(),
            Some(Self::OutputFailed) => "its output could not be written there".to_owned(),
            Some(Self::InputFailed) => "its input could not be read there".to_owned(),
            Some(Self::Done) => "it wants no more".to_owned(),
            _ if code == Self::Unsaid.code() => "it was given up there".to_owned(),
            _ => format!("it was given up there (code {code})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_wire_has_words() {
        let codes = (0..=5).map(GiveUp::describe).collect::<Vec<_>>();
        assert_eq!(
            codes,
            [
                "it was given up there",
                "it was interrupted there",
                "its output could not be written there",
                "its input could not be read there",
                "it wants no more",
                "it was given up there (code 5)",
            ]
        );
    }
}
