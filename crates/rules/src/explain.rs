//! Why a rule did or did not fire on a trace: each step of its query, with the rows of that trace.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use timesink_model::Finding;
use timesink_query::{Database, QueryResult, steps};

use crate::engine::{Engine, missing_attributes, session};
use crate::params::ParamKeys;
use crate::rule::Rule;
use crate::{Error, instances};

/// Rows that one step shows.
const ROWS_MAX: usize = 20;

/// One step of a rule's query on one trace.
#[derive(Debug, Clone)]
pub struct ExplainedStep {
    pub name: String,
    /// What the step keeps and why.
    pub caption: String,
    /// Rows of the trace, or of all traces where the step no longer knows traces.
    pub rows: Vec<RecordBatch>,
    pub row_count: usize,
    /// Whether `rows` are those of the trace alone.
    pub is_of_trace: bool,
}

/// What became of a trace under a rule.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub rule: String,
    pub trace_id: String,
    /// Required attributes that no span of the trace carries.
    pub missing: Vec<String>,
    /// The rule's thresholds as (name, value, unit, summary).
    pub params: Vec<(String, String, String, String)>,
    pub steps: Vec<ExplainedStep>,
    /// The rule's rows for the trace.
    pub instances: usize,
    /// The findings that these rows are part of.
    pub findings: Vec<Finding>,
}

/// Explains one rule on one trace; the whole database is looked at, because some rules judge a
/// trace by its neighbours.
///
/// # Errors
///
/// [`Error::UnknownTrace`] and [`Error::UnknownRule`], and the errors of its queries.
pub async fn explain(
    engine: &Engine,
    database: &Database,
    rule: &str,
    trace_id: &str,
) -> Result<Explanation, Error> {
    let rule = engine.rules().get(rule)?;
    let trace_id = trace_id.to_lowercase();
    let spans = of_trace(database.spans_with_facts(), &trace_id)?;
    if spans.iter().all(|batch| batch.num_rows() == 0) {
        return Err(Error::UnknownTrace { trace_id, traces: database.traces() });
    }
    let settings = engine.config().of(rule.name());
    let keys = ParamKeys::find(database.spans_with_facts());
    let session = session(rule, &settings, database, &keys)?;
    let mut explained = Vec::new();
    for step in steps(&rule.sql)? {
        let result = session.query(&step.sql).await?;
        explained.push(explained_step(step.name, step.caption, &result, &trace_id)?);
    }
    let rows = instances::read(rule.name(), &session.query(&rule.sql).await?)?;
    let own = rows.rows.iter().filter(|row| row.trace_id == trace_id).count();
    let analysis = engine.analyze(database).await?;
    let subjects: Vec<&str> = rows
        .rows
        .iter()
        .filter(|row| row.trace_id == trace_id)
        .map(|row| row.subject.as_str())
        .collect();
    let is_ours = |f: &Finding| f.rule == rule.name() && subjects.contains(&f.subject.as_str());
    Ok(Explanation {
        rule: rule.name().to_owned(),
        missing: missing_attributes(rule, &spans),
        params: thresholds(rule, &keys.table(rule, &settings)?),
        steps: explained,
        instances: own,
        findings: analysis.findings.into_iter().filter(is_ours).collect(),
        trace_id,
    })
}

fn thresholds(rule: &Rule, table: &RecordBatch) -> Vec<(String, String, String, String)> {
    let shown = |name: &str| {
        let column = table.column_by_name(name)?;
        let texts = cast(column, &DataType::Utf8).ok()?;
        let mut values: Vec<String> =
            texts.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        values.sort_unstable();
        values.dedup();
        Some(values.join(" or "))
    };
    let params = rule.manifest.params.iter();
    params
        .map(|(name, param)| {
            let value = shown(name).unwrap_or_else(|| crate::config::shown(&param.default));
            (name.clone(), value, param.unit.clone(), param.summary.clone())
        })
        .collect()
}

fn explained_step(
    name: String,
    caption: String,
    result: &QueryResult,
    trace_id: &str,
) -> Result<ExplainedStep, Error> {
    let is_of_trace = result.schema.column_with_name("trace_id").is_some();
    let rows =
        if is_of_trace { of_trace(&result.batches, trace_id)? } else { result.batches.clone() };
    let row_count = rows.iter().map(RecordBatch::num_rows).sum();
    Ok(ExplainedStep { name, caption, rows: first(rows), row_count, is_of_trace })
}

fn first(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let mut left = ROWS_MAX;
    let mut kept = Vec::new();
    for batch in batches {
        let rows = batch.num_rows().min(left);
        left -= rows;
        if rows > 0 {
            kept.push(batch.slice(0, rows));
        }
    }
    kept
}

fn of_trace(batches: &[RecordBatch], trace_id: &str) -> Result<Vec<RecordBatch>, Error> {
    let internal = |error: arrow::error::ArrowError| Error::Internal(error.to_string());
    batches
        .iter()
        .map(|batch| {
            let Some(column) = batch.column_by_name("trace_id") else { return Ok(batch.clone()) };
            let texts = cast(column, &DataType::Utf8).map_err(internal)?;
            let own: BooleanArray =
                texts.as_string::<i32>().iter().map(|id| Some(id == Some(trace_id))).collect();
            filter_record_batch(batch, &own).map_err(internal)
        })
        .collect()
}
