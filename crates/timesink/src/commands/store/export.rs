//! `timesink store export`: spans of a data directory as a trace file.

use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use timesink_model::schema::Columns;
use timesink_otlp::encode_json;
use timesink_server::Act;
use timesink_tables::{LiveFile, Look, hour_of};

use super::{counted, look, runtime};
use crate::cli::StoreExportArgs;
use crate::commands::Run;
use crate::ended::{Ended, once_written};
use crate::noted::note;
use crate::output::warn_of_lost_records;
use crate::replace;

/// Which spans are wanted.
struct Wanted<'a> {
    /// Those that begin then or later, ns since the epoch.
    since: Option<i64>,
    trace_id: Option<&'a str>,
}

pub(super) fn run(args: &StoreExportArgs, run: &mut Run<'_>) -> Result<Ended> {
    let is_stdout = args.output.as_os_str() == "-";
    if !is_stdout {
        replace::check(&args.output)?;
    }
    note(&args.data.data, Act::Reads, "store export", run);
    let look = look(&args.data.data, &runtime()?, run)?;
    warn_of_lost_records(run.console, &look.replayed);
    let since = args.since.map(|since| since.time(run.surroundings.now_unix_nano));
    let trace_id = args.trace.as_deref().map(str::to_lowercase);
    let wanted = Wanted { since, trace_id: trace_id.as_deref() };
    if is_stdout {
        let written = write(&look, &wanted, &mut run.console.out).map(drop);
        return once_written(written, Ended::Done);
    }
    let spans = {
        let _progress = run.console.progress("writing spans");
        replace::write_with(&args.output, |file| write(&look, &wanted, file))?
    };
    let (spans, path) = (counted(spans, "span"), args.output.display());
    once_written(writeln!(run.console.out, "{spans} in `{path}`").map_err(Into::into), Ended::Done)
}

/// Writes a line of OTLP JSON for each batch; returns how many spans there were.
fn write(look: &Look, wanted: &Wanted<'_>, out: &mut dyn Write) -> Result<usize> {
    let runtime = runtime()?;
    let mut out = BufWriter::new(out);
    let mut spans = 0;
    let mut batch = |batch: &RecordBatch| -> Result<()> {
        let batch = wanted.of(batch)?;
        if batch.num_rows() > 0 {
            spans += batch.num_rows();
            out.write_all(&encode_json(&batch))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    };
    for file in look.spans.files()?.iter().filter(|file| wanted.may_be_in(file)) {
        for rows in runtime.block_on(look.spans.read(file, &Columns::All))? {
            batch(&rows?)?;
        }
    }
    look.behind.spans.iter().try_for_each(&mut batch)?;
    out.flush()?;
    Ok(spans)
}

impl Wanted<'_> {
    fn may_be_in(&self, file: &LiveFile) -> bool {
        let is_new = file.is_since(self.since.map(hour_of).as_deref());
        let bounds = file.bounds.get("trace_id");
        let of_trace = self.trace_id.zip(bounds).is_none_or(|(id, bounds)| {
            let least = bounds.least.as_str().is_none_or(|least| least <= id);
            least && bounds.greatest.as_str().is_none_or(|greatest| id <= greatest)
        });
        is_new && of_trace
    }

    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let starts = batch.column_by_name("start_time_unix_nano");
        let starts = starts.and_then(|column| column.as_primitive_opt::<Int64Type>());
        let ids = batch.column_by_name("trace_id").and_then(|column| column.as_string_view_opt());
        let (starts, ids) = starts.zip(ids).context("a batch is not of `spans`")?;
        let is_wanted = starts.iter().zip(ids).map(|(start, id)| {
            let is_new = self.since.is_none_or(|since| start.is_some_and(|start| start >= since));
            Some(is_new && self.trace_id.is_none_or(|wanted| id == Some(wanted)))
        });
        Ok(filter_record_batch(batch, &is_wanted.collect::<BooleanArray>())?)
    }
}
