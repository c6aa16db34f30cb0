//! `timesink serve`: takes spans until it is told to stop, and says what it finds in them.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;

use anyhow::Result;
use timesink_rules::{Analysis, RuleRun};
use timesink_server::{
    Act, Error, Key, Keys, OnAnalysis, Purpose, Role, Server, ServerOptions, StoreOptions, Token,
};

use super::Run;
use crate::analysis;
use crate::ended::Ended;
use crate::noted::note;
use crate::output::{self, Paint, safe};
use crate::surroundings;

/// Lines are not cut: a log has no width, and a terminal breaks them itself.
const COLUMNS_MAX: usize = 1000;

pub(super) fn run(run: &mut Run<'_>) -> Result<Ended> {
    run_after(run, |_, _, _| Ok(()))
}

/// Serves; does something with its OTLP/gRPC address and token once it is ready.
pub(super) fn run_after(
    run: &mut Run<'_>,
    first: impl FnOnce(SocketAddr, Option<&Token>, &Run<'_>) -> Result<()>,
) -> Result<Ended> {
    let config = &run.config;
    let engine = Box::new(analysis::engine(config, &[])?);
    let token = config.server.token(run.surroundings.token.as_deref())?;
    let mut keys = config.server.keys.clone();
    if let Some(token) = &token {
        keys.push(Key::of("token", Role::Admin, token)?);
    }
    let options = ServerOptions {
        otlp_addresses: vec![config.server.grpc_address, config.server.http_address],
        web_address: Some(config.server.web_address),
        keys: Keys::new(keys),
        tls: config.server.tls.clone(),
        data: config.server.data.clone(),
        receiver: config.server.receiver.clone(),
        live: config.server.live.clone(),
        redaction: Some(config.server.redaction.clone()),
        store: StoreOptions {
            troubles: Some(telling_troubles(run.console.paint)),
            ..config.server.store.clone()
        },
        ..ServerOptions::new(surroundings::now_unix_nano, env!("CARGO_PKG_VERSION"))
    };
    let on_analysis = telling_news(run.console.paint);
    let purpose = Purpose::Live { engine, limits: config.limits, on_analysis };
    let mut server = Server::start(&options, purpose)?;
    if let Some(data) = &options.data {
        note(data, Act::Changes, "serve", run);
    }
    if let Some(replayed) = server.recovered() {
        output::warn_of_lost_records(run.console, replayed);
        let skipped = replayed.bytes_skipped;
        if skipped > 0 {
            run.console.warn(&format!(
                "{skipped} bytes of the log are no records: exports that were under way when the \
                 process before ended, or damage"
            ));
        }
    }
    let addresses = server.addresses();
    let (grpc, http) = (addresses.otlp[0], addresses.otlp[1]);
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let web = addresses.web.map(|web| format!(", web {scheme}://{web}")).unwrap_or_default();
    writeln!(run.console.out, "timesink is ready: grpc {grpc}, http {http}{web}")?;
    run.console.out.flush()?;
    first(grpc, token.as_ref(), run)?;
    server.wait_for_signal();
    if !server.stop() {
        run.console.warn("some requests were cut off: they did not end in time");
    }
    if let Some(data) = &options.data {
        note(data, Act::Changes, "serve ended", run);
    }
    Ok(Ended::Done)
}

/// Lines that wait to be written: beyond them, lines are let go.
const LINES_MAX: usize = 1024;

/// Tells a line for each trouble of the store that comes.
fn telling_troubles(paint: Paint) -> SyncSender<String> {
    let (sender, troubles) = std::sync::mpsc::sync_channel::<String>(LINES_MAX);
    std::thread::spawn(move || {
        for trouble in troubles {
            let line = format!("{}: {}\n", paint.warning("warning"), safe::line(&trouble));
            // Who closed it does not want to know.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    });
    sender
}

/// What was told of the last analysis.
#[derive(Debug, Default)]
struct Told {
    findings: HashSet<String>,
    failures: HashSet<String>,
}

/// Tells a line for each finding, and each rule that fails, when the analysis before did not.
///
/// The lines are written by a thread of their own: output that nobody reads must not hold up the
/// analysis. The page has what is let go.
fn telling_news(paint: Paint) -> OnAnalysis {
    let (lines, written) = std::sync::mpsc::sync_channel::<String>(LINES_MAX);
    std::thread::spawn(move || {
        for line in written {
            let mut out = std::io::stdout().lock();
            // Who closed the output does not want to know.
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    });
    let mut told = Told::default();
    Box::new(move |analysis: Result<&Analysis, &Error>| {
        for line in told.news(analysis, paint) {
            // Full: whoever should read it does not.
            let _ = lines.try_send(line);
        }
    })
}

impl Told {
    /// Returns the lines of what is new, and keeps what is told now.
    fn news(&mut self, analysis: Result<&Analysis, &Error>, paint: Paint) -> Vec<String> {
        let failures = match analysis {
            Ok(analysis) => analysis.runs.iter().filter_map(RuleRun::failure).collect(),
            Err(error) => vec![format!("analysis failed: {error}")],
        };
        let findings = analysis.map_or(&[][..], |analysis| &analysis.findings);
        let new_failures = failures.iter().filter(|text| !self.failures.contains(*text));
        let mut news: Vec<String> = new_failures
            .map(|text| format!("{}: {}\n", paint.warning("warning"), safe::line(text)))
            .collect();
        let new = findings.iter().filter(|finding| !self.findings.contains(&finding.finding_id));
        news.extend(new.map(|finding| output::one_line(finding, paint, COLUMNS_MAX)));
        if analysis.is_ok() {
            let ids = findings.iter().map(|finding| finding.finding_id.clone());
            self.findings = ids.collect();
        }
        self.failures = failures.into_iter().collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once() {
        let mut told = Told::default();
        let error = Error::Internal("broken".to_owned());
        let paint = Paint::new(false);
        let line = "warning: analysis failed: internal error, please report it: broken\n";
        assert_eq!(told.news(Err(&error), paint), [line]);
        assert_eq!(told.news(Err(&error), paint), Vec::<String>::new());
        let clean = Analysis {
            traffic: timesink_model::Traffic::default(),
            findings: Vec::new(),
            muted: Vec::new(),
            mutes_over: Vec::new(),
            runs: Vec::new(),
            spans: 0,
            traces: 0,
            repeated_spans: 0,
        };
        assert_eq!(told.news(Ok(&clean), paint), Vec::<String>::new());
        assert_eq!(told.news(Err(&error), paint), [line], "it began anew");
    }
}
