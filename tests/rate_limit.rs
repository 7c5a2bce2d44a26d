//! `rate_limit`: no stretch of the time has more records of a key that went on than allowed.

use proptest::prelude::*;
use tidewater::{BuildError, DropReason, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

fn run(limit: RateLimit, records: &[(&str, i64)]) -> (Vec<i64>, u64) {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).rate_limit(limit).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    for (number, (key, time)) in records.iter().enumerate() {
        driver.input(&IN).send((*key).to_owned(), number as i64, *time);
    }
    let dropped = driver.dropped().get(&DropReason::OverLimit).copied().unwrap_or_default();
    (driver.output(&OUT).read_values(), dropped)
}

#[test]
fn so_many_in_a_time_by_key() {
    let records = [("a", 0), ("a", 1), ("a", 9), ("b", 9), ("a", 10), ("a", 10), ("a", 11)];
    assert_eq!(run(RateLimit::of(2, ms(10)), &records), (vec![0, 1, 3, 4, 6], 2));
}

#[test]
fn a_late_record_counts_where_it_belongs() {
    let records = [("a", 100), ("a", 105), ("a", 96), ("a", 95), ("a", 90), ("a", 109)];
    assert_eq!(run(RateLimit::of(2, ms(10)), &records).0, [0, 1, 3, 4]);
}

#[test]
fn copies_of_one_record_count_each() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).flat_map_values(|n| vec![n, n, n]).rate_limit(RateLimit::of(2, ms(10))).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    driver.input(&IN).send("a".to_owned(), 7, 0);
    assert_eq!(driver.output(&OUT).read_values(), [7, 7]);
}

#[test]
fn what_is_older_than_what_is_remembered_is_late() {
    let records = [("a", 100), ("a", 81), ("a", 80), ("b", 80), ("a", 85)];
    assert_eq!(run(RateLimit::of(1, ms(10)), &records).0, [0, 1]);
}

#[test]
fn a_limit_of_nothing_does_not_build() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).rate_limit(RateLimit::of(0, ms(10))).to(&OUT);
    let error = builder.build().unwrap_err();
    assert!(matches!(error, BuildError::InvalidSetting { .. }), "{error}");
}

proptest! {
    /// Within the reach of late records that the store keeps: a record goes on exactly if that leaves no stretch too full.
    #[test]
    fn no_stretch_is_too_full(steps in prop::collection::vec(-9i64..12, 1..60), most in 1usize..4) {
        let mut times = vec![];
        let mut newest = 20;
        for step in steps {
            times.push((newest + step).max(0));
            newest = newest.max(newest + step);
        }
        let records: Vec<_> = times.iter().map(|&time| ("a", time)).collect();
        let (passed, _) = run(RateLimit::of(most, ms(10)), &records);
        let mut kept: Vec<i64> = vec![];
        let mut expected = vec![];
        for (number, &time) in times.iter().enumerate() {
            let mut with = kept.clone();
            with.push(time);
            with.sort_unstable();
            if with.windows(most + 1).all(|some| some[most] - some[0] >= 10) {
                kept = with;
                expected.push(number as i64);
            }
        }
        prop_assert_eq!(passed, expected);
    }
}
