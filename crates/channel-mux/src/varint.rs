//! Variable-length integers as in QUIC (RFC 9000 section 16), shortest form only.

/// Largest number that has an encoding.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Bytes that [`encode`] writes for `value`: 1, 2, 4 or 8.
pub(crate) fn encoded_len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Appends `value`, at most [`MAX`], in its shortest form.
pub(crate) fn encode(value: u64, out: &mut Vec<u8>) {
    debug_assert!(value <= MAX);
    let length = encoded_len(value);
    let marked = value.to_be_bytes();
    let start = out.len();
    out.extend_from_slice(&marked[8 - length..]);
    out[start] |= (length.trailing_zeros() as u8) << 6;
}

/// Reads a number off the front: its value and how many bytes it took. `None` when bytes are
/// missing or a shorter form exists.
pub(crate) fn decode(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let length = 1usize << (first >> 6);
    let bytes = input.get(..length)?;
    let value = bytes[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| {
            (value << 8) | u64::from(*byte)
        });
    (encoded_len(value) == length).then_some((value, length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn examples_of_rfc_9000_appendix_a_1() {
        assert_eq!(
            encoded(151_288_809_941_952_652),
            0xc219_7c5e_ff14_e88c_u64.to_be_bytes()
        );
        assert_eq!(encoded(494_878_333), [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(encoded(15_293), [0x7b, 0xbd]);
        assert_eq!(encoded(37), [0x25]);
        assert_eq!(decode(&[0x40, 0x25]), None, "37 in two bytes is over-long");
    }

    #[test]
    fn every_length_survives_and_no_truncation_decodes() {
        for value in [0, 1, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, MAX] {
            let bytes = encoded(value);
            assert_eq!(decode(&bytes), Some((value, bytes.len())));
            assert_eq!(bytes.len(), encoded_len(value));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), None);
            }
        }
    }
}
