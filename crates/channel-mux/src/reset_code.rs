//! Codes with which the mux itself resets and stops streams.
//!
//! Applications choose codes below [`RESERVED`]; those from it up say what the mux did. They carry
//! the decline codes, so that an opener whose request was dropped unread still learns why.

use crate::reason::DeclineCode;

/// First code that the mux keeps for itself.
pub const RESERVED: u32 = 0xffff_ff00;

/// The bytes on the stream break the protocol.
pub const MALFORMED: u32 = RESERVED;

/// The code with which a declined channel's streams are ended.
pub(crate) fn for_decline(code: DeclineCode) -> u32 {
    RESERVED | u32::from(code.to_wire())
}

/// What an opener makes of a reset that arrives in the place of an answer.
pub(crate) fn as_decline(code: u32) -> DeclineCode {
    match code {
        MALFORMED => DeclineCode::BadRequest,
        code if code > RESERVED => DeclineCode::from_wire((code & 0xff) as u8),
        _ => DeclineCode::Unanswered,
    }
}

/// What the reset or the stop of an open channel says, if the mux of the peer made it: that the
/// peer no longer allows it, usually.
#[must_use]
pub fn as_cut(code: u32) -> Option<DeclineCode> {
    (code > RESERVED).then(|| as_decline(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decline_survives_as_a_reset_code() {
        for code in [
            DeclineCode::Busy,
            DeclineCode::ShuttingDown,
            DeclineCode::BadRequest,
        ] {
            assert_eq!(as_decline(for_decline(code)), code);
        }
        assert_eq!(as_decline(MALFORMED), DeclineCode::BadRequest);
        assert_eq!(as_decline(7), DeclineCode::Unanswered);
        let cut = for_decline(DeclineCode::Policy);
        assert_eq!(as_cut(cut), Some(DeclineCode::Policy));
        assert_eq!([as_cut(7), as_cut(MALFORMED)], [None, None]);
    }
}
