//! Escapes that a person types at the beginning of a line: `~.`, `~?` and their like.

use std::fmt;
use std::str::FromStr;

/// The character that begins an escape, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EscapeCharacter(Option<u8>);

impl EscapeCharacter {
    /// No escapes, for what is no terminal.
    pub(crate) const NONE: Self = Self(None);
}

impl FromStr for EscapeCharacter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            b"none" => Ok(Self::NONE),
            [b'^', letter @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(Self(Some(letter & 0x1f))),
            [character] if character.is_ascii_graphic() => Ok(Self(Some(*character))),
            _ => Err("not one character, ^ and a letter, or none".to_owned()),
        }
    }
}

impl fmt::Display for EscapeCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(control @ ..0x20) => write!(f, "^{}", char::from(control | 0x40)),
            Some(character) => write!(f, "{}", char::from(character)),
        }
    }
}

/// What a person wants of dsh itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// `~.`
    Disconnect,
    /// `~d`: leave a named session.
    Detach,
    /// `~^Z`
    Suspend,
    /// `~?`
    Help,
    /// `~s`: how the connection is.
    Status,
}

/// Where in a line the typist is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    /// After the escape character at the start of a line.
    Escaped,
    Within,
}

/// Looks for escapes in what is typed.
#[derive(Debug)]
pub(crate) struct Escapes {
    character: EscapeCharacter,
    place: Place,
    can_detach: bool,
}

impl Escapes {
    pub(crate) fn new(character: EscapeCharacter) -> Self {
        Self {
            character,
            place: Place::LineStart,
            can_detach: false,
        }
    }

    /// With `~d`, for what can be left and found again.
    pub(crate) fn with_detach(mut self) -> Self {
        self.can_detach = true;
        self
    }

    /// Whether nothing is an escape.
    pub(crate) fn is_off(&self) -> bool {
        self.character == EscapeCharacter::NONE
    }

    /// What of `typed` goes to the peer, and the wishes among it in their order.
    pub(crate) fn sift(&mut self, typed: &[u8]) -> (Vec<u8>, Vec<Wish>) {
        let (mut passed, mut wishes) = (Vec::with_capacity(typed.len()), Vec::new());
        let Some(escape) = self.character.0 else {
            return (typed.to_vec(), wishes);
        };
        for byte in typed.iter().copied() {
            let wish = match (self.place, byte) {
                (Place::LineStart, byte) if byte == escape => {
                    self.place = Place::Escaped;
                    continue;
                }
                (Place::Escaped, b'.') => Some(Wish::Disconnect),
                (Place::Escaped, b'd') if self.can_detach => Some(Wish::Detach),
                (Place::Escaped, 0x1a) => Some(Wish::Suspend),
                (Place::Escaped, b'?') => Some(Wish::Help),
                (Place::Escaped, b's') => Some(Wish::Status),
                (Place::Escaped, byte) => {
                    // Typed twice it stands for itself.
                    if byte != escape {
                        passed.push(escape);
                    }
                    None
                }
                _ => None,
            };
            if let Some(wish) = wish {
                wishes.push(wish);
                self.place = Place::LineStart;
                continue;
            }
            passed.push(byte);
            self.place = match byte {
                b'\r' | b'\n' => Place::LineStart,
                _ => Place::Within,
            };
        }
        (passed, wishes)
    }

    /// The lines of `~?`.
    pub(crate) fn help(&self) -> Vec<String> {
        let escape = self.character;
        let mut lines = vec![
            "escapes, at the beginning of a line:".to_owned(),
            format!("  {escape}.   end the connection"),
            format!("  {escape}^Z  suspend dsh"),
            format!("  {escape}s   show the connection"),
            format!("  {escape}?   these lines"),
            format!("  {escape}{escape}   the character itself"),
        ];
        if self.can_detach {
            let line = format!("  {escape}d   leave the session, which goes on");
            lines.insert(1, line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn sifted(character: &str, typed: &[&[u8]]) -> (String, Vec<Wish>) {
        let mut escapes = Escapes::new(character.parse().unwrap());
        let (mut passed, mut wishes) = (Vec::new(), Vec::new());
        for bytes in typed {
            let (more, wished) = escapes.sift(bytes);
            passed.extend(more);
            wishes.extend(wished);
        }
        (String::from_utf8(passed).unwrap(), wishes)
    }

    #[test]
    fn escapes_count_at_the_beginning_of_a_line_only() {
        type Case<'c> = (&'c [&'c [u8]], &'c str, &'c [Wish]);
        let cases: [Case<'_>; 9] = [
            (&[b"~."], "", &[Wish::Disconnect]),
            (&[b"~", b"."], "", &[Wish::Disconnect]),
            (&[b"a~.\r"], "a~.\r", &[]),
            (&[b"ls\r~?x"], "ls\rx", &[Wish::Help]),
            (&[b"\n~\x1a~s"], "\n", &[Wish::Suspend, Wish::Status]),
            (&[b"~~."], "~.", &[]),
            (&[b"~x~."], "~x~.", &[]),
            (&[b"~\r~."], "~\r", &[Wish::Disconnect]),
            (&["ä\r~é".as_bytes()], "ä\r~é", &[]),
        ];
        for (typed, passed, wishes) in cases {
            assert_eq!(sifted("~", typed), (passed.to_owned(), wishes.to_vec()));
        }
    }

    #[test]
    fn only_what_can_be_found_again_can_be_left() {
        let sift = |mut escapes: Escapes| escapes.sift(b"~d");
        let plain = Escapes::new("~".parse().unwrap());
        assert!(plain.help().iter().all(|line| !line.contains("~d")));
        assert_eq!(sift(plain), (b"~d".to_vec(), vec![]));
        let named = Escapes::new("~".parse().unwrap()).with_detach();
        assert!(named.help().iter().any(|line| line.contains("~d")));
        assert_eq!(sift(named), (vec![], vec![Wish::Detach]));
    }

    #[test]
    fn the_character_can_be_another_or_none() {
        assert_eq!(sifted("none", &[b"~."]), ("~.".to_owned(), vec![]));
        assert_eq!(
            sifted("^]", &[b"\x1d."]),
            (String::new(), vec![Wish::Disconnect])
        );
        assert_eq!(
            sifted("%", &[b"~.\r%."]),
            ("~.\r".to_owned(), vec![Wish::Disconnect])
        );
        for text in ["~", "none", "^]", "^A"] {
            assert_eq!(text.parse::<EscapeCharacter>().unwrap().to_string(), text);
        }
        for wrong in ["", "ab", "^1", " ", "ä"] {
            assert!(wrong.parse::<EscapeCharacter>().is_err(), "{wrong:?}");
        }
    }
}
