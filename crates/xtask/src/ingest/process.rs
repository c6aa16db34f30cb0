//! [`Serving`]: a `timesink serve` of the release build, and what it costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::workspace::release_binary;

/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, which Linux keeps at 100.
const TICKS_A_SECOND: u64 = 100;

/// A server, ended when it is dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) grpc: String,
    web: String,
}

/// Returns the time on all cores of the commands that this process has run and waited for.
pub(crate) fn cpu_time_of_commands() -> Result<Duration> {
    // cutime and cstime.
    cpu_time("self", [16, 17])
}

/// Returns the time of this process on all cores.
pub(crate) fn cpu_time_of_this_process() -> Result<Duration> {
    // utime and stime.
    cpu_time("self", [14, 15])
}

/// Returns the sum of two times of a process, by the numbers of their fields in `/proc/PID/stat`.
fn cpu_time(process: &str, fields: [usize; 2]) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    Ok(name_and_time(&stat, fields)?.1)
}

/// Returns what a `stat` file says (proc(5)): the name, and the sum of two times.
fn name_and_time(stat: &str, fields: [usize; 2]) -> Result<(&str, Duration)> {
    // The second field is a name in parentheses.
    let (before, rest) = stat.rsplit_once(')').context("a name in parentheses")?;
    let name = before.split_once('(').context("a name in parentheses")?.1;
    let rest: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| rest.get(field - 3).and_then(|field| field.parse::<u64>().ok());
    let [first, second] = fields.map(ticks);
    let ticks = first.zip(second).map(|(first, second)| first + second);
    Ok((name, Duration::from_millis(ticks.context("times")? * 1000 / TICKS_A_SECOND)))
}

impl Serving {
    /// Starts it on free ports, with room for a whole run.
    pub(crate) fn start(options: &[&str]) -> Result<Self> {
        let free = "127.0.0.1:0";
        let mut child = Command::new(release_binary()?)
            .arg("serve")
            .env("TIMESINK_RECEIVER_MEMORY_MIB_MAX", "16384")
            .args(["--grpc-address", free, "--http-address", free, "--web-address", free])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the output is piped")?).read_line(&mut line)?;
        let address = |name: &str| {
            let rest = line.split_once(name).map(|(_, rest)| rest);
            let address = rest.and_then(|rest| rest.split([',', '\n']).next());
            address.map(str::to_owned).with_context(|| format!("no `{name}` in `{line}`"))
        };
        let grpc = format!("http://{}", address("grpc ")?);
        let web = address("web http://")?;
        Ok(Self { child, grpc, web })
    }

    /// Returns the time on all cores since it started.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        // utime and stime (proc(5)).
        cpu_time(&self.child.id().to_string(), [14, 15])
    }

    /// Returns the time on all cores of those threads that run now and have one of these names.
    pub(crate) fn cpu_time_of(&self, threads: &[&str]) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // One that has ended meanwhile is none of them.
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
            let (name, time) = name_and_time(&stat, [14, 15])?;
            if threads.contains(&name) {
                sum += time;
            }
        }
        Ok(sum)
    }

    /// Ends it by a signal, and returns the time on all cores since it started.
    pub(crate) fn end(mut self) -> Result<Duration> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("`kill` failed: {status}");
        }
        let mut last = self.cpu_time()?;
        while self.child.try_wait()?.is_none() {
            // Of one that has just ended nothing can be read any more.
            last = self.cpu_time().unwrap_or(last).max(last);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(last)
    }

    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kibibytes.context("`VmHWM`")? * 1024)
    }

    /// Returns the value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no `{name}`"))
    }

    /// Returns the body of an answer.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.web)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => bail!("`{path}`: {answer}"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It is of no use any more, however it ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
