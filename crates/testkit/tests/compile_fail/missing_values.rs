//! A stream whose values may be missing does not fit a topic whose values may not.

use tidewater_streams::{StreamsBuilder, Topic};

fn main() {
    let stream = StreamsBuilder::new().stream(&Topic::<String, Option<i64>>::new("in"));
    stream.filter_some().to(&Topic::<String, i64>::new("out"));
    stream.to(&Topic::<String, i64>::new("out"));
}
