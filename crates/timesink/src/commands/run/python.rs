//! Which Python a command runs, and what of OpenTelemetry it has.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::surroundings::variable;

/// The first bytes of a script: its interpreter stands in the first two lines.
const HEAD_BYTES: u64 = 4096;

/// How long the interpreter may take to say what it has.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// Prints the name of each of these packages that can be imported; imports none of them but their
/// parents.
const LOOK: &str = "\
from importlib.util import find_spec
import sys
def has(name):
    try:
        return find_spec(name) is not None
    except Exception:
        return False
for name in sys.argv[1:]:
    if has(name):
        print(name)
";

pub(super) const SDK: &str = "opentelemetry.sdk";
pub(super) const HTTP_EXPORTER: &str = "opentelemetry.exporter.otlp.proto.http";
pub(super) const GRPC_EXPORTER: &str = "opentelemetry.exporter.otlp.proto.grpc";
pub(super) const COMPANION: &str = "timesink_otel";

/// What an interpreter can import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) python: Python,
    packages: Vec<String>,
}

impl Installed {
    /// Asks the interpreter; none when it does not answer.
    pub(super) fn look(python: Python) -> Option<Self> {
        let mut asked = Command::new(python.path());
        asked
            .args(["-c", LOOK, SDK, HTTP_EXPORTER, GRPC_EXPORTER, COMPANION])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = asked.spawn().ok()?;
        let began = Instant::now();
        while child.try_wait().ok()?.is_none() {
            if began.elapsed() > LOOK_TIME_MAX {
                // It has not answered, and is not needed: whether it ends does not matter.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut words = String::new();
        child.stdout.take()?.read_to_string(&mut words).ok()?;
        Some(Self { python, packages: words.lines().map(str::to_owned).collect() })
    }

    pub(super) fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|name| name == package)
    }
}

/// The interpreter of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Python {
    /// The command is one, or its script names it.
    Named(PathBuf),
    /// The one that lies nearest to a launcher such as `make`, if that runs Python at all.
    Guessed(PathBuf),
}

impl Python {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Guessed(path) => path,
        }
    }

    pub(super) fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// Returns the interpreter that a command runs.
pub(super) fn of_command(command: &[OsString]) -> Option<Python> {
    let path = find(command.first()?)?;
    if is_python(&path) {
        return Some(Python::Named(path));
    }
    let of_environment = || variable("VIRTUAL_ENV").map(|env| Path::new(&env).join("bin/python"));
    let guessed = || {
        of_environment()
            .filter(|python| python.is_file())
            .or_else(|| find(OsStr::new("python3")))
            .or_else(|| find(OsStr::new("python")))
    };
    let named = of_script(&head(&path)?).map(Python::Named);
    named.or_else(|| guessed().map(Python::Guessed))
}

/// Returns the file that a name stands for, as a shell finds it.
fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let folders = variable("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn is_python(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn head(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Reads `#!/path/python`, `#!/usr/bin/env python3`, and what pip writes where the path is too long
/// for the kernel: `#!/bin/sh` and `'''exec' "/path/python" "$0" "$@"`.
fn of_script(head: &str) -> Option<PathBuf> {
    let mut lines = head.lines();
    let mut words = lines.next()?.strip_prefix("#!")?.split_whitespace();
    let interpreter = Path::new(words.next()?);
    if is_python(interpreter) {
        return Some(interpreter.to_owned());
    }
    if interpreter.ends_with("env") {
        let named = words.find(|word| !word.starts_with('-'))?;
        return find(OsStr::new(named)).filter(|path| is_python(path));
    }
    let rest = lines.next()?.strip_prefix("'''exec' ")?;
    let path = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(' ').next()?,
    };
    let path = Path::new(path);
    is_python(path).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_told_by_their_names() {
        for name in ["/usr/bin/python", "python3", "python3.11", "pypy3", "/venv/bin/python3.13"] {
            assert!(is_python(Path::new(name)), "{name}");
        }
        for name in ["pytest", "python-config", "pythonista", "ipython"] {
            assert!(!is_python(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let check = |head: &str, expected: Option<&str>| {
            assert_eq!(of_script(head), expected.map(PathBuf::from), "{head}");
        };
        check("#!/venv/bin/python3.11\nimport sys\n", Some("/venv/bin/python3.11"));
        check("#!/venv/bin/python -I\n", Some("/venv/bin/python"));
        check(
            "#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\" \"$@\"\n' '''\n",
            Some("/a b/bin/python"),
        );
        check("#!/bin/sh\n'''exec' /long/bin/python3 \"$0\" \"$@\"\n", Some("/long/bin/python3"));
        check("#!/bin/sh\necho hello\n", None);
        check("\u{7f}ELF", None);
        check("", None);
    }

    #[test]
    fn an_interpreter_says_what_it_has() {
        let Some(python) = find(OsStr::new("python3")) else { return };
        let installed = Installed::look(Python::Guessed(python.clone())).expect("it answers");
        assert_eq!((installed.python.path(), installed.python.is_named()), (&*python, false));
        assert_eq!(Installed::look(Python::Named("/no/such/python".into())), None);
    }
}
