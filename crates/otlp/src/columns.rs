//! Columns under construction. A column that no row fills costs nothing.
//!
//! A text column holds Arrow views: 16 bytes a row that carry short text themselves and point into
//! a shared buffer for longer text. A value repeated over many rows is stored once, and a promoted
//! attribute points at the text that its map already holds.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, StringViewArray, UInt32Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType;

/// Text that fits into the view itself (Arrow columnar format, "Variable-size Binary View").
const INLINE_BYTES_MAX: usize = 12;

/// The view of `text`, which lies at `offset` of `buffer` where it does not fit into the view.
pub(crate) fn view(text: &[u8], buffer: u32, offset: usize) -> u128 {
    match inline_view(text) {
        Some(view) => view,
        None => long_view(text, buffer, offset),
    }
}

/// The view of a text of at most 12 bytes.
pub(crate) const fn inline_view(text: &[u8]) -> Option<u128> {
    if text.len() > INLINE_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; 16];
    bytes[0] = text.len() as u8;
    let mut at = 0;
    while at < text.len() {
        bytes[4 + at] = text[at];
        at += 1;
    }
    Some(u128::from_le_bytes(bytes))
}

fn long_view(text: &[u8], buffer: u32, offset: usize) -> u128 {
    let prefix = u32::from_le_bytes([text[0], text[1], text[2], text[3]]);
    u128::from(text.len() as u32)
        | u128::from(prefix) << 32
        | u128::from(buffer) << 64
        | u128::from(offset as u32) << 96
}

/// The text that the views of one batch point into.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pub(crate) bytes: Vec<u8>,
    /// The views of texts that may come again, each in the place of its hash; 0 for none.
    seen: Vec<u128>,
}

/// Texts that an arena remembers.
const SEEN_MAX: usize = 512;

impl Arena {
    /// The buffer number of the arena, in every text column.
    pub(crate) const BUFFER: u32 = 0;

    /// Stores `text` where it does not fit into its view, and returns the view.
    #[inline]
    pub(crate) fn put(&mut self, text: &[u8]) -> u128 {
        let view = view(text, Self::BUFFER, self.bytes.len());
        if text.len() > INLINE_BYTES_MAX {
            self.bytes.extend_from_slice(text);
        }
        view
    }

    /// Stores a text as [`Arena::put`] does, unless it was stored just now: statements, routes and
    /// names come again and again.
    #[inline]
    pub(crate) fn put_again(&mut self, text: &[u8]) -> u128 {
        if let Some(view) = inline_view(text) {
            return view;
        }
        let place = place(text);
        if let Some(view) = known(&self.seen, &self.bytes, place, text) {
            return view;
        }
        let view = self.put(text);
        self.remember(place, view)
    }

    /// Returns the text of a view, given as its bytes.
    pub(crate) fn text<'a>(&'a self, view: &'a [u8; 16]) -> &'a [u8] {
        let number = u128::from_le_bytes(*view);
        let length = number as u32 as usize;
        if length <= INLINE_BYTES_MAX {
            return &view[4..4 + length];
        }
        &self.bytes[offset_of(number)..][..length]
    }

    /// Overwrites the text of a view that is stored at `start` or behind it.
    pub(crate) fn blank(&mut self, view: u128, start: usize) {
        let (length, offset) = (view as u32 as usize, offset_of(view));
        if length > INLINE_BYTES_MAX && offset >= start {
            self.bytes[offset..offset + length].fill(b'*');
        }
    }

    /// Takes what was appended since `start` as one text, which may have been stored just now.
    pub(crate) fn close(&mut self, start: usize) -> u128 {
        let view = view(&self.bytes[start..], Self::BUFFER, start);
        if self.bytes.len() - start <= INLINE_BYTES_MAX {
            self.bytes.truncate(start);
            return view;
        }
        let (before, text) = self.bytes.split_at(start);
        let place = place(text);
        if let Some(known) = known(&self.seen, before, place, text) {
            self.bytes.truncate(start);
            return known;
        }
        self.remember(place, view)
    }

