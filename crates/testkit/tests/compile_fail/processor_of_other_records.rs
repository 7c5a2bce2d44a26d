//! A processor takes the records of its stream.

use tidewater_streams::{Context, Processor, Stores, StreamsBuilder, Topic, UserError};
use tidewater_types::Record;

struct Next;

impl Processor for Next {
    type KIn = String;
    type VIn = i64;
    type KOut = String;
    type VOut = i64;
    fn process(&mut self, record: Record<String, i64>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        let next = record.value + 1;
        Ok(ctx.forward(record.with_value(next))?)
    }
}

fn main() {
    let builder = StreamsBuilder::new();
    builder.stream(&Topic::<String, i64>::new("numbers")).process(|_: &mut Stores<'_>| Next);
    builder.stream(&Topic::<String, String>::new("words")).process(|_: &mut Stores<'_>| Next);
}
