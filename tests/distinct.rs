//! `distinct`: repeats of a key within a time are dropped, for as long as sightings are kept.

use tidewater::prelude::*;
use tidewater_testkit::TestDriver;

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");
const HOUR_MS: i64 = 3_600_000;

/// What comes out of these keys and hours, by the number of the record.
fn run(distinct: Distinct, records: &[(&str, i64)]) -> Vec<i64> {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).distinct(distinct).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    let input = driver.input(&IN);
    for (number, (key, hour)) in records.iter().enumerate() {
        input.send((*key).to_owned(), number as i64, hour * HOUR_MS);
    }
    driver.output(&OUT).read_values()
}

#[test]
fn repeats_are_dropped_before_and_after_the_first_sighting() {
    let records = [("a", 30), ("a", 54), ("b", 54), ("a", 55), ("a", 6), ("a", 5)];
    // 54 is within a day of 30, 55 is not; 6 is within a day of it, 5 is not.
    assert_eq!(run(Distinct::within(hours(24)), &records), [0, 2, 3, 5]);
}

#[test]
fn a_late_repeat_is_known_for_as_long_as_sightings_are_kept() {
    let records = [("a", 0), ("b", 240), ("a", 1)];
    assert_eq!(run(Distinct::within(hours(24)), &records), [0, 1, 2], "nothing is known of ten days ago");
    assert_eq!(run(Distinct::within(hours(24)).retention(days(30)), &records), [0, 1]);
}
