//! Patterns for names: `*` stands for any text, also none.

/// Whether the whole name fits the pattern. Takes at most the product of their lengths.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Behind the last `*`, and where in the name what it stands for ends.
    let mut star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, read));
            }
            Some(byte) if *byte == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((behind, end)) = star else {
                    return false;
                };
                star = Some((behind, end + 1));
                (at, read) = (behind, end + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        let check = |pattern: &str, fits: &[&str], others: &[&str]| {
            let matches = |name: &&str| matches(pattern.as_bytes(), name.as_bytes());
            assert!(fits.iter().all(&matches), "{pattern}");
            assert!(!others.iter().any(matches), "{pattern}");
        };
        check("a.b", &["a.b"], &["a.bc", "xa.b", "a", "", "aXb"]);
        check("a.*", &["a.", "a.b", "a.b.c"], &["a", "b.a."]);
        check("*.id", &["user.id", ".id", "a.id.id"], &["id", "a.id.b"]);
        check("a*b*c", &["abc", "axxbxxc", "abcbc"], &["ab", "abcd", "acb"]);
        check("*", &["", "a"], &[]);
        check("**", &["", "a"], &[]);
        check("", &[""], &["a"]);
    }
}
