//! A stream does not fit a topic of another type.

use tidewater_streams::{StreamsBuilder, Topic};

fn main() {
    let stream = StreamsBuilder::new().stream(&Topic::<String, i64>::new("in"));
    stream.map_values(|n| n.to_string()).to(&Topic::<String, String>::new("out"));
    stream.map_values(|n| n + 1).to(&Topic::<String, String>::new("out"));
}
