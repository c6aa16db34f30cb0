//! The columns of `facts` and `gaps`, beside the batches that came in.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringViewArray, UInt32Array,
};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use timesink_model::schema;

use crate::critical::Path;
use crate::entry::{Entries, Entry, kind_of};
use crate::gaps::Gap;
use crate::intern::{Interner, Sym};
use crate::meaning::Meaning;
use crate::packed;
use crate::parallel::map;
use crate::process::Processes;
use crate::requests::RequestSilence;
use crate::rows::{Kind, NO_THREAD, NONE, Rows};
use crate::served::Served;
use crate::silence::Silence;
use crate::stall::Stalls;
use crate::tree::Tree;
use crate::wire::{Wire, Wires};
use crate::work::Work;
use crate::{Error, PassOptions};

/// Everything the steps found.
pub(crate) struct Columns<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) tree: &'a Tree,
    pub(crate) skew: &'a [i64],
    pub(crate) served: &'a Served,
    pub(crate) entries: &'a Entries,
    pub(crate) meaning: &'a Meaning,
    pub(crate) duplicate_of: &'a [u32],
    pub(crate) sequences: &'a [u32],
    pub(crate) path: &'a Path,
    pub(crate) wires: &'a Wires,
    pub(crate) processes: &'a Processes,
    pub(crate) work: &'a Work,
    pub(crate) stalls: &'a Stalls,
}

/// What the pass makes.
pub(crate) struct Tables {
    pub(crate) facts: Vec<RecordBatch>,
    pub(crate) facts_schema: SchemaRef,
    pub(crate) gaps: RecordBatch,
}

/// Makes one column.
type Make<'a> = Box<dyn Fn() -> Result<ArrayRef, Error> + Send + Sync + 'a>;

macro_rules! makes {
    ($($column:expr),* $(,)?) => {
        vec![$(Box::new(move || -> Result<ArrayRef, Error> { Ok($column) })),*]
    };
}