    fn remember(&mut self, place: usize, view: u128) -> u128 {
        if self.seen.is_empty() {
            self.seen.resize(SEEN_MAX, 0);
        }
        self.seen[place] = view;
        view
    }
}

/// Where the text of a view lies that does not carry it itself.
fn offset_of(view: u128) -> usize {
    (view >> 96) as usize
}

/// Returns a view of the text if it lies where the view in its place points. What was stored there
/// may have been forgotten meanwhile, and other text be where it was: the bytes decide, and the
/// view, which repeats the first of them, is made anew.
#[inline]
fn known(seen: &[u128], bytes: &[u8], place: usize, text: &[u8]) -> Option<u128> {
    let view = *seen.get(place)?;
    let (length, offset) = (view as u32 as usize, offset_of(view));
    let stored = bytes.get(offset..offset.checked_add(length)?)?;
    (length == text.len() && stored == text).then(|| long_view(text, Arena::BUFFER, offset))
}

/// The place of a text of more than 12 bytes: by its length, its first and its last bytes.
#[inline]
fn place(text: &[u8]) -> usize {
    let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) else {
        return 0;
    };
    let middle = text.len() / 2;
    let middle = text[middle..].first_chunk::<4>().map_or(0, |chunk| u32::from_le_bytes(*chunk));
    let mixed = u64::from_le_bytes(*first)
        ^ u64::from_le_bytes(*last).rotate_left(29)
        ^ u64::from(middle).rotate_left(13)
        ^ text.len() as u64;
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SEEN_MAX.trailing_zeros())) as usize
}

/// One view a row, NULL where none was put. Rows are put in order; gaps are filled with NULL.
///
/// Neighbouring rows of one view, as most have, are kept as a run.
#[derive(Debug)]
pub(crate) struct TextColumn {
    views: Vec<u128>,
    /// Where each run ends, the last one excepted.
    ends: Vec<usize>,
    /// Whether each run is a text.
    nulls: NullBufferBuilder,
    rows: usize,
    /// The view of the last run, if it is a text.
    last: Option<u128>,
}

impl Default for TextColumn {
    fn default() -> Self {
        let nulls = NullBufferBuilder::new(0);
        Self { views: Vec::new(), ends: Vec::new(), nulls, rows: 0, last: None }
    }
}

impl TextColumn {
    /// Sets the view of `row`, which is not before the last row put.
    #[inline]
    pub(crate) fn put(&mut self, row: usize, view: u128) {
        self.put_run(row..row + 1, view);
    }

    /// Sets the view of all `rows`.
    #[inline]
    pub(crate) fn put_run(&mut self, rows: Range<usize>, view: u128) {
        if self.rows < rows.start {
            self.begin_run(None);
        }
        if self.rows < rows.start || self.last != Some(view) {
            self.rows = rows.start;
            self.begin_run(Some(view));
        }
        self.rows = rows.end;
    }

    fn begin_run(&mut self, view: Option<u128>) {
        if !self.views.is_empty() {
            self.ends.push(self.rows);
        }
        self.views.push(view.unwrap_or_default());
        self.nulls.append(view.is_some());
        self.last = view;
    }

