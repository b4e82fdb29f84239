//! What comes of each pair, with a relay at hand: one file for the simulated grid and this one.

use super::{Kind, PortMapping};

/// The file. A line for each pair: `a | b | without mapped ports | with mapped ports`.
const FILE: &str = include_str!("../../../crates/nat-traversal/tests/nat-grid.txt");

/// The path that a pair ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From device to device.
    Direct,
    /// Through a relay.
    Relayed,
}

/// The path that the file has for this pair, in either order; `None` when it has no such line.
#[must_use]
pub fn path([a, b]: [Kind; 2], mapping: PortMapping) -> Option<Path> {
    let lines = FILE.lines().filter(|line| !line.starts_with('#'));
    let mut rows = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let row = rows.find(|row| {
        row.len() == 4 && (row[..2] == [a.name(), b.name()] || row[..2] == [b.name(), a.name()])
    })?;
    let word = match mapping {
        PortMapping::Off => row[2],
        PortMapping::On => row[3],
    };
    match word {
        "direct" => Some(Path::Direct),
        "relayed" => Some(Path::Relayed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_each_pair_and_nothing_else() {
        for pair in Kind::pairs() {
            for mapping in [PortMapping::Off, PortMapping::On] {
                assert!(path(pair, mapping).is_some(), "{pair:?} {mapping:?}");
            }
        }
        let lines = FILE.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.count(), Kind::pairs().count());
    }
}