impl Columns<'_> {
    /// Returns one batch of facts for each batch of spans, row by row beside it, and the `gaps`,
    /// of the columns that are asked for.
    pub(crate) fn tables(
        &self,
        spans: &Given,
        gaps: &[Gap],
        wanted: &schema::Columns,
    ) -> Result<Tables, Error> {
        let ids = Ids::new(self, &spans.batches)?;
        // Position of each input row.
        let mut at = vec![0_usize; self.rows.len()];
        for (position, &row) in self.rows.input.iter().enumerate() {
            at[row as usize] = position;
        }
        let all: Vec<usize> = (0..gaps.len()).collect();
        let (facts_table, gaps_table) = (schema::facts::table(), schema::gaps::table());
        let columns = facts_table.columns.iter().skip(IDS.len());
        let columns = columns.filter(|column| column.name != START);
        let makes = wanted_of(self.fact_columns(&ids, &at), columns, wanted);
        let made = in_parallel(&makes, |column| spans.beside(&column))?;
        let of_gaps = wanted_of(self.gap_columns(&ids, gaps, &all), &gaps_table.columns, wanted);
        let of_gaps = in_parallel(&of_gaps, Ok)?;
        let gaps_schema = Arc::new(wanted.schema(&gaps_table));
        let rows = RecordBatchOptions::new().with_row_count(Some(gaps.len()));
        let gaps = RecordBatch::try_new_with_options(gaps_schema, of_gaps, &rows)?;
        let fields = facts_table.schema().fields().clone();
        let is_made = |name: &str| match name {
            START => wanted.has(name) && spans.schema.index_of(START).is_ok(),
            _ => IDS.contains(&name) || wanted.has(name),
        };
        let fields = fields.into_iter().filter(|field| is_made(field.name())).cloned();
        let facts_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Tables { facts: spans.facts(made, &facts_schema)?, facts_schema, gaps })
    }

    /// Every column of `facts` after the two ids, over all spans in the order they came in.
    fn fact_columns<'a>(&'a self, ids: &'a Ids<'a>, at: &'a [usize]) -> Vec<Make<'a>> {
        let Self { rows, tree, entries, meaning, path, wires, processes, work, stalls, .. } = self;
        let wire =
            move |part: fn(&Wire) -> i64| optional_ints(at, |p| wires.parts.get(p).map(part));
        let is_wire = move |p: usize| wires.server[p] != NONE;
        let silence = move |part: fn(&Silence) -> i64| {
            optional_ints(at, |p| stalls.silences.get(p).map(part))
        };
        let requests = move |part: fn(&RequestSilence) -> i64| {
            optional_ints(at, |p| stalls.requests.get(p).map(part))
        };
        makes![
            ints(at, |p| i64::from(tree.depth[p])),
            ids.column(at, |p| Some(tree.root[p]))?,
            ids.entries(at, |p| entries.of[p])?,
            texts(&rows.strings, at, |p| match entries.of(p).span {
                NONE => None,
                span => Some(rows.name[span as usize]),
            })?,
            texts(&entries.paths, at, |p| Some(entries.name_path[p]))?,
            bools(at, |p| tree.is_orphan[p]),
            bools(at, |p| tree.is_complete[p]),
            optional_ints(at, |p| match entries.of(p).number {
                0 => None,
                number => Some(i64::from(number)),
            }),
            ints(at, |p| i64::from(entries.open[p])),
            ints(at, |p| self.skew[p]),
            ints(at, |p| path.self_nanos[p]),
            ints(at, |p| path.nanos[p] - wires.critical[p]),
            wire(|wire| wire.whole),
            wire(|wire| wire.before),
            wire(|wire| wire.after),
            optional_ints(at, |p| is_wire(p).then_some(wires.critical[p])),
            ints(at, |p| i64::from(self.sequences[p])),
            texts(&meaning.texts, at, |p| known(meaning.shape[p]))?,
            ids.column(at, |p| (self.duplicate_of[p] != NONE).then_some(self.duplicate_of[p]))?,
            Arc::new(at.iter().map(|&p| rows.adjusted_count(p)).collect::<Float64Array>()),
            ints(at, |p| stalls.stalled_nanos[p]),
            silence(|silence| silence.silence_nanos),
            Arc::new(
                at.iter()
                    .map(|&p| stalls.silences.get(p).map(|silence| silence.expected_edges))
                    .collect::<Float64Array>(),
            ),
            silence(|silence| i64::from(silence.foreign_edges)),
            silence(|silence| i64::from(silence.concurrent_traces)),
            ints(at, |p| i64::from(rows.process[p])),
            bools(at, |p| processes.is_event_loop[rows.process[p] as usize]),
            bools(at, |p| rows.process_keys[rows.process[p] as usize].has_identity()),
            bools(at, |p| processes.is_leaf[p]),
            ints(at, |p| work.pause_nanos[p]),
            texts(&rows.strings, at, |p| match wires.server[p] {
                NONE => None,
                server => known(rows.service[server as usize]),
            })?,
            ids.column(at, |p| is_wire(p).then_some(wires.server[p]))?,
            ids.column(at, |p| Some(path.head[p]))?,
            ints(at, |p| work.own_nanos[p]),
            texts(&meaning.texts, at, |p| Some(meaning.operation[p]))?,
            kinds(at, |p| Some(kind_of(rows, self.served, entries.of(p)))),
            ints(at, |p| entries.of(p).end - entries.of(p).start),
            kinds(at, |p| tree.parent(p).map(|parent| rows.kind[parent])),
            wire(|wire| wire.server_busy),
            optional_ints(at, |p| {
                let of_requests = || stalls.requests.get(p).map(|requests| requests.waiting_nanos);
                stalls.silences.get(p).map(|silence| silence.waiting_nanos).or_else(of_requests)
            }),
            bools(at, |p| processes.is_told_by_requests[rows.process[p] as usize]),
            requests(|requests| requests.silence_nanos),
            requests(|requests| i64::from(requests.edges)),
            Arc::new(
                at.iter()
                    .map(|&p| stalls.requests.get(p).map(|requests| requests.expected_edges))
                    .collect::<Float64Array>(),
            ),
            optional_ints(at, |p| meaning.literals_hash.get(p).copied()),
            bools(at, |p| meaning.is_batch[p]),
            ints(at, |p| rows.duration(path.head[p] as usize)),
            bools(at, |p| processes.is_watched[rows.process[p] as usize]),
            Arc::new(at.iter().map(|&p| rows.event_loop[p]).collect::<BooleanArray>()),
            optional_ints(at, |p| Some(rows.thread[p]).filter(|thread| *thread != NO_THREAD)),
        ]
    }

    /// Every column of `gaps`.
    fn gap_columns<'a>(
        &'a self,
        ids: &'a Ids<'a>,
        gaps: &'a [Gap],
        all: &'a [usize],
    ) -> Vec<Make<'a>> {
        let Self { rows, entries, meaning, .. } = self;
        let span = move |g: usize| gaps[g].span as usize;
        let operation = move |at: u32| (at != NONE).then(|| meaning.operation[at as usize]);
        let silence = move |part: fn(&Silence) -> i64| {
            optional_ints(all, |g| gaps[g].silence.as_ref().map(part))
        };
        let requests = move |part: fn(&RequestSilence) -> i64| {
            optional_ints(all, |g| gaps[g].requests.as_ref().map(part))
        };
        makes![
            ids.traces(gaps)?,
            ids.entries(all, |g| entries.of[span(g)])?,
            ids.column(all, |g| Some(gaps[g].span))?,
            ints(all, |g| gaps[g].start),
            ints(all, |g| gaps[g].nanos()),
            Arc::new(
                gaps.iter().map(|gap| Some(gap.position().as_str())).collect::<StringViewArray>(),
            ),
            texts(&meaning.texts, all, |g| operation(gaps[g].before))?,
            texts(&meaning.texts, all, |g| operation(gaps[g].after))?,
            ints(all, |g| gaps[g].critical),
            optional_ints(all, |g| gaps[g].occupancy.map(|o| i64::from(o.running))),
            optional_ints(all, |g| gaps[g].occupancy.and_then(|o| o.ended_before)),
            optional_ints(all, |g| gaps[g].occupancy.map(|o| i64::from(o.running_max))),
            silence(|silence| silence.silence_nanos),
            Arc::new(
                gaps.iter()
                    .map(|gap| gap.silence.map(|silence| silence.expected_edges))
                    .collect::<Float64Array>(),
            ),
            silence(|silence| i64::from(silence.foreign_edges)),
            silence(|silence| i64::from(silence.concurrent_traces)),
            ints(all, |g| gaps[g].stalled),
            bools(all, |g| gaps[g].before != NONE && rows.failed[gaps[g].before as usize]),
            optional_ints(all, |g| {
                let of_requests = || gaps[g].requests.map(|requests| requests.waiting_nanos);
                gaps[g].silence.map(|silence| silence.waiting_nanos).or_else(of_requests)
            }),
            kinds(all, |g| (gaps[g].before != NONE).then(|| rows.kind[gaps[g].before as usize])),
            requests(|requests| requests.silence_nanos),
            requests(|requests| i64::from(requests.edges)),
            Arc::new(
                gaps.iter()
                    .map(|gap| gap.requests.map(|requests| requests.expected_edges))
                    .collect::<Float64Array>(),
            ),
        ]
    }
}

