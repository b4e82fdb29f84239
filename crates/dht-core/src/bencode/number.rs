//! Integers and string lengths, in their only spelling.

use super::Error;

/// Where the integer that begins with the `i` at `at` ends, after its `e`. Any number of digits.
pub(super) fn integer_end(input: &[u8], at: usize) -> Result<usize, Error> {
    let negative = input.get(at + 1) == Some(&b'-');
    let first = at + 1 + usize::from(negative);
    let mut end = first;
    while input.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    match input.get(end) {
        None => return Err(Error::Truncated),
        Some(b'e') => {}
        Some(&other) => return Err(Error::Unexpected(other)),
    }
    let is_zero = input[first..end] == *b"0";
    let shortest = input[first] != b'0' || (is_zero && !negative);
    if end > first && shortest {
        Ok(end + 1)
    } else {
        Err(Error::Integer)
    }
}

/// The integer that begins with the `i` at `at`, and where it ends.
pub(super) fn integer(input: &[u8], at: usize) -> Result<(i64, usize), Error> {
    let end = integer_end(input, at)?;
    let text = &input[at + 1..end - 1];
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    // Downwards, because the most negative number has no positive twin.
    let mut number = 0_i64;
    for digit in digits {
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_sub(i64::from(digit - b'0')))
            .ok_or(Error::TooBig)?;
    }
    if !negative {
        number = number.checked_neg().ok_or(Error::TooBig)?;
    }
    Ok((number, end))
}

/// The string whose length begins at `at`, and where it ends.
#[inline]
pub(super) fn string(input: &[u8], at: usize) -> Result<(&[u8], usize), Error> {
    let mut len = 0_usize;
    let mut colon = at;
    loop {
        match input.get(colon) {
            Some(digit @ b'0'..=b'9') => {
                if len == 0 && colon > at {
                    return Err(Error::Length);
                }
                len = len * 10 + usize::from(digit - b'0');
                // Also keeps the sum from overflowing.
                if len > input.len() {
                    return Err(Error::Truncated);
                }
                colon += 1;
            }
            Some(b':') if colon > at => break,
            Some(&other) => return Err(Error::Unexpected(other)),
            None => return Err(Error::Truncated),
        }
    }
    let start = colon + 1;
    let string = input.get(start..start + len).ok_or(Error::Truncated)?;
    Ok((string, start + len))
}
