//! [`Events`] and [`Links`]: the lists of structs of a batch under construction.

use crate::attributes::{Attributes, Texts, offset};
use crate::draft::Id;

/// The events of all spans of a batch.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(super) row_ends: Vec<i32>,
    pub(super) time_unix_nano: Vec<i64>,
    pub(crate) names: Texts,
    pub(crate) attributes: Attributes,
    pub(super) dropped_attributes_count: Vec<i64>,
}

/// The links of all spans of a batch.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(super) row_ends: Vec<i32>,
    pub(super) trace_ids: Texts,
    pub(super) span_ids: Texts,
    pub(crate) trace_states: Texts,
    pub(super) flags: Vec<i64>,
    pub(crate) attributes: Attributes,
    pub(super) dropped_attributes_count: Vec<i64>,
}

impl Events {
    /// Returns no events, for a batch that has `rows` rows without any.
    pub(super) fn new(rows: usize) -> Self {
        Self { row_ends: vec![0; rows + 1], ..Self::default() }
    }

    /// Takes the events written since the last row as those of a row.
    pub(super) fn close_row(&mut self) {
        self.row_ends.push(offset(self.time_unix_nano.len()));
    }

    /// Takes what was written since the last event as one.
    pub(crate) fn close(&mut self, time_unix_nano: i64, dropped_attributes_count: u32) {
        self.time_unix_nano.push(time_unix_nano);
        self.names.close();
        self.attributes.close_row();
        self.dropped_attributes_count.push(i64::from(dropped_attributes_count));
    }

    /// Returns how many events the first `rows` rows have.
    pub(super) fn count(&self, rows: usize) -> usize {
        self.row_ends[rows] as usize
    }

    pub(super) fn truncate_rows(&mut self, rows: usize) {
        self.row_ends.truncate(rows + 1);
        let count = self.count(rows);
        self.time_unix_nano.truncate(count);
        self.names.truncate(count);
        self.attributes.truncate_rows(count);
        self.dropped_attributes_count.truncate(count);
    }

    pub(super) fn byte_size(&self) -> usize {
        self.names.bytes.len() + self.attributes.byte_size() + self.time_unix_nano.len() * 24
    }
}

impl Links {
    /// Returns no links, for a batch that has `rows` rows without any.
    pub(super) fn new(rows: usize) -> Self {
        Self { row_ends: vec![0; rows + 1], ..Self::default() }
    }

    /// Takes the links written since the last row as those of a row.
    pub(super) fn close_row(&mut self) {
        self.row_ends.push(offset(self.flags.len()));
    }

    /// Takes what was written since the last link as one. Returns whether it is one: a link whose
    /// ids are not ids is left out. Zeros and absent ids are kept, as zeros and empty text.
    pub(crate) fn close(
        &mut self,
        trace_id: Id<32>,
        span_id: Id<16>,
        flags: u32,
        dropped_attributes_count: u32,
    ) -> bool {
        let (Some(trace_id), Some(span_id)) = (trace_id.text(), span_id.text()) else {
            self.trace_states.reopen();
            self.attributes.reopen_row();
            return false;
        };
        self.trace_ids.push(trace_id);
        self.span_ids.push(span_id);
        self.trace_states.close();
        self.flags.push(i64::from(flags));
        self.attributes.close_row();
        self.dropped_attributes_count.push(i64::from(dropped_attributes_count));
        true
    }

    /// Returns how many links the first `rows` rows have.
    pub(super) fn count(&self, rows: usize) -> usize {
        self.row_ends[rows] as usize
    }

    pub(super) fn truncate_rows(&mut self, rows: usize) {
        self.row_ends.truncate(rows + 1);
        let count = self.count(rows);
        self.trace_ids.truncate(count);
        self.span_ids.truncate(count);
        self.trace_states.truncate(count);
        self.flags.truncate(count);
        self.attributes.truncate_rows(count);
        self.dropped_attributes_count.truncate(count);
    }

    pub(super) fn byte_size(&self) -> usize {
        self.trace_states.bytes.len() + self.attributes.byte_size() + self.flags.len() * 96
    }
}
