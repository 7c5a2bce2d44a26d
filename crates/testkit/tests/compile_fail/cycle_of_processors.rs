//! A parent is a node that is there already, so processors cannot go round in a circle.

use tidewater_streams::{Context, Processor, Topic, TopologyBuilder, UserError};
use tidewater_types::Record;

struct Pass;

impl Processor for Pass {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;
    fn process(&mut self, record: Record<String, String>, ctx: &mut Context<'_, String, String>) -> Result<(), UserError> {
        Ok(ctx.forward(record)?)
    }
}

fn main() {
    let builder = TopologyBuilder::new();
    let source = builder.add_source("source", &Topic::<String, String>::new("words"));
    let first = builder.add_processor("first", &[&source], |_| Pass);
    let second = builder.add_processor("second", &[&first], |_| Pass);
    let third = builder.add_processor("third", &[&second, &fourth], |_| Pass);
    let fourth = builder.add_processor("fourth", &[&third], |_| Pass);
}
