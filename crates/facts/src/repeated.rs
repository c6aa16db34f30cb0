//! Spans that arrive again: exporters repeat themselves after a retry. Each counts once.

use std::cmp::Ordering;
use std::hash::BuildHasher;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, make_comparator};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::Int64Type;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::Error;
use crate::batch::{Batch, SpanKey, entries, int};
use crate::parallel::map;
use crate::rows::SPANS_MAX;

/// Spans, each once.
#[derive(Debug)]
pub(crate) struct Distinct {
    pub(crate) batches: Vec<RecordBatch>,
    /// Which span each row is, batches end to end.
    pub(crate) keys: Vec<SpanKey>,
    /// Spans that had arrived before.
    pub(crate) repeated: usize,
}

/// Returns the batches without spans that arrived before.
///
/// Of several spans with one id the greatest counts, by end, by start, then column by column: a
/// choice that does not depend on the order of arrival.
pub(crate) fn drop_repeated(batches: Vec<RecordBatch>) -> Result<Distinct, Error> {
    let seen: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if seen > SPANS_MAX {
        return Err(Error::TooManySpans { seen, max: SPANS_MAX });
    }
    let keys_of = |batch: &RecordBatch| -> Result<Vec<SpanKey>, Error> {
        let batch = Batch::read(batch)?;
        Ok((0..batch.len()).map(|row| batch.span_key(row)).collect())
    };
    let mut keys = Vec::with_capacity(seen);
    for of_batch in map(&batches, keys_of) {
        keys.extend(of_batch?);
    }
    let keep = kept(&batches, &keys);
    let repeated = keep.iter().filter(|keep| !**keep).count();
    if repeated == 0 {
        return Ok(Distinct { batches, keys, repeated });
    }
    let mut rest = keep.iter();
    keys.retain(|_| *rest.next().expect("there are as many as keys"));
    Ok(Distinct { batches: filter(batches, &keep)?, keys, repeated })
}

/// Returns for each row, batches end to end, whether its span counts.
fn kept(batches: &[RecordBatch], keys: &[SpanKey]) -> Vec<bool> {
    let mut starts = Vec::with_capacity(batches.len());
    let mut rows = 0;
    for batch in batches {
        starts.push(rows);
        rows += batch.num_rows();
    }
    // Of batches that start at one number all but the last are empty.
    let row = |number: u32| {
        let batch = starts.partition_point(|&start| start <= number as usize) - 1;
        (&batches[batch], number as usize - starts[batch])
    };
    let hasher = DefaultHashBuilder::default();
    let hash = |number: u32| hasher.hash_one(keys[number as usize]);
    let mut greatest: HashTable<u32> = HashTable::with_capacity(keys.len());
    let mut keep = vec![true; keys.len()];
    for number in 0..keys.len() as u32 {
        let same = |&other: &u32| keys[other as usize] == keys[number as usize];
        match greatest.entry(hash(number), same, |&other| hash(other)) {
            Entry::Vacant(vacant) => {
                vacant.insert(number);
            }
            Entry::Occupied(mut occupied) => {
                let other = *occupied.get();
                let is_greater = compare(row(number), row(other)) == Ordering::Greater;
                let less = if is_greater { other } else { number };
                keep[less as usize] = false;
                if is_greater {
                    *occupied.get_mut() = number;
                }
            }
        }
    }
    keep
}

fn filter(batches: Vec<RecordBatch>, mut keep: &[bool]) -> Result<Vec<RecordBatch>, Error> {
    let filtered = batches.into_iter().map(|batch| {
        let (of_batch, rest) = keep.split_at(batch.num_rows());
        keep = rest;
        if of_batch.contains(&false) {
            Ok(filter_record_batch(&batch, &BooleanArray::from(of_batch.to_vec()))?)
        } else {
            Ok(batch)
        }
    });
    filtered.collect()
}

type Row<'a> = (&'a RecordBatch, usize);

