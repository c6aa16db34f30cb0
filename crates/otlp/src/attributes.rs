//! Rows of attributes under construction: for each row a list of keys, values as text, and kinds.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};

/// Kinds of a value, one letter each, as `attribute_kinds` lists them.
pub(crate) mod kind {
    pub(crate) const STRING: u8 = b's';
    pub(crate) const INT: u8 = b'i';
    pub(crate) const DOUBLE: u8 = b'd';
    pub(crate) const BOOL: u8 = b'b';
    pub(crate) const ARRAY: u8 = b'a';
    pub(crate) const KVLIST: u8 = b'k';
    pub(crate) const BYTES: u8 = b'y';
    pub(crate) const NONE: u8 = b'n';
}

/// Texts one after the other, with where each ends. `ends[0]` is 0, so that it is an Arrow offset
/// buffer as it stands.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }
}

impl Texts {
    /// Takes what was appended to `bytes` since the last close as one text.
    pub(crate) fn close(&mut self) {
        self.ends.push(offset(self.bytes.len()));
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.close();
    }

    /// Forgets what was appended to `bytes` since the last close.
    pub(crate) fn reopen(&mut self) {
        self.bytes.truncate(self.start(self.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Where the text of that number starts; for the first number not yet closed, where it will.
    pub(crate) fn start(&self, number: usize) -> usize {
        self.ends[number] as usize
    }

    pub(crate) fn get(&self, number: usize) -> &[u8] {
        &self.bytes[self.start(number)..self.start(number + 1)]
    }

    pub(crate) fn truncate(&mut self, count: usize) {
        self.ends.truncate(count + 1);
        self.bytes.truncate(self.start(count));
    }

    /// Moves the texts from that number on, and what is not closed yet, to `to`, which is empty.
    fn move_from(&mut self, number: usize, to: &mut Self) {
        let start = self.start(number);
        to.bytes.extend_from_slice(&self.bytes[start..]);
        to.ends.extend(self.ends[number + 1..].iter().map(|end| end - offset(start)));
        self.truncate(number);
    }

    fn extend(&mut self, source: &Self, times: usize) {
        for _ in 0..times {
            let base = offset(self.bytes.len());
            self.bytes.extend_from_slice(&source.bytes);
            self.ends.extend(source.ends[1..].iter().map(|end| base + end));
        }
    }

    fn reserve_like(&mut self, other: &Self) {
        self.bytes.reserve(other.bytes.len());
        self.ends.reserve(other.ends.len());
    }

    /// Returns the array, and the buffer of its text for views to share.
    pub(crate) fn finish(self, nulls: Option<NullBuffer>) -> (ArrayRef, Buffer) {
        let buffer = Buffer::from_vec(self.bytes);
        let array = StringArray::try_new(offsets(self.ends), buffer.clone(), nulls)
            .expect("texts are closed at the ends of valid UTF-8");
        (Arc::new(array), buffer)
    }
}

/// Lists of attributes, one a row, or one an event or link.
///
/// A writer appends a key to `keys.bytes` and the value's text to `values.bytes`, then calls
/// [`Attributes::close`]; after the last of a row, [`Attributes::close_row`].
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(crate) keys: Texts,
    pub(crate) values: Texts,
    /// One letter an attribute.
    kinds: Vec<u8>,
    /// Where the attributes of each row end; `row_ends[0]` is 0.
    row_ends: Vec<i32>,
    /// Whether some attribute came without a value.
    has_null: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            keys: Texts::default(),
            values: Texts::default(),
            kinds: Vec::new(),
            row_ends: vec![0],
            has_null: false,
        }
    }
}

impl Attributes {
    /// Takes the bytes appended to `keys` and `values` as one attribute of that kind.
    pub(crate) fn close(&mut self, kind: u8) {
        if kind == kind::NONE {
            self.has_null = true;
            self.values.reopen();
        }
        self.keys.close();
        self.values.close();
        self.kinds.push(kind);
    }

    /// Forgets the bytes of an attribute that is not closed yet.
    pub(crate) fn reopen(&mut self) {
        self.keys.reopen();
        self.values.reopen();
    }

    /// Forgets the attributes of the row that is being written.
    pub(crate) fn reopen_row(&mut self) {
        self.truncate_rows(self.rows());
    }

    pub(crate) fn close_row(&mut self) {
        self.row_ends.push(offset(self.kinds.len()));
    }