/// The columns of `facts` that are those of `spans`: the first two, and the last.
const IDS: [&str; 2] = ["trace_id", "span_id"];
const START: &str = "start_time_unix_nano";

/// Returns what makes the columns that are asked for; `columns` are theirs, in order.
fn wanted_of<'a, 'c>(
    makes: Vec<Make<'a>>,
    columns: impl IntoIterator<Item = &'c schema::Column>,
    wanted: &schema::Columns,
) -> Vec<Make<'a>> {
    let makes = makes.into_iter().zip(columns);
    makes.filter(|(_, column)| wanted.has(column.name)).map(|(make, _)| make).collect()
}

/// Makes columns, several at a time where there is more than one core, and finishes each.
fn in_parallel<T: Send>(
    makes: &[Make<'_>],
    finish: impl Fn(ArrayRef) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    map(makes, |make| make().and_then(&finish)).into_iter().collect()
}

/// The spans that are given back.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) schema: SchemaRef,
    /// Whether columns are packed.
    is_packed: bool,
}

impl Given {
    /// Takes spans, so many in all, that the pass has read.
    pub(crate) fn new(
        batches: Vec<RecordBatch>,
        spans: usize,
        options: &PassOptions,
    ) -> Result<Self, Error> {
        let is_packed = spans >= options.packed_spans_min;
        let schema = batches
            .first()
            .map_or_else(|| Arc::new(schema::spans::table().schema()), RecordBatch::schema);
        let is_given = |name: &str| IDS.contains(&name) || options.span_columns.has(name);
        let names = schema.fields().iter().map(|field| field.name());
        let given = names.enumerate().filter(|(_, name)| is_given(name));
        let given: Vec<usize> = given.map(|(at, _)| at).collect();
        let give = |batch: RecordBatch| -> Result<RecordBatch, ArrowError> {
            let given = batch.project(&given)?;
            if is_packed { packed::pack_batch(&given) } else { Ok(given) }
        };
        let batches = batches.into_iter().map(give).collect::<Result<_, _>>()?;
        Ok(Self { batches, schema: Arc::new(schema.project(&given)?), is_packed })
    }

