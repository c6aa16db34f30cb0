//! Repetition and ids: from lines to spans.

use super::line::{Attributes, Repeat, SpanLine, Value};
use super::{Trace, ZERO_UNIX_NANO};

/// OTLP span flags: bit 256 says that bit 512, "the parent is remote", is known.
const LOCAL_PARENT: u32 = 256;
const REMOTE_PARENT: u32 = 768;

/// One span with its ids and absolute times.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "`span_id` is OTLP's word")]
pub(super) struct Span<'a> {
    pub(super) line: &'a SpanLine,
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) parent_span_id: Option<String>,
    pub(super) process: Process,
    pub(super) flags: u32,
    pub(super) name: String,
    pub(super) start_unix_nano: i64,
    pub(super) end_unix_nano: i64,
    pub(super) numbers: Numbers,
}

/// What the lines of one service above and at a span say about its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) service: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) resource: Attributes,
}

/// Which repetition a span stands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    trace: u32,
    line: u32,
}

impl Numbers {
    /// Puts the numbers in the place of `{i}` and `{t}`.
    pub(super) fn fill(self, text: &str) -> String {
        text.replace("{i}", &self.line.to_string()).replace("{t}", &self.trace.to_string())
    }

    pub(super) fn fill_value(self, value: &Value) -> Value {
        match value {
            Value::Bare(text) => Value::Bare(self.fill(text)),
            Value::Quoted(text) => Value::Quoted(self.fill(text)),
        }
    }
}

/// Returns how many spans a trace stands for, all its repetitions counted.
pub(super) fn span_count(trace: &Trace) -> u64 {
    count(&trace.lines).saturating_mul(u64::from(trace.repeat.count))
}

fn count(lines: &[SpanLine]) -> u64 {
    subtrees(lines)
        .map(|(line, below)| {
            count(below).saturating_add(1).saturating_mul(u64::from(line.repeat.count))
        })
        .fold(0, u64::saturating_add)
}

/// Returns every span of every trace, in the order of the lines.
pub(super) fn spans(traces: &[Trace]) -> Vec<Span<'_>> {
    let mut expansion = Expansion { spans: Vec::new(), traces: 0 };
    for trace in traces {
        for (number, shift) in repetitions(trace.repeat, 0) {
            expansion.traces += 1;
            expansion.expand(&trace.lines, None, Numbers { trace: number, line: 1 }, shift);
        }
    }
    expansion.spans
}

struct Expansion<'a> {
    spans: Vec<Span<'a>>,
    traces: u64,
}

/// A span being expanded, for the lines below it.
struct Above<'a> {
    span_id: &'a str,
    process: &'a Process,
    next: Option<&'a Above<'a>>,
}

impl<'a> Expansion<'a> {
    fn expand(
        &mut self,
        lines: &'a [SpanLine],
        above: Option<&Above>,
        numbers: Numbers,
        shift: i64,
    ) {
        for (line, below) in subtrees(lines) {
            for (number, shift) in repetitions(line.repeat, shift) {
                let numbers = if line.repeat.count > 1 {
                    Numbers { line: number, ..numbers }
                } else {
                    numbers
                };
                let span = self.span(line, above, numbers, shift);
                let (span_id, process) = (span.span_id.clone(), span.process.clone());
                self.spans.push(span);
                let here = Above { span_id: &span_id, process: &process, next: above };
                self.expand(below, Some(&here), numbers, shift);
            }
        }
    }

    fn span(
        &self,
        line: &'a SpanLine,
        above: Option<&Above>,
        numbers: Numbers,
        shift: i64,
    ) -> Span<'a> {
        let process = process(line, above, numbers);
        let is_remote = line.parent.is_none() && above.is_some_and(|a| *a.process != process);
        let flags = if is_remote { REMOTE_PARENT } else { LOCAL_PARENT };
        let start = ZERO_UNIX_NANO.saturating_add(shift).saturating_add(line.start_nanos);
        let named = |name: &String| self.named_id(&numbers.fill(name));
        let counted = || format!("{:016x}", self.spans.len() + 1);
        Span {
            line,
            trace_id: format!("{:032x}", self.traces),
            span_id: line.id.as_ref().map_or_else(counted, named),
            parent_span_id: match &line.parent {
                Some(name) => Some(named(name)),
                None => above.map(|a| a.span_id.to_owned()),
            },
            flags: line.flags.unwrap_or(flags),
            name: numbers.fill(&line.name),
            start_unix_nano: start.max(0),
            end_unix_nano: start.saturating_add(line.duration_nanos).max(0),
            process,
            numbers,
        }
    }

    /// Returns the id of a name in the current trace: apart from all counted ids by its first bit.
    fn named_id(&self, name: &str) -> String {
        let is_id =
            name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_id {
            return name.to_owned();
        }
        format!("{:016x}", fnv(&format!("{}/{name}", self.traces)) | 1 << 63)
    }
}

/// Returns the process of a line: that of the nearest line above of its service, and its own words.
fn process(line: &SpanLine, above: Option<&Above>, numbers: Numbers) -> Process {
    let mut process = std::iter::successors(above, |a| a.next)
        .map(|a| a.process)
        .find(|process| process.service == line.service)
        .cloned()
        .unwrap_or_else(|| Process {
            service: line.service.clone(),
            instance: line.service.as_ref().map(|service| format!("{service}-1")),
            resource: Vec::new(),
        });
    if let Some(instance) = &line.instance {
        process.instance = Some(numbers.fill(instance)).filter(|instance| instance != "-");
    }
    let own: Attributes =
        line.resource.iter().map(|(key, v)| (key.clone(), numbers.fill_value(v))).collect();
    process.resource.retain(|(key, _)| own.iter().all(|(own_key, _)| own_key != key));
    process.resource.extend(own);
    process
}

/// Returns each line of the topmost level with the lines below it.
fn subtrees(lines: &[SpanLine]) -> impl Iterator<Item = (&SpanLine, &[SpanLine])> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_first()?;
        let end = after.iter().position(|l| l.level <= line.level).unwrap_or(after.len());
        let (below, next) = after.split_at(end);
        rest = next;
        Some((line, below))
    })
}

/// Returns the number of each repetition, from 1, and how far it is shifted, with `shift` on top.
fn repetitions(repeat: Repeat, shift: i64) -> impl Iterator<Item = (u32, i64)> {
    (1..=repeat.count).map(move |number| {
        let steps = repeat.step_nanos.saturating_mul(i64::from(number - 1));
        (number, shift.saturating_add(steps))
    })
}

/// FNV-1a, 64 bits: ids that stay the same from run to run.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
