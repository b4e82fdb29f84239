//! Modes of a terminal as opcodes and values, as in RFC 4254, section 8: they mean the same on
//! systems whose own numbers differ.

use rustix::termios::{
    InputModes, LocalModes, OutputModes, SpecialCodeIndex, SpecialCodes, Termios,
};

/// Pairs of one request that are looked at; the table has fewer.
const MAX_MODES: usize = 64;

/// A special character that is switched off.
const DISABLED: u32 = 255;

/// What a special character is for, by opcode.
const CHARACTERS: [(u8, SpecialCodeIndex); 13] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
];

const INPUT: [(u8, InputModes); 13] = [
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

const LOCAL: [(u8, LocalModes); 12] = [
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

const OUTPUT: [(u8, OutputModes); 6] = [
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];

/// The modes of a terminal, for a request.
pub(crate) fn of(termios: &Termios) -> Vec<(u8, u32)> {
    let characters = CHARACTERS.iter().map(|(opcode, index)| {
        let character = u32::from(termios.special_codes[*index]);
        // 0 is what Linux has for none.
        (*opcode, if character == 0 { DISABLED } else { character })
    });
    let input = INPUT
        .iter()
        .map(|(opcode, mode)| (*opcode, termios.input_modes.contains(*mode).into()));
    let local = LOCAL
        .iter()
        .map(|(opcode, mode)| (*opcode, termios.local_modes.contains(*mode).into()));
    let output = OUTPUT
        .iter()
        .map(|(opcode, mode)| (*opcode, termios.output_modes.contains(*mode).into()));
    characters.chain(input).chain(local).chain(output).collect()
}

/// Gives a terminal the modes of a request; what is not known is skipped.
pub(crate) fn apply(modes: &[(u8, u32)], termios: &mut Termios) {
    for (opcode, value) in modes.iter().take(MAX_MODES) {
        set_character(&mut termios.special_codes, *opcode, *value);
        let on = *value != 0;
        if let Some((_, mode)) = INPUT.iter().find(|(known, _)| known == opcode) {
            termios.input_modes.set(*mode, on);
        }
        if let Some((_, mode)) = LOCAL.iter().find(|(known, _)| known == opcode) {
            termios.local_modes.set(*mode, on);
        }
        if let Some((_, mode)) = OUTPUT.iter().find(|(known, _)| known == opcode) {
            termios.output_modes.set(*mode, on);
        }
    }
}

fn set_character(codes: &mut SpecialCodes, opcode: u8, value: u32) {
    let Some((_, index)) = CHARACTERS.iter().find(|(known, _)| *known == opcode) else {
        return;
    };
    match (value, u8::try_from(value)) {
        (DISABLED, _) => codes[*index] = 0,
        (_, Ok(character)) => codes[*index] = character,
        (_, Err(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use rustix::pty::{OpenptFlags, openpt};
    use rustix::termios::tcgetattr;

    use super::*;

    #[test]
    fn a_terminal_gets_the_modes_of_another() {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let usual = tcgetattr(&pty).unwrap();
        let mut changed = usual.clone();
        changed.local_modes.remove(LocalModes::ECHO);
        changed
            .input_modes
            .insert(InputModes::IUTF8 | InputModes::IXANY);
        changed.output_modes.remove(OutputModes::ONLCR);
        changed.special_codes[SpecialCodeIndex::VERASE] = 8;
        changed.special_codes[SpecialCodeIndex::VSUSP] = 0;
        let mut other = usual.clone();
        apply(&of(&changed), &mut other);
        assert_eq!(of(&other), of(&changed));
        assert!(!other.local_modes.contains(LocalModes::ECHO));
        assert_eq!(other.special_codes[SpecialCodeIndex::VSUSP], 0);
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let usual = tcgetattr(&pty).unwrap();
        let mut other = usual.clone();
        apply(&[(0, 9), (128, 38_400), (200, 1), (1, 100_000)], &mut other);
        assert_eq!(of(&other), of(&usual));
        let late = [&[(200, 0); MAX_MODES][..], &[(53, 0)]].concat();
        apply(&late, &mut other);
        assert!(
            other.local_modes.contains(LocalModes::ECHO),
            "behind the bound"
        );
        apply(&[(53, 0)], &mut other);
        assert!(!other.local_modes.contains(LocalModes::ECHO));
    }
}
