//! Only windows close: a plain table cannot be suppressed until they do.

use std::time::Duration;

use tidewater_streams::{StreamsBuilder, Suppress, Topic, Tumbling};

fn main() {
    let grouped = StreamsBuilder::new().stream(&Topic::<String, String>::new("in")).group_by_key();
    let windowed = grouped.windowed_by(Tumbling::of(Duration::from_secs(1)));
    windowed.count().suppress(Suppress::until_window_closes());
    grouped.count().suppress(Suppress::until_window_closes());
}
