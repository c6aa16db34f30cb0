//! [`SpanLine`]: one line of the notation, read but not yet repeated.

use super::text::{Words, parse_nanos};
use super::{LEVELS_MAX, NotationError};

const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// One span as written: texts may still hold `{i}` and `{t}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SpanLine {
    pub(super) level: usize,
    /// `None` for a resource without `service.name`.
    pub(super) service: Option<String>,
    /// The number of the kind in OTLP.
    pub(super) kind: usize,
    pub(super) name: String,
    pub(super) start_nanos: i64,
    pub(super) duration_nanos: i64,
    pub(super) repeat: Repeat,
    pub(super) attributes: Attributes,
    pub(super) resource: Attributes,
    /// `Some("-")` for none; `None` when the line does not say.
    pub(super) instance: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) scope_version: Option<String>,
    /// The number of the status in OTLP.
    pub(super) status: usize,
    pub(super) status_message: Option<String>,
    pub(super) flags: Option<u32>,
    pub(super) trace_state: Option<String>,
    pub(super) id: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) events: Vec<Event>,
}

pub(super) type Attributes = Vec<(String, Value)>;

/// An event at its span's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) attributes: Attributes,
}

/// A value as written: quotes make it text, whatever it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bare(String),
    Quoted(String),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text,
        }
    }
}

/// How often something happens; `step_nanos` is from one start to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) count: u32,
    pub(super) step_nanos: i64,
}

impl Default for Repeat {
    fn default() -> Self {
        Self { count: 1, step_nanos: 0 }
    }
}

/// Reads `--- x20 every 40ms`, or a bare `---`.
pub(super) fn parse_separator(words: &mut Words) -> Result<Repeat, NotationError> {
    if words.peek() != "---" {
        return Err(words.expected("`---`, alone or with `xN every TIME`"));
    }
    words.word();
    if words.is_done() {
        return Ok(Repeat::default());
    }
    let count = parse_count(words.peek()).ok_or_else(|| words.expected("`xN` after `---`"))?;
    words.word();
    if words.peek() != "every" {
        return Err(words.expected("`every TIME` after `xN`"));
    }
    words.word();
    let step_nanos = words.nanos("a time after `every`")?;
    if !words.is_done() {
        return Err(words.expected("nothing more on the line"));
    }
    Ok(Repeat { count, step_nanos })
}

impl SpanLine {
    /// Reads a line; it may lie at most `levels_max` deep.
    pub(super) fn parse(words: &mut Words, levels_max: usize) -> Result<Self, NotationError> {
        let level = parse_level(words, levels_max)?;
        let service = Some(words.word().to_owned()).filter(|service| service != "-");
        let kind = parse_choice(words, &KINDS, "a kind: SERVER, CLIENT, INTERNAL, PRODUCER ...")?;
        let name = parse_name(words)?;
        let start_nanos = words.nanos("the start, like `5ms`")?;
        let duration_nanos = words.nanos("the duration, like `3ms`")?;
        let repeat = parse_repeat(words, duration_nanos)?;
        let mut line = Self {
            level,
            service,
            kind,
            name,
            start_nanos,
            duration_nanos,
            repeat,
            ..Self::default()
        };
        while !words.is_done() {
            line.parse_pair(words)?;
        }
        Ok(line)
    }

    fn parse_pair(&mut self, words: &mut Words) -> Result<(), NotationError> {
        let key = words.key().ok_or_else(|| words.expected("`key=value`"))?;
        if key.is_empty() {
            return Err(words.found("a key before `=`", "="));
        }
        let value = match words.quoted()? {
            Some(text) => Value::Quoted(text),
            None => Value::Bare(words.rest_of_word().to_owned()),
        };
        self.set(words, key, value)
    }

    fn set(&mut self, words: &Words, key: &str, value: Value) -> Result<(), NotationError> {
        match key {
            "scope" => self.scope = Some(value.into_text()),
            "scope.version" => self.scope_version = Some(value.into_text()),
            "status" => {
                let text = value.into_text();
                self.status = position(&STATUS_CODES, &text)
                    .ok_or_else(|| words.found("UNSET, OK or ERROR after `status=`", &text))?;
            }
            "status.message" => self.status_message = Some(value.into_text()),
            "instance" => self.instance = Some(value.into_text()),
            "flags" => {
                let text = value.into_text();
                let flags = text.parse();
                self.flags =
                    Some(flags.map_err(|_| words.found("a number after `flags=`", &text))?);
            }
            "trace_state" => self.trace_state = Some(value.into_text()),
            "id" => self.id = Some(value.into_text()),
            "parent" => self.parent = Some(value.into_text()),
            "event" => {
                self.events.push(Event { name: value.into_text(), attributes: Vec::new() });
            }
            _ => self.add_attribute(words, key, value)?,
        }
        Ok(())
    }

    fn add_attribute(
        &mut self,
        words: &Words,
        key: &str,
        value: Value,
    ) -> Result<(), NotationError> {
        if let Some(key) = key.strip_prefix("resource.") {
            self.resource.push((key.to_owned(), value));
        } else if let Some(key) = key.strip_prefix("event.") {
            let Some(event) = self.events.last_mut() else {
                return Err(words.found("`event=NAME` before its attributes", key));
            };
            event.attributes.push((key.to_owned(), value));
        } else {
            self.attributes.push((key.to_owned(), value));
        }
        Ok(())
    }
}

fn parse_level(words: &mut Words, levels_max: usize) -> Result<usize, NotationError> {
    let spaces = words.indentation();
    let level = spaces / 2;
    if !spaces.is_multiple_of(2) {
        return Err(words.expected("an indentation of two spaces a level"));
    }
    if level > levels_max {
        return Err(words.expected("at most one level below the line above"));
    }
    if level > LEVELS_MAX {
        return Err(words.expected("at most 100 levels (`LEVELS_MAX`)"));
    }
    Ok(level)
}

fn parse_choice(
    words: &mut Words,
    choices: &[&str],
    expected: &'static str,
) -> Result<usize, NotationError> {
    let choice = position(choices, words.peek()).ok_or_else(|| words.expected(expected))?;
    words.word();
    Ok(choice)
}

fn position(choices: &[&str], word: &str) -> Option<usize> {
    choices.iter().position(|choice| *choice == word)
}

fn parse_name(words: &mut Words) -> Result<String, NotationError> {
    words.skip_spaces();
    if let Some(name) = words.quoted()? {
        return Ok(name);
    }
    match words.until_time() {
        "" => Err(words.expected("a name before the start")),
        name => Ok(name.to_owned()),
    }
}

/// Reads `x4` or `x4/5ms` if it comes next.
fn parse_repeat(words: &mut Words, duration_nanos: i64) -> Result<Repeat, NotationError> {
    let word = words.peek();
    if word.contains('=') || !word.starts_with('x') {
        return Ok(Repeat::default());
    }
    let (count, step) = word.split_once('/').map_or((word, None), |(c, s)| (c, Some(s)));
    let step_nanos = step.map_or(Some(duration_nanos), parse_nanos);
    let (Some(count), Some(step_nanos)) = (parse_count(count), step_nanos) else {
        return Err(words.expected("`xN` or `xN/TIME`, N from 1"));
    };
    words.word();
    Ok(Repeat { count, step_nanos })
}

fn parse_count(word: &str) -> Option<u32> {
    word.strip_prefix('x')?.parse().ok().filter(|count| *count > 0)
}
