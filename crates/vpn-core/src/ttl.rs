//! The hop limit of a packet that a server passes from one peer to another.

use crate::bytes_at::{put_u16, u16_at};
use crate::{DropReason, checksum};

/// Takes one from the hop limit of a packet that was [classified](crate::packet::classify).
///
/// # Errors
/// [`DropReason::HopLimit`] if none would be left.
pub fn decrement_hop_limit(packet: &mut [u8]) -> Result<(), DropReason> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let at = if is_v4 { 8 } else { 7 };
    let before = u16_at(packet, at & !1);
    let limit = packet.get_mut(at).ok_or(DropReason::Truncated)?;
    if *limit <= 1 {
        return Err(DropReason::HopLimit);
    }
    *limit -= 1;
    if is_v4 {
        let checksum = checksum::updated(u16_at(packet, 10), before, u16_at(packet, 8));
        put_u16(packet, 10, checksum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;
    use crate::packet::samples;

    #[test]
    fn it_falls_by_one_with_the_checksum_right_and_never_to_zero() {
        let mut v4 = samples::udp(("10.0.0.1", "10.0.0.2"), b"x");
        for limit in (1..64).rev() {
            decrement_hop_limit(&mut v4).unwrap();
            assert_eq!(v4[8], limit);
            assert_eq!(checksum::of(&v4[..20]), 0);
        }
        assert_eq!(decrement_hop_limit(&mut v4), Err(DropReason::HopLimit));
        let mut v6 = samples::udp(("fd00::1", "fd00::2"), b"x");
        decrement_hop_limit(&mut v6).unwrap();
        assert_eq!(v6[7], 63);
        assert_eq!(decrement_hop_limit(&mut []), Err(DropReason::Truncated));
    }
}
