//! A processor's store is opened for each task; a handle is not one.

use tidewater_streams::{Context, KeyValueStore, Processor, Stores, StreamsBuilder, Topic, UserError};
use tidewater_types::Record;

struct Count(KeyValueStore<String, i64>);

impl Processor for Count {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = i64;
    fn process(&mut self, record: Record<String, String>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        Ok(self.0.put(ctx, &record.key, &1)?)
    }
}

fn main() {
    let builder = StreamsBuilder::new();
    let words = builder.stream(&Topic::<String, String>::new("words"));
    let counts = builder.store(KeyValueStore::<String, i64>::define("counts"));
    words.process(move |stores: &mut Stores<'_>| Count(stores.open(&counts)));
    let texts = builder.store(KeyValueStore::<String, String>::define("texts"));
    words.process(move |_: &mut Stores<'_>| Count(counts));
    words.process(move |stores: &mut Stores<'_>| Count(stores.open(&texts)));
}
