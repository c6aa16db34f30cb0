//! Facts and gaps of a data directory: those in their tables, and those of traces that only the log
//! has whole.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use timesink_model::schema::{Columns, facts, gaps};
use timesink_query::StoredTable;
use timesink_store::trace_ids;
use timesink_tables::{Layout, LookWalked, Snapshot, stored_columns};

/// Returns the tables `facts` and `gaps`, unless spans of the table `spans` have no facts.
pub(super) async fn tables(
    walked: LookWalked,
    spans: &Snapshot,
    now_unix_nano: i64,
) -> Result<Option<[StoredTable; 2]>> {
    let LookWalked { facts: stored, gaps: stored_gaps, unsettled } = walked;
    let whole_since = stored.whole_since().await?;
    let has_facts = |hour: &str| whole_since.as_deref().is_some_and(|since| hour >= since);
    let hours = spans.files()?.into_iter().map(|file| file.hour.unwrap_or(file.written));
    if !hours.into_iter().all(|hour| has_facts(&hour)) {
        return Ok(None);
    }
    let unsettled: Vec<RecordBatch> =
        unsettled.into_iter().flat_map(|(_, batches)| batches).collect();
    let traces = Arc::new(unsettled.iter().flat_map(trace_ids).collect::<HashSet<u128>>());
    let made = timesink_facts::run(unsettled, &stored_columns())?;
    let mut of_log = Vec::new();
    let with_facts = Known::read(&stored, &traces, now_unix_nano).await?;
    for rows in made.facts {
        of_log.push(with_facts.without(&rows)?);
    }
    let mut known = Known::read(&stored_gaps, &traces, now_unix_nano).await?;
    // Where a trace was walked, spans without a stored gap have none: facts are written first.
    if stored.through() <= stored_gaps.through() {
        known.0.extend(with_facts.0);
    }
    let gaps_of_log = vec![known.without(&made.gaps)?];
    let table = |name, layout, snapshot, behind| StoredTable { name, layout, snapshot, behind };
    Ok(Some([
        table(facts::table().name, Layout::FACTS, stored, of_log),
        table(gaps::table().name, Layout::GAPS, stored_gaps, gaps_of_log),
    ]))
}

/// Spans of which a table has rows.
struct Known(HashSet<(u128, String)>);

impl Known {
    /// Reads those of traces that the log has spans of.
    async fn read(table: &Snapshot, traces: &Arc<HashSet<u128>>, now: i64) -> Result<Self> {
        let ids = Columns::named(["trace_id", "span_id"].map(str::to_owned));
        let mut known = HashSet::new();
        if !traces.is_empty() {
            for batch in table.recent_rows_of(traces, &ids, now).await? {
                known.extend(keys(&batch));
            }
        }
        Ok(Self(known))
    }

    fn without(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let are_new: BooleanArray = keys(rows).map(|key| Some(!self.0.contains(&key))).collect();
        Ok(filter_record_batch(rows, &are_new)?)
    }
}

fn keys(batch: &RecordBatch) -> impl Iterator<Item = (u128, String)> {
    let spans = batch.column_by_name("span_id").and_then(|column| column.as_string_view_opt());
    let spans: Vec<String> = spans.into_iter().flatten().flatten().map(str::to_owned).collect();
    trace_ids(batch).into_iter().zip(spans)
}
