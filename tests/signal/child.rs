//! A program as users write it: settings from a file and the environment, running until it is told to end.

use std::io::Write;

use tidewater::prelude::*;

const WORDS: Topic<Option<String>, String> = Topic::new("words");
const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(properties) = std::env::args().nth(1) else {
        println!("usage: signal_child PROPERTIES; the log is in TIDEWATER_LOG");
        return Ok(());
    };
    let log = Log::from_env()?;
    log.create_topic(&WORDS, 1)?;
    log.create_topic(&COUNTS, 1)?;
    let builder = StreamsBuilder::new();
    builder.stream(&WORDS).group_by(|_, word| word.clone()).count().store("counts").to_stream().to(&COUNTS);
    let app = Tidewater::app("app").log(&log).properties(properties)?.settings_from_env()?;
    let app = app.start(builder.build()?).await?;
    log.send(&WORDS, [Record::new(None, "tide".to_owned(), 0)])?;
    log.read(&COUNTS, 1)?;
    let mut running = std::pin::pin!(app.run_until_signal());
    // Once it was begun, signals are listened for.
    tokio::select! {
        biased;
        ended = &mut running => return Ok(ended?),
        () = std::future::ready(()) => {}
    }
    println!("at work");
    std::io::stdout().flush()?;
    running.await?;
    log.close()?;
    println!("closed");
    Ok(())
}
