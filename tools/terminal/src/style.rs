//! Colours and attributes of a cell, and the sequences that select them.

use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{Color, NamedColor};

/// The flags of a cell that say how it looks.
const LOOKS: Flags = Flags::INVERSE
    .union(Flags::BOLD)
    .union(Flags::ITALIC)
    .union(Flags::DIM)
    .union(Flags::HIDDEN)
    .union(Flags::STRIKEOUT)
    .union(Flags::ALL_UNDERLINES);

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    foreground: Color,
    background: Color,
    looks: Flags,
    underline: Option<Color>,
}

impl Default for Style {
    fn default() -> Self {
        Self::of(&Cell::default())
    }
}

impl Style {
    pub(crate) fn of(cell: &Cell) -> Self {
        Self {
            foreground: cell.fg,
            background: cell.bg,
            looks: cell.flags.intersection(LOOKS),
            underline: cell.underline_color(),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Appends the sequence (SGR, ECMA-48 8.3.117 with xterm's colours) that selects this style
    /// whatever was selected before.
    pub(crate) fn select(&self, out: &mut Vec<u8>) {
        if self.is_default() {
            out.extend_from_slice(b"\x1b[m");
            return;
        }
        out.extend_from_slice(b"\x1b[0");
        for (flag, parameter) in [
            (Flags::BOLD, ";1"),
            (Flags::DIM, ";2"),
            (Flags::ITALIC, ";3"),
            (Flags::UNDERLINE, ";4"),
            (Flags::DOUBLE_UNDERLINE, ";4:2"),
            (Flags::UNDERCURL, ";4:3"),
            (Flags::DOTTED_UNDERLINE, ";4:4"),
            (Flags::DASHED_UNDERLINE, ";4:5"),
            (Flags::INVERSE, ";7"),
            (Flags::HIDDEN, ";8"),
            (Flags::STRIKEOUT, ";9"),
        ] {
            if self.looks.contains(flag) {
                out.extend_from_slice(parameter.as_bytes());
            }
        }
        colour(self.foreground, Ground::Fore, out);
        colour(self.background, Ground::Back, out);
        if let Some(underline) = self.underline {
            colour(underline, Ground::Under, out);
        }
        out.push(b'm');
    }
}

/// What a colour is for.
#[derive(Clone, Copy)]
enum Ground {
    Fore,
    Back,
    Under,
}

fn colour(colour: Color, ground: Ground, out: &mut Vec<u8>) {
    let (normal, bright, extended) = match ground {
        Ground::Fore => (30, 90, 38),
        Ground::Back => (40, 100, 48),
        Ground::Under => (0, 0, 58),
    };
    let parameters = match colour {
        Color::Named(name) => {
            let number = usize::from(dim_as_normal(name) as u16);
            match (number, ground) {
                (0..16, Ground::Under) => format!(";58;5;{number}"),
                (0..8, _) => format!(";{}", normal + number),
                (8..16, _) => format!(";{}", bright + number - 8),
                _ => return,
            }
        }
        Color::Indexed(index) => format!(";{extended};5;{index}"),
        Color::Spec(rgb) => format!(";{extended};2;{};{};{}", rgb.r, rgb.g, rgb.b),
    };
    out.extend_from_slice(parameters.as_bytes());
}

/// A terminal that draws dim text has names for its colours; a program selects them as normal.
fn dim_as_normal(name: NamedColor) -> NamedColor {
    match name as u16 {
        259.. => name.to_bright(),
        _ => name,
    }
}
