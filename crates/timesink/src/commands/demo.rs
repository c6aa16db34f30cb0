//! `timesink demo`: bundled recordings of real services, each sent to a receiver as the service
//! did, and analyzed as `run` does what a command sends.

use std::io::Write;

use anyhow::{Context, Result};
use timesink_model::schema::Columns;
use timesink_output::Format;
use timesink_rules::{Engine, Mutes};
use timesink_server::{Exporter, Purpose, Server, ServerOptions};
use tokio::runtime::{Builder, Runtime};

use super::report::{self, Material};
use super::{Run, serve};
use crate::analysis::Shown;
use crate::cli::{DemoArgs, DemoFormat};
use crate::ended::Ended;
use crate::input::Input;
use crate::output::wrap;
use crate::{analysis, surroundings};

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
    // The recordings are ours: what is of no interest elsewhere is what they are about.
    run.config.rules.mutes = Mutes::default();
    let engine = analysis::engine(&run.config, &[])?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let receiver = Receiver::start(run)?;
    for recording in RECORDINGS {
        let mut input = receiver.pass(recording, run)?;
        show(recording, &mut input, args, &engine, &runtime, run)?;
    }
    drop(receiver);
    if args.format == DemoFormat::Text {
        let next = "next: `timesink analyze FILES` on traces of your own, or \
                    `timesink run -- pytest`; `timesink rules show RULE` prints a rule's guide";
        writeln!(run.console.out, "{next}")?;
    }
    // It sends to itself, in the clear.
    run.config.server.tls = None;
    if args.serve { serve(run) } else { Ok(Ended::Done) }
}

/// A receiver, and a client that sends to it.
struct Receiver {
    server: Server,
    exporter: Exporter,
    runtime: Runtime,
}

impl Receiver {
    fn start(run: &Run<'_>) -> Result<Self> {
        let options = ServerOptions {
            receiver: run.config.server.receiver.clone(),
            ..ServerOptions::new(surroundings::now_unix_nano, env!("CARGO_PKG_VERSION"))
        };
        let server = Server::start(&options, Purpose::Collect)?;
        let runtime = client_runtime()?;
        let address = server.addresses().otlp.first().context("one address was asked for")?;
        let exporter = runtime.block_on(Exporter::connect(&format!("http://{address}")))?;
        Ok(Self { server, exporter, runtime })
    }

    /// Sends a recording and returns what the receiver made of it.
    fn pass(&self, recording: &Recording, run: &Run<'_>) -> Result<Input> {
        self.runtime.block_on(send(recording, &self.exporter, run))?;
        Ok(Input::of_receiver(self.server.take()?))
    }
}

fn client_runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("failed to start a client")
}

/// Sends the spans of a recording as a service exports them: gzipped, some thousand at a time.
async fn send(recording: &Recording, exporter: &Exporter, run: &Run<'_>) -> Result<()> {
    let content = timesink_otlp::read(recording.bytes, &run.config.read)
        .with_context(|| format!("failed to read the bundled `{}`", recording.name))?;
    let exporter = exporter.with_gzip();
    for batch in &content.decoded.spans {
        exporter.export(&timesink_otlp::encode_protobuf(batch)).await?;
    }
    Ok(())
}

/// Sends all recordings to a server as `serve` starts it, and leaves that running.
fn serve(run: &mut Run<'_>) -> Result<Ended> {
    serve::run_after(run, |address, token, run| {
        let runtime = client_runtime()?;
        runtime.block_on(async {
            let exporter = Exporter::connect(&format!("http://{address}")).await?;
            let exporter = token.map_or_else(|| exporter.clone(), |t| exporter.with_token(t));
            for recording in RECORDINGS {
                send(recording, &exporter, run).await?;
            }
            Ok(())
        })
    })
}

fn show(
    recording: &Recording,
    input: &mut Input,
    args: &DemoArgs,
    engine: &Engine,
    runtime: &Runtime,
    run: &mut Run<'_>,
) -> Result<()> {
    let database = {
        let _progress = run.console.progress("walking the traces");
        analysis::database(input, &Columns::All, run.config.limits)?
    };
    let analysis = analysis::analyze(runtime, engine, &database, run.console)?;
    let material =
        Material { analysis: &analysis, database: &database, input, rules: engine.rules() };
    let shown = Shown::all(&analysis, analysis::services(&database).len());
    if args.format == DemoFormat::Jsonl {
        return report::write_file(Format::Jsonl, shown, material, run.console);
    }
    let (paint, columns) = (run.console.paint, run.console.columns);
    for line in wrap(recording.story, columns) {
        writeln!(run.console.out, "{}", paint.bold(&line))?;
    }
    let headline = format!("{}: {}", recording.name, shown.headline());
    writeln!(run.console.out, "{}\n", paint.dim(&headline))?;
    report::write_findings(shown.findings, args.notes, run.console)
}
