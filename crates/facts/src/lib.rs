//! The trace pass: one walk over each trace and each process; span batches in, facts and gaps out.
//!
//! Nothing here knows SQL or a rule. Start with [`run`], which lists the steps in order; each step
//! is a module that fills columns of its own from `rows::Rows`, the spans in canonical order.
//! Given the same set of spans the result is the same, however they were ordered or batched.

mod batch;
mod critical;
mod crowd;
mod duplicates;
mod emit;
mod entry;
mod error;
mod gaps;
mod intern;
mod meaning;
pub mod packed;
mod parallel;
mod process;
mod repeated;
mod requests;
mod rows;
mod sampling;
mod sequence;
mod served;
pub mod shape;
pub mod shards;
mod silence;
mod skew;
mod sparse;
mod stall;
#[cfg(test)]
mod test_support;
mod tree;
mod walk;
mod wire;
mod work;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use timesink_model::schema::Columns;

// `test_support` is also part of the tests under `tests/`, and names this crate as they do.
#[cfg(test)]
extern crate self as timesink_facts;

pub use batch::COLUMNS;
pub use critical::PathSection;
pub use error::Error;
pub use requests::{RequestSilence, RequestTest};
pub use sampling::{Sampling, sampling};
pub use silence::Silence;
pub use stall::{StallTest, Stretch, Verdict};

/// What the pass may be told; the defaults are what everything but its tests uses.
#[derive(Debug, Clone)]
pub struct PassOptions {
    /// A clock that is off by more is left alone. Default: a day.
    pub skew_nanos_max: i64,
    /// The stall test's thresholds, for telling the victims of a stall from its cause.
    pub stall_test: StallTest,
    /// The same on requests alone.
    pub request_test: RequestTest,
    /// The columns of `facts` and `gaps` to make; batches have no others but the ids. Default: all.
    pub columns: Columns,
    /// The columns of `spans` to give back; batches have no others but the ids. Default: all.
    pub span_columns: Columns,
    /// So many spans and more are given back packed, see [`packed`]. Default: none ever are.
    pub packed_spans_min: usize,
}

impl Default for PassOptions {
    fn default() -> Self {
        Self {
            skew_nanos_max: 24 * 3600 * timesink_model::NANOS_PER_SECOND,
            stall_test: StallTest::default(),
            request_test: RequestTest::default(),
            columns: Columns::All,
            span_columns: Columns::All,
            packed_spans_min: usize::MAX,
        }
    }
}

/// What the pass gives back.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The spans, each once, in the order they came in, of the columns that were asked for.
    pub spans: Vec<RecordBatch>,
    /// What their columns are, however they are packed.
    pub spans_schema: SchemaRef,
    /// One batch for each of `spans`, row by row beside it.
    pub facts: Vec<RecordBatch>,
    pub facts_schema: SchemaRef,
    pub gaps: RecordBatch,
    /// What its columns are, however they are packed.
    pub gaps_schema: SchemaRef,
    /// Spans that had arrived before.
    pub repeated_spans: usize,
    pub traces: usize,
}

/// Runs the trace pass over all spans at hand.
///
/// # Errors
///
/// [`Error::MissingColumn`] when a batch is not of the `spans` schema, [`Error::TooManySpans`]
/// beyond a thousand million.
pub fn run(spans: Vec<RecordBatch>, options: &PassOptions) -> Result<Facts, Error> {
    let repeated::Distinct { batches, keys, repeated } = repeated::drop_repeated(spans)?;
    let rows = rows::Rows::read(&batches, &keys)?;
    drop(keys);
    // From here on the spans themselves only lie there.
    let spans = emit::Given::new(batches, rows.len(), options)?;
    let correct = |rows: &_, tree: &_| skew::correct(rows, tree, options.skew_nanos_max);
    let mut walk = walk::Walk::over(rows, correct);
    walk.forget_times();
    let mut gaps = std::mem::take(&mut walk.gaps);
    let walk::Walk { rows, served, processes, meaning, .. } = &walk;
    let stalls = stall::measure(rows, served, processes, meaning, &mut gaps, options);
    emit(&walk, &stalls, &gaps, spans, options, repeated)
}

/// Makes the tables of what was found.
fn emit(
    walk: &walk::Walk,
    stalls: &stall::Stalls,
    gaps: &[gaps::Gap],
    spans: emit::Given,
    options: &PassOptions,
    repeated: usize,
) -> Result<Facts, Error> {
    let columns = walk.columns(stalls);
    let emit::Tables { facts, facts_schema, gaps } =
        columns.tables(&spans, gaps, &options.columns)?;
    Ok(Facts {
        gaps_schema: gaps.schema(),
        traces: walk.rows.traces.len(),
        spans: spans.batches,
        spans_schema: spans.schema,
        facts,
        facts_schema,
        gaps,
        repeated_spans: repeated,
    })
}

/// Returns the critical path of every tiling, section by section: by trace, tiling and start.
///
/// The sections of a tiling cover its head exactly; a span may have several, or none. Clocks are
/// told from all spans of a pass: spans of which only some are given bring along what was found, in
/// the column `skew_nanos` of `facts`.
///
/// # Errors
///
/// As [`run`].
pub fn critical_path(
    spans: &[RecordBatch],
    options: &PassOptions,
) -> Result<Vec<PathSection>, Error> {
    let repeated::Distinct { batches, keys, .. } = repeated::drop_repeated(spans.to_vec())?;
    let rows = rows::Rows::read(&batches, &keys)?;
    let tree = tree::Tree::build(&rows);
    let skew = skew::known(&rows, &batches)
        .unwrap_or_else(|| skew::correct(&rows, &tree, options.skew_nanos_max));
    let times = skew::Times::new(&rows, &skew);
    let served = served::Served::find(&rows, &tree);
    Ok(critical::Path::walk(&rows, &tree, &times, &served).listed(&rows))
}
