//! `timesink explain`: each step of a rule on one trace, and why it fired or did not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use timesink_facts::packed::Text;
use timesink_output::words::muted_by;
use timesink_query::Database;
use timesink_rules::{ExplainedStep, Explanation, explain, show_nanos};
use timesink_server::Act;

use super::Run;
use crate::cli::ExplainArgs;
use crate::ended::{Ended, once_written};
use crate::noted::note;
use crate::opened::{self, Opened, Reading};
use crate::output::{Paint, safe, wrap};
use crate::{analysis, output};

/// Traces that a prefix of several ids names.
const TRACES_SHOWN: usize = 5;

/// Before the rows of a step.
const ROWS_INDENT: &str = "    ";

/// Columns in which a step says in words what it decided.
const VERDICT: &str = "verdict";

pub(super) fn run(args: &ExplainArgs, run: &mut Run<'_>) -> Result<Ended> {
    let engine = analysis::engine(&run.config, std::slice::from_ref(&args.rule))?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let sources = args.input.sources();
    if let Some(data) = sources.data {
        note(data, Act::Reads, &format!("explain {} --rule {}", args.trace_id, args.rule), run);
    }
    let reading = Reading::whole(sources, run);
    let Opened { database, input } = opened::open(sources, &reading, run)?;
    output::warn_of_damage(run.console, &input.damaged);
    output::warn_of_losses(run.console, &input);
    let trace_id = trace_id(&database, &args.trace_id)?;
    let explanation = {
        let _progress = run.console.progress("running the rule");
        runtime.block_on(explain(&engine, &database, &args.rule, &trace_id))?
    };
    once_written(write(&explanation, run), Ended::of_reading(&input))
}

