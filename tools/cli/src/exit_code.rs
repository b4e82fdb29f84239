//! The exit codes of all tools, as one enum.

/// How a tool ends. The numbers are part of the contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for was done.
    Done = 0,
    /// A failure that none of the others names.
    Failed = 1,
    /// Wrong usage or configuration; nothing was started.
    Usage = 2,
    /// The peer was not found or could not be reached in time.
    Unreachable = 3,
    /// The peer's policy refused.
    Refused = 4,
    /// The own identity cannot be used, or the peer could not prove its own.
    Identity = 5,
    /// The target behind the peer refused or failed.
    Target = 6,
    /// SIGINT: 128 + 2.
    Interrupted = 130,
    /// SIGTERM: 128 + 15.
    Terminated = 143,
}

impl ExitCode {
    /// All of them.
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::Identity,
        Self::Target,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The code with this number, as another process of ours ended with it.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_contract() {
        let codes = ExitCode::ALL;
        assert_eq!(codes.map(ExitCode::number), [0, 1, 2, 3, 4, 5, 6, 130, 143]);
        assert!(
            codes
                .iter()
                .all(|code| ExitCode::of_number(code.number()) == Some(*code))
        );
        assert_eq!(ExitCode::of_number(7), None);
    }
}
