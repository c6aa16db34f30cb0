//! `timesink serve`: takes spans until it is told to stop, and says what it finds in them.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::Result;
use timesink_rules::Analysis;
use timesink_server::{Error, OnAnalysis, Purpose, Server, ServerOptions};

use super::Run;
use crate::analysis;
use crate::ended::Ended;
use crate::output::{self, Paint};
use crate::surroundings;

/// Lines are not cut: a log has no width, and a terminal breaks them itself.
const COLUMNS_MAX: usize = 1000;

pub(super) fn run(run: &mut Run<'_>) -> Result<Ended> {
    run_after(run, |_, _| Ok(()))
}

/// Serves; does something with its OTLP/gRPC address once it is ready.
pub(super) fn run_after(
    run: &mut Run<'_>,
    first: impl FnOnce(SocketAddr, &Run<'_>) -> Result<()>,
) -> Result<Ended> {
    let config = &run.config;
    let engine = Box::new(analysis::engine(config, &[])?);
    let token = config.server.token(run.surroundings.token.as_deref())?;
    let options = ServerOptions {
        otlp_addresses: vec![config.server.grpc_address, config.server.http_address],
        web_address: Some(config.server.web_address),
        token,
        receiver: config.server.receiver.clone(),
        live: config.server.live.clone(),
        ..ServerOptions::new(surroundings::now_unix_nano, env!("CARGO_PKG_VERSION"))
    };
    let on_analysis = telling_once(run.console.paint);
    let purpose = Purpose::Live { engine, limits: config.limits, on_analysis };
    let mut server = Server::start(&options, purpose)?;
    let addresses = server.addresses();
    let (grpc, http) = (addresses.otlp[0], addresses.otlp[1]);
    let web = addresses.web.map(|web| format!(", web http://{web}")).unwrap_or_default();
    writeln!(run.console.out, "timesink is ready: grpc {grpc}, http {http}{web}")?;
    run.console.out.flush()?;
    first(grpc, run)?;
    server.wait_for_signal()?;
    if !server.stop() {
        run.console.warn("some requests were cut off: they did not end in time");
    }
    Ok(Ended::Done)
}

/// Writes a line for each finding when it is found for the first time.
fn telling_once(paint: Paint) -> OnAnalysis {
    let mut told = HashSet::new();
    Box::new(move |analysis: Result<&Analysis, &Error>| {
        let analysis = match analysis {
            Ok(analysis) => analysis,
            Err(error) => return output::diagnose("error", &format!("analysis: {error}")),
        };
        let mut out = std::io::stdout().lock();
        for finding in &analysis.findings {
            if told.insert(finding.finding_id.clone()) {
                // Who closed the output does not want to know.
                let _ = out.write_all(output::one_line(finding, paint, COLUMNS_MAX).as_bytes());
            }
        }
        let _ = out.flush();
    })
}
