//! Names of spans that somebody wrote by hand: `item 17` is one of many.

/// Runs of hexadecimal digits from this length on are ids when they have a decimal digit among
/// them.
const HEX_ID_BYTES_MIN: usize = 8;

/// Returns the name with ids and numbers in it as `?`, so that the spans of a loop have one name.
///
/// ```
/// use timesink_facts::shape::name_shape;
///
/// assert_eq!(name_shape("item 17 of order_42"), "item ? of order_?");
/// assert_eq!(name_shape("load 6f9619ff-8b86-d011-b42d-00cf4fc964ff"), "load ?");
/// ```
pub fn name_shape(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut shape = String::with_capacity(name.len());
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_hexdigit() {
            at += 1;
            continue;
        }
        let id = id_bytes(bytes, at);
        if id == 0 {
            at += 1;
            continue;
        }
        shape.push_str(&name[copied..at]);
        shape.push('?');
        at += id;
        copied = at;
    }
    shape.push_str(&name[copied..]);
    shape
}

/// Returns the length of the id or number that starts at `at`, 0 for none.
fn id_bytes(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
    if starts_word {
        let ends_word = |end: usize| !rest.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if is_uuid_start(rest) && ends_word(UUID_BYTES) {
            return UUID_BYTES;
        }
        let hex = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if is_hex_id(&rest[..hex]) && ends_word(hex) {
            return hex;
        }
    }
    rest.iter().take_while(|b| b.is_ascii_digit()).count()
}

const UUID_BYTES: usize = 36;

/// Whether the text starts with a UUID in its usual form.
pub(super) fn is_uuid_start(bytes: &[u8]) -> bool {
    bytes.len() >= UUID_BYTES
        && bytes[..UUID_BYTES].iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Whether all of it is hexadecimal, long enough, and has a decimal digit.
pub(super) fn is_hex_id(bytes: &[u8]) -> bool {
    bytes.len() >= HEX_ID_BYTES_MIN
        && bytes.iter().all(u8::is_ascii_hexdigit)
        && bytes.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_numbers_go() {
        let check = |name, expected| assert_eq!(name_shape(name), expected);
        check("item 17", "item ?");
        check("item17", "item?");
        check("job 0af7651916cd43dd8448eb211c80319c done", "job ? done");
        check("deadbeef01-x", "?-x");
        check("chunk 10/200", "chunk ?/?");
        check("id=6F9619FF-8B86-D011-B42D-00CF4FC964FF", "id=?");
        check("4bf92f3577b34da6a", "?");
        check("Rechnung №17 für Ähre", "Rechnung №? für Ähre");
    }

    #[test]
    fn words_stay() {
        let same = |name| assert_eq!(name_shape(name), name);
        same("");
        same("deadbeef");
        same("feedback added");
        same("GET /items/{i} http send");
        same("serialize_response");
    }
}
