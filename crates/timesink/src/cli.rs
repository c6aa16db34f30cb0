//! The command line: every command and its own arguments. Options that a configuration file can
//! hold as well are in [`crate::config::Options`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use timesink_model::Severity;
use timesink_output::Format;
use timesink_tables::Location;
use url::Url;

use crate::config::{
    LiveOptions, Options, ReceiverOptions, RedactionOptions, ServeOptions, StoreOptions,
};
use crate::input::Sources;
use crate::since::Since;

/// Finds where the time sinks in Python services, from their OpenTelemetry traces
///
/// Reads OTLP JSON and protobuf, Jaeger JSON and Zipkin JSON, plain, gzip or zstd, and says what
/// each finding costs and how to fix it.
///
/// Exit codes: 0 done, 1 `--fail-on` tripped, 2 wrong usage, unreadable input, or no span for
/// `--fail-on` to look at, 3 internal error.
#[derive(Debug, Parser)]
#[command(name = "timesink", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Configuration file; without it `timesink.toml` in this folder is read if there is one
    #[arg(long, value_name = "FILE", env = "TIMESINK_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// When to colour the output
    #[arg(long, value_name = "WHEN", env = "TIMESINK_COLOR", global = true)]
    #[arg(value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,

    #[command(flatten)]
    pub(crate) options: Options,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    Always,
    Never,
}

impl Cli {
    /// Returns the options of all commands with those of this one.
    pub(crate) fn all_options(&self) -> Options {
        let mut options = self.options.clone();
        match &self.command {
            Command::Serve(args) | Command::Config(ConfigCommand::Show(args)) => {
                options.serve = args.serve.clone();
                options.receiver = args.receiver.clone();
                options.live = args.live.clone();
                options.store = args.store.clone();
                options.redaction = args.redaction.clone();
            }
            Command::Demo(args) => options.serve = args.addresses.clone(),
            Command::Analyze(args) => options.redaction = args.input.stored.redaction.clone(),
            Command::Explain(args) => options.redaction = args.input.stored.redaction.clone(),
            Command::Doctor(args) => options.redaction = args.input.stored.redaction.clone(),
            Command::Sql(args) => options.redaction = args.stored.redaction.clone(),
            Command::Run(args) => options.receiver = args.receiver.clone(),
            _ => {}
        }
        options
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take spans from running services and say what is found in them
    Serve(Box<ServeArgs>),
    /// Run a command and analyze the spans that it sends
    Run(RunArgs),
    /// Find where the time sinks in trace files
    Analyze(AnalyzeArgs),
    /// Say why a rule fired or did not fire on a trace
    Explain(ExplainArgs),
    /// Query the spans of trace files, and what the trace pass knows about them
    Sql(SqlArgs),
    /// Say what spans cannot show, and the setting or package that changes it
    Doctor(DoctorArgs),
    /// Look after a data directory
    #[command(subcommand)]
    Store(StoreCommand),
    /// List, show, check and run rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Send bundled recordings of real services to a receiver and analyze them
    Demo(DemoArgs),
    /// Show the configuration in effect
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a token for `serve`: its secret, shown once, and its hash
    Token(TokenArgs),
    /// Print the completion script of a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// The trace files of a command.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Trace files, `-` for standard input; together they are one set of spans
    #[arg(required_unless_present = "data", value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) stored: Stored,
}

/// The data directory of a command, and how much of the past it looks at.
#[derive(Debug, Args)]
pub(crate) struct Stored {
    /// Data directory of a `timesink serve`, which may be writing there; its spans join those of
    /// files
    #[arg(id = "data", long = "data", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Leave out traces that begin before this: a time (RFC 3339), or how long ago (90s, 15m, 2h,
    /// 7d)
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,

