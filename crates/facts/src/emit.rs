//! The columns of `facts` and `gaps`, beside the batches that came in.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    StringViewBuilder,
};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use timesink_model::schema;

use crate::Error;
use crate::critical::Path;
use crate::entry::{Entries, kind_of};
use crate::gaps::Gap;
use crate::intern::{Interner, Sym};
use crate::meaning::Meaning;
use crate::process::Processes;
use crate::rows::{Kind, NONE, Rows};
use crate::silence::Silence;
use crate::stall::Stalls;
use crate::tree::Tree;
use crate::wire::{Wire, Wires};
use crate::work::Work;

/// Everything the steps found.
pub(crate) struct Columns<'a> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) tree: &'a Tree,
    pub(crate) skew: &'a [i64],
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

impl Columns<'_> {
    /// Returns one batch of facts for each batch of spans, row by row beside it.
    pub(crate) fn facts(&self, spans: &[RecordBatch]) -> Result<Vec<RecordBatch>, Error> {
        let columns = self.fact_columns();
        let schema: SchemaRef = Arc::new(schema::facts::table().schema());
        let mut first = 0;
        spans
            .iter()
            .map(|batch| {
                let rows = batch.num_rows();
                let mut arrays: Vec<ArrayRef> = ["trace_id", "span_id"]
                    .iter()
                    .map(|name| batch.column_by_name(name).map(Arc::clone))
                    .collect::<Option<_>>()
                    .ok_or(Error::MissingColumn("span_id"))?;
                arrays.extend(columns.iter().map(|column| column.slice(first, rows)));
                first += rows;
                Ok(RecordBatch::try_new(Arc::clone(&schema), arrays)?)
            })
            .collect()
    }

    /// Every column of `facts` after the two ids, over all spans in the order they came in.
    fn fact_columns(&self) -> Vec<ArrayRef> {
        let Self { rows, tree, entries, meaning, path, wires, processes, work, stalls, .. } = self;
        // Position of each input row.
        let mut at = vec![0_usize; rows.len()];
        for (position, &row) in rows.input.iter().enumerate() {
            at[row as usize] = position;
        }
        let at = &at;
        let ids = Ids::new(self);
        let paths = Texts::new(&entries.paths);
        let shapes = Texts::new(&meaning.texts);
        let names = Texts::new(&rows.strings);
        let wire =
            |part: fn(&Wire) -> i64| optional_ints(at, |p| wires.parts[p].as_ref().map(part));
        let is_wire = |p: usize| wires.server[p] != NONE;
        let silence = |part: fn(&Silence) -> i64| {
            optional_ints(at, |p| stalls.silences[p].as_ref().map(part))
        };
        vec![
            ints(at, |p| i64::from(tree.depth[p])),
            ids.column(at, |p| Some(tree.root[p])),
            ids.column(at, |p| Some(entries.of[p] + ids.first_entry)),
            names.column(at, |p| match entries.of(p).span {
                NONE => None,
                span => Some(rows.name[span as usize]),
            }),
            paths.column(at, |p| Some(entries.name_path[p])),
            bools(at, |p| tree.is_orphan[p]),
            bools(at, |p| tree.is_complete[p]),
            optional_ints(at, |p| match entries.of(p).number {
                0 => None,
                number => Some(i64::from(number)),
            }),
            ints(at, |p| i64::from(entries.open[p])),
            ints(at, |p| self.skew[p]),
            ints(at, |p| path.self_nanos[p]),
            ints(at, |p| if is_wire(p) { 0 } else { path.nanos[p] }),
            wire(|wire| wire.whole),
            wire(|wire| wire.before),
            wire(|wire| wire.after),
            optional_ints(at, |p| is_wire(p).then_some(path.nanos[p])),
            ints(at, |p| i64::from(self.sequences[p])),
            shapes.column(at, |p| (meaning.shape[p] != Sym(0)).then_some(meaning.shape[p])),
            ids.column(at, |p| (self.duplicate_of[p] != NONE).then_some(self.duplicate_of[p])),
            Arc::new(at.iter().map(|&p| rows.adjusted_count[p]).collect::<Float64Array>()),
            ints(at, |p| stalls.stalled_nanos[p]),
            silence(|silence| silence.silence_nanos),
            Arc::new(
                at.iter()
                    .map(|&p| stalls.silences[p].map(|silence| silence.expected_edges))
                    .collect::<Float64Array>(),
            ),
            silence(|silence| i64::from(silence.foreign_edges)),
            silence(|silence| i64::from(silence.concurrent_traces)),
            ints(at, |p| i64::from(rows.process[p])),
            bools(at, |p| processes.is_event_loop[rows.process[p] as usize]),
            bools(at, |p| rows.process_keys[rows.process[p] as usize].has_identity()),
            bools(at, |p| processes.is_leaf[p]),
            ints(at, |p| work.pause_nanos[p]),
            names.column(at, |p| is_wire(p).then(|| rows.service[wires.server[p] as usize])),
            ids.column(at, |p| is_wire(p).then_some(wires.server[p])),
            ids.column(at, |p| Some(path.head[p])),
            ints(at, |p| work.own_nanos[p]),
            shapes.column(at, |p| Some(meaning.operation[p])),
            kinds(at, |p| Some(kind_of(rows, entries.of(p)))),
            ints(at, |p| entries.of(p).end - entries.of(p).start),
            kinds(at, |p| tree.parent(p).map(|parent| rows.kind[parent])),
            wire(|wire| wire.server_busy),
            silence(|silence| silence.waiting_nanos),
        ]
    }

    /// Returns the `gaps` batch.
    pub(crate) fn gaps(&self, gaps: &[Gap]) -> Result<RecordBatch, Error> {
        let Self { rows, entries, meaning, .. } = self;
        let ids = Ids::new(self);
        let texts = Texts::new(&meaning.texts);
        let all: Vec<usize> = (0..gaps.len()).collect();
        let all = &all;
        let span = |g: usize| gaps[g].span as usize;
        let operation = |at: u32| (at != NONE).then(|| meaning.operation[at as usize]);
        let silence =
            |part: fn(&Silence) -> i64| optional_ints(all, |g| gaps[g].silence.as_ref().map(part));
        let columns: Vec<ArrayRef> = vec![
            trace_ids(self, gaps),
            ids.column(all, |g| Some(entries.of[span(g)] + ids.first_entry)),
            ids.column(all, |g| Some(gaps[g].span)),
            ints(all, |g| gaps[g].start),
            ints(all, |g| gaps[g].nanos()),
            Arc::new(
                gaps.iter().map(|gap| Some(gap.position().as_str())).collect::<StringViewArray>(),
            ),
            texts.column(all, |g| operation(gaps[g].before)),
            texts.column(all, |g| operation(gaps[g].after)),
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
            silence(|silence| silence.waiting_nanos),
            kinds(all, |g| (gaps[g].before != NONE).then(|| rows.kind[gaps[g].before as usize])),
        ];
        let schema = Arc::new(schema::gaps::table().schema());
        Ok(RecordBatch::try_new(schema, columns)?)
    }
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

