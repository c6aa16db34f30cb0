//! Checks JSON against the schema of SARIF, which is JSON Schema draft 7.
//!
//! A validator from the registry would change the features of what the query engine is built with.
//! This one knows the keywords that the schema uses, and refuses what it does not know, so that
//! nothing passes unchecked.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../tests/schemas/sarif-2.1.0.json");

/// Keywords that say nothing about a value.
const ANNOTATIONS: [&str; 6] = ["$id", "$schema", "default", "definitions", "description", "title"];

/// Returns what is wrong with a log, each fault with its place.
///
/// # Panics
/// The log holds what the schema asks for with a keyword that is not known here.
pub fn faults(log: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).expect(SOUND);
    let mut faults = Vec::new();
    Checker { root: &root }.check(log, &root, "", &mut faults);
    faults
}

const SOUND: &str = "the schema is what its authors publish";

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, value: &Value, schema: &Value, place: &str, faults: &mut Vec<String>) {
        if let Some(reference) = schema.get("$ref") {
            let pointer = reference.as_str().expect(SOUND).strip_prefix('#').expect(SOUND);
            return self.check(value, self.root.pointer(pointer).expect(SOUND), place, faults);
        }
        for (keyword, rule) in schema.as_object().expect(SOUND) {
            if !ANNOTATIONS.contains(&keyword.as_str()) && !self.holds(value, keyword, rule) {
                faults.push(format!("{place}: {keyword} {rule}: {value}"));
            }
        }
        if let Some(object) = value.as_object() {
            for (name, value) in object {
                let properties = schema.get("properties").and_then(|p| p.get(name));
                let place = format!("{place}/{name}");
                match (properties, schema.get("additionalProperties")) {
                    (Some(schema), _) => self.check(value, schema, &place, faults),
                    (None, Some(Value::Bool(false))) => faults.push(format!("{place}: unknown")),
                    (None, Some(schema)) if schema.is_object() => {
                        self.check(value, schema, &place, faults);
                    }
                    (None, _) => {}
                }
            }
        }
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(schema) = schema.get("items") {
                self.check(item, schema, &format!("{place}/{at}"), faults);
            }
        }
    }

    fn holds(&self, value: &Value, keyword: &str, rule: &Value) -> bool {
        let number = || rule.as_f64().expect(SOUND);
        let rules = || rule.as_array().expect(SOUND).iter();
        let is_met = |schema: &&Value| {
            let mut faults = Vec::new();
            self.check(value, schema, "", &mut faults);
            faults.is_empty()
        };
        match keyword {
            // Of objects and lists, `check` looks at each part.
            "properties" | "additionalProperties" | "items" => true,
            "type" if rule.is_array() => rules().any(|rule| has_type(value, rule)),
            "type" => has_type(value, rule),
            "enum" => rules().any(|rule| rule == value),
            "required" => value.as_object().is_none_or(|object| {
                rules().all(|name| object.contains_key(name.as_str().expect(SOUND)))
            }),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number()),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                let is_new = |at: usize| !items[..at].contains(&items[at]);
                rule == false || (0..items.len()).all(is_new)
            }),
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "anyOf" => rules().any(|schema| is_met(&schema)),
            "oneOf" => rules().filter(is_met).count() == 1,
            "format" => {
                value.as_str().is_none_or(|text| has_format(text, rule.as_str().expect(SOUND)))
            }
            other => panic!("the checker does not know `{other}`, which {value} has to meet"),
        }
    }
}

fn has_type(value: &Value, rule: &Value) -> bool {
    match rule.as_str().expect(SOUND) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the checker does not know the type `{other}`"),
    }
}

/// RFC 3986, as far as a scheme and the characters go.
fn has_format(text: &str, format: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    let is_hex =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    let is_address = text.chars().all(is_allowed) && text.split('%').skip(1).all(is_hex);
    match format {
        "uri-reference" => is_address,
        "uri" => is_address && text.split_once(':').is_some_and(|(scheme, _)| !scheme.is_empty()),
        other => panic!("the checker does not know the format `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checker_finds_faults() {
        let log = |run: serde_json::Value| serde_json::json!({"version": "2.1.0", "runs": [run]});
        let faults = |run: serde_json::Value| super::faults(&log(run)).len();
        let driver = serde_json::json!({"driver": {"name": "a"}});
        assert_eq!(faults(serde_json::json!({"tool": driver})), 0);
        assert_eq!(faults(serde_json::json!({})), 1, "a tool is required");
        assert_eq!(faults(serde_json::json!({"tool": driver, "resultz": []})), 1, "unknown");
        let result = |result: serde_json::Value| {
            faults(serde_json::json!({"tool": driver, "results": [result]}))
        };
        assert_eq!(result(serde_json::json!({"message": {"text": "a"}})), 0);
        assert_eq!(result(serde_json::json!({"message": {}})), 1, "text or id");
        assert_eq!(result(serde_json::json!({"message": {"text": 1}})), 1);
        assert_eq!(result(serde_json::json!({"message": {"text": "a"}, "level": "info"})), 1);
        assert_eq!(result(serde_json::json!({"message": {"text": "a"}, "rank": 101})), 1);
    }
}
