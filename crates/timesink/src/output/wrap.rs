//! Text cut into lines of a width, at spaces where there are any.

/// Returns the text in lines of at most `columns` characters; a longer word is cut.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        let mut rest_length = rest.chars().count();
        if length > 0 && length + 1 + rest_length > columns {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while rest_length > columns {
            let at = rest.char_indices().nth(columns).map_or(rest.len(), |(at, _)| at);
            lines.push(rest[..at].to_owned());
            rest = &rest[at..];
            rest_length -= columns;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(rest);
        length += rest_length;
    }
    if length > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 100), ["one two three"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn cuts_words_that_fit_no_line() {
        assert_eq!(wrap("a bcdefgh ij", 3), ["a", "bcd", "efg", "h", "ij"]);
        assert_eq!(wrap("übärall", 3), ["übä", "ral", "l"]);
    }
}
