//! Programs that cannot be: what each is told, and what it is to do about it.

use tidewater::{
    BuildError, BuildSettings, EmitStrategy, NodeHandle, Optimizations, RateLimit, Suppress, TopologyBuilder,
    Unlimited, prelude::*,
};
use tidewater_testkit::TestDriver;

const IN: Topic<String, String> = Topic::new("in");
const OTHER: Topic<String, String> = Topic::new("other");
const OUT: Topic<String, Option<i64>> = Topic::new("out");

/// Builds the program, which is refused; its message says all of this.
#[track_caller]
fn refused(program: impl Fn(&StreamsBuilder), says: &[&str]) -> BuildError {
    let builder = StreamsBuilder::new();
    program(&builder);
    check(builder.build().map(drop), says)
}

#[track_caller]
fn check(built: Result<(), BuildError>, says: &[&str]) -> BuildError {
    let error = built.unwrap_err();
    let message = error.to_string();
    for part in says {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    error
}

#[test]
fn two_numbers_of_partitions_that_are_joined() {
    let program = |builder: &StreamsBuilder| {
        let left = builder.stream(&IN).repartition().partitions(2).named("left");
        let right = builder.stream(&OTHER).repartition().partitions(3).named("right");
        left.join(&right, JoinWindows::of(seconds(1)), |a, b| format!("{a}{b}")).for_each(|_, _| {});
    };
    let error = refused(program, &["left", "right", "2 partitions", "3", ".partitions("]);
    assert!(matches!(error, BuildError::NotCopartitioned { left_partitions: 2, right_partitions: 3, .. }));
}

#[test]
fn two_nodes_of_one_name() {
    let program = |builder: &StreamsBuilder| {
        builder.stream(&IN).filter(|_, _| true).named("same").map_values(|v| v).named("same").for_each(|_, _| {});
    };
    let error = refused(program, &["\"same\"", ".named("]);
    assert!(matches!(error, BuildError::DuplicateNode(_)));
}

#[test]
fn two_stores_of_one_name() {
    let program = |builder: &StreamsBuilder| {
        builder.stream(&IN).group_by_key().count().store("same");
        builder.stream(&OTHER).group_by_key().count().store("same");
    };
    let error = refused(program, &["\"same\"", ".store("]);
    assert!(matches!(error, BuildError::DuplicateStore(_)));
}

#[test]
fn a_name_that_no_topic_may_have() {
    let program = |builder: &StreamsBuilder| drop(builder.stream(&IN).group_by_key().count().store("a store"));
    let error = refused(program, &["\"a store\"", "use letters"]);
    assert!(matches!(error, BuildError::InvalidName(_)));
}

#[test]
fn a_store_that_forgets_before_the_grace_is_over() {
    let program = |builder: &StreamsBuilder| {
        let windows = Tumbling::of(minutes(5)).grace(minutes(1));
        builder.stream(&IN).group_by_key().windowed_by(windows).count().store("counts").retention(minutes(5));
    };
    let error = refused(program, &["counts", "300000 ms", "360000 ms", "size plus its grace"]);
    assert!(matches!(error, BuildError::InvalidWindow { .. }));
    let program = |builder: &StreamsBuilder| {
        let sessions = Sessions::with_gap(minutes(5)).grace(minutes(1));
        builder.stream(&IN).group_by_key().windowed_by(sessions).count().retention(minutes(5));
    };
    refused(program, &["gap plus its grace"]);
}

/// `Duration` is never negative; the places that take milliseconds and times check them.
#[test]
fn negative_lengths_and_times() {
    let program = |builder: &StreamsBuilder| {
        let windows = JoinWindows::of(ms(1)).between_ms(5, -5);
        builder.stream(&IN).join(&builder.stream(&OTHER), windows, |a, _| a.clone()).for_each(|_, _| {});
    };
    refused(program, &["5", "-5", "ends before it begins"]);
    let program = |builder: &StreamsBuilder| {
        drop(builder.stream(&IN).group_by_key().windowed_by(Unlimited::starting(-1)).count())
    };
    refused(program, &["-1", "begins at 0"]);
    let program =
        |builder: &StreamsBuilder| drop(builder.stream(&IN).group_by_key().windowed_by(Tumbling::of(ms(0))).count());
    refused(program, &["0 ms", "at least 1 ms"]);
    let windowed = |builder: &StreamsBuilder, advance| {
        drop(builder.stream(&IN).group_by_key().windowed_by(Hopping::of(ms(10), advance)).count());
    };
    refused(|builder| windowed(builder, ms(0)), &["advance of 0 ms", "from 1 ms to the size, 10 ms"]);
    refused(|builder| windowed(builder, ms(11)), &["advance of 11 ms", "from 1 ms to the size, 10 ms"]);
    let program = |builder: &StreamsBuilder| {
        drop(builder.stream(&IN).group_by_key().windowed_by(Sessions::with_gap(ms(0))).count())
    };
    refused(program, &["gap of 0 ms", "at least 1 ms"]);
    let program = |builder: &StreamsBuilder| drop(builder.stream(&IN).rate_limit(RateLimit::of(0, seconds(1))));
    refused(program, &["rate_limit", "0 records", "at least 1"]);
}

#[test]
fn windows_that_never_close() {
    let program = |builder: &StreamsBuilder| {
        let windows = builder.stream(&IN).group_by_key().windowed_by(Unlimited::starting(0));
        drop(windows.emit_strategy(EmitStrategy::OnWindowClose).count());
    };
    refused(program, &["never closes", "with each update"]);
}

#[test]
fn sources_that_cannot_be() {
    refused(|builder| drop(builder.stream_matching("in[", &IN)), &["in["]);
    refused(|builder| drop(builder.stream_of_all(&[] as &[Topic<String, String>])), &["no topics", "at least one"]);
    let program = |builder: &StreamsBuilder| drop(builder.stream(&IN).partitions(3));
    refused(program, &["partitions", "for .repartition()"]);
    let builder = TopologyBuilder::new();
    builder.add_source("one", &IN);
    builder.add_source("two", &IN);
    check(builder.build().map(drop), &["\"in\"", "by two sources", "use the stream twice"]);
    let builder = TopologyBuilder::new();
    builder.add_source("one", &IN);
    builder.add_sink("out", &OTHER, &[] as &[&NodeHandle<String, String>]);
    check(builder.build().map(drop), &["\"out\"", "no parent", "at least one node"]);
}

struct Keeps(#[expect(dead_code, reason = "only opened")] KeyValueStore<String, String>);

impl Processor for Keeps {
    type KIn = String;
    type VIn = String;
    type KOut = ();
    type VOut = ();

    fn process(&mut self, _: Record<String, String>, _: &mut Context<'_, (), ()>) -> Result<(), tidewater::UserError> {
        Ok(())
    }
}

#[test]
fn a_global_stores_processor_with_another_store() {
    let program = |builder: &StreamsBuilder| {
        let other = builder.store(KeyValueStore::<String, String>::define("other"));
        let definition = KeyValueStore::<String, String>::define("global");
        builder.global_store(&IN, definition, move |stores, _| Keeps(stores.open(&other)));
    };
    refused(program, &["global store", "its own only"]);
}

#[test]
fn a_topic_with_two_types() {
    const AS_NUMBERS: Topic<String, i64> = Topic::new("in");
    for optimize in [Optimizations::default(), Optimizations::ALL] {
        let builder = StreamsBuilder::new().optimize(optimize);
        builder.stream(&IN).for_each(|_, _| {});
        builder.stream(&AS_NUMBERS).for_each(|_, _| {});
        let error = check(builder.build().map(drop), &["\"in\"", "two types", "read it once"]);
        assert!(matches!(error, BuildError::SourceConflict { .. }));
    }
}

#[test]
fn a_topic_as_stream_and_as_table() {
    let program = |builder: &StreamsBuilder| {
        builder.stream(&IN).for_each(|_, _| {});
        builder.table(&IN).store("rows");
    };
    refused(program, &["\"in\"", "read it once"]);
}

/// A processor reaches a store only through the handle that it opens, so none is unconnected; handles are of one builder.
#[test]
fn a_handle_of_another_builder() {
    let program = |builder: &StreamsBuilder| {
        let stranger = StreamsBuilder::new();
        builder.stream(&IN).merge(&stranger.stream(&OTHER)).for_each(|_, _| {});
    };
    let error = refused(program, &["another StreamsBuilder", "one builder only"]);
    assert!(matches!(error, BuildError::ForeignHandle(_)));
}

#[test]
fn an_option_that_comes_too_late() {
    let program = |builder: &StreamsBuilder| {
        let counts = builder.stream(&IN).group_by_key().count();
        counts.to_stream().to(&OUT);
        counts.store("counts");
    };
    let error = refused(program, &["right after the operator"]);
    assert!(matches!(error, BuildError::LateOption(_)));
    // Whatever the option says: a store, a topic, a source, a serde.
    let late: [fn(&StreamsBuilder); 4] = [
        |builder| {
            let spread = builder.stream(&IN).repartition();
            spread.to(&OTHER);
            let _ = spread.partitions(3);
        },
        |builder| {
            let source = builder.stream(&IN);
            source.to(&OTHER);
            let _ = source.offset_reset(tidewater::OffsetReset::Latest);
        },
        |builder| {
            let table = builder.table(&IN);
            table.to_stream().for_each(|_, _| {});
            let _ = table.timestamps(tidewater::TimestampExtractor::WallClock);
        },
        |builder| {
            let table = builder.table(&IN);
            table.to_stream().for_each(|_, _| {});
            let _ = table.value_serde(tidewater::Serde::default());
        },
    ];
    for program in late {
        assert!(matches!(refused(program, &["right after the operator"]), BuildError::LateOption(_)));
    }
}

#[test]
fn an_option_that_is_not_the_operators() {
    let program =
        |builder: &StreamsBuilder| builder.stream(&IN).filter(|_, _| true).partitions(3).for_each(|_, _| {}).named("x");
    refused(program, &["partitions", "repartition"]);
    let program = |builder: &StreamsBuilder| {
        let late = tidewater::TimestampExtractor::WallClock;
        builder.stream(&IN).filter(|_, _| true).timestamps(late).for_each(|_, _| {});
    };
    let error = refused(program, &["timestamps"]);
    assert!(matches!(error, BuildError::UnknownOption { .. }));
    let program = |builder: &StreamsBuilder| {
        let counts = builder.stream(&IN).group_by_key().windowed_by(Tumbling::of(seconds(5))).count();
        let early = Suppress::until_window_closes().max_records(10).emit_early_when_full();
        counts.suppress(early).to_stream().for_each(|_, _| {});
    };
    let error = refused(program, &["until_window_closes", "emit_early_when_full"]);
    assert!(matches!(error, BuildError::UnknownOption { .. }));
}

#[test]
fn two_stores_of_one_join_with_one_name() {
    for windows in [
        JoinWindows::of(seconds(5)).left_store("both").right_store("both"),
        JoinWindows::of(seconds(5)).store("a").right_store("a-left-shared-join-store"),
    ] {
        let program = |builder: &StreamsBuilder| {
            let (left, right) = (builder.stream(&IN), builder.stream(&OTHER));
            left.left_join(&right, windows.clone(), |left, _| left.clone()).for_each(|_, _| {});
        };
        let error = refused(program, &["store"]);
        assert!(matches!(error, BuildError::DuplicateStore(_)));
    }
}

#[test]
fn store_options_of_another_kind_of_table() {
    let program = |builder: &StreamsBuilder| drop(builder.table(&IN).store("rows").retention(hours(1)));
    refused(program, &["rows", "retention", ".ttl("]);
    let windows =
        |builder: &StreamsBuilder| builder.stream(&IN).group_by_key().windowed_by(Tumbling::of(ms(5))).count();
    refused(|builder| drop(windows(builder).store("counts").versioned(hours(1))), &["counts", "versioned"]);
    refused(|builder| drop(windows(builder).store("counts").least_recently_used(3)), &["counts", "bound on its keys"]);
}

#[test]
fn names_that_the_settings_ask_for() {
    let settings = BuildSettings { require_names: true, ..BuildSettings::default() };
    let builder = StreamsBuilder::with_settings(settings);
    builder.stream(&IN).group_by_key().count().to_stream().to(&OUT);
    let error = check(builder.build().map(drop), &["KSTREAM-AGGREGATE-STATE-STORE-0000000001", ".store("]);
    assert!(matches!(error, BuildError::Unnamed(_)));
    let builder = StreamsBuilder::with_settings(settings);
    builder.stream(&IN).group_by_key().count().store("Orders-2024010100").to_stream().to(&OUT);
    builder.build().unwrap();
}

#[test]
fn a_program_that_reads_nothing() {
    let error = refused(|_| {}, &["reads nothing", "builder.stream("]);
    assert_eq!(error, BuildError::Empty);
    let error = check(TopologyBuilder::new().build().map(drop), &["reads nothing"]);
    assert_eq!(error, BuildError::Empty);
}

#[test]
fn what_cannot_be_held_back() {
    let program = |builder: &StreamsBuilder| {
        let versions = builder.table(&IN).store("rows").versioned(hours(1));
        versions.suppress(Suppress::until_time_limit(seconds(1))).to_stream().for_each(|_, _| {});
    };
    refused(program, &["versioned", ".materialized()"]);
}

/// Opens the rows of a table.
struct Reader;

impl FixedKeyProcessor for Reader {
    type K = String;
    type VIn = String;
    type VOut = String;

    fn process(
        &mut self,
        _: tidewater::FixedKeyRecord<String, String>,
        _: &mut FixedKeyContext<'_, String, String>,
    ) -> Result<(), tidewater::UserError> {
        Ok(())
    }
}

#[test]
fn rows_of_another_kind_of_table() {
    let open = |builder: &StreamsBuilder, rows: tidewater::StoreHandle<tidewater::TimestampedStore<String, String>>| {
        let read = builder.stream(&OTHER).process_values(move |stores| {
            stores.open(&rows);
            Reader
        });
        read.for_each(|_, _| {});
    };
    let program = |builder: &StreamsBuilder| open(builder, builder.table(&IN).store("rows").versioned(hours(1)).rows());
    refused(program, &["rows", "versioned_rows()"]);
    let program = |builder: &StreamsBuilder| open(builder, builder.table(&IN).rows());
    refused(program, &["keeps none", ".store("]);
    let program = |builder: &StreamsBuilder| {
        open(builder, builder.table(&IN).store("rows").without_timestamps().cached(false).rows());
    };
    refused(program, &["rows", "with timestamps"]);
    let builder = StreamsBuilder::new();
    open(&builder, builder.table(&IN).store("rows").rows());
    builder.build().unwrap();
}

#[test]
fn the_right_sides_records_alone() {
    let program = |builder: &StreamsBuilder| {
        let windows = JoinWindows::of(seconds(1));
        let joined = builder.stream(&IN).try_join_any(&builder.stream(&OTHER), windows, false, true, |_, _, _| Ok(1));
        joined.for_each(|_, _| {});
    };
    refused(program, &["begin with that side"]);
}

/// Operators that change the type of a stream stand between a key change and its repartition.
#[test]
fn types_that_change_before_a_shared_repartition() {
    for optimize in [Optimizations::default(), Optimizations::ALL] {
        let builder = StreamsBuilder::new().optimize(optimize);
        let table = builder.table(&OTHER);
        let rows = builder.table(&IN).to_stream().select_key(|key, _| key.clone());
        rows.filter_some().group_by_key().count().to_stream().to(&OUT);
        rows.group_by_key().count().to_stream().to(&OUT);
        let some = rows.filter_some();
        some.join_table(&table, |a, b| format!("{a}{b}")).for_each(|_, _| {});
        some.widen::<Option<String>, String>().left_join_table(&table, |a, _| a.clone()).for_each(|_, _| {});
        let driver = TestDriver::new(builder.build().unwrap());
        driver.input(&IN).send("a".to_owned(), "1".to_owned(), 0);
        assert_eq!(driver.output(&OUT).read_values(), [Some(1), Some(1)]);
    }
}
