//! Addresses that are never talked to, read from a list of ranges.
//!
//! The text is that of PeerGuardian (P2P): one range a line, `name:first-last`. A line without a
//! name, a single address and a network (`2001:db8::/32`) are read as well; `#` starts a comment
//! line. Ports do not count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges of addresses. The empty one, which is the default, blocks nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocklist {
    /// Sorted, apart from each other.
    v4: Vec<Range<u32>>,
    v6: Vec<Range<u128>>,
}

/// The first and the last address.
type Range<T> = (T, T);

/// Why a text is no blocklist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseBlocklistError {
    /// Which line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub problem: BlocklistProblem,
}

/// What is wrong with a line of a blocklist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlocklistProblem {
    /// There is no address where one belongs.
    #[error(
        "no address range; write `name:first-last`, `first-last`, `address/prefix` or `address`"
    )]
    NoRange,
    /// The first address is beyond the last.
    #[error("the first address is greater than the last; swap them")]
    Reversed,
    /// One end is IPv4, the other is IPv6.
    #[error("one end is IPv4 and the other IPv6; write a range for each")]
    MixedFamilies,
    /// Not a length of a prefix.
    #[error("no prefix length; write 0 to 32 for IPv4, 0 to 128 for IPv6")]
    BadPrefix,
}

impl Blocklist {
    /// Reads a list. The names of ranges may be in any encoding.
    ///
    /// # Errors
    /// The first line that is neither empty nor a comment nor a range.
    pub fn parse(text: &[u8]) -> Result<Self, ParseBlocklistError> {
        let mut list = Self::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let range = parse_line(line).map_err(|problem| ParseBlocklistError {
                line: index + 1,
                problem,
            })?;
            match range {
                Span::V4(range) => list.v4.push(range),
                Span::V6(range) => list.v6.push(range),
            }
        }
        merge(&mut list.v4, |last| last.checked_add(1));
        merge(&mut list.v6, |last| last.checked_add(1));
        Ok(list)
    }

    /// Whether `address` is blocked.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => covers(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => covers(&self.v6, v6.to_bits()),
        }
    }

    /// Whether nothing is blocked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Ranges, after those that touch or overlap were joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

#[derive(Debug, Clone, Copy)]
enum Span {
    V4(Range<u32>),
    V6(Range<u128>),
}

fn parse_line(line: &str) -> Result<Span, BlocklistProblem> {
    if let Some((head, last)) = line.rsplit_once('-')
        && let Some(last) = parse_address(last)
    {
        return parse_range(head.trim_end(), last);
    }
    if let Some((network, prefix)) = line.rsplit_once('/')
        && let Some(address) = ends(network).next()
    {
        let prefix = prefix.trim().parse().ok();
        let prefix: u32 = prefix.ok_or(BlocklistProblem::BadPrefix)?;
        return network_of(address, prefix).ok_or(BlocklistProblem::BadPrefix);
    }
    let address = ends(line).next().ok_or(BlocklistProblem::NoRange)?;
    span(address, address)
}

/// A range whose first address stands at the end of `head`, behind a name. Names and IPv6
/// addresses both have colons: of the ways to read it, the one that blocks least is meant.
fn parse_range(head: &str, last: IpAddr) -> Result<Span, BlocklistProblem> {
    let readings = ends(head).map(|first| span(first, last));
    let size = |reading: &Result<Span, _>| match reading {
        Ok(Span::V4((first, last))) => Some(u128::from(last - first)),
        Ok(Span::V6((first, last))) => Some(last - first),
        Err(_) => None,
    };
    readings
        .min_by_key(|reading| size(reading).map_or((1, 0), |size| (0, size)))
        .unwrap_or(Err(BlocklistProblem::NoRange))
}

/// The addresses that `text` may end in: all of it, or what follows one of its colons.
fn ends(text: &str) -> impl Iterator<Item = IpAddr> {
    let colons = text.match_indices(':').map(|(at, _)| at + 1);
    std::iter::once(0)
        .chain(colons)
        .filter_map(|at| parse_address(&text[at..]))
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    // Lists pad numbers with zeros: 001.002.003.004.
    let mut octets = [0; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        let number = numbers.next()?;
        let plain = number.len() <= 3 && number.bytes().all(|digit| digit.is_ascii_digit());
        *octet = number.parse().ok().filter(|_| plain)?;
    }
    numbers
        .next()
        .is_none()
        .then(|| Ipv4Addr::from(octets).into())
}

fn span(first: IpAddr, last: IpAddr) -> Result<Span, BlocklistProblem> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ok(Span::V4((first.to_bits(), last.to_bits())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ok(Span::V6((first.to_bits(), last.to_bits())))
        }
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            Err(BlocklistProblem::Reversed)
        }
        _ => Err(BlocklistProblem::MixedFamilies),
    }
}

fn network_of(address: IpAddr, prefix: u32) -> Option<Span> {
    match address {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let first = v4.to_bits() & !hosts;
            (prefix <= Ipv4Addr::BITS).then_some(Span::V4((first, first | hosts)))
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(prefix).unwrap_or(0);
            let first = v6.to_bits() & !hosts;
            (prefix <= Ipv6Addr::BITS).then_some(Span::V6((first, first | hosts)))
        }
    }
}

/// Sorts the ranges and joins those that touch or overlap.
fn merge<T: Copy + Ord>(ranges: &mut Vec<Range<T>>, following: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = following(kept.1).is_none_or(|following| next.0 <= following);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
    ranges.shrink_to_fit();
}

fn covers<T: Copy + Ord>(ranges: &[Range<T>], address: T) -> bool {
    let after = ranges.partition_point(|range| range.0 <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests;
