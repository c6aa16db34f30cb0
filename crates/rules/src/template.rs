//! Titles and messages: `{column}` stands for a piece of evidence, shown with its unit.

use timesink_model::MeasureValue;

use crate::grouping::TYPICAL_WASTE;

/// Fills a template; a name that is not known stays as it is, in braces.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, braced) = rest.split_at(open);
        text.push_str(before);
        rest = braced;
        let Some(close) = rest.find('}') else { break };
        match value(&rest[1..close]) {
            Some(value) => text.push_str(&value),
            None => text.push_str(&rest[..=close]),
        }
        rest = &rest[close + 1..];
    }
    text.push_str(rest);
    text
}

/// Returns the names between braces.
pub(crate) fn names(template: &str) -> Vec<&str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}').map(|(name, _)| name))
        .collect()
}

/// Shows a value for people: `_nanos` as a time, `_share` as a percentage.
pub fn show(name: &str, value: &MeasureValue) -> String {
    match value {
        MeasureValue::Integer(nanos) if is_time(name) => show_nanos(*nanos),
        MeasureValue::Float(nanos) if is_time(name) => show_nanos(*nanos as i64),
        MeasureValue::Float(share) if name.ends_with("_share") => {
            format!("{:.0} %", share * 100.0)
        }
        MeasureValue::Integer(value) => value.to_string(),
        MeasureValue::Float(value) => format!("{value:.1}"),
        MeasureValue::Boolean(value) => value.to_string(),
        MeasureValue::Text(value) => value.clone(),
    }
}

fn is_time(name: &str) -> bool {
    name.ends_with("_nanos") || name == TYPICAL_WASTE
}

/// Shows a time with three digits: `0.42 ms`, `75 ms`, `1.63 s`, `2 min 5 s`.
pub fn show_nanos(nanos: i64) -> String {
    let millis = nanos as f64 / 1e6;
    match millis.abs() {
        m if m < 0.9995 => format!("{millis:.2} ms"),
        m if m < 9.95 => format!("{millis:.1} ms"),
        m if m < 999.5 => format!("{millis:.0} ms"),
        m if m < 9_995.0 => format!("{:.2} s", millis / 1e3),
        m if m < 119_500.0 => format!("{:.1} s", millis / 1e3),
        _ => {
            let seconds = (millis / 1e3).round() as i64;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_known_names_and_keeps_the_rest() {
        let value = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(fill("{a} and {b} and {a", value), "1 and {b} and {a");
    }

    #[test]
    fn shows_times_with_their_unit() {
        let shown =
            [420_000, 7_500_000, 75_000_000, 1_632_000_000, 125_000_000_000].map(show_nanos);
        assert_eq!(shown, ["0.42 ms", "7.5 ms", "75 ms", "1.63 s", "2 min 5 s"]);
    }
}