    /// Forgets every row from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if self.rows <= rows {
            return;
        }
        self.rows = rows;
        let runs = self.ends.partition_point(|end| *end < rows);
        self.ends.truncate(runs);
        let runs = if rows == 0 { 0 } else { runs + 1 };
        self.views.truncate(runs);
        self.nulls.truncate(runs);
        // The next text begins a run of its own.
        self.last = None;
    }

    /// Returns the array of `rows` rows, or `None` when every row is NULL.
    pub(crate) fn finish(mut self, rows: usize, buffers: &[Buffer]) -> Option<ArrayRef> {
        if self.views.is_empty() {
            return None;
        }
        if self.rows < rows {
            self.begin_run(None);
        }
        self.ends.push(rows);
        let views = ScalarBuffer::from(self.views);
        // Checks every text of a run: the fewer runs, the less work.
        let runs = StringViewArray::try_new(views, buffers.to_vec(), self.nulls.build())
            .expect("views were made by `view` over whole texts of these buffers");
        if self.ends.len() == rows {
            return Some(Arc::new(runs));
        }
        let mut run_of_row = Vec::with_capacity(rows);
        for (run, end) in (0_u32..).zip(self.ends) {
            run_of_row.resize(end, run);
        }
        let array = take(&runs, &UInt32Array::from(run_of_row), None);
        Some(array.expect("every row has a run"))
    }
}

/// One value a row, NULL where none was put. Rows are put in order; gaps are filled with NULL.
#[derive(Debug)]
pub(crate) struct Column<T> {
    values: Vec<T>,
    nulls: NullBufferBuilder,
}

pub(crate) type IntColumn = Column<i64>;
pub(crate) type BoolColumn = Column<bool>;

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl<T: Copy + Default> Column<T> {
    /// Sets the value of `row`, which is not before the last row put.
    #[inline]
    pub(crate) fn put(&mut self, row: usize, value: T) {
        if self.values.len() < row {
            self.pad(row);
        }
        self.values.push(value);
        self.nulls.append_non_null();
    }

    /// Sets the value of all `rows`.
    pub(crate) fn put_run(&mut self, rows: Range<usize>, value: T) {
        if self.values.len() < rows.start {
            self.pad(rows.start);
        }
        self.values.resize(rows.end, value);
        self.nulls.append_n_non_nulls(rows.len());
    }

    /// Forgets every row from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.nulls.truncate(rows);
        }
    }

    fn pad(&mut self, rows: usize) {
        self.nulls.append_n_nulls(rows - self.values.len());
        self.values.resize(rows, T::default());
    }
}

impl IntColumn {
    /// Returns the array of `rows` rows, or `None` when every row is NULL.
    pub(crate) fn finish(mut self, rows: usize) -> Option<ArrayRef> {
        if self.values.is_empty() {
            return None;
        }
        self.pad(rows);
        self.values.shrink_to_fit();
        Some(Arc::new(Int64Array::new(ScalarBuffer::from(self.values), self.nulls.build())))
    }

    /// Returns the array of `rows` rows with zeros where nothing was put, or `None` when all are.
    pub(crate) fn finish_zeroed(mut self, rows: usize) -> Option<ArrayRef> {
        if self.values.is_empty() {
            return None;
        }
        self.pad(rows);
        Some(Arc::new(Int64Array::new(ScalarBuffer::from(self.values), None)))
    }

    /// The values so far, one a row.
    pub(crate) fn values(&self) -> &[i64] {
        &self.values
    }
}

impl BoolColumn {
    /// Returns the array of `rows` rows, or `None` when every row is NULL.
    pub(crate) fn finish(mut self, rows: usize) -> Option<ArrayRef> {
        if self.values.is_empty() {
            return None;
        }
        self.pad(rows);
        Some(Arc::new(BooleanArray::new(BooleanBuffer::from(self.values), self.nulls.build())))
    }
}

/// Arrays of NULL, made once a type: columns that nothing filled share them.
#[derive(Debug)]
pub(crate) struct NullArrays {
    rows: usize,
    made: Vec<(DataType, ArrayRef)>,
}

