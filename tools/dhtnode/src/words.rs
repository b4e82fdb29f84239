//! A line of the prompt, cut into words as a shell would: quotes keep a word together.

/// Why a line cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordsError {
    /// A quote is not closed.
    OpenQuote(char),
    /// The line ends in a backslash.
    TrailingBackslash,
}

impl std::fmt::Display for WordsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(f, "the quote {quote} is not closed"),
            Self::TrailingBackslash => f.write_str("nothing follows the last backslash"),
        }
    }
}

/// The words of `line`.
///
/// Outside of quotes a backslash takes the next character as it is; in `"…"` it does so before `"`
/// and `\`; in `'…'` nothing is special. A `#` at the beginning of a word begins a remark.
pub(crate) fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_none() => break,
            '\'' => quoted(&mut chars, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut chars, '"', word.get_or_insert_default())?,
            '\\' => {
                let next = chars.next().ok_or(WordsError::TrailingBackslash)?;
                word.get_or_insert_default().push(next);
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Appends what stands up to the closing quote.
fn quoted(
    chars: &mut std::str::Chars<'_>,
    quote: char,
    word: &mut String,
) -> Result<(), WordsError> {
    while let Some(c) = chars.next() {
        if c == quote {
            return Ok(());
        }
        let is_escape = c == '\\' && quote == '"';
        match chars.clone().next() {
            Some(next @ ('"' | '\\')) if is_escape => {
                chars.next();
                word.push(next);
            }
            _ => word.push(c),
        }
    }
    Err(WordsError::OpenQuote(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        for (line, words) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("put hello", &["put", "hello"]),
            ("put  'two  words' ", &["put", "two  words"]),
            (r#"put "it's 5\" \\ \n""#, &["put", r#"it's 5" \ \n"#]),
            (r"put 'a\b' c\ d", &["put", r"a\b", "c d"]),
            ("put a'b'\"c\"", &["put", "abc"]),
            ("put '' \"\"", &["put", "", ""]),
            ("get k # remark", &["get", "k"]),
            ("get k#1", &["get", "k#1"]),
            ("put 'größe ✓'", &["put", "größe ✓"]),
        ] {
            let expected = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(split(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn an_open_quote_and_a_last_backslash_are_named() {
        assert_eq!(split("put 'a"), Err(WordsError::OpenQuote('\'')));
        assert_eq!(split("put \"a\\\""), Err(WordsError::OpenQuote('"')));
        assert_eq!(split("put a\\"), Err(WordsError::TrailingBackslash));
    }
}
