//! Tables of the dynamic type, under any of the three kinds of keys.

use std::marker::PhantomData;

use tidewater_streams::{Core, Serde, UserError, ValueTransformer, Window};

use super::*;

/// A table's key as the dynamic type.
pub(super) trait TableKey: Data {
    fn val(&self) -> Val;
    /// Back again, if it is such a key.
    fn from_val(val: Val) -> Option<Self>;
    fn serde(key: &Type) -> Serde<Self>;
}

impl TableKey for Val {
    fn val(&self) -> Val {
        self.clone()
    }

    fn from_val(val: Val) -> Option<Self> {
        Some(val)
    }

    fn serde(key: &Type) -> Serde<Self> {
        key.serde()
    }
}

impl TableKey for Windowed<Val> {
    fn val(&self) -> Val {
        Val::Windowed { key: Box::new(self.key.clone()), start: self.window.start, end: self.window.end }
    }

    fn from_val(val: Val) -> Option<Self> {
        let Val::Windowed { key, start, end } = val else { return None };
        Some(Windowed { key: *key, window: Window { start, end } })
    }

    fn serde(key: &Type) -> Serde<Self> {
        match key {
            Type::Windowed(size, inner) => Windowed::serde(inner.serde(), *size),
            other => Windowed::serde(other.serde(), 0),
        }
    }
}

impl TableKey for SessionWindowed<Val> {
    fn val(&self) -> Val {
        Val::Session { key: Box::new(self.key.clone()), start: self.window.start, end: self.window.end }
    }

    fn from_val(val: Val) -> Option<Self> {
        let Val::Session { key, start, end } = val else { return None };
        Some(SessionWindowed { key: *key, window: Window { start, end } })
    }

    fn serde(key: &Type) -> Serde<Self> {
        match key {
            Type::Session(inner) => SessionWindowed::serde(inner.serde()),
            other => SessionWindowed::serde(other.serde()),
        }
    }
}

pub(super) fn named_table<K, V>(table: KTable<K, V>, step: &Json) -> KTable<K, V> {
    match text(step, "name") {
        Some(name) => table.named(name),
        None => table,
    }
}

/// The options of a table's store. Aggregations pass their serdes in Kafka Streams, which counts as an option.
pub(super) fn materialize<K, V>(
    mut table: KTable<K, V>,
    step: &Json,
    aggregates: bool,
) -> Result<KTable<K, V>, Trouble> {
    let Some(options) = step.get("materialized").filter(|options| !options.is_null()) else {
        return Ok(if aggregates { table.materialized() } else { table });
    };
    table = table.materialized();
    for (name, value) in options.as_object().into_iter().flatten() {
        table = match (name.as_str(), value) {
            ("name", Json::String(name)) => table.store(name),
            ("store", Json::String(kind)) => match kind.as_str() {
                "in_memory" => table.in_memory(),
                "rocks_db" | "timestamped" | "supplier" => table.on_disk(),
                "plain" => table.without_timestamps().on_disk(),
                "supplier_in_memory" => table.in_memory(),
                lru if lru.starts_with("lru:") => table.least_recently_used(lru[4..].parse().unwrap_or(0)),
                versioned if versioned.starts_with("versioned:") => {
                    let mut parts = versioned.split(':').skip(1).filter_map(|part| part.parse().ok());
                    let table = table.versioned(duration(parts.next().unwrap_or(0))?);
                    match parts.next() {
                        Some(segment) => table.version_segments(duration(segment)?),
                        None => table,
                    }
                }
                other => return not_yet(format!("store {}", other.split(':').next().unwrap_or(other))),
            },
            ("caching", Json::Bool(cached)) => table.cached(*cached),
            ("logging", Json::Bool(false)) => table.without_changelog(),
            ("logging", Json::Object(settings)) => settings
                .iter()
                .fold(table, |table, (name, value)| table.changelog_setting(name, value.as_str().unwrap_or_default())),
            // A supplier's retention is that of the store alone.
            ("retentionMs", Json::Number(millis))
                if text(options, "store").is_some_and(|kind| kind.starts_with("supplier")) =>
            {
                table.local_retention(duration(millis.as_i64().unwrap_or(0))?)
            }
            ("retentionMs", Json::Number(millis)) => table.retention(duration(millis.as_i64().unwrap_or(0))?),
            ("logging", Json::Bool(true)) => table,
            (other, _) => return not_yet(format!("materialized {other}")),
        };
    }
    Ok(table)
}

/// A count, seen as a table of the dynamic type.
pub(super) fn count_of<K: TableKey>(count: KTable<K, i64>, step: &Json) -> Result<KTable<K, Val>, Trouble> {
    let count = materialize(named_table(count, step), step, true)?;
    Ok(count.retype_values(Val::Long, |value| match value {
        Val::Long(count) => *count,
        _ => 0,
    }))
}

pub(super) fn derive_table<K: TableKey>(
    table: &KTable<K, Val>,
    step: &Json,
    op: &str,
    function: &str,
) -> Result<KTable<K, Val>, Trouble> {
    let function = function.to_owned();
    let derived = match op {
        "filter" => table.try_filter(move |k, v| f::predicate(&function, Some(&k.val()), Some(v))),
        "filterNot" => table.try_filter_not(move |k, v| f::predicate(&function, Some(&k.val()), Some(v))),
        "transformValues" => {
            table.transform_values(move |_| Transform { function: function.clone(), key: PhantomData })
        }
        _ => table.try_map_values(move |k, v| f::value_function(&function, Some(&k.val()), Some(v))),
    };
    materialize(named_table(derived, step), step, false)
}

