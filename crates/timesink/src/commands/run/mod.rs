//! `timesink run`: a command with a receiver beside it, then findings of what it sent.

mod child;
mod environment;
mod python;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use timesink_model::schema::Columns;
use timesink_otlp::Decoded;
use timesink_rules::Engine;
use timesink_server::{Purpose, Server, ServerOptions};

use self::child::Exit;
pub(crate) use self::child::NotRun;
use self::environment::Environment;
use super::report::{self, Material};
use super::{Run, analyze};
use crate::cli::{FailOn, RunArgs};
use crate::ended::{Ended, once_written};
use crate::input::Input;
use crate::{analysis, output, replace, surroundings};

/// What is said first of a command that sent nothing.
const NO_SPANS: &str = "no spans came from the command";

pub(super) fn run(args: &RunArgs, run: &mut Run<'_>) -> Result<Ended> {
    // Wrong configuration is told before a long test run, not after it.
    let engine = analysis::engine(&run.config, &[])?;
    report::check(&args.report)?;
    args.save.as_deref().map_or(Ok(()), replace::check)?;
    let mut server = start(run)?;
    let address = *server.addresses().otlp.first().context("one address was asked for")?;
    let environment = Environment::of(&args.command, address);
    let exit = child::run(&args.command, &environment)?;
    let is_whole = warn_of_lost(server.stop(), server.turned_away(), run);
    let mut input = Input::of_receiver(server.take()?);
    drop(server);
    if spans(&input) == 0 {
        tell_why_nothing_came(&environment, exit, run);
    }
    let ended = look(args, &engine, &mut input, &environment, run);
    if exit.code() == 0 {
        return ended.map(|ended| if is_whole { ended } else { Ended::Incomplete });
    }
    // The command's own failure is the one to tell.
    if let Err(error) = ended {
        run.console.error(&format!("{error:#}"));
    }
    Ok(Ended::Command(exit.code()))
}

fn spans(input: &Input) -> usize {
    input.decoded.spans.iter().map(RecordBatch::num_rows).sum()
}

/// Analyzes what came, and writes what was asked for: a file also when nothing came, so that no
/// older one is taken for it.
fn look(
    args: &RunArgs,
    engine: &Engine,
    input: &mut Input,
    environment: &Environment,
    run: &mut Run<'_>,
) -> Result<Ended> {
    if let Some(path) = &args.save {
        save(&input.decoded, path)?;
    }
    let is_for_people = args.report.format.of_file().is_none();
    let came = spans(input) > 0;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let database = {
        let _progress = run.console.progress("walking the traces");
        analysis::database(input, &Columns::All, run.config.limits)?
    };
    let analysis = analysis::analyze(&runtime, engine, &database, run.console)?;
    if came && is_for_people {
        writeln!(run.console.out)?;
    }
    let material =
        Material { analysis: &analysis, database: &database, input, rules: engine.rules() };
    let written = if came || !is_for_people || args.report.output.is_some() {
        report::write(&args.report, material, run)
    } else {
        output::warn_of_losses(run.console, input);
        Ok(())
    };
    // What is said of the findings comes behind them.
    let written = written.and_then(|()| Ok(run.console.out.flush()?));
    if engine.gains_from_companion(&analysis)
        && let Some(how) = environment.how_to_be_certain()
    {
        run.console.note(&how);
    }
    once_written(written, analyze::ended(&analysis, input, args.fail_on.map(FailOn::severity)))
}

/// Listens on any free port of this machine.
fn start(run: &Run<'_>) -> Result<Server> {
    let options = ServerOptions {
        receiver: run.config.server.receiver.clone(),
        ..ServerOptions::new(surroundings::now_unix_nano, env!("CARGO_PKG_VERSION"))
    };
    Ok(Server::start(&options, Purpose::Collect)?)
}

/// Exporters try again for some seconds, but here no room is made before the command ends. Returns
/// whether nothing was lost.
fn warn_of_lost(has_ended: bool, turned_away: u64, run: &Run<'_>) -> bool {
    if !has_ended {
        run.console.warn(
            "exports that were under way when the command ended were cut off after 10 seconds: \
             does a process outlive the command?",
        );
    }
    if turned_away > 0 {
        let mib = run.config.server.receiver.memory_bytes_max >> 20;
        run.console.warn(&format!(
            "the spans sent hold the {mib} MiB that they may (`receiver.memory_mib_max`): \
             {turned_away} exports were turned away, and what they held is not looked at"
        ));
    }
    has_ended && turned_away == 0
}

/// Writes the spans as OTLP JSON lines, quarantined ones too.
fn save(decoded: &Decoded, path: &Path) -> Result<()> {
    let mut lines = Vec::new();
    for batch in decoded.spans.iter().chain(&decoded.quarantine) {
        lines.extend(timesink_otlp::encode_json(batch));
        lines.push(b'\n');
    }
    replace::write(path, &lines)
}

/// Says that nothing came, and what that may be.
fn tell_why_nothing_came(environment: &Environment, exit: Exit, run: &Run<'_>) {
    let mut text = NO_SPANS.to_owned();
    for reason in environment.why_nothing_came() {
        text.push('\n');
        text.push_str(&reason);
    }
    if let Exit::Signal(signal) = exit {
        let lost = "spans that were not exported yet are lost";
        let _ = write!(text, "\nit was ended by signal {signal}: {lost}");
    }
    run.console.warn(&text);
}