    /// Returns whether two of these attributes have the same key.
    pub(crate) fn repeat_a_key(&self, entries: Range<usize>) -> bool {
        let key = |number| self.keys.get(number);
        if entries.len() <= COMPARED_MAX {
            let is_repeated = |n: usize| (entries.start..n).any(|before| key(before) == key(n));
            return entries.clone().any(is_repeated);
        }
        let mut seen = HashSet::with_capacity(entries.len());
        !entries.into_iter().all(|number| seen.insert(key(number)))
    }

    /// Keeps the last attribute of each key in the row that is being written: OTLP wants keys to be
    /// unique (common.proto, `KeyValue`), and readers of a map believe the first or the last one.
    /// Returns whether there was one to forget.
    pub(crate) fn keep_last_of_each_key(&mut self) -> bool {
        let row = self.row_start()..self.len();
        if !self.repeat_a_key(row.clone()) {
            return false;
        }
        let mut seen = HashSet::new();
        let is_last = |number: &usize| seen.insert(self.keys.get(*number));
        let last: Vec<usize> = row.rev().filter(is_last).collect();
        let copy =
            |n: usize| (self.keys.get(n).to_vec(), self.values.get(n).to_vec(), self.kinds[n]);
        let kept: Vec<_> = last.into_iter().rev().map(copy).collect();
        self.reopen_row();
        for (key, value, kind) in kept {
            self.push(&key, &value, kind);
        }
        true
    }

    /// Appends an attribute.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], kind: u8) {
        self.keys.bytes.extend_from_slice(key);
        self.values.bytes.extend_from_slice(value);
        self.close(kind);
    }

    /// Moves the rows from `rows` on, the one that is being written included, to `to`, which holds
    /// nothing else afterwards.
    pub(crate) fn move_rows(&mut self, rows: usize, to: &mut Self) {
        to.clear();
        let first = self.row_ends[rows];
        let start = first as usize;
        to.kinds.extend_from_slice(&self.kinds[start..]);
        to.row_ends.extend(self.row_ends[rows + 1..].iter().map(|end| end - first));
        self.keys.move_from(start, &mut to.keys);
        self.values.move_from(start, &mut to.values);
        self.truncate_rows(rows);
    }

    /// The attributes of a closed row, or of the one that is being written.
    pub(crate) fn row(&self, number: usize) -> Range<usize> {
        let end = self.row_ends.get(number + 1).map_or(self.len(), |end| *end as usize);
        self.row_ends[number] as usize..end
    }

    /// Forgets every row from `rows` on, and what is not closed yet.
    pub(crate) fn truncate_rows(&mut self, rows: usize) {
        self.row_ends.truncate(rows + 1);
        let count = self.row_ends[rows] as usize;
        self.keys.truncate(count);
        self.values.truncate(count);
        self.kinds.truncate(count);
    }

    /// Forgets everything, but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.truncate_rows(0);
        self.has_null = false;
    }

    pub(crate) fn rows(&self) -> usize {
        self.row_ends.len() - 1
    }

    /// Number of attributes closed.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The keys of some attributes, one after the other.
    fn key_bytes(&self, entries: Range<usize>) -> &[u8] {
        &self.keys.bytes[self.keys.start(entries.start)..self.keys.start(entries.end)]
    }

    pub(crate) fn kinds(&self) -> &[u8] {
        &self.kinds
    }

    /// Where the row that is being written starts.
    pub(crate) fn row_start(&self) -> usize {
        self.row_ends[self.rows()] as usize
    }

    /// Bytes of memory that the text and its bookkeeping take.
    pub(crate) fn byte_size(&self) -> usize {
        self.keys.bytes.len() + self.values.bytes.len() + self.kinds.len() * ENTRY_BYTES
    }

    pub(crate) fn reserve_like(&mut self, other: &Self) {
        self.keys.reserve_like(&other.keys);
        self.values.reserve_like(&other.values);
        self.kinds.reserve(other.kinds.len());
        self.row_ends.reserve(other.row_ends.len());
    }

    /// Closes empty rows until there are `rows`.
    pub(crate) fn pad_rows(&mut self, rows: usize) {
        self.row_ends.resize(rows + 1, offset(self.kinds.len()));
    }

    /// Appends all attributes of `source` as a row, `times` times.
    pub(crate) fn repeat(&mut self, source: &Self, times: usize) {
        self.keys.extend(&source.keys, times);
        self.values.extend(&source.values, times);
        self.has_null |= source.has_null;
        for _ in 0..times {
            self.kinds.extend_from_slice(&source.kinds);
            self.close_row();
        }
    }

    /// Returns the map column, the buffer of its values, and the kinds with where each row ends.
    pub(crate) fn finish(self, data_type: &DataType, empty: EmptyRow) -> FinishedAttributes {
        let row_offsets = offsets(self.row_ends);
        let value_nulls = self
            .has_null
            .then(|| self.kinds.iter().map(|kind| *kind != kind::NONE).collect::<NullBuffer>());
        let (keys, _) = self.keys.finish(None);
        let (values, value_buffer) = self.values.finish(value_nulls);
        let (entries_field, fields) = entries_of(data_type);
        let entries = StructArray::new(fields, vec![keys, values], None);
        let nulls = match empty {
            EmptyRow::Empty => None,
            EmptyRow::Null => Some(filled_rows(&row_offsets)),
        };
        let map = MapArray::new(entries_field, row_offsets.clone(), entries, nulls, false);
        FinishedAttributes {
            map: Arc::new(map),
            values: value_buffer,
            kinds: Buffer::from_vec(self.kinds),
            row_offsets,
        }
    }
}

