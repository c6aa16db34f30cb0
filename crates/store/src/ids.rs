//! Trace ids as numbers.

use arrow::array::{AsArray, RecordBatch};

/// Hex digits of a trace id.
const DIGITS: usize = 32;

/// Reads a trace id, 32 hex digits.
pub fn parse_trace_id(text: &str) -> Option<u128> {
    let digits: &[u8; DIGITS] = text.as_bytes().try_into().ok()?;
    let (high, low) = digits.split_at(DIGITS / 2);
    Some(u128::from(parse_half(high)?) << 64 | u128::from(parse_half(low)?))
}

fn parse_half(digits: &[u8]) -> Option<u64> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | u64::from(value(digit)?)))
}

/// Reads the trace id of each row; 0 for what is none, which the decoder lets not through.
pub fn trace_ids(batch: &RecordBatch) -> Vec<u128> {
    let ids = batch.column_by_name("trace_id").and_then(|column| column.as_string_view_opt());
    let ids = ids.into_iter().flat_map(|ids| ids.views().iter().zip(ids));
    // The decoder writes the id of neighbours once: their views are the same.
    let mut last = None;
    let parse = |(view, id): (&u128, Option<&str>)| match last {
        Some((known, number)) if known == *view && id.is_some() => number,
        _ => {
            let number = parse_trace_id(id.unwrap_or_default()).unwrap_or_default();
            last = id.map(|_| (*view, number));
            number
        }
    };
    ids.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringViewArray, UInt32Array};
    use arrow::compute::take;

    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn an_id_is_a_number() {
        let number = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(parse_trace_id(ID), Some(number));
        assert_eq!(parse_trace_id(&ID.to_uppercase()), Some(number));
        let long = [format!("{ID}0"), format!("+{}", &ID[1..]), ID.replace('f', "g")];
        for none in long.iter().map(String::as_str).chain(["", &ID[1..]]) {
            assert_eq!(parse_trace_id(none), None, "{none}");
        }
    }

    #[test]
    fn each_row_has_its_id() {
        let other = ID.replace('0', "1");
        let texts = [Some(ID), Some(ID), None, Some("0"), Some(other.as_str())];
        let texts = StringViewArray::from_iter(texts);
        let ids = take(&texts, &UInt32Array::from(vec![0, 0, 1, 1, 2, 3, 4, 0]), None).unwrap();
        let batch = RecordBatch::try_from_iter([("trace_id", ids)]).unwrap();
        let (id, other) = (parse_trace_id(ID).unwrap(), parse_trace_id(&other).unwrap());
        assert_eq!(trace_ids(&batch), [id, id, id, id, 0, 0, other, id]);
    }
}