fn trace_ids(columns: &Columns<'_>, gaps: &[Gap]) -> ArrayRef {
    let text = |gap: &Gap| {
        let at = gap.span as usize;
        let trace = columns.rows.traces.partition_point(|trace| trace.end <= at);
        Some(format!("{:032x}", columns.rows.trace_ids[trace]))
    };
    Arc::new(gaps.iter().map(text).collect::<StringViewArray>())
}

const SPAN_ID_DIGITS: usize = 16;

/// Span ids as text, in one block that every id column points into: the spans', then the entries'.
struct Ids {
    block: Buffer,
    first_entry: u32,
}

impl Ids {
    fn new(columns: &Columns<'_>) -> Self {
        let (rows, entries) = (columns.rows, columns.entries);
        let mut text = Vec::with_capacity((rows.len() + entries.all.len()) * SPAN_ID_DIGITS);
        let all = rows.span_id.iter().copied().chain(entries.all.iter().map(|entry| entry.id));
        for id in all {
            text.extend((0..SPAN_ID_DIGITS).rev().map(|digit| hex_digit(id >> (4 * digit))));
        }
        Self { block: Buffer::from_vec(text), first_entry: rows.len() as u32 }
    }

    fn column(&self, at: &[usize], number: impl Fn(usize) -> Option<u32>) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(at.len());
        let block = builder.append_block(self.block.clone());
        for &p in at {
            match number(p) {
                Some(number) => builder
                    .try_append_view(block, number * SPAN_ID_DIGITS as u32, SPAN_ID_DIGITS as u32)
                    .expect("every number is one of the ids in the block"),
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }
}

fn hex_digit(value: u64) -> u8 {
    b"0123456789abcdef"[(value & 15) as usize]
}

/// Interned texts as columns: each distinct text is copied once.
struct Texts<'a, 'b> {
    texts: &'a Interner<'b>,
}

impl<'a, 'b> Texts<'a, 'b> {
    fn new(texts: &'a Interner<'b>) -> Self {
        Self { texts }
    }

    fn column(&self, at: &[usize], sym: impl Fn(usize) -> Option<Sym>) -> ArrayRef {
        let syms: Vec<Option<Sym>> = at.iter().map(|&p| sym(p)).collect();
        let mut places: Vec<Option<Place>> = vec![None; self.texts.texts().len()];
        let mut blocks = vec![Vec::new()];
        for sym in syms.iter().flatten() {
            places[sym.0 as usize].get_or_insert_with(|| add(&mut blocks, self.texts.text(*sym)));
        }
        let mut builder = StringViewBuilder::with_capacity(at.len());
        let blocks = blocks.into_iter().map(|block| builder.append_block(Buffer::from_vec(block)));
        let blocks: Vec<u32> = blocks.collect();
        for sym in syms {
            match sym.and_then(|sym| places[sym.0 as usize]) {
                Some(place) => builder
                    .try_append_view(blocks[place.block], place.offset, place.length)
                    .expect("every place lies in its block"),
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }
}

/// Bytes from which on a text goes into another block; offsets of views are 31 bits.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Where a text lies.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    offset: u32,
    length: u32,
}

fn add(blocks: &mut Vec<Vec<u8>>, text: &str) -> Place {
    if blocks[blocks.len() - 1].len() >= BLOCK_BYTES_MAX {
        blocks.push(Vec::new());
    }
    let number = blocks.len() - 1;
    let block = &mut blocks[number];
    let place = Place { block: number, offset: block.len() as u32, length: text.len() as u32 };
    block.extend_from_slice(text.as_bytes());
    place
}
