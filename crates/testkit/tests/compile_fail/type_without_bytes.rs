//! A type without bytes cannot be sent, grouped or stored.

use serde::{Deserialize, Serialize};
use tidewater_streams::{StreamsBuilder, Topic};

#[derive(Clone, Serialize, Deserialize)]
struct View {
    page: String,
}
tidewater_streams::json!(View);

#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
}

fn main() {
    StreamsBuilder::new().stream(&Topic::<String, View>::new("views")).group_by_key().count();
    StreamsBuilder::new().stream(&Topic::<String, Click>::new("clicks")).group_by_key().count();
}