    /// Cuts a column over all spans into those of the batches.
    fn beside(&self, column: &ArrayRef) -> Result<Vec<ArrayRef>, Error> {
        let mut first = 0;
        let slices = self.batches.iter().map(|batch| {
            let slice = column.slice(first, batch.num_rows());
            first += batch.num_rows();
            if self.is_packed { packed::pack(&slice) } else { Ok(slice) }
        });
        Ok(slices.collect::<Result<_, _>>()?)
    }

    /// Returns the facts beside the spans, of columns each cut into those of the batches.
    fn facts(
        &self,
        columns: Vec<Vec<ArrayRef>>,
        schema: &SchemaRef,
    ) -> Result<Vec<RecordBatch>, Error> {
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        let batches = self.batches.iter().map(|batch| {
            let ids = IDS.iter().map(|name| batch.column_by_name(name).map(Arc::clone));
            let mut arrays: Vec<ArrayRef> =
                ids.collect::<Option<_>>().ok_or(Error::MissingColumn("span_id"))?;
            arrays.extend(columns.iter_mut().filter_map(Iterator::next));
            if schema.index_of(START).is_ok() {
                arrays.extend(batch.column_by_name(START).map(known_times));
            }
            Ok(packed::with_types_of(schema, arrays, batch.num_rows())?)
        });
        batches.collect()
    }
}

/// A time that is missing is 0, as the pass reads it.
fn known_times(times: &ArrayRef) -> ArrayRef {
    match times.as_primitive_opt::<Int64Type>() {
        Some(known) if known.null_count() > 0 => {
            ints(&(0..known.len()).collect::<Vec<_>>(), |row| {
                if known.is_valid(row) { known.value(row) } else { 0 }
            })
        }
        _ => Arc::clone(times),
    }
}

/// The empty text stands for none.
fn known(sym: Sym) -> Option<Sym> {
    (sym != Sym(0)).then_some(sym)
}

fn ints(at: &[usize], value: impl Fn(usize) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(at.iter().map(|&p| value(p))))
}

fn optional_ints(at: &[usize], value: impl Fn(usize) -> Option<i64>) -> ArrayRef {
    Arc::new(at.iter().map(|&p| value(p)).collect::<Int64Array>())
}

fn bools(at: &[usize], value: impl Fn(usize) -> bool) -> ArrayRef {
    Arc::new(at.iter().map(|&p| Some(value(p))).collect::<BooleanArray>())
}

