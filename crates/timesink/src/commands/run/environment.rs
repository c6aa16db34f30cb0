//! [`Environment`]: the variables that make the SDK of a command send its spans here.
//!
//! Names are those of the OpenTelemetry specification ("Environment Variable Specification").

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

use super::python::{self, COMPANION, GRPC_EXPORTER, HTTP_EXPORTER, Installed, SDK};
use crate::surroundings::variable;

const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
const DETECTORS: &str = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Variables of traces alone win over those for all signals, and a configuration file over both.
const ELSEWHERE: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_CONFIG_FILE",
];

/// Milliseconds between exports: a command that is killed loses little.
const EXPORT_EVERY_MILLIS: &str = "200";

/// The variables of a command, and what they were chosen by.
#[derive(Debug)]
pub(super) struct Environment {
    variables: Vec<(&'static str, OsString)>,
    /// None when the command is not known to run Python.
    installed: Option<Installed>,
}

impl Environment {
    /// Returns what makes the command send its spans to the address.
    pub(super) fn of(command: &[OsString], address: SocketAddr) -> Self {
        let installed = python::of_command(command).and_then(Installed::look);
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("OTEL_SDK_DISABLED", "false".into()),
            ("OTEL_TRACES_EXPORTER", "otlp".into()),
            ("OTEL_METRICS_EXPORTER", "none".into()),
            ("OTEL_LOGS_EXPORTER", "none".into()),
            // Every request, whatever the sampling in production.
            ("OTEL_TRACES_SAMPLER", "parentbased_always_on".into()),
            ("OTEL_BSP_SCHEDULE_DELAY", EXPORT_EVERY_MILLIS.into()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}").into()),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true".into()),
        ];
        let without_proxy = without_proxy(NO_PROXY.map(variable), address);
        variables.extend(NO_PROXY.map(|name| (name, without_proxy.clone())));
        if variable(PROTOCOL).is_none() && variable(TRACES_PROTOCOL).is_none() {
            let protocol = if speaks_grpc(installed.as_ref()) { "grpc" } else { "http/protobuf" };
            variables.push((PROTOCOL, protocol.into()));
        }
        variables.extend(service_name().map(|name| (SERVICE_NAME, name)));
        if installed.as_ref().is_some_and(|installed| installed.has(COMPANION)) {
            variables.push((DETECTORS, with_companion(variable(DETECTORS))));
        }
        Self { variables, installed }
    }

    /// Returns the variables that must not be set: each would send the spans elsewhere.
    pub(super) fn removed() -> impl Iterator<Item = &'static str> {
        ELSEWHERE.into_iter()
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (OsStr::new(name), value.as_os_str()))
    }

    /// Says how to get what makes findings certain, unless it is there.
    pub(super) fn how_to_be_certain(&self) -> Option<String> {
        let installed = self.installed.as_ref();
        let lacking =
            installed.filter(|installed| installed.has(SDK) && !installed.has(COMPANION))?;
        Some(format!(
            "with timesink-otel in that Python this would be certain, and name the line of code, \
             also with one client:\n{} -m pip install deploy/python (in timesink's sources)",
            lacking.python.path().display()
        ))
    }

    /// Returns what may be the reason that no span came, the likeliest first; only one where the
    /// command names an interpreter that cannot send any.
    pub(super) fn why_nothing_came(&self) -> Vec<String> {
        let lacking = self.installed.as_ref().and_then(lacking);
        let is_named = self.installed.as_ref().is_some_and(|installed| installed.python.is_named());
        let others = [
            "is it instrumented? `timesink run -- opentelemetry-instrument COMMAND` does it \
             without a change in the code",
            "does its code name an exporter or endpoint? The variables OTEL_* set here apply where \
             it does not",
            "does a process outlive the command, or is one killed before it has exported? SIGTERM \
             or SIGINT, and a moment of time, let most servers export",
        ];
        let others = others.into_iter().filter(|_| lacking.is_none() || !is_named);
        lacking.clone().into_iter().chain(others.map(str::to_owned)).collect()
    }
}

/// Says what an interpreter lacks to send spans, if something.
fn lacking(installed: &Installed) -> Option<String> {
    let python = installed.python.path().display();
    let whose = if installed.python.is_named() { "" } else { ", if that is the one that it runs" };
    if !installed.has(SDK) {
        return Some(format!(
            "OpenTelemetry is not installed for `{python}`{whose}: \
             pip install opentelemetry-distro opentelemetry-exporter-otlp && \
             opentelemetry-bootstrap -a install"
        ));
    }
    let has_exporter = installed.has(HTTP_EXPORTER) || installed.has(GRPC_EXPORTER);
    (!has_exporter).then(|| {
        format!(
            "no OTLP exporter is installed for `{python}`{whose}: \
             pip install opentelemetry-exporter-otlp"
        )
    })
}

/// The companion is loaded as a resource detector by each SDK that is set up, also without
/// `opentelemetry-instrument`.
fn with_companion(detectors: Option<OsString>) -> OsString {
    let mut all = detectors.filter(|names| !names.is_empty()).unwrap_or_else(|| "otel".into());
    all.push(",timesink");
    all
}

/// What is installed; HTTP, which needs less, if both are.
fn speaks_grpc(installed: Option<&Installed>) -> bool {
    installed.is_some_and(|installed| installed.has(GRPC_EXPORTER) && !installed.has(HTTP_EXPORTER))
}

/// Exporters send what goes to this machine to a proxy as well, unless they are told not to. Some
/// programs read one of the variables, some the other first: both get all hosts of both.
fn without_proxy(hosts: [Option<OsString>; 2], address: SocketAddr) -> OsString {
    let [upper, lower] = hosts.map(Option::unwrap_or_default);
    let lower = if lower == upper { OsString::new() } else { lower };
    let all = [upper, lower, address.ip().to_string().into()];
    let all: Vec<OsString> = all.into_iter().filter(|hosts| !hosts.is_empty()).collect();
    all.join(OsStr::new(","))
}

/// Without a name of its own a service would be `unknown_service`: it is named after the folder.
fn service_name() -> Option<OsString> {
    let named = variable(SERVICE_NAME).is_some()
        || variable(RESOURCE_ATTRIBUTES)
            .is_some_and(|text| text.to_string_lossy().contains("service.name="));
    let folder = std::env::current_dir().ok()?;
    folder.file_name().filter(|_| !named).map(OsStr::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_companion_is_loaded_beside_other_detectors() {
        assert_eq!(with_companion(None), "otel,timesink");
        assert_eq!(with_companion(Some("".into())), "otel,timesink");
        assert_eq!(with_companion(Some("process,host".into())), "process,host,timesink");
    }

    #[test]
    fn hosts_without_a_proxy_keep_to_be() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4318));
        let check = |upper: Option<&str>, lower: Option<&str>, expected: &str| {
            let hosts = [upper, lower].map(|hosts| hosts.map(OsString::from));
            assert_eq!(without_proxy(hosts, address), expected);
        };
        check(None, None, "127.0.0.1");
        check(Some(".corp"), None, ".corp,127.0.0.1");
        check(None, Some(".corp"), ".corp,127.0.0.1");
        check(Some(".corp"), Some(".corp"), ".corp,127.0.0.1");
        check(Some(".corp"), Some("db"), ".corp,db,127.0.0.1");
    }
}
