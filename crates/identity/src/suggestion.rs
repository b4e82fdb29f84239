//! The name that a mistyped name was probably meant to be.

/// The one of `names` with the fewest typing errors between it and `typed`; the first of several.
/// `None` when even that one differs in more than a third of what was typed (one error is always
/// forgiven).
pub(crate) fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let forgiven = (typed.len() / 3).max(1);
    names
        .map(|name| (distance(typed.as_bytes(), name.as_bytes()), name))
        .filter(|(errors, name)| *errors <= forgiven && *errors < name.len())
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, name)| name)
}

/// Typing errors between two words: characters inserted, left out, replaced, or swapped with
/// their neighbour (the optimal string alignment distance).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn each_kind_of_typing_error_counts_once() {
        for (a, b, errors) in [
            ("", "", 0),
            ("", "abc", 3),
            ("laptop", "laptop", 0),
            ("laptpo", "laptop", 1),
            ("lapto", "laptop", 1),
            ("lapptop", "laptop", 1),
            ("laptip", "laptop", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), errors, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), errors, "{b} {a}");
        }
    }
}
