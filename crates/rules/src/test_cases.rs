//! [`TestCases`]: in which test of a suite each span ran.

use arrow::array::{BooleanArray, RecordBatch};
use hashbrown::HashMap;
use timesink_facts::packed::{Int, Text};

use crate::Error;
use crate::columns::{flag, int, text};

/// The tests that spans name, by `test.case.name`; empty where none does.
#[derive(Debug, Default)]
pub(crate) struct TestCases<'a> {
    /// By trace and span.
    spans: HashMap<(&'a str, &'a str), Place<'a>>,
    /// The spans that name one, by process.
    named: HashMap<i64, Vec<Named<'a>>>,
}

#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    parent: &'a str,
    test_case: Option<&'a str>,
    /// None where its process cannot be told from others.
    process: Option<i64>,
    start: i64,
    /// How many spans are above it.
    depth: i64,
}

#[derive(Debug, Clone, Copy)]
struct Named<'a> {
    test_case: &'a str,
    start: i64,
    end: i64,
}

impl<'a> TestCases<'a> {
    pub(crate) fn read(batches: &'a [RecordBatch]) -> Result<Self, Error> {
        let columns: Vec<Columns<'a>> =
            batches.iter().map(Columns::read).collect::<Result<_, _>>()?;
        let mut tests = Self::default();
        if columns.iter().any(|batch| batch.test_case.iter().flatten().next().is_some()) {
            for batch in &columns {
                tests.read_batch(batch);
            }
        }
        Ok(tests)
    }

    fn read_batch(&mut self, batch: &Columns<'a>) {
        let int = |column: Int<'a>, row: usize| column.get(row).unwrap_or_default();
        for row in 0..batch.span_id.len() {
            let place = Place {
                parent: batch.parent.value(row),
                test_case: batch.test_case.get(row),
                process: batch.process.get(row).filter(|_| batch.is_known.value(row)),
                start: int(batch.start, row),
                depth: int(batch.depth, row),
            };
            self.spans.insert((batch.trace_id.value(row), batch.span_id.value(row)), place);
            if let (Some(test_case), Some(process)) = (place.test_case, place.process) {
                let named = Named { test_case, start: place.start, end: int(batch.end, row) };
                self.named.entry(process).or_default().push(named);
            }
        }
    }

    /// Returns the test that a span ran in: the one that it names itself, else that of the nearest
    /// span above it, else the only one that ran in its process as it started.
    pub(crate) fn of(&self, trace_id: &str, span_id: &str) -> Option<&'a str> {
        let own = self.spans.get(&(trace_id, span_id))?;
        let mut next = Some(own);
        for _ in 0..=own.depth {
            match next {
                Some(Place { test_case: Some(test_case), .. }) => return Some(test_case),
                Some(place) => next = self.spans.get(&(trace_id, place.parent)),
                None => break,
            }
        }
        self.running(own.process?, own.start)
    }

    /// Returns the only test that a process ran at a time.
    fn running(&self, process: i64, time: i64) -> Option<&'a str> {
        let named = self.named.get(&process)?.iter();
        let mut running = named.filter(|named| named.start <= time && time <= named.end);
        let test_case = running.next()?.test_case;
        running.all(|other| other.test_case == test_case).then_some(test_case)
    }
}

struct Columns<'a> {
    trace_id: Text<'a>,
    span_id: Text<'a>,
    parent: Text<'a>,
    test_case: Text<'a>,
    process: Int<'a>,
    is_known: &'a BooleanArray,
    depth: Int<'a>,
    start: Int<'a>,
    end: Int<'a>,
}

impl<'a> Columns<'a> {
    fn read(batch: &'a RecordBatch) -> Result<Self, Error> {
        let (text, int) = (|name: &str| text(batch, name), |name: &str| int(batch, name));
        Ok(Self {
            trace_id: text("trace_id")?,
            span_id: text("span_id")?,
            parent: text("parent_span_id")?,
            test_case: text("test_case_name")?,
            process: int("process_id")?,
            is_known: flag(batch, "has_process_identity")?,
            depth: int("depth")?,
            start: int("start_time_unix_nano")?,
            end: int("end_time_unix_nano")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parent: &'static str, depth: i64, process: Option<i64>, start: i64) -> Place<'static> {
        Place { parent, test_case: None, process, start, depth }
    }

    /// Checks the test of span `b`, which lies below `a`, while process 1 runs tests.
    fn check(a: Option<&'static str>, b: Place<'static>, expected: Option<&str>) {
        let named = |test_case, start, end| Named { test_case, start, end };
        let running = vec![named("one", 0, 10), named("one", 2, 8), named("two", 10, 20)];
        let above = Place { test_case: a, ..place("", 0, Some(1), 0) };
        let tests = TestCases {
            spans: HashMap::from_iter([(("t", "a"), above), (("t", "b"), b)]),
            named: HashMap::from_iter([(1, running)]),
        };
        assert_eq!(tests.of("t", "b"), expected, "{b:?}");
    }

    #[test]
    fn a_span_ran_in_the_test_above_it_or_the_only_one_of_its_process() {
        let named = Place { test_case: Some("own"), ..place("a", 1, Some(1), 5) };
        check(Some("above"), named, Some("own"));
        check(Some("above"), place("a", 1, Some(1), 5), Some("above"));
        check(None, place("a", 1, Some(1), 5), Some("one"));
        check(None, place("", 0, Some(1), 15), Some("two"));
        // Several, none, another process, and one that cannot be told from others.
        check(None, place("", 0, Some(1), 10), None);
        check(None, place("", 0, Some(1), 21), None);
        check(None, place("", 0, Some(2), 5), None);
        check(None, place("", 0, None, 5), None);
        // Its own parent.
        check(None, place("b", 0, Some(1), 5), Some("one"));
    }
}
