//! `cargo xtask COMMAND`: what developers and CI run. Never ships.
//!
//! Each command is a module; `check` runs everything that must hold before a change is taken.

#![expect(clippy::print_stdout, reason = "a developer's command prints what it does")]

mod bench;
mod browser;
mod check;
mod clients;
mod faults;
mod fuzz;
mod generate;
mod ingest;
mod metamorphic;
mod new_rule;
mod score;
mod store;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// As in the binary: a stage is measured as it runs there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check                 format, clippy, tests, docs, generated pages, tidy: what CI runs
  generate [--check]    write the generated pages, or fail when one is out of date
  new-rule NAME         make the folder of a rule that lacks only its content
  tidy                  check what no compiler does: crate edges, folders, lock file, licences
  bench [--traces DIR] [--runs N]
                        measure each stage and the release binary over the recordings
  ingest [--durable]    measure the receiver of the release binary, with 1 to 64 exporters
  store [--spans N] [--data DIR] [--part rates|overload|restart|joining|kept|queries]
                        measure what keeping spans costs, and how fast they are found again
  clients [DIR]         send every recording to the release binary, by every real client
  faults                kill the release binary under exporters: nothing acknowledged is lost
  fuzz [--seconds N] [TARGET]...
                        fuzz every reader of bytes for five minutes each, or N seconds
  browser [--update]    look at the HTML report in Chromium, and keep the screenshots
  metamorphic [--part NAME]... [--spans N]
                        change the labelled recordings, and hold what is found to what it was
  score [ARGUMENTS]     score the release binary against the labelled recordings";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["check"] => check::run(),
        ["generate"] => generate::write(),
        ["generate", "--check"] => generate::check(),
        ["new-rule", name] => new_rule::run(name),
        ["tidy"] => tidy::run(),
        ["bench", options @ ..] => bench::run(options),
        ["ingest", options @ ..] => ingest::run(options),
        ["store", options @ ..] => store::run(options),
        ["clients"] => clients::run(clients::TRACES),
        ["clients", folder] => clients::run(folder),
        ["faults"] => faults::run(),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["browser", options @ ..] => browser::run(options),
        ["metamorphic", options @ ..] => metamorphic::run(options),
        ["score", arguments @ ..] => score::run(arguments),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command `{}`\n{USAGE}", words.join(" ")),
    }
}