    #[command(flatten)]
    pub(crate) redaction: RedactionOptions,
}

impl Files {
    /// Returns what to read.
    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources {
            files: &self.files,
            data: self.stored.data.as_deref(),
            since: self.stored.since,
            findings: false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    pub(crate) input: Files,

    #[command(flatten)]
    pub(crate) report: ReportArgs,

    /// Run this rule only; may be given several times
    #[arg(long = "rule", value_name = "NAME")]
    pub(crate) rules: Vec<String>,

    /// Exit with 1 if there is a finding of this severity or a higher one, shown or not
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub(crate) fail_on: Option<FailOn>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,

    #[command(flatten)]
    pub(crate) receiver: ReceiverOptions,

    #[command(flatten)]
    pub(crate) live: LiveOptions,

    #[command(flatten)]
    pub(crate) store: StoreOptions,

    #[command(flatten)]
    pub(crate) redaction: RedactionOptions,
}

#[derive(Debug, Args)]
#[command(override_usage = "timesink run [OPTIONS] [--] COMMAND...")]
pub(crate) struct RunArgs {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,

    #[command(flatten)]
    pub(crate) report: ReportArgs,

    /// Keep what the command sent in this file: `analyze`, `explain` and `sql` read it
    ///
    /// OTLP JSON lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,

    /// Exit with 1 if there is a finding of this severity or a higher one
    ///
    /// If the command fails, its own code is passed on.
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub(crate) fail_on: Option<FailOn>,

    #[command(flatten)]
    pub(crate) receiver: ReceiverOptions,
}

/// How findings are written.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// How to write the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,

    /// Show the costliest findings only, so many of them
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) top: Option<usize>,

    /// Write the report to this file, whole or not at all; `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write notes (severity `info`) in full, not in one line each
    #[arg(long)]
    pub(crate) notes: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a number from 1".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Diagnostics for people
    #[value(alias = "terminal")]
    Text,
    /// One document for programs
    Json,
    /// One finding a line, for programs
    Jsonl,
    /// A comment on a pull request
    #[value(alias = "md")]
    Markdown,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// One page that needs nothing else, with waterfalls of example traces
    Html,
    /// Annotations in GitHub Actions
    Github,
}

impl ReportFormat {
    /// Returns the format of files, or `None` for diagnostics.
    pub(crate) fn of_file(self) -> Option<Format> {
        match self {
            Self::Text => None,
            Self::Json => Some(Format::Json),
            Self::Jsonl => Some(Format::Jsonl),
            Self::Markdown => Some(Format::Markdown),
            Self::Sarif => Some(Format::Sarif),
            Self::Html => Some(Format::Html),
            Self::Github => Some(Format::Github),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    Info,
    Warning,
    Error,
}

impl FailOn {
    pub(crate) fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) input: Files,

    /// How to write what is found
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub(crate) format: DoctorFormat,

    /// Exit with 1 if there is a finding of this severity or a higher one
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub(crate) fail_on: Option<FailOn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people
    #[value(alias = "terminal")]
    Text,
    /// One document for programs, as `analyze --format json` writes it
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The trace: its id in hex, or the beginning of it if no other trace begins so
    pub(crate) trace_id: String,

    /// The rule to explain
    #[arg(long, value_name = "NAME")]
    pub(crate) rule: String,

    #[command(flatten)]
    pub(crate) input: Files,
}

#[derive(Debug, Args)]
#[command(override_usage = "timesink sql [OPTIONS] QUERY FILES...\n       \
                            timesink sql [OPTIONS] --file PATH FILES...\n       \
                            timesink sql [OPTIONS] --data DIR QUERY [FILES...]")]
pub(crate) struct SqlArgs {
    /// The query, then the trace files; with `--file` the trace files alone
    ///
    /// Tables: spans, facts, gaps, quarantine, `spans_with_facts`; `SHOW TABLES` lists the views,
    /// `DESCRIBE spans` the columns.
    #[arg(required_unless_present = "data", value_name = "QUERY FILES")]
    pub(crate) arguments: Vec<PathBuf>,

    /// Read the query from this file
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) stored: Stored,

    /// How to write the rows
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// For people; long cells are cut
    Table,
    /// One array of objects; NaN and infinity become null
    Json,
    /// RFC 4180; lists and maps as JSON text
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// What it is for
    #[arg(long, value_enum)]
    pub(crate) role: TokenRole,

