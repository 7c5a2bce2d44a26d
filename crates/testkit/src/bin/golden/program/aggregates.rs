//! Steps that group and aggregate.

use super::*;

impl Writer {
    pub(super) fn group_by(&mut self, step: &Json) -> Result<(), Trouble> {
        if let Some((table, key, value)) = self.table(step, "in") {
            let (to_key, to_value) = (required(step, "key"), required(step, "value"));
            let (new_key, new_value) = (f::key_type(&to_key, &key, &value), f::value_type(&to_value, &value));
            let grouped = match table {
                Table::Plain(table) => group_table(&table, to_key, to_value),
                Table::Windowed(table) => group_table(&table, to_key, to_value),
                Table::Session(table) => group_table(&table, to_key, to_value),
            };
            let mut grouped = grouped.serdes(new_key.serde(), new_value.serde());
            if let Some(name) = text(step, "name") {
                grouped = grouped.named(name);
            }
            self.handles.insert(required(step, "id"), Handle::GroupedTable(grouped, new_key, new_value));
            return Ok(());
        }
        let (stream, key, value) = self.stream(step, "in")?;
        let function = required(step, "fn");
        let new_key = f::key_type(&function, &key, &value);
        let grouped = stream.try_group_by(move |k, v| f::key_function(&function, k.as_ref(), v.as_ref()));
        let mut grouped = grouped.serdes(new_key.serde(), value.serde());
        if let Some(name) = text(step, "name") {
            grouped = grouped.named(name);
        }
        self.handles.insert(required(step, "id"), Handle::Grouped(grouped, new_key, value));
        Ok(())
    }

    pub(super) fn windowed_by(&mut self, step: &Json) -> Result<(), Trouble> {
        let emit = match text(step, "emit") {
            Some("on_window_close") => EmitStrategy::OnWindowClose,
            _ => EmitStrategy::OnWindowUpdate,
        };
        let window = step.get("window").cloned().unwrap_or_default();
        let grace = duration(number(&window, "graceMs").unwrap_or(0));
        let id = required(step, "id");
        let millis = |field: &str| number(&window, field).unwrap_or(0);
        macro_rules! apply {
            ($windows:expr, $size:expr) => {{
                let (windows, size) = ($windows, $size);
                match self.handles.get(&required(step, "in")) {
                    Some(Handle::Grouped(group, key, value)) => {
                        let windowed = group.windowed_by(windows).emit_strategy(emit);
                        Handle::TimeWindowed(windowed, key.clone(), value.clone(), size)
                    }
                    Some(Handle::Cogroup(cogroup, key, value, first)) => Handle::WindowedCogroup(
                        cogroup.windowed_by(windows),
                        key.clone(),
                        value.clone(),
                        first.clone(),
                        size,
                    ),
                    _ => return not_yet("windows of something else"),
                }
            }};
        }
        let size = millis("sizeMs");
        let handle = match text(&window, "type").unwrap_or_default() {
            "tumbling" => apply!(Tumbling::of(duration(size)?).grace(grace?), size),
            "hopping" => apply!(Hopping::of(duration(size)?, duration(millis("advanceMs"))?).grace(grace?), size),
            "sliding" => {
                apply!(Sliding::of(duration(millis("differenceMs"))?).grace(grace?), millis("differenceMs"))
            }
            "unlimited" => apply!(Unlimited::starting(millis("startMs")), i64::MAX),
            "session" => {
                let windows = Sessions::with_gap(duration(millis("gapMs"))?).grace(grace?);
                match self.handles.get(&required(step, "in")) {
                    Some(Handle::Grouped(group, key, value)) => Handle::SessionWindowed(
                        group.windowed_by(windows).emit_strategy(emit),
                        key.clone(),
                        value.clone(),
                    ),
                    Some(Handle::Cogroup(cogroup, key, value, first)) => {
                        Handle::SessionCogroup(cogroup.windowed_by(windows), key.clone(), value.clone(), first.clone())
                    }
                    _ => return not_yet("windows of something else"),
                }
            }
            other => return not_yet(format!("{other} windows")),
        };
        self.handles.insert(id, handle);
        Ok(())
    }

