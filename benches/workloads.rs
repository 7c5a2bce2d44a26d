//! The topologies that are measured.

use tidewater::prelude::*;
use tidewater::{StoreDefinition, UserError};

use crate::input::{Input, Keys};

pub const OUT: Topic<String, String> = Topic::new("out");
pub const OUT_COUNTS: Topic<String, Option<i64>> = Topic::new("out");

/// A workload with its inputs.
pub struct Workload {
    pub name: &'static str,
    pub input_name: &'static str,
    pub inputs: Vec<(Topic<String, String>, Input)>,
    pub topology: fn() -> Result<Topology, BuildError>,
    /// CPU seconds a million records that Kafka Streams takes with its broker.
    pub kafka_cpu_s_per_m: f64,
}

const IN: Topic<String, String> = Topic::new("in");
const TABLE: Topic<String, String> = Topic::new("in-table");
const SEEN_FOR: std::time::Duration = seconds(30);

pub fn all() -> Vec<Workload> {
    let in_100k = Input::new(2_000_000, 100_000, 1);
    let in_1m = Input::new(2_000_000, 1_000_000, 2);
    let in_dup = Input { repeats: 10, ..Input::new(2_000_000, 100_000, 4) };
    let in_table = Input { order: Keys::InTurn, base_ms: 1_699_990_000_000, ..Input::new(100_000, 100_000, 5) };
    let one = |input| vec![(IN, input)];
    vec![
        Workload { name: "pass", input_name: "in-100k", inputs: one(in_100k), topology: pass, kafka_cpu_s_per_m: 3.4 },
        Workload {
            name: "count",
            input_name: "in-100k",
            inputs: one(in_100k),
            topology: count,
            kafka_cpu_s_per_m: 8.5,
        },
        Workload { name: "count", input_name: "in-1m", inputs: one(in_1m), topology: count, kafka_cpu_s_per_m: 20.0 },
        Workload {
            name: "windowed",
            input_name: "in-100k",
            inputs: one(in_100k),
            topology: windowed,
            kafka_cpu_s_per_m: 13.7,
        },
        Workload {
            name: "join-st",
            input_name: "in-100k,in-table",
            inputs: vec![(IN, in_100k), (TABLE, in_table)],
            topology: join_table,
            kafka_cpu_s_per_m: 8.7,
        },
        Workload { name: "dedup", input_name: "in-dup", inputs: one(in_dup), topology: dedup, kafka_cpu_s_per_m: 22.0 },
    ]
}

fn pass() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).map_values(|value| value.to_uppercase()).filter(|_, value| !value.starts_with('0')).to(&OUT);
    builder.build()
}

fn count() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).group_by_key().count().to_stream().to(&OUT_COUNTS);
    builder.build()
}

fn windowed() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&IN)
        .group_by_key()
        .windowed_by(Tumbling::of(seconds(5)).grace(seconds(1)))
        .count()
        .to_stream()
        .select_key(|key, _| format!("{}@{}", key.key, key.window.start))
        .to(&OUT_COUNTS);
    builder.build()
}

fn join_table() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    let table = builder.table(&TABLE);
    stream.join_table(&table, |value, row| format!("{}{row}", &value[..16])).to(&OUT);
    builder.build()
}

/// Drops a record whose id was seen in the last 30 s.
struct Dedup {
    seen: WindowStore<String, i64>,
}

impl FixedKeyProcessor for Dedup {
    type K = String;
    type VIn = String;
    type VOut = String;

    fn process(
        &mut self,
        record: FixedKeyRecord<String, String>,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> Result<(), UserError> {
        let id = record.value()[..16].to_owned();
        let at = record.timestamp();
        if self.seen.contains(ctx, &id, at.0 - 30_000, at)? {
            return Ok(());
        }
        self.seen.put(ctx, &id, &at.0, at)?;
        Ok(ctx.forward(record)?)
    }
}

fn dedup() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let definition: StoreDefinition<WindowStore<String, i64>> = WindowStore::define("seen", SEEN_FOR, SEEN_FOR);
    let seen = builder.store(definition.cached(true));
    builder.stream(&IN).process_values(move |stores: &mut Stores<'_>| Dedup { seen: stores.open(&seen) }).to(&OUT);
    builder.build()
}