/// A value function as a transformer.
struct Transform<K> {
    function: String,
    key: PhantomData<fn(K)>,
}

impl<K: TableKey> ValueTransformer for Transform<K> {
    type K = K;
    type V = Val;
    type VOut = Val;

    fn transform(&mut self, key: &K, value: Value, _: &mut Core) -> Result<Value, UserError> {
        f::value_function(&self.function, Some(&key.val()), value)
    }
}

pub(super) fn open_table<K: TableKey>(table: &KTable<K, Val>, step: &Json) -> Stream {
    let mut stream = table.to_stream();
    if let Some(name) = text(step, "name") {
        stream = stream.named(name);
    }
    stream.retype(|key| Some(key.val()), |value| value)
}

pub(super) fn group_table<K: TableKey>(
    table: &KTable<K, Val>,
    to_key: String,
    to_value: String,
) -> GroupedTable<Val, Val> {
    table.try_group_by(move |k, v| {
        let key = k.val();
        let group: Key = f::key_function(&to_key, Some(&key), Some(v))?;
        let value: Value = f::value_function(&to_value, Some(&key), Some(v.clone()))?;
        Ok((group, value))
    })
}

pub(super) fn join_tables<K: TableKey>(
    left: &KTable<K, Val>,
    right: &KTable<K, Val>,
    step: &Json,
    op: &str,
    function: String,
) -> Result<KTable<K, Val>, Trouble> {
    let joined = match op {
        "join" => left.join(right, move |l, r| f::joiner(&function, None, Some(l), Some(r))),
        "leftJoin" => left.left_join(right, move |l, r| f::joiner(&function, None, Some(l), r)),
        _ => left.outer_join(right, move |l, r| f::joiner(&function, None, l, r)),
    };
    materialize(named_table(joined, step), step, false)
}

pub(super) fn suppress<K: TableKey>(
    table: &KTable<K, Val>,
    until_closes: Option<Suppress<K>>,
    step: &Json,
) -> Result<KTable<K, Val>, Trouble> {
    let mut suppress = match (text(step, "until"), until_closes) {
        (Some("window_closes"), Some(until_closes)) => until_closes,
        _ => Suppress::until_time_limit(duration(number(step, "limitMs").unwrap_or(0))?),
    };
    let buffer = step.get("buffer").cloned().unwrap_or_default();
    if let Some(records) = number(&buffer, "maxRecords") {
        suppress = suppress.max_records(records as u64);
    }
    if let Some(bytes) = number(&buffer, "maxBytes") {
        suppress = suppress.max_bytes(bytes as u64);
    }
    match text(&buffer, "whenFull") {
        Some("shut_down") => suppress = suppress.fail_when_full(),
        Some(_) => suppress = suppress.emit_early_when_full(),
        None => {}
    }
    match buffer.get("logging") {
        Some(Json::Bool(false)) => suppress = suppress.without_changelog(),
        Some(Json::Object(settings)) => {
            for (name, value) in settings {
                suppress = suppress.changelog_setting(name, value.as_str().unwrap_or_default());
            }
        }
        _ => {}
    }
    Ok(named_table(table.suppress(suppress), step))
}

pub(super) fn join_foreign<K: TableKey>(
    left: &KTable<K, Val>,
    right: &Table,
    step: &Json,
    op: &str,
    foreign: &str,
    function: String,
) -> Result<KTable<K, Val>, Trouble> {
    let joined = match right {
        Table::Plain(right) => join_foreign_to(left, right, op, foreign, function),
        Table::Windowed(right) => join_foreign_to(left, right, op, foreign, function),
        Table::Session(right) => join_foreign_to(left, right, op, foreign, function),
    };
    materialize(named_table(joined, step), step, false)
}

fn join_foreign_to<K: TableKey, FK: TableKey>(
    left: &KTable<K, Val>,
    right: &KTable<FK, Val>,
    op: &str,
    foreign: &str,
    function: String,
) -> KTable<K, Val> {
    let foreign = foreign.to_owned();
    left.try_join_foreign_any(
        right,
        op == "leftJoin",
        move |k, v| Ok(f::key_function(&foreign, Some(&k.val()), Some(v))?.and_then(FK::from_val)),
        move |l, r| Ok(f::joiner(&function, None, Some(l), r)),
    )
}

/// A stream joined with a table of windowed keys, under whose type it is seen meanwhile.
pub(super) fn join_table<K: TableKey>(
    left: &Stream,
    key: &Type,
    table: &KTable<K, Val>,
    step: &Json,
    op: &str,
    function: String,
) -> Result<Stream, Trouble> {
    let left = left.retype(|key| key.and_then(K::from_val), |value| value).key_serde(K::serde(key));
    let joined = join_rows(&left, table, step, op, function)?;
    Ok(joined.retype(|key| key.map(|key| key.val()), |value| value).key_serde(key.serde()))
}

pub(super) fn join_rows<K: TableKey>(
    left: &KStream<Option<K>, Value>,
    table: &KTable<K, Val>,
    step: &Json,
    op: &str,
    function: String,
) -> Result<KStream<Option<K>, Value>, Trouble> {
    let join = move |k: &Option<K>, l: &Val, r: Option<&Val>| {
        Ok(f::joiner(&function, k.as_ref().map(K::val).as_ref(), Some(l), r))
    };
    let joined = match number(step, "graceMs") {
        Some(grace) => left.try_join_table_with_grace(table, op == "leftJoin", duration(grace)?, join),
        None => left.try_join_table_any(table, op == "leftJoin", join),
    };
    Ok(match text(step, "name") {
        Some(name) => joined.named(name),
        None => joined,
    })
}
