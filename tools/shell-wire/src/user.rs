//! Names of users.

/// Longest name of a user, in bytes: what Linux tools make at most (`LOGIN_NAME_MAX` is 256).
pub const MAX_USER: usize = 255;

/// Whether a system could have a user of this name: 1 to [`MAX_USER`] bytes that no form of ours or
/// of the system takes for something else.
#[must_use]
pub fn is_user_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !":/,@".contains(c);
    !name.is_empty()
        && name.len() <= MAX_USER
        && !name.starts_with('-')
        && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_that_is_no_option_and_no_path() {
        let longest = "x".repeat(MAX_USER);
        for name in ["alice", "a.b_c-d", "web$", "jürgen", &longest] {
            assert!(is_user_name(name), "{name}");
        }
        let too_long = "x".repeat(MAX_USER + 1);
        for name in ["", "-x", "a b", "a:b", "../root", "a@b", "a\0", &too_long] {
            assert!(!is_user_name(name), "{name:?}");
        }
    }
}