    pub(super) fn aggregate(&mut self, step: &Json, op: &str) -> Result<(), Trouble> {
        let function = required(step, "fn");
        let result = |value: &Type| match op {
            "count" => Type::Long,
            "reduce" => value.clone(),
            _ => f::aggregate_type(&function, value),
        };
        let (add_fn, init_fn, merge_fn) = (function.clone(), function.clone(), function.clone());
        let init = move || f::initial(&init_fn);
        let Some(handle) = self.handles.get(&required(step, "in")) else { return not_yet(op) };
        let (table, key, value) = match handle {
            Handle::Grouped(group, key, value) => {
                let result = result(value);
                let table = match op {
                    // A count is a number of the dynamic type: the store and its bytes are those of `count`.
                    "count" => count_of(group.count(), step)?,
                    "reduce" => materialize(
                        named_table(group.reduce(move |a, b| f::reduce(&add_fn, Some(a), Some(b))), step),
                        step,
                        true,
                    )?,
                    _ => {
                        let table = group
                            .aggregate(init, move |k, v, a: Value| f::add(&add_fn, Some(k), Some(&v), a))
                            .value_serde(result.serde());
                        materialize(named_table(table, step), step, true)?
                    }
                };
                (Table::Plain(table), key.clone(), result)
            }
            Handle::TimeWindowed(windowed, key, value, size) => {
                let result = result(value);
                let table = match op {
                    "count" => count_of(windowed.count(), step)?,
                    "reduce" => {
                        let reduced = windowed.reduce(move |a, b| f::reduce(&add_fn, a, b));
                        materialize(named_table(reduced, step), step, true)?
                    }
                    _ => {
                        let table = windowed
                            .aggregate(init, move |k, v, a: Value| f::add(&add_fn, Some(k), v.as_ref(), a))
                            .value_serde(result.serde());
                        materialize(named_table(table, step), step, true)?
                    }
                };
                (Table::Windowed(table), Type::Windowed(*size, Box::new(key.clone())), result)
            }
            Handle::SessionWindowed(windowed, key, value) => {
                let result = result(value);
                let table = match op {
                    "count" => count_of(windowed.count(), step)?,
                    "reduce" => {
                        let reduced = windowed.reduce(move |a, b| f::reduce(&add_fn, a, b));
                        materialize(named_table(reduced, step), step, true)?
                    }
                    _ => {
                        let table = windowed
                            .aggregate(
                                init,
                                move |k, v, a: Value| f::add(&add_fn, Some(k), v.as_ref(), a),
                                move |_, a, b| f::merge(&merge_fn, a, b),
                            )
                            .value_serde(result.serde());
                        materialize(named_table(table, step), step, true)?
                    }
                };
                (Table::Session(table), Type::Session(Box::new(key.clone())), result)
            }
            Handle::GroupedTable(group, key, value) => {
                let result = result(value);
                let table = match op {
                    "count" => count_of(group.count(), step)?,
                    "reduce" => {
                        let subtract_fn = required(step, "subtract");
                        let reduced = group.reduce(
                            move |a, b| f::reduce(&add_fn, Some(a), Some(b)),
                            move |a, b| f::reduce(&subtract_fn, Some(a), Some(b)),
                        );
                        materialize(named_table(reduced, step), step, true)?
                    }
                    _ => {
                        let table = group
                            .aggregate(
                                init,
                                move |k, v, a: Value| f::add(&add_fn, Some(k), Some(&v), a),
                                move |k, v, a: Value| f::subtract(&merge_fn, Some(k), Some(&v), a),
                            )
                            .value_serde(result.serde());
                        materialize(named_table(table, step), step, true)?
                    }
                };
                (Table::Plain(table), key.clone(), result)
            }
            Handle::Cogroup(cogroup, key, value, first) => {
                let first = first.clone();
                let table = cogroup.aggregate(move || f::initial(&first)).value_serde(value.serde());
                let table = materialize(named_table(table, step), step, true)?;
                (Table::Plain(table), key.clone(), value.clone())
            }
            Handle::WindowedCogroup(cogroup, key, value, first, size) => {
                let first = first.clone();
                let table = cogroup.aggregate(move || f::initial(&first)).value_serde(value.serde());
                let table = materialize(named_table(table, step), step, true)?;
                (Table::Windowed(table), Type::Windowed(*size, Box::new(key.clone())), value.clone())
            }
            Handle::SessionCogroup(cogroup, key, value, first) => {
                let (first, merge_fn) = (first.clone(), first.clone());
                let table = cogroup
                    .aggregate(move || f::initial(&first), move |_, a, b| f::merge(&merge_fn, a, b))
                    .value_serde(value.serde());
                let table = materialize(named_table(table, step), step, true)?;
                (Table::Session(table), Type::Session(Box::new(key.clone())), value.clone())
            }
            Handle::Stream(..) | Handle::Table(..) | Handle::Global(..) => return not_yet(op),
        };
        self.put_table(step, table, key, value);
        Ok(())
    }

    pub(super) fn cogroup(&mut self, step: &Json) -> Result<(), Trouble> {
        let function = required(step, "fn");
        let add = {
            let function = function.clone();
            move |k: &Val, v: Value, a: Value| Ok(f::add(&function, Some(k), v.as_ref(), a))
        };
        let source = text(step, "with").unwrap_or_else(|| text(step, "in").unwrap_or_default());
        let Some(Handle::Grouped(group, key, value)) = self.handles.get(source) else { return not_yet("cogroup") };
        let (group, key, value) = (group.clone(), key.clone(), value.clone());
        let handle = match text(step, "with") {
            None => {
                let result = f::aggregate_type(&function, &value);
                Handle::Cogroup(group.try_cogroup(add), key, result, function)
            }
            Some(_) => match self.handles.get(&required(step, "in")) {
                Some(Handle::Cogroup(cogroup, key, result, first)) => Handle::Cogroup(
                    cogroup.clone().try_cogroup(&group, add),
                    key.clone(),
                    result.clone(),
                    first.clone(),
                ),
                _ => return not_yet("a cogroup of something else"),
            },
        };
        self.handles.insert(required(step, "id"), handle);
        Ok(())
    }
}
