//! A processor of one's own: it keeps the last price of each share, and sends all that changed once in ten seconds of stream
//! time.

use tidewater::UserError;
use tidewater::prelude::*;

/// Prices by share.
pub const PRICES: Topic<String, f64> = Topic::new("prices");
/// What changed, ten seconds at a time.
pub const SUMMARY: Topic<String, f64> = Topic::new("price-summary");

struct Throttle {
    changed: KeyValueStore<String, f64>,
}

impl Processor for Throttle {
    type KIn = String;
    type VIn = f64;
    type KOut = String;
    type VOut = f64;

    fn init(&mut self, ctx: &mut Context<'_, String, f64>) -> Result<(), UserError> {
        ctx.schedule(every(seconds(10)).on(PunctuationClock::StreamTime));
        Ok(())
    }

    fn process(&mut self, record: Record<String, f64>, ctx: &mut Context<'_, String, f64>) -> Result<(), UserError> {
        Ok(self.changed.put(ctx, &record.key, &record.value)?)
    }

    fn punctuate(&mut self, due: Punctuation, ctx: &mut Context<'_, String, f64>) -> Result<(), UserError> {
        for (share, price) in self.changed.all(ctx)? {
            self.changed.delete(ctx, &share)?;
            ctx.forward(Record::new(share, price, due.at))?;
        }
        Ok(())
    }
}

/// A processor with a store and a punctuation.
pub fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let changed = builder.store(KeyValueStore::<String, f64>::define("changed"));
    builder
        .stream(&PRICES)
        .process(move |stores: &mut Stores<'_>| Throttle { changed: stores.open(&changed) })
        .named("throttle")
        .to(&SUMMARY);
    builder.build()
}

#[allow(dead_code, reason = "tests use the topology alone")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Log::open(folder.path())?;
    log.create_topic(&PRICES, 1)?;
    log.create_topic(&SUMMARY, 1)?;
    let price = |(second, share, price): (i64, &str, f64)| Record::new(share.to_owned(), price, second * 1000);
    let prices = [(1, "TIDE", 10.0), (2, "WAVE", 7.0), (5, "TIDE", 11.0), (11, "WAVE", 8.0), (21, "TIDE", 12.0)];
    log.send(&PRICES, prices.map(price))?;
    let app = Tidewater::app("processor").log(&log).start(topology()?).await?;
    for record in log.read(&SUMMARY, 4)? {
        println!("{:5} s  {}  {}", record.timestamp.0 / 1000, record.key, record.value);
    }
    app.stop().await?;
    Ok(())
}