/// Returns the one trace id that begins with a prefix.
fn trace_id(database: &Database, prefix: &str) -> Result<String> {
    let prefix = prefix.to_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{prefix}` is no trace id: expected up to 32 hex digits");
    }
    let columns = database
        .spans_with_facts()
        .iter()
        .filter_map(|batch| batch.column_by_name("trace_id").and_then(Text::of));
    let ids = columns.flat_map(|column| column.iter().flatten());
    let found: BTreeSet<&str> = ids.filter(|id| id.starts_with(&prefix)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (Some(first), Some(second)) => {
            let mut names = vec![first, second];
            names.extend(found.by_ref().take(TRACES_SHOWN - names.len()));
            let more = match found.count() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            bail!("`{prefix}` begins several trace ids: {}{more}", names.join(", "))
        }
        (None, _) => {
            let traces = database.traces();
            bail!("trace `{prefix}` is not there: {traces} other traces were read")
        }
    }
}

fn write(explanation: &Explanation, run: &mut Run<'_>) -> Result<()> {
    let (paint, columns) = (run.console.paint, run.console.columns);
    let out = &mut run.console.out;
    let head = format!("{} on trace {}", explanation.rule, explanation.trace_id);
    writeln!(out, "{}", paint.bold(&safe::line(&head)))?;
    for attribute in &explanation.missing {
        let attribute = safe::line(attribute);
        writeln!(out, "\nmissing: no span of this trace carries `{attribute}`, which it requires")?;
    }
    writeln!(out, "\n{}", paint.bold("thresholds"))?;
    for (name, value, unit, summary) in &explanation.params {
        let text = format!("{name} = {value} {unit}: {summary}");
        write_item(out, "  ", &text, columns)?;
    }
    let thresholds: Vec<&str> = explanation.params.iter().map(|param| param.0.as_str()).collect();
    for step in &explanation.steps {
        write_step(out, step, &thresholds, paint, columns)?;
    }
    writeln!(out)?;
    if explanation.instances == 0 {
        let text = format!("did not fire: {}", reason(explanation));
        return write_item(out, "", &paint.bold(&safe::line(&text)), columns);
    }
    let plural = if explanation.instances == 1 { "" } else { "s" };
    let fired = format!("fired, with {} row{plural} of this trace, in:", explanation.instances);
    writeln!(out, "{}", paint.bold(&fired))?;
    for finding in &explanation.findings {
        let mut text = format!("{}[{}]: {}", finding.severity, finding.rule, finding.title);
        let _ = write!(text, "; subject {}", finding.subject);
        if let Some(muted) = &finding.evidence.muted {
            let _ = write!(text, "; muted {}", muted_by(muted));
        }
        write_item(out, "  ", &text, columns)?;
    }
    Ok(())
}

/// Writes a text, its second line and those after it further in.
fn write_item(out: &mut impl Write, indent: &str, text: &str, columns: usize) -> Result<()> {
    let width = columns - indent.len() - 2;
    for (number, line) in wrap(&safe::line(text), width).iter().enumerate() {
        writeln!(out, "{indent}{}{line}", if number == 0 { "" } else { "  " })?;
    }
    Ok(())
}

fn write_step(
    out: &mut impl Write,
    step: &ExplainedStep,
    thresholds: &[&str],
    paint: Paint,
    columns: usize,
) -> Result<()> {
    let plural = if step.row_count == 1 { "" } else { "s" };
    let of = if step.is_of_trace { "of this trace" } else { "over all traces" };
    let count = format!("{} row{plural} {of}", step.row_count);
    writeln!(out, "\n{} {}", paint.bold(&safe::line(&step.name)), paint.dim(&count))?;
    for line in wrap(&safe::line(&step.caption), columns - 2) {
        writeln!(out, "  {line}")?;
    }
    let Some(rows) = concat(&step.rows)? else { return Ok(()) };
    let rows = compact(&rows, thresholds)?;
    for line in output::compact_rows(&rows, paint, columns - ROWS_INDENT.len())? {
        writeln!(out, "{ROWS_INDENT}{line}")?;
    }
    let hidden = step.row_count.saturating_sub(rows.num_rows());
    if hidden > 0 {
        writeln!(out, "{ROWS_INDENT}and {hidden} more")?;
    }
    Ok(())
}

fn concat(batches: &[RecordBatch]) -> Result<Option<RecordBatch>> {
    let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    Ok(Some(arrow::compute::concat_batches(&first.schema(), batches)?))
}

/// The columns of a step that say something here: none that is NULL in all rows or nested, none
/// that the head or the thresholds show already; times as people read them.
fn compact(rows: &RecordBatch, thresholds: &[&str]) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let name = field.name().as_str();
        let is_shown = HIDDEN.contains(&name) || thresholds.contains(&name);
        if is_shown || field.data_type().is_nested() || column.null_count() == column.len() {
            continue;
        }
        let (name, column) = readable(name, column)?;
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    // Rows without a column are no rows: keep one, whatever it says.
    if columns.is_empty() {
        return Ok(rows.project(&[0])?);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Columns that are the same for every row of a trace, or repeat another.
const HIDDEN: [&str; 3] = ["trace_id", "start_time", "attribute_kinds"];

/// Shows nanoseconds as people read them, and fractions without their noise.
fn readable(name: &str, column: &ArrayRef) -> Result<(String, ArrayRef)> {
    let is_time = (name == "nanos" || name.ends_with("_nanos")) && column.data_type().is_numeric();
    if !is_time && !column.data_type().is_floating() {
        return Ok((name.to_owned(), Arc::clone(column)));
    }
    let show = if is_time { show_time } else { show_fraction };
    let name = match name {
        "nanos" => "time",
        name if is_time => name.trim_end_matches("_nanos"),
        name => name,
    };
    let numbers = cast(column, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    let texts: StringArray = numbers.map(|number| number.map(show)).collect();
    Ok((name.to_owned(), Arc::new(texts)))
}

fn show_time(nanos: f64) -> String {
    if nanos == 0.0 { "0 ms".to_owned() } else { show_nanos(nanos as i64) }
}

fn show_fraction(number: f64) -> String {
    if number.abs() < 100.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

/// Why no row of the trace came through.
fn reason(explanation: &Explanation) -> String {
    if !explanation.missing.is_empty() {
        let missing: Vec<String> =
            explanation.missing.iter().map(|name| format!("`{name}`")).collect();
        return format!("no span of this trace carries {}", missing.join(", "));
    }
    if let Some(step) = barrier(&explanation.steps) {
        let of = if step.is_of_trace { "of" } else { "for" };
        let keeps = step.caption.split_inclusive(". ").next().unwrap_or_default().trim();
        return format!("step `{}` kept no row {of} this trace. It keeps: {keeps}", step.name);
    }
    let verdicts = explanation.steps.iter().rev().map(verdicts).find(|v| !v.is_empty());
    match verdicts {
        Some(verdicts) => verdicts.into_iter().collect::<Vec<_>>().join("; "),
        None => "every step kept rows, and none of them passed the last selection".to_owned(),
    }
}

/// The step at which the trace was lost. A step may be empty without harm where a later one takes
/// its rows from several, so it is the first behind the last that kept any.
fn barrier(steps: &[ExplainedStep]) -> Option<&ExplainedStep> {
    let first_behind = |is_of_trace: bool| {
        let steps: Vec<_> = steps.iter().filter(|step| step.is_of_trace == is_of_trace).collect();
        let kept = steps.iter().rposition(|step| step.row_count > 0).map_or(0, |at| at + 1);
        steps.get(kept).copied()
    };
    first_behind(true).or_else(|| first_behind(false))
}

/// What a step says in words of its rows.
fn verdicts(step: &ExplainedStep) -> BTreeSet<String> {
    let columns = step.rows.iter().filter_map(|batch| batch.column_by_name(VERDICT));
    let texts = columns.filter_map(|column| cast(column, &DataType::Utf8).ok());
    let mut verdicts = BTreeSet::new();
    for column in texts {
        verdicts.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    verdicts
}
