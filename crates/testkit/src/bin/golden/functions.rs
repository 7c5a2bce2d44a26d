//! The functions that cases name: `name` or `name:argument`.

use std::sync::Arc;

use tidewater_streams::{TimestampExtractor, UserError};
use tidewater_types::{Partition, Timestamp};

use super::value::{Type, Val, text};

/// Splits a function into name and argument.
pub fn split(function: &str) -> (&str, &str) {
    function.split_once(':').unwrap_or((function, ""))
}

fn string(text: impl Into<String>) -> Val {
    Val::Str(text.into())
}

fn number(value: &Val) -> Option<i64> {
    match value {
        Val::Long(number) => Some(*number),
        Val::Int(number) => Some(i64::from(*number)),
        _ => None,
    }
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn int(argument: &str) -> i64 {
    argument.parse().unwrap_or(0)
}

fn thrown(value: Option<&Val>) -> UserError {
    format!("thrown on {}", text(value)).into()
}

fn is_even(value: Option<&Val>) -> bool {
    match value {
        None => false,
        Some(Val::Long(number)) => number % 2 == 0,
        Some(Val::Int(number)) => number % 2 == 0,
        Some(Val::Double(number)) => (*number as i64) % 2 == 0,
        some => length(&text(some)).is_multiple_of(2),
    }
}

/// `filter`, `filterNot`, branches.
pub fn predicate(function: &str, key: Option<&Val>, value: Option<&Val>) -> Result<bool, UserError> {
    let (name, argument) = split(function);
    Ok(match name {
        "true" => true,
        "false" => false,
        "value_even" => is_even(value),
        "value_gt" => match value {
            Some(Val::Double(number)) => *number > int(argument) as f64,
            Some(value) => number(value).is_some_and(|number| number > int(argument)),
            None => false,
        },
        "value_contains" => value.is_some() && text(value).contains(argument),
        "value_longer" => value.is_some() && length(&text(value)) as i64 > int(argument),
        "value_not_null" => value.is_some(),
        "key_not_null" => key.is_some(),
        "key_is" => text(key) == argument,
        "throw_on" if text(value) == argument => return Err(thrown(value)),
        "throw_on" => true,
        other => return Err(format!("unknown predicate {other}").into()),
    })
}

fn field(value: Option<&Val>, argument: &str) -> Option<Val> {
    let text = text(Some(value?));
    let part = text.split('|').nth(int(argument) as usize)?;
    (!part.is_empty()).then(|| string(part))
}

/// `mapValues` and the like.
pub fn value_function(function: &str, key: Option<&Val>, value: Option<Val>) -> Result<Option<Val>, UserError> {
    let (name, argument) = split(function);
    match name {
        "identity" => return Ok(value),
        "null" => return Ok(None),
        "null_to" => return Ok(Some(value.map_or_else(|| string(argument), |value| string(text(Some(&value)))))),
        "with_key" => return Ok(Some(string(format!("{}:{}", text(key), text(value.as_ref()))))),
        _ => {}
    }
    let Some(value) = value else { return Ok(None) };
    let plain = text(Some(&value));
    let arithmetic = |op: fn(i64, i64) -> i64, op32: fn(i32, i32) -> i32| match value {
        Val::Int(number) => Some(Val::Int(op32(number, int(argument) as i32))),
        Val::Long(number) => Some(Val::Long(op(number, int(argument)))),
        _ => None,
    };
    Ok(match name {
        "const" => Some(string(argument)),
        "append" => Some(string(plain + argument)),
        "to_string" => Some(string(plain)),
        "field" => field(Some(&value), argument),
        "length" => Some(Val::Long(length(&plain) as i64)),
        "parse_long" => plain.parse().ok().map(Val::Long),
        "plus" => arithmetic(i64::wrapping_add, i32::wrapping_add),
        "times" => arithmetic(i64::wrapping_mul, i32::wrapping_mul),
        "null_if" => (plain != argument).then_some(value),
        "null_if_even" => (!is_even(Some(&value))).then_some(value),
        "throw_on" if plain == argument => return Err(thrown(Some(&value))),
        "throw_on" => Some(value),
        other => return Err(format!("unknown value function {other}").into()),
    })
}

/// The type of a value function's result.
pub fn value_type(function: &str, value: &Type) -> Type {
    match split(function).0 {
        "const" | "append" | "null_to" | "with_key" | "to_string" | "field" => Type::Str,
        "length" | "parse_long" => Type::Long,
        _ => value.clone(),
    }
}

fn prefix(text: &str, argument: &str) -> Val {
    string(text.chars().take(int(argument) as usize).collect::<String>())
}

/// `selectKey`, `groupBy` and the like.
pub fn key_function(function: &str, key: Option<&Val>, value: Option<&Val>) -> Result<Option<Val>, UserError> {
    let (name, argument) = split(function);
    Ok(match name {
        "key" => key.cloned(),
        "value" => value.cloned(),
        "null" => None,
        "const" => Some(string(argument)),
        "key_append" => key.map(|key| string(text(Some(key)) + argument)),
        "key_to_string" => key.map(|key| string(text(Some(key)))),
        "value_to_string" => value.map(|value| string(text(Some(value)))),
        "prefix" => value.map(|value| prefix(&text(Some(value)), argument)),
        "key_prefix" => key.map(|key| prefix(&text(Some(key)), argument)),
        "field" => field(value, argument),
        "value_length" => value.map(|value| Val::Long(length(&text(Some(value))) as i64)),
        "unwindow" => match key {
            Some(Val::Windowed { key, .. } | Val::Session { key, .. }) => Some((**key).clone()),
            _ => None,
        },
        "window_start" => match key {
            Some(Val::Windowed { start, .. } | Val::Session { start, .. }) => Some(Val::Long(*start)),
            _ => None,
        },
        other => return Err(format!("unknown key function {other}").into()),
    })
}

/// The type of a key function's result.
pub fn key_type(function: &str, key: &Type, value: &Type) -> Type {
    match split(function).0 {
        "key" | "null" => key.clone(),
        "value" => value.clone(),
        "value_length" | "window_start" => Type::Long,
        "unwindow" => match key {
            Type::Windowed(_, inner) | Type::Session(inner) => (**inner).clone(),
            other => other.clone(),
        },
        _ => Type::Str,
    }
}

/// `flatMap` and `flatMapValues`: the keys and values made of one record.
pub fn flat(function: &str, key: Option<Val>, value: Option<Val>) -> Vec<(Option<Val>, Option<Val>)> {
    let (name, argument) = split(function);
    let words = || {
        let text = value.as_ref().map(|value| text(Some(value))).unwrap_or_default();
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    match name {
        "words" => words().into_iter().map(|word| (key.clone(), Some(Val::Str(word)))).collect(),
        "word_keys" => {
            let old_key = string(text(key.as_ref()));
            words().into_iter().map(|word| (Some(Val::Str(word)), Some(old_key.clone()))).collect()
        }
        _ => (0..int(argument))
            .map(|n| {
                let copy = value.as_ref().map(|value| string(format!("{}#{n}", text(Some(value)))));
                (key.clone(), copy)
            })
            .collect(),
    }
}

/// Joiners. Table joiners have no key.
pub fn joiner(function: &str, key: Option<&Val>, left: Option<&Val>, right: Option<&Val>) -> Option<Val> {
    let (name, argument) = split(function);
    let concat = format!("{}+{}", text(left), text(right));
    match name {
        "concat" => Some(string(concat)),
        "concat_key" => Some(string(format!("{}:{concat}", text(key)))),
        "sum" => Some(Val::Long(left.and_then(number).unwrap_or(0).wrapping_add(right.and_then(number).unwrap_or(0)))),
        "left" => left.cloned(),
        "right" => right.cloned(),
        "null_if" => (concat != argument).then(|| string(concat)),
        _ => None,
    }
}

/// The type of a joiner's result.
pub fn joiner_type(function: &str, left: &Type, right: &Type) -> Type {
    match split(function).0 {
        "sum" => Type::Long,
        "left" => left.clone(),
        "right" => right.clone(),
        _ => Type::Str,
    }
}

/// The initial value of an aggregation.
pub fn initial(function: &str) -> Option<Val> {
    match split(function).0 {
        "sum" => Some(Val::Long(0)),
        "max" | "latest" => None,
        _ => Some(string("")),
    }
}

/// The type of an aggregate.
pub fn aggregate_type(function: &str, value: &Type) -> Type {
    match split(function).0 {
        "sum" => Type::Long,
        "max" | "latest" => value.clone(),
        _ => Type::Str,
    }
}

fn log(aggregate: Option<Val>) -> String {
    aggregate.map(|aggregate| text(Some(&aggregate))).unwrap_or_default()
}

fn long(value: Option<&Val>) -> i64 {
    value.and_then(number).unwrap_or(0)
}

fn larger(a: Option<Val>, b: Option<Val>) -> Option<Val> {
    match (&a, &b) {
        (Some(left), Some(right)) => {
            let left_is_larger = match (left, right) {
                (Val::Double(left), Val::Double(right)) => left >= right,
                _ => number(left) >= number(right),
            };
            if left_is_larger { a } else { b }
        }
        (None, _) => b,
        (_, None) => a,
    }
}

/// Adds a value to an aggregate.
pub fn add(function: &str, key: Option<&Val>, value: Option<&Val>, aggregate: Option<Val>) -> Option<Val> {
    let (name, argument) = split(function);
    match name {
        "sum" => Some(Val::Long(long(aggregate.as_ref()).wrapping_add(long(value)))),
        "max" => larger(aggregate, value.cloned()),
        "latest" => value.cloned(),
        "log_key" => Some(string(format!("{}+{}={}", log(aggregate), text(key), text(value)))),
        "drop_on" if text(value) == argument => None,
        _ => Some(string(format!("{}+{}", log(aggregate), text(value)))),
    }
}

/// Subtracts a value from an aggregate.
pub fn subtract(function: &str, key: Option<&Val>, value: Option<&Val>, aggregate: Option<Val>) -> Option<Val> {
    match split(function).0 {
        "sum" => Some(Val::Long(long(aggregate.as_ref()).wrapping_sub(long(value)))),
        "max" | "latest" => aggregate,
        "log_key" => Some(string(format!("{}-{}={}", log(aggregate), text(key), text(value)))),
        _ => Some(string(format!("{}-{}", log(aggregate), text(value)))),
    }
}

/// Merges two aggregates.
pub fn merge(function: &str, a: Option<Val>, b: Option<Val>) -> Option<Val> {
    match split(function).0 {
        "sum" => Some(Val::Long(long(a.as_ref()).wrapping_add(long(b.as_ref())))),
        "max" => larger(a, b),
        "latest" => b,
        _ => Some(string(format!("{}|{}", log(a), log(b)))),
    }
}

/// Reducers: `old` and `new`.
pub fn reduce(function: &str, old: Option<Val>, new: Option<Val>) -> Option<Val> {
    let numbers = |op: fn(i64, i64) -> i64| {
        let result = op(long(old.as_ref()), long(new.as_ref()));
        match (&old, &new) {
            (Some(Val::Int(_)), _) | (None, Some(Val::Int(_))) => Some(Val::Int(result as i32)),
            _ => Some(Val::Long(result)),
        }
    };
    match split(function).0 {
        "concat" => Some(string(format!("{}+{}", text(old.as_ref()), text(new.as_ref())))),
        "concat_minus" => Some(string(format!("{}-{}", text(old.as_ref()), text(new.as_ref())))),
        "sum" => numbers(i64::wrapping_add),
        "minus" => numbers(i64::wrapping_sub),
        "max" => numbers(i64::max),
        "first" => old,
        "null_if_same" => (old != new).then_some(new).flatten(),
        _ => new,
    }
}

/// A timestamp extractor; `None` if there is none of that name.
pub fn timestamp_extractor(name: &str) -> Option<TimestampExtractor<Option<Val>, Option<Val>>> {
    fn number(value: Option<&Val>) -> i64 {
        match value {
            Some(Val::Long(number)) => *number,
            Some(Val::Int(number)) => i64::from(*number),
            Some(Val::Double(number)) => *number as i64,
            _ => -1,
        }
    }
    Some(match name {
        "fail_on_invalid" => TimestampExtractor::FailOnInvalid,
        "skip_invalid" => TimestampExtractor::SkipOnInvalid,
        "partition_time" => TimestampExtractor::PartitionTimeOnInvalid,
        "value" => TimestampExtractor::By(Arc::new(|record, _, _| Timestamp(number(record.value.as_ref())))),
        "field" => TimestampExtractor::By(Arc::new(|record, _, _| {
            let text = text(record.value.as_ref());
            Timestamp(text.split('|').next().and_then(|field| field.parse().ok()).unwrap_or(-1))
        })),
        "value_or_partition_time" => TimestampExtractor::By(Arc::new(|record, _, partition_time| {
            let time = number(record.value.as_ref());
            if time < 0 { partition_time } else { Timestamp(time) }
        })),
        _ => return None,
    })
}

/// A partitioner.
pub fn partitioner(
    name: &str,
) -> impl Fn(&str, &Option<Val>, &Option<Val>, Partition) -> Option<Vec<Partition>> + Send + Sync + 'static {
    let name = name.to_owned();
    move |_, _, _, _| match name.as_str() {
        "zero" => Some(vec![0]),
        "drop" => Some(vec![]),
        _ => None,
    }
}
