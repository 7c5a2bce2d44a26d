//! The topologies that are measured.

use tidewater::prelude::*;
use tidewater::{StoreDefinition, UserError};

use crate::input::{Input, Keys, Values};

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

impl Workload {
    /// The records that a figure is for: those of a stream, of both streams of a join; not those of a table.
    pub fn records(&self) -> u64 {
        self.inputs.iter().filter(|(topic, _)| topic.name() != TABLE.name()).map(|(_, input)| input.records).sum()
    }
}

const IN: Topic<String, String> = Topic::new("in");
pub const TABLE: Topic<String, String> = Topic::new("in-table");
const LEFT: Topic<String, String> = Topic::new("in-left");
const RIGHT: Topic<String, String> = Topic::new("in-right");
const SEEN_FOR: std::time::Duration = seconds(30);

pub fn all() -> Vec<Workload> {
    let in_100k = Input::new(2_000_000, 100_000, 1);
    let in_1m = Input::new(2_000_000, 1_000_000, 2);
    let in_dup = Input { repeats: 10, ..Input::new(2_000_000, 100_000, 4) };
    let in_table = Input { order: Keys::InTurn, base_ms: 1_699_990_000_000, ..Input::new(100_000, 100_000, 5) };
    let in_words = Input { values: Values::Words, ..Input::new(200_000, 100_000, 8) };
    let side = |seed| Input { rate: 10_000, ..Input::new(500_000, 100_000, seed) };
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
        Workload {
            name: "sliding",
            input_name: "in-500k",
            inputs: one(Input::new(500_000, 100_000, 9)),
            topology: sliding,
            kafka_cpu_s_per_m: 34.8,
        },
        Workload {
            name: "join-ss",
            input_name: "in-left,in-right",
            inputs: vec![(LEFT, side(6)), (RIGHT, side(7))],
            topology: join_streams,
            kafka_cpu_s_per_m: 15.2,
        },
        Workload {
            name: "wordcount",
            input_name: "in-words",
            inputs: one(in_words),
            topology: word_count,
            kafka_cpu_s_per_m: 67.2,
        },
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

fn sliding() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&IN)
        .group_by_key()
        .windowed_by(Sliding::of(seconds(5)).grace(seconds(1)))
        .count()
        .to_stream()
        .select_key(|key, _| format!("{}@{}", key.key, key.window.start))
        .to(&OUT_COUNTS);
    builder.build()
}

fn join_streams() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let within = JoinWindows::of(seconds(10)).grace(seconds(1));
    left.join(&right, within, |left, right| format!("{}{}", &left[..16], &right[..16])).to(&OUT);
    builder.build()
}

fn word_count() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&IN)
        .flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .group_by(|_, word| word.clone())
        .count()
        .to_stream()
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