fn compare((left, a): Row<'_>, (right, b): Row<'_>) -> Ordering {
    let by_time = ["end_time_unix_nano", "start_time_unix_nano"].into_iter().map(|name| {
        let time = |batch: &RecordBatch, row| int(batch, name).map_or(0, |times| times.value(row));
        time(left, a).cmp(&time(right, b))
    });
    let columns = left.columns().iter().zip(right.columns());
    let by_column = columns.map(|(left, right)| compare_values((left, a), (right, b)));
    by_time.chain(by_column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_values((left, a): (&dyn Array, usize), (right, b): (&dyn Array, usize)) -> Ordering {
    match (left.is_null(a), right.is_null(b)) {
        (false, false) => {}
        (a_is_null, b_is_null) => return b_is_null.cmp(&a_is_null),
    }
    if let (Some(left), Some(right)) = (left.as_string_view_opt(), right.as_string_view_opt()) {
        return left.value(a).cmp(right.value(b));
    }
    if let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Int64Type>(), right.as_primitive_opt::<Int64Type>())
    {
        return left.value(a).cmp(&right.value(b));
    }
    if let (Some(left), Some(right)) = (left.as_map_opt(), right.as_map_opt()) {
        return entries(left, a).cmp(entries(right, b));
    }
    // What is left is rare, or follows from what was compared. Columns of different types do not
    // occur: the batches have one schema.
    make_comparator(left, right, SortOptions::default())
        .map_or(Ordering::Equal, |compare| compare(a, b))
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatchOptions;
    use arrow::datatypes::Schema;
    use std::sync::Arc;

    use super::*;
    use crate::test_support::{Pass, Span, batch, span};

    /// Checks that of two spans with one id the second counts, in whichever order they arrive.
    fn check_greater(less: &Span, greater: &Span) {
        let (less_batch, greater_batch) =
            (batch(std::slice::from_ref(less)), batch(std::slice::from_ref(greater)));
        let both = batch(&[less.clone(), greater.clone()]);
        for batches in [
            vec![less_batch.clone(), greater_batch.clone()],
            vec![greater_batch.clone(), less_batch.clone()],
            vec![both],
            vec![greater_batch.clone(), less_batch.clone(), greater_batch.clone(), less_batch],
        ] {
            let pass = Pass::over_batches(&batches);
            let kept: Vec<_> = pass.facts.spans.iter().filter(|b| b.num_rows() > 0).collect();
            assert_eq!(kept, [&greater_batch], "{less:?} < {greater:?}");
            let seen: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(pass.facts.repeated_spans, seen - 1);
        }
    }

    #[test]
    fn a_repeated_span_counts_once() {
        let again = span(1, 0, 0, 10);
        let pass = Pass::over(&[again.clone(), again.clone(), span(2, 1, 1, 2), again]);
        assert_eq!(pass.facts.repeated_spans, 2);
        assert_eq!(pass.facts.facts[0].num_rows(), 2);
        assert_eq!(pass.millis(1, "self_nanos"), Some(9.0));
    }

    #[test]
    fn one_id_in_two_traces_is_two_spans() {
        let pass = Pass::over(&[span(1, 0, 0, 10), span(1, 0, 0, 10).trace(2)]);
        assert_eq!((pass.facts.repeated_spans, pass.facts.traces), (0, 2));
    }

    #[test]
    fn the_greatest_of_spans_with_one_id_counts() {
        let one = span(1, 0, 5, 10).attribute("a", "1");
        check_greater(&one, &span(1, 0, 0, 11));
        check_greater(&one, &span(1, 0, 6, 10));
        check_greater(&one, &Span { parent: 7, ..one.clone() });
        check_greater(&one, &Span { flags: 768, ..one.clone() });
        check_greater(&one, &one.clone().with("trace_state", "ot=th:8"));
        check_greater(&one, &one.clone().with("scope_name", "a.tracer"));
        check_greater(&one, &one.clone().pid(7));
        check_greater(&one, &span(1, 0, 5, 10).attribute("a", "2"));
        check_greater(&one, &one.clone().attribute("b", ""));
    }

    #[test]
    fn more_spans_than_a_pass_takes_are_refused() {
        let rows = 1 << 20;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::empty());
        let large = RecordBatch::try_new_with_options(schema, Vec::new(), &options);
        let mut batches = vec![large.expect("a batch without columns"); SPANS_MAX / rows];
        batches.push(batch(&[span(1, 0, 0, 1)]));
        match drop_repeated(batches) {
            Err(Error::TooManySpans { seen, max }) => {
                assert_eq!((seen, max), (SPANS_MAX + 1, SPANS_MAX));
            }
            other => panic!("{other:?}"),
        }
    }
}
