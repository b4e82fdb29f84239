//! Signals by their names, which are the same on all systems, as in RFC 4254, section 6.10.

use rustix::process::Signal;

/// What a client may send to its command.
const SENDABLE: [(&str, Signal); 10] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TSTP", Signal::TSTP),
    ("CONT", Signal::CONT),
];

/// What can end a process besides.
const DEADLY: [(&str, Signal); 11] = [
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("SEGV", Signal::SEGV),
    ("PIPE", Signal::PIPE),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("SYS", Signal::SYS),
];

/// The signal that a client may send under this name.
pub(crate) fn sendable(name: &str) -> Option<Signal> {
    let found = SENDABLE.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal)
}

/// The name of a signal by its number here.
pub(crate) fn name_of(number: i32) -> String {
    let mut all = SENDABLE.iter().chain(&DEADLY);
    let found = all.find(|(_, signal)| signal.as_raw() == number);
    found.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The exit status by which a shell says that a signal of this name ended a process: 128 and its
/// number here.
pub(crate) fn status_of(name: &str) -> u8 {
    let mut all = SENDABLE.iter().chain(&DEADLY);
    let number = match all.find(|(known, _)| *known == name) {
        Some((_, signal)) => Some(signal.as_raw()),
        None => name.parse().ok(),
    };
    let status = number.and_then(|number| u8::try_from(number).ok()?.checked_add(128));
    status.unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_the_status_that_a_shell_gives() {
        assert_eq!(
            (status_of("INT"), status_of("KILL"), status_of("SEGV")),
            (130, 137, 139)
        );
        assert_eq!(status_of("34"), 162);
        assert_eq!(
            (status_of("WHAT"), status_of("200"), status_of("-1")),
            (255, 255, 255)
        );
        for number in 1..65 {
            if name_of(number) != number.to_string() {
                assert_eq!(i32::from(status_of(&name_of(number))), 128 + number);
            }
        }
        assert_eq!(sendable("TERM"), Some(Signal::TERM));
        assert_eq!(sendable("SEGV"), None);
    }
}