/// The keys of a row, kept to find other rows of the same keys.
///
/// Spans of one instrumentation have the same keys in the same order.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// One after the other, and where each ends; nothing for a row of too many.
    keys: Vec<u8>,
    ends: Vec<usize>,
}

/// The most keys kept: longer rows are like none.
const KEY_SET_MAX: usize = 128;

impl KeySet {
    pub(crate) fn new(attributes: &Attributes, entries: Range<usize>) -> Self {
        if entries.len() > KEY_SET_MAX {
            return Self { keys: Vec::new(), ends: Vec::new() };
        }
        let keys = &attributes.keys;
        let start = keys.start(entries.start);
        let ends = entries.clone().map(|number| keys.start(number + 1) - start).collect();
        Self { keys: attributes.key_bytes(entries).to_vec(), ends }
    }

    /// Whether a row has these keys in this order; an empty row has those of none.
    #[inline]
    pub(crate) fn is_of(&self, attributes: &Attributes, entries: Range<usize>) -> bool {
        let keys = &attributes.keys;
        let start = keys.start(entries.start);
        !entries.is_empty()
            && self.ends.len() == entries.len()
            && self.keys == attributes.key_bytes(entries.clone())
            && entries.zip(&self.ends).all(|(n, end)| keys.start(n + 1) - start == *end)
    }
}

/// So many keys are compared with each other; more are put into a set.
const COMPARED_MAX: usize = 16;

/// Bytes of bookkeeping for one attribute: two offsets and its kind.
const ENTRY_BYTES: usize = 9;

/// What a row without attributes or items becomes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EmptyRow {
    Empty,
    Null,
}

pub(crate) struct FinishedAttributes {
    pub(crate) map: ArrayRef,
    pub(crate) values: Buffer,
    pub(crate) kinds: Buffer,
    pub(crate) row_offsets: OffsetBuffer<i32>,
}

impl FinishedAttributes {
    /// Returns the kinds as a plain text column: they lie one after the other as they are.
    pub(crate) fn kinds_array(&self) -> ArrayRef {
        let offsets = self.row_offsets.clone();
        Arc::new(StringArray::new(offsets, self.kinds.clone(), None))
    }
}

/// The rows that have something between their offsets.
fn filled_rows(row_offsets: &OffsetBuffer<i32>) -> NullBuffer {
    row_offsets.windows(2).map(|ends| ends[0] < ends[1]).collect()
}

/// Returns a list column over `items`, NULL where a row has none.
pub(crate) fn list_of(data_type: &DataType, row_ends: Vec<i32>, items: Vec<ArrayRef>) -> ArrayRef {
    let DataType::List(item) = data_type else { unreachable!("the schema says list") };
    let DataType::Struct(fields) = item.data_type() else {
        unreachable!("the schema says list of structs")
    };
    let row_offsets = offsets(row_ends);
    let nulls = filled_rows(&row_offsets);
    let structs = Arc::new(StructArray::new(fields.clone(), items, None));
    Arc::new(ListArray::new(Arc::clone(item), row_offsets, structs, Some(nulls)))
}

fn entries_of(data_type: &DataType) -> (FieldRef, Fields) {
    let DataType::Map(entries, _) = data_type else { unreachable!("the schema says map") };
    let DataType::Struct(fields) = entries.data_type() else {
        unreachable!("the entries of a map are structs")
    };
    (Arc::clone(entries), fields.clone())
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

/// Arrow offsets are `i32`: the limits of a batch keep every buffer below 2 GiB (`builder.rs`).
pub(crate) fn offset(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a batch is closed long before 2 GiB")
}
