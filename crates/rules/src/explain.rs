//! Why a rule did or did not fire on a trace: each step of its query, with the rows of that trace.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{
    SortColumn, cast, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use hashbrown::HashSet;
use timesink_facts::packed::Text;
use timesink_model::Finding;
use timesink_query::{Database, Step, steps};

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
    /// Rows of the trace. Where the step no longer knows traces, the rows over all traces that
    /// speak of the same things as the trace's rows before.
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
    let mut own = Vec::new();
    for step in steps(&rule.sql)? {
        let columns = session.schema(&step.sql).await?;
        let is_of_trace = columns.column_with_name("trace_id").is_some();
        let rows = if is_of_trace {
            session.query(&step.of_trace(&trace_id)).await?.batches
        } else {
            about(&session.query(&step.sql).await?.batches, &own)?
        };
        explained.push(explained_step(step, &rows, is_of_trace)?);
        if is_of_trace && rows.iter().any(|batch| batch.num_rows() > 0) {
            own = rows;
        }
    }
    let rows = instances::read(rule.name(), &session.query(&rule.sql).await?)?;
    let own = rows.rows.iter().filter(|row| row.trace_id == trace_id).count();
    let analysis = engine.analyze(database).await?;
    let endpoints = endpoints(&spans);
    let of_trace = rows.rows.iter().filter(|row| row.trace_id == trace_id);
    let found: Vec<(&str, &str)> =
        of_trace.map(|row| (row.service.as_str(), row.subject.as_str())).collect();
    let is_ours = |finding: &Finding| {
        let (service, endpoint) = (finding.service_name.as_str(), finding.endpoint.as_str());
        finding.rule == rule.name()
            && found.contains(&(service, &finding.subject))
            && endpoints.contains(&(service.to_owned(), endpoint.to_owned()))
    };
    Ok(Explanation {
        rule: rule.name().to_owned(),
        missing: missing_attributes(rule, &spans),
        params: thresholds(rule, &keys.table(rule, &settings)?),
        steps: explained,
        instances: own,
        findings: analysis.findings.into_iter().chain(analysis.muted).filter(is_ours).collect(),
        trace_id,
    })
}

/// Returns each service with an endpoint that spans belong to.
fn endpoints(spans: &[RecordBatch]) -> HashSet<(String, String)> {
    let mut endpoints = HashSet::new();
    for batch in spans {
        let text = |name: &str| batch.column_by_name(name).and_then(Text::of);
        if let (Some(services), Some(names)) = (text("service_name"), text("endpoint")) {
            let pairs = services.iter().zip(names.iter());
            let pairs = pairs.filter_map(|(service, name)| Some((service?, name?)));
            endpoints.extend(pairs.map(|(service, name)| (service.to_owned(), name.to_owned())));
        }
    }
    endpoints
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
    step: Step,
    rows: &[RecordBatch],
    is_of_trace: bool,
) -> Result<ExplainedStep, Error> {
    let row_count = rows.iter().map(RecordBatch::num_rows).sum();
    let rows = first(rows).map_err(internal)?;
    Ok(ExplainedStep { name: step.name, caption: step.caption, rows, row_count, is_of_trace })
}

/// Returns the first rows in an order that does not change from run to run.
fn first(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let Some(batch) = batches.first() else { return Ok(Vec::new()) };
    let all = concat_batches(&batch.schema(), batches)?;
    let sortable = all.columns().iter().filter(|column| !column.data_type().is_nested());
    let columns: Vec<SortColumn> =
        sortable.map(|c| SortColumn { values: Arc::clone(c), options: None }).collect();
    if columns.is_empty() {
        return Ok(vec![all.slice(0, all.num_rows().min(ROWS_MAX))]);
    }
    let order = lexsort_to_indices(&columns, Some(ROWS_MAX))?;
    Ok(vec![take_record_batch(&all, &order)?])
}

/// Returns the rows over all traces that speak of the trace's own rows, of its endpoints and places
/// for example; all rows if that cannot be told.
fn about(batches: &[RecordBatch], own: &[RecordBatch]) -> Result<Vec<RecordBatch>, Error> {
    let (Some(first), Some(own_first)) = (batches.first(), own.first()) else {
        return Ok(batches.to_vec());
    };
    let (schema, own_schema) = (first.schema(), own_first.schema());
    let names = schema.fields().iter().filter(|field| tells_apart(field)).map(|f| f.name());
    let keys: Vec<&str> =
        names.filter(|n| own_schema.column_with_name(n).is_some()).map(String::as_str).collect();
    let mut known = HashSet::new();
    for batch in own {
        known.extend(key_texts(batch, &keys)?);
    }
    let mut kept = Vec::new();
    for batch in batches {
        let texts = key_texts(batch, &keys)?;
        let is_about: BooleanArray = texts.iter().map(|key| Some(known.contains(key))).collect();
        kept.push(filter_record_batch(batch, &is_about).map_err(internal)?);
    }
    Ok(kept)
}

/// Whether a column says what a row is about, and measures nothing.
fn tells_apart(field: &Field) -> bool {
    match field.data_type() {
        DataType::Utf8 | DataType::Utf8View | DataType::Boolean => field.name() != VERDICT,
        kind => kind.is_integer() && field.name().ends_with("_id"),
    }
}

/// A column in which a step says in words what it decided of a row.
const VERDICT: &str = "verdict";

/// Returns the values of some columns, row by row.
fn key_texts(batch: &RecordBatch, keys: &[&str]) -> Result<Vec<Vec<Option<String>>>, Error> {
    let mut rows = vec![Vec::with_capacity(keys.len()); batch.num_rows()];
    for column in keys.iter().filter_map(|key| batch.column_by_name(key)) {
        let texts = cast(column, &DataType::Utf8).map_err(internal)?;
        for (row, text) in rows.iter_mut().zip(texts.as_string::<i32>()) {
            row.push(text.map(str::to_owned));
        }
    }
    Ok(rows)
}

#[expect(clippy::needless_pass_by_value, reason = "called by `map_err`")]
fn internal(error: ArrowError) -> Error {
    Error::Internal(error.to_string())
}

fn of_trace(batches: &[RecordBatch], trace_id: &str) -> Result<Vec<RecordBatch>, Error> {
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
