//! `timesink demo`: bundled recordings of real services, each analyzed as `analyze` does a file.

use std::io::Write;

use anyhow::{Context, Result};
use timesink_rules::Engine;
use tokio::runtime::Runtime;

use super::{Run, analyze};
use crate::cli::{DemoArgs, ReportArgs, ReportFormat};
use crate::ended::Ended;
use crate::output::wrap;
use crate::{analysis, input, output};

/// A recording and what it tells.
struct Recording {
    name: &'static str,
    story: &'static str,
    bytes: &'static [u8],
}

macro_rules! recording {
    ($name:literal, $story:literal) => {
        Recording {
            name: $name,
            story: $story,
            bytes: include_bytes!(concat!("../../../../examples/demo/", $name)),
        }
    };
}

/// The recordings of `examples/demo`, whose page says where they come from.
const RECORDINGS: &[Recording] = &[
    recording!(
        "django_fk_n1.pb.gz",
        "Django: a page of recent orders, 8 to 40 of them, shows the customer of each."
    ),
    recording!("flask_redis_n1.jsonl.gz", "Flask: a price list reads each price from Redis."),
    recording!(
        "flask_http_n1.jsonl.gz",
        "Flask: quotes are fetched from another service, one HTTP call an item."
    ),
    recording!(
        "fa_process_detector.jsonl.gz",
        "FastAPI: eight clients, two routes. One of them calls a service with `requests` inside \
         `async def`; the other does nothing wrong and is slow all the same."
    ),
    recording!(
        "drf_export_slow_ser.jsonl.gz",
        "Django REST framework: an export runs one fast query and takes 200 ms."
    ),
    recording!(
        "mesh_net_http.pb.gz",
        "Four services over HTTP and gRPC: a checkout became slow, and no service did."
    ),
    recording!(
        "mesh_slow_inventory.jsonl.gz",
        "The same four services: a checkout became slow again."
    ),
    recording!(
        "fa_gather_ok.jsonl.gz",
        "FastAPI: a page calls several services at once with `asyncio.gather`, as it should."
    ),
];

pub(super) fn run(args: &DemoArgs, run: &mut Run<'_>) -> Result<Ended> {
    let engine = analysis::engine(&run.config, &[])?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    for recording in RECORDINGS {
        show(recording, &args.report, &engine, &runtime, run)?;
    }
    if args.report.format == ReportFormat::Text {
        let next = "next: `timesink analyze FILES` on traces of your own; \
                    `timesink rules show RULE` prints a rule's guide";
        writeln!(run.console.out, "{next}")?;
    }
    Ok(Ended::Done)
}

fn show(
    recording: &Recording,
    args: &ReportArgs,
    engine: &Engine,
    runtime: &Runtime,
    run: &mut Run<'_>,
) -> Result<()> {
    let options = analysis::read_options(&run.config, engine);
    let content = timesink_otlp::read(recording.bytes, &options)
        .with_context(|| format!("failed to read the bundled `{}`", recording.name))?;
    let input = input::join(vec![(recording.name.to_owned(), content)], &options);
    let database = analysis::database(&input, &run.config, run.console)?;
    let analysis = analysis::analyze(runtime, engine, &database, run.console)?;
    if args.format == ReportFormat::Jsonl {
        return output::write_jsonl(&mut run.console.out, &analysis.findings);
    }
    let (paint, columns) = (run.console.paint, run.console.columns);
    for line in wrap(recording.story, columns) {
        writeln!(run.console.out, "{}", paint.bold(&line))?;
    }
    let headline = output::headline(&analysis, analysis::services(&database).len());
    writeln!(run.console.out, "{}\n", paint.dim(&format!("{}: {headline}", recording.name)))?;
    analyze::write_findings(&analysis, args.notes, run.console)
}
