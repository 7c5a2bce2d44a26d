//! What must not compile. Each wrong program stands beside a right one that differs only in the mistake, so that it fails for
//! that and nothing else.

/// A type without bytes cannot be sent, grouped or stored.
///
/// ```
/// use tidewater_streams::{StreamsBuilder, Topic};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Click { page: String }
/// tidewater_streams::json!(Click);
/// StreamsBuilder::new().stream(&Topic::<String, Click>::new("clicks")).group_by_key().count();
/// ```
///
/// ```compile_fail
/// use tidewater_streams::{StreamsBuilder, Topic};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Click { page: String }
/// StreamsBuilder::new().stream(&Topic::<String, Click>::new("clicks")).group_by_key().count();
/// ```
struct WithoutBytes;

/// A stream whose values may be missing does not fit a topic whose values may not.
///
/// ```
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let stream = StreamsBuilder::new().stream(&Topic::<String, Option<i64>>::new("in"));
/// stream.filter_some().to(&Topic::<String, i64>::new("out"));
/// ```
///
/// ```compile_fail
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let stream = StreamsBuilder::new().stream(&Topic::<String, Option<i64>>::new("in"));
/// stream.to(&Topic::<String, i64>::new("out"));
/// ```
struct MissingValues;

/// A stream does not fit a topic of another type.
///
/// ```
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let stream = StreamsBuilder::new().stream(&Topic::<String, i64>::new("in"));
/// stream.map_values(|n| n.to_string()).to(&Topic::<String, String>::new("out"));
/// ```
///
/// ```compile_fail
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let stream = StreamsBuilder::new().stream(&Topic::<String, i64>::new("in"));
/// stream.map_values(|n| n + 1).to(&Topic::<String, String>::new("out"));
/// ```
struct AnotherType;

/// Streams are joined with tables of the same keys.
///
/// ```
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let builder = StreamsBuilder::new();
/// let (orders, names) =
///     (builder.stream(&Topic::<i64, String>::new("orders")), builder.table(&Topic::<i64, String>::new("names")));
/// orders.join_table(&names, |order, name| format!("{order} {name}"));
/// ```
///
/// ```compile_fail
/// use tidewater_streams::{StreamsBuilder, Topic};
/// let builder = StreamsBuilder::new();
/// let (orders, names) =
///     (builder.stream(&Topic::<i64, String>::new("orders")), builder.table(&Topic::<String, String>::new("names")));
/// orders.join_table(&names, |order, name| format!("{order} {name}"));
/// ```
struct OtherKeys;

/// Only windows close: a plain table cannot be suppressed until they do.
///
/// ```
/// # use std::time::Duration;
/// use tidewater_streams::{StreamsBuilder, Suppress, Topic, Tumbling};
/// let grouped = StreamsBuilder::new().stream(&Topic::<String, String>::new("in")).group_by_key();
/// let windowed = grouped.windowed_by(Tumbling::of(Duration::from_secs(1)));
/// windowed.count().suppress(Suppress::until_window_closes());
/// ```
///
/// ```compile_fail
/// # use std::time::Duration;
/// use tidewater_streams::{StreamsBuilder, Suppress, Topic, Tumbling};
/// let grouped = StreamsBuilder::new().stream(&Topic::<String, String>::new("in")).group_by_key();
/// grouped.count().suppress(Suppress::until_window_closes());
/// ```
struct PlainTable;

/// A processor takes the records of its stream.
///
/// ```
/// use tidewater_streams::*;
/// # use tidewater_types::Record;
/// struct Next;
/// impl Processor for Next {
///     type KIn = String;
///     type VIn = i64;
///     type KOut = String;
///     type VOut = i64;
///     fn process(&mut self, record: Record<String, i64>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
///         let next = record.value + 1;
///         Ok(ctx.forward(record.with_value(next))?)
///     }
/// }
/// StreamsBuilder::new().stream(&Topic::<String, i64>::new("in")).process(|_: &mut Stores<'_>| Next);
/// ```
///
/// ```compile_fail
/// use tidewater_streams::*;
/// # use tidewater_types::Record;
/// struct Next;
/// impl Processor for Next {
///     type KIn = String;
///     type VIn = i64;
///     type KOut = String;
///     type VOut = i64;
///     fn process(&mut self, record: Record<String, i64>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
///         let next = record.value + 1;
///         Ok(ctx.forward(record.with_value(next))?)
///     }
/// }
/// StreamsBuilder::new().stream(&Topic::<String, String>::new("in")).process(|_: &mut Stores<'_>| Next);
/// ```
struct OtherRecords;
