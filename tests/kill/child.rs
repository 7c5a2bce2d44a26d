//! The program that the kill test kills: counts words on the log in the folder it is given, and says how far it is.

use std::io::Write;

use tidewater::prelude::*;

const WORDS: Topic<Option<String>, String> = Topic::new("words");
const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        println!("usage: kill_child FOLDER");
        return Ok(());
    };
    let log = Log::open(&folder)?;
    let builder = StreamsBuilder::new();
    builder.stream(&WORDS).group_by(|_, word| word.clone()).count().store("counts").to_stream().to(&COUNTS);
    let app = Tidewater::app("app").log(&log).commit_interval(ms(20)).threads(2).start(builder.build()?).await?;
    let (mut said, mut caught_up) = (0, false);
    loop {
        let commits = app.commits();
        if commits > said || app.has_failed() {
            said = commits;
            println!("{commits} commits, {} records", app.processed());
            std::io::stdout().flush()?;
        }
        if !caught_up && app.processed() > 0 && app.lag()? == 0 {
            caught_up = true;
            println!("caught up");
            std::io::stdout().flush()?;
        }
        if app.has_failed() {
            app.stop().await?;
            return Ok(());
        }
        std::thread::park_timeout(ms(1));
    }
}