fn kinds(at: &[usize], kind: impl Fn(usize) -> Option<Kind>) -> ArrayRef {
    Arc::new(at.iter().map(|&p| kind(p).map(Kind::as_str)).collect::<StringViewArray>())
}

/// The ids of all spans as they arrived, batches end to end, then those of lost entries: every id
/// column takes from them.
struct Ids<'a> {
    batches: &'a [RecordBatch],
    spans: ArrayRef,
    /// Input row of each position.
    input: &'a [u32],
    /// Where the id of each entry lies.
    entries: Vec<u32>,
}

impl<'a> Ids<'a> {
    fn new(columns: &Columns<'a>, batches: &'a [RecordBatch]) -> Result<Self, Error> {
        let (rows, all) = (columns.rows, &columns.entries.all);
        let lost = all.iter().filter(|entry| entry.span == NONE);
        let lost: StringViewArray = lost.map(|entry| Some(format!("{:016x}", entry.id))).collect();
        let mut next_lost = rows.len() as u32..;
        let place = |entry: &Entry| match entry.span {
            NONE => next_lost.next().expect("the range has no end"),
            span => rows.input[span as usize],
        };
        let entries = all.iter().map(place).collect();
        let spans = batches.iter().map(|batch| id_column(batch, "span_id"));
        let mut spans = spans.collect::<Result<Vec<_>, Error>>()?;
        spans.push(Arc::new(lost));
        let spans = concat(&spans.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(Self { batches, spans, input: &rows.input, entries })
    }

    fn column(&self, at: &[usize], span: impl Fn(usize) -> Option<u32>) -> Result<ArrayRef, Error> {
        let places = at.iter().map(|&p| span(p).map(|span| self.input[span as usize]));
        Ok(take(&self.spans, &places.collect::<UInt32Array>(), None)?)
    }

    fn entries(&self, at: &[usize], entry: impl Fn(usize) -> u32) -> Result<ArrayRef, Error> {
        let places = at.iter().map(|&p| self.entries[entry(p) as usize]);
        Ok(take(&self.spans, &UInt32Array::from_iter_values(places), None)?)
    }

    /// Returns the trace ids of gaps, of which there are few.
    fn traces(&self, gaps: &[Gap]) -> Result<ArrayRef, Error> {
        let mut starts = Vec::with_capacity(self.batches.len());
        let mut rows = 0;
        for batch in self.batches {
            starts.push(rows);
            rows += batch.num_rows();
        }
        let traces = self.batches.iter().map(|batch| id_column(batch, "trace_id"));
        let traces = traces.collect::<Result<Vec<_>, Error>>()?;
        let places: Vec<(usize, usize)> = gaps
            .iter()
            .map(|gap| {
                let row = self.input[gap.span as usize] as usize;
                let batch = starts.partition_point(|&start| start <= row) - 1;
                (batch, row - starts[batch])
            })
            .collect();
        let traces: Vec<&dyn Array> = traces.iter().map(AsRef::as_ref).collect();
        if traces.is_empty() {
            return Ok(Arc::new(StringViewArray::new_null(0)));
        }
        Ok(interleave(&traces, &places)?)
    }
}

fn id_column(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, Error> {
    let column = batch.column_by_name(name).ok_or(Error::MissingColumn(name))?;
    Ok(packed::unpack(column, &DataType::Utf8View)?)
}

/// Returns a column of interned texts. Each distinct text is copied once.
fn texts(
    texts: &Interner,
    at: &[usize],
    sym: impl Fn(usize) -> Option<Sym>,
) -> Result<ArrayRef, Error> {
    let mut places: Vec<Option<u32>> = vec![None; texts.len()];
    let mut distinct = Vec::new();
    let place = |&p: &usize| {
        sym(p).map(|sym| {
            *places[sym.0 as usize].get_or_insert_with(|| {
                distinct.push(texts.text(sym));
                distinct.len() as u32 - 1
            })
        })
    };
    let places: UInt32Array = at.iter().map(place).collect();
    let distinct = StringViewArray::from_iter_values(distinct);
    Ok(take(&distinct, &places, None)?)
}
