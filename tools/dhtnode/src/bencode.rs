//! The little of bencoding that the command line needs: a value typed by the user is a byte
//! string, and a byte string that was found is shown without its length.

/// `bytes` as a bencoded byte string.
pub(crate) fn encode_string(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = format!("{}:", bytes.len()).into_bytes();
    encoded.extend_from_slice(bytes);
    encoded
}

/// The contents of `encoded`, if it is exactly one byte string.
pub(crate) fn string_of(encoded: &[u8]) -> Option<&[u8]> {
    let colon = encoded.iter().position(|&byte| byte == b':')?;
    let (digits, rest) = (&encoded[..colon], &encoded[colon + 1..]);
    let is_plain = digits == b"0" || (!digits.is_empty() && digits[0] != b'0');
    if !is_plain || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (rest.len() == length).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_found_again_and_anything_else_is_not_a_string() {
        for bytes in [&b""[..], b"Hello World!", &[0, 255, b':'], &[b'x'; 1000]] {
            assert_eq!(string_of(&encode_string(bytes)), Some(bytes));
        }
        assert_eq!(encode_string(b"Hello World!"), b"12:Hello World!");
        for other in [
            &b""[..],
            b":",
            b"1:",
            b"1:ab",
            b"01:a",
            b"+1:a",
            b"-1:",
            b"i5e",
            b"l1:ae",
            b"d1:a1:be",
            b"99999999999999999999:a",
        ] {
            assert_eq!(string_of(other), None, "{other:?}");
        }
    }
}