    /// What people call it, a service or a person
    #[arg(long)]
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// To send spans
    Ingest,
    /// To read page, API and metrics
    Read,
    /// Both
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say what it holds: rows, files and bytes of each table and of the log
    Info(StoreInfoArgs),
    /// Bring what is in the log into the tables, and join their small files; no server may run on
    /// it
    Compact(DataArgs),
    /// Take out old spans, and remove their files; no server may run on it
    Expire(StoreExpireArgs),
    /// Read all of it, and say what is damaged or missing
    Verify(DataArgs),
    /// Write its spans to a trace file
    Export(StoreExportArgs),
    /// Copy it, also while a server writes in it
    Backup(StoreBackupArgs),
    /// Make a data directory of a backup, which is read whole before
    Restore(StoreRestoreArgs),
}

/// The data directory of a command that works on nothing else.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Data directory of a `timesink serve`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StoreInfoArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// How to write it
    #[arg(long, value_enum, default_value_t = InfoFormat::Text)]
    pub(crate) format: InfoFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InfoFormat {
    /// For people
    Text,
    /// One object
    Json,
}

#[derive(Debug, Args)]
#[group(id = "limit", required = true, multiple = true, args = ["before", "gib_max"])]
pub(crate) struct StoreExpireArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Spans that begin in an hour before: a time (RFC 3339), or how long ago (12h, 7d)
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    pub(crate) before: Option<Since>,

    /// The oldest spans, until all tables take at most so many GiB
    #[arg(long, value_name = "GIB")]
    pub(crate) gib_max: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreExportArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Spans that begin then or later: a time (RFC 3339), or how long ago (90s, 15m, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,

    /// Spans of this trace only: its id in hex
    #[arg(long, value_name = "TRACE_ID")]
    pub(crate) trace: Option<String>,

    /// The file, OTLP JSON lines, written whole or not at all; `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StoreBackupArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Where to copy it: a folder that is empty, or not there yet
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StoreRestoreArgs {
    /// The backup
    #[arg(value_name = "FOLDER")]
    pub(crate) backup: PathBuf,

    /// The data directory to make: a folder that is empty, or not there yet
    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Where its tables are to be, in place of its folder: `s3://bucket/prefix`
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    pub(crate) bucket: Option<Url>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List every rule
    List,
    /// Print a rule's guide and its thresholds
    Show { rule: String },
    /// Run the rules over the history of a data directory, however long it is
    ///
    /// It is `analyze --data` by another name: spans go to temporary files, in the folder that
    /// TMPDIR names.
    Run(RulesRunArgs),
    /// Say what is wrong with rules, by file and line, and run the cases of your own
    ///
    /// Those of DIR; without it the shipped rules and checks, and those of `--rules-dir`.
    Check {
        /// A folder of rule folders
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RulesRunArgs {
    /// Data directory of a `timesink serve`, which may be writing there
    #[arg(id = "data", long = "data", value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Leave out traces that begin before this: a time (RFC 3339), or how long ago (90s, 15m, 2h,
    /// 7d)
    #[arg(long, value_name = "TIME", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,

    #[command(flatten)]
    pub(crate) report: ReportArgs,

    /// Run this rule only; may be given several times
    #[arg(long = "rule", value_name = "NAME")]
    pub(crate) rules: Vec<String>,

    /// Exit with 1 if there is a finding of this severity or a higher one, shown or not
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub(crate) fail_on: Option<FailOn>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// `text` for people; `jsonl` for programs: one finding a line
    #[arg(long, value_enum, default_value_t = DemoFormat::Text)]
    pub(crate) format: DemoFormat,

    /// Write notes (severity `info`) in full, not in one line each
    #[arg(long)]
    pub(crate) notes: bool,

    /// Then send the recordings to a server and leave it running, until Ctrl-C
    #[arg(long)]
    pub(crate) serve: bool,

    #[command(flatten)]
    pub(crate) addresses: ServeOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoFormat {
    #[value(alias = "terminal")]
    Text,
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every value in effect as TOML, with where it comes from
    ///
    /// It takes the options of `serve`, too.
    #[command(mut_args(|arg| arg.hide(true)))]
    Show(Box<ServeArgs>),
}