impl NullArrays {
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows, made: Vec::new() }
    }

    pub(crate) fn of(&mut self, data_type: &DataType) -> ArrayRef {
        if let Some((_, array)) = self.made.iter().find(|(t, _)| t == data_type) {
            return Arc::clone(array);
        }
        let array = new_null_array(data_type, self.rows);
        self.made.push((data_type.clone(), Arc::clone(&array)));
        array
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    /// Checks the rows of a column after `write`, `-` for NULL.
    fn check(rows: usize, write: impl FnOnce(&mut TextColumn, &mut Arena), expected: &str) {
        let (mut column, mut arena) = (TextColumn::default(), Arena::default());
        write(&mut column, &mut arena);
        let array = column.finish(rows, &[Buffer::from_vec(arena.bytes)]);
        let found = array.map(|array| {
            let texts = array.as_string_view().iter().map(|text| text.unwrap_or("-").to_owned());
            texts.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref().unwrap_or("nothing"), expected);
    }

    #[test]
    fn rows_that_nothing_was_put_into_are_null() {
        check(3, |_, _| {}, "nothing");
        check(3, |column, arena| column.put(1, arena.put(b"a")), "- a -");
        let write = |column: &mut TextColumn, arena: &mut Arena| {
            column.put(0, arena.put(b"a"));
            column.put(2, arena.put(b"a"));
        };
        check(3, write, "a - a");
        check(1, |column, arena| column.put(0, arena.put(b"")), "");
    }

    #[test]
    fn a_text_that_comes_again_is_stored_once() {
        let mut arena = Arena::default();
        let first = arena.put_again(b"longer-than-a-view");
        assert_eq!(arena.put_again(b"longer-than-a-view"), first);
        arena.bytes.extend_from_slice(b"longer-than-a-view");
        assert_eq!(arena.close(first as u32 as usize), first);
        assert_eq!(arena.bytes.len(), 18);
        assert_eq!(arena.put_again(b"short"), arena.put(b"short"));
    }

    /// Scenario: a span is refused after its text was stored, and the next has another text there.
    #[test]
    fn a_text_that_was_forgotten_is_stored_anew() {
        let mut arena = Arena::default();
        let forgotten = arena.put_again(b"a text of a refused span");
        arena.bytes.clear();
        arena.put_again(b"b text of another, longer span");
        let again = arena.put_again(b"a text of a refused span");
        assert_ne!(again, forgotten);
        assert_eq!(&arena.bytes[30..], b"a text of a refused span");
    }

    /// Scenario: as before, and the text that lies there now comes again, in the same place.
    #[test]
    fn a_text_where_another_was_forgotten_has_its_own_view() {
        let stored = b"the text that lies there now";
        let mut texts = (0_u32..).map(|number| format!("{number:028}").into_bytes());
        let is_mate = |text: &Vec<u8>| place(text) == place(stored);
        let forgotten = texts.find(is_mate).expect("one of 512 has the place");
        let mut arena = Arena::default();
        arena.put_again(&forgotten);
        arena.bytes.clear();
        let view = arena.put(stored);
        assert_eq!(arena.put_again(stored), view);
        let mut column = TextColumn::default();
        column.put(0, view);
        let array = column.finish(1, &[Buffer::from_vec(arena.bytes)]).unwrap();
        assert_eq!(array.as_string_view().value(0).as_bytes(), stored);
    }

    #[test]
    fn rows_of_one_text_are_a_run() {
        let write = |column: &mut TextColumn, arena: &mut Arena| {
            let long = arena.put(b"longer-than-a-view");
            column.put_run(1..3, long);
            column.put(3, long);
            column.put(4, arena.put(b"b"));
            assert_eq!(column.views.len(), 3);
        };
        let long = "longer-than-a-view";
        check(6, write, &format!("- {long} {long} {long} b -"));
    }

    #[test]
    fn forgets_rows_within_and_between_runs() {
        for (rows, expected) in
            [(0, "c c - -"), (1, "a c c -"), (2, "a a c c"), (3, "a a - c"), (4, "a a - b")]
        {
            let write = |column: &mut TextColumn, arena: &mut Arena| {
                column.put_run(0..2, arena.put(b"a"));
                column.put_run(3..5, arena.put(b"b"));
                column.truncate(rows);
                if rows < 4 {
                    column.put_run(rows..(rows + 2).min(4), arena.put(b"c"));
                }
            };
            check(4, write, expected);
        }
    }
}
