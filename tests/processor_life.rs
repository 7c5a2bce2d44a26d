//! A processor from its making to its end, and commits that it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidewater::UserError;
use tidewater::prelude::*;

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

struct Commits(Arc<AtomicUsize>);

impl FixedKeyProcessor for Commits {
    type K = String;
    type VIn = i64;
    type VOut = i64;

    fn process(
        &mut self,
        record: tidewater::FixedKeyRecord<String, i64>,
        ctx: &mut FixedKeyContext<'_, String, i64>,
    ) -> Result<(), UserError> {
        if *record.value() % 10 == 0 {
            ctx.commit();
        }
        ctx.forward_to("to-out", record)?;
        Ok(())
    }

    fn close(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_processor_asks_for_commits_and_is_closed_with_its_task() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&IN, 2).unwrap();
    log.create_topic(&OUT, 2).unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let builder = StreamsBuilder::new();
    let counter = closed.clone();
    builder.stream(&IN).process_values(move |_| Commits(counter.clone())).to(&OUT).named("to-out");
    // Nothing is committed by the clock before this test is over.
    let app = Tidewater::app("app").log(&log).commit_interval(Duration::from_secs(3600));
    let app = app.start(builder.build().unwrap()).await.unwrap();
    log.send(&IN, (0..=100).map(|n| Record::new("a".to_owned(), n, n))).unwrap();
    while app.lag().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.read(&OUT, 101).unwrap().len(), 101);
    // The processors that were made to learn about their stores, or for the description, are not closed: they never began.
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    app.stop().await.unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 2, "one a task");
}
