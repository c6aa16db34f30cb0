//! [`order`]: how the rows of a file follow each other.

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::error::ArrowError;

use crate::file::{named, numbers};

/// The bits of a row's number, and of a time, in the number by which rows are ordered.
const ROW_BITS: u32 = u32::BITS;
const TIME_BITS: u32 = i64::BITS;

/// Returns the rows of some batches, counted through, in the order of three columns: a text, a time
/// and a text, as traces, starts and ids of spans are, none of them NULL. Without columns they stay
/// as they are.
///
/// Rows are sorted as numbers: the place of their first text among all that there are, the time,
/// and the row. So few texts are compared.
pub(crate) fn order(sorted_by: &[&str], batches: &[RecordBatch]) -> Result<Vec<u32>, ArrowError> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let rows = u32::try_from(rows).map_err(|_| ArrowError::OffsetOverflowError(rows))?;
    let [first, time, last] = match sorted_by {
        [] => return Ok((0..rows).collect()),
        [first, time, last] => [first, time, last],
        _ => return Err(ArrowError::SchemaError("rows are sorted by three columns".to_owned())),
    };
    let (first, last) = (Texts::of(batches, first)?, Texts::of(batches, last)?);
    let times = batches.iter().map(|batch| numbers(batch, time));
    let times = times.collect::<Result<Vec<&Int64Array>, _>>()?;
    let times = times.iter().flat_map(|times| times.values().iter());
    let number = |((row, rank), time): ((u32, u32), &i64)| {
        let time = (*time as u64) ^ (1 << (TIME_BITS - 1));
        u128::from(rank) << (TIME_BITS + ROW_BITS) | u128::from(time) << ROW_BITS | u128::from(row)
    };
    let mut order: Vec<u128> = (0..rows).zip(first.ranks()).zip(times).map(number).collect();
    order.sort_unstable();
    for ties in order.chunk_by_mut(|a, b| a >> ROW_BITS == b >> ROW_BITS) {
        // The numbers of equal rows rise already.
        ties.sort_by_key(|number| last.value(*number as u32));
    }
    Ok(order.into_iter().map(|number| number as u32).collect())
}

/// A column of texts in some batches.
struct Texts<'b> {
    parts: Vec<&'b StringViewArray>,
    /// The first row of each part.
    starts: Vec<u32>,
}

impl<'b> Texts<'b> {
    fn of(batches: &'b [RecordBatch], column: &str) -> Result<Self, ArrowError> {
        let part = |batch: &'b RecordBatch| {
            let texts = named(batch, column)?.as_string_view_opt();
            let texts = texts.filter(|texts| texts.null_count() == 0);
            texts.ok_or_else(|| {
                ArrowError::SchemaError(format!("`{column}` is no Utf8View, or has a NULL"))
            })
        };
        let parts: Vec<_> = batches.iter().map(part).collect::<Result<_, _>>()?;
        let rows = parts.iter().scan(0, |rows, part| {
            let start = *rows;
            *rows += part.len() as u32;
            Some(start)
        });
        Ok(Self { starts: rows.collect(), parts })
    }

    /// Returns the text of a row.
    fn value(&self, row: u32) -> &'b str {
        let part = self.starts.partition_point(|start| *start <= row) - 1;
        self.parts[part].value((row - self.starts[part]) as usize)
    }

    /// Returns the place of each row's text among all texts that there are.
    fn ranks(&self) -> Vec<u32> {
        let mut runs = self.runs();
        runs.sort_unstable_by(|a, b| (a.beginning, a.text).cmp(&(b.beginning, b.text)));
        let mut ranks = vec![0; runs.iter().map(|run| run.end).max().unwrap_or(0)];
        for (rank, same) in (0..).zip(runs.chunk_by(|a, b| a.text == b.text)) {
            for run in same {
                ranks[run.first..run.end].fill(rank);
            }
        }
        ranks
    }

    /// Returns neighbours that share a text as one.
    fn runs(&self) -> Vec<Run<'b>> {
        let mut runs = Vec::new();
        let mut first = 0;
        for part in &self.parts {
            let mut row = 0;
            for same in part.views().chunk_by(|a, b| a == b) {
                let text = part.value(row);
                let end = first + same.len();
                runs.push(Run { beginning: beginning(text.as_bytes()), text, first, end });
                (row, first) = (row + same.len(), end);
            }
        }
        runs
    }
}

/// Rows that follow each other and share a text.
struct Run<'b> {
    /// Most texts are told apart by how they begin.
    beginning: u128,
    text: &'b str,
    first: usize,
    end: usize,
}

/// Returns a number that is ordered as the first bytes of a text are.
fn beginning(text: &[u8]) -> u128 {
    let mut first = [0; size_of::<u128>()];
    let length = text.len().min(first.len());
    first[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::ArrayRef;
    use arrow::row::{RowConverter, SortField};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(String, i64, String)]) -> RecordBatch {
        let first = rows.iter().map(|(text, ..)| text.as_str());
        let last = rows.iter().map(|(.., text)| text.as_str());
        let times = rows.iter().map(|(_, time, _)| *time);
        let columns: [(&str, ArrayRef); 3] = [
            ("trace_id", Arc::new(StringViewArray::from_iter_values(first))),
            ("start_time_unix_nano", Arc::new(Int64Array::from_iter_values(times))),
            ("span_id", Arc::new(StringViewArray::from_iter_values(last))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    proptest! {
        /// So files of rows in this order can be merged.
        #[test]
        fn rows_are_in_the_order_of_their_columns(
            rows in prop::collection::vec(
                ("[ab\\x00]{0,2}|[ab]{15,18}", prop_oneof![any::<i64>(), -2_i64..3], "[a-c]{0,2}"),
                0..60,
            ),
            size in 1_usize..20,
        ) {
            let batches: Vec<RecordBatch> = rows.chunks(size).map(batch).collect();
            let whole = batch(&rows);
            let fields = whole.schema();
            let fields = fields.fields().iter().map(|f| SortField::new(f.data_type().clone()));
            let converter = RowConverter::new(fields.collect()).unwrap();
            let keys = converter.convert_columns(whole.columns()).unwrap();
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            expected.sort_by_key(|row| keys.row(*row as usize));
            let sorted_by = ["trace_id", "start_time_unix_nano", "span_id"];
            prop_assert_eq!(order(&sorted_by, &batches).unwrap(), expected);
        }
    }
}
