//! Streams are joined with tables of the same keys.

use tidewater_streams::{StreamsBuilder, Topic};

fn main() {
    let builder = StreamsBuilder::new();
    let orders = builder.stream(&Topic::<i64, String>::new("orders"));
    let customers = builder.table(&Topic::<i64, String>::new("customers"));
    let cities = builder.table(&Topic::<String, String>::new("cities"));
    orders.join_table(&customers, |order, name| format!("{order} {name}"));
    orders.join_table(&cities, |order, city| format!("{order} {city}"));
}
