//! A mutator for JSON: half of the mutants are JSON of the same kind, with values moved, copied,
//! dropped and made extreme. Of mutants of the bytes, most are refused at the first brace.

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Value, json};

use crate::Dice;

/// Mutates the first `size` of the bytes and returns the new size.
pub fn mutate(data: &mut [u8], size: usize, size_max: usize, seed: u32) -> usize {
    let mut dice = Dice::new(seed.into());
    let mutant = if dice.throw(2) == 0 { None } else { mutant(&data[..size], &mut dice) };
    match mutant {
        Some(text) if text.len() <= size_max => {
            data[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
        _ => fuzzer_mutate(data, size, size_max),
    }
}

fn mutant(text: &[u8], dice: &mut Dice) -> Option<String> {
    let mut document: Value = serde_json::from_slice(text).ok()?;
    for _ in 0..=dice.throw(3) {
        let count = count(&document);
        let donor = node(&mut document, &mut dice.throw(count))?.clone();
        let at = node(&mut document, &mut dice.throw(count))?;
        change(at, donor, dice);
    }
    Some(document.to_string())
}

fn change(at: &mut Value, donor: Value, dice: &mut Dice) {
    match (at, dice.throw(3)) {
        (Value::Array(values), 0) if !values.is_empty() => {
            values.remove(dice.throw(values.len()));
        }
        (Value::Array(values), 1) => values.push(donor),
        (Value::Object(members), 0) if !members.is_empty() => {
            let key = members.keys().nth(dice.throw(members.len())).cloned();
            key.map(|key| members.remove(&key));
        }
        (Value::Object(members), 1) => {
            let Value::Object(others) = donor else { return };
            members.extend(others);
        }
        (at, 2) => *at = extreme(dice),
        (at, _) => *at = donor,
    }
}

/// A value at a limit of what readers take.
fn extreme(dice: &mut Dice) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!("true"),
        json!(""),
        json!("0"),
        json!("-1"),
        json!("0000000000000001"),
        json!("4bf92f3577b34da6a3ce929d0e0e4736"),
        json!("\u{0}\u{202e}\u{1f600}"),
        json!("NaN"),
        json!(0),
        json!(-1),
        json!(1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!("9223372036854775807"),
        json!(i64::MAX / 1000),
        json!(1.5),
        json!(1e300),
        json!([]),
        json!({}),
        json!([[[[{}]]]]),
    ];
    values[dice.throw(values.len())].clone()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Returns the node of that number, from the top down.
fn node<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|value| node(value, number)),
        Value::Object(members) => members.values_mut().find_map(|value| node(value, number)),
        _ => None,
    }
}
