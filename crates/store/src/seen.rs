//! [`Seen`]: which spans were taken already.
//!
//! An exporter that got no answer sends its spans again, and they may have been taken: a span is
//! the same by its trace and its own id.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use hashbrown::HashSet;

/// A span, by its ids: the decoder lets hex digits through alone.
pub(crate) type SpanKey = (u128, u64);

/// The spans of the last while: one that comes again later than that is taken again.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    young: HashSet<SpanKey>,
    old: HashSet<SpanKey>,
}

impl Seen {
    /// Returns the rows that were not seen, and adds their keys to `keys`, which were not seen
    /// either.
    pub(crate) fn unseen(
        &self,
        batch: &RecordBatch,
        keys: &mut HashSet<SpanKey>,
    ) -> Result<RecordBatch, ArrowError> {
        let of_rows = keys_of(batch);
        let is_new: Vec<bool> = of_rows
            .map(|key| !self.young.contains(&key) && !self.old.contains(&key) && keys.insert(key))
            .collect();
        if is_new.iter().all(|is_new| *is_new) {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &BooleanArray::from(is_new))
    }

    /// Notes spans that are taken.
    pub(crate) fn add(&mut self, keys: HashSet<SpanKey>) {
        if self.young.is_empty() {
            self.young = keys;
        } else {
            self.young.extend(keys);
        }
    }

    /// Forgets what was noted before the last call.
    pub(crate) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

/// Returns the key of each row.
fn keys_of(batch: &RecordBatch) -> impl Iterator<Item = SpanKey> {
    let column = |name: &str| {
        batch.column_by_name(name).and_then(|column| column.as_string_view_opt()).cloned()
    };
    let (traces, spans) = (column("trace_id"), column("span_id"));
    (0..batch.num_rows()).map(move |row| {
        let trace = traces.as_ref().map_or("", |ids| ids.value(row));
        let span = spans.as_ref().map_or("", |ids| ids.value(row));
        let trace = u128::from_str_radix(trace, 16).unwrap_or_default();
        (trace, u64::from_str_radix(span, 16).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use timesink_testkit::notation;

    use super::*;

    fn rows(seen: &Seen, batch: &RecordBatch, keys: &mut HashSet<SpanKey>) -> usize {
        seen.unseen(batch, keys).unwrap().num_rows()
    }

    #[test]
    fn what_comes_again_is_known_for_a_while() {
        let batch = notation::spans("shop SERVER GET/a 0ms 10ms x3\n").remove(0);
        let mut seen = Seen::default();
        let mut keys = HashSet::new();
        assert_eq!(rows(&seen, &batch.slice(0, 2), &mut keys), 2);
        assert_eq!(rows(&seen, &batch, &mut keys), 1, "the first two are of this group");
        // A group that failed is forgotten.
        keys.clear();
        assert_eq!(rows(&seen, &batch.slice(1, 1), &mut keys), 1);
        seen.add(keys);
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 2);
        seen.age();
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 2);
        seen.age();
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 3);
    }
}
