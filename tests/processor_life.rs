//! A processor and a table's transformer from their making to their end, and commits that are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidewater::prelude::*;
use tidewater::{Core, UserError, ValueTransformer};

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

/// Writes each value with how many transformers had begun.
struct Begun {
    begun: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    number: Option<usize>,
}

impl ValueTransformer for Begun {
    type K = String;
    type V = i64;
    type VOut = String;

    fn init(&mut self, _task: &mut Core) -> Result<(), UserError> {
        self.number = Some(self.begun.fetch_add(1, Ordering::SeqCst) + 1);
        Ok(())
    }

    fn transform(&mut self, _: &String, value: Option<i64>, task: &mut Core) -> Result<Option<String>, UserError> {
        let number = self.number.ok_or("it has not begun")?;
        Ok(value.map(|value| format!("{value} by {number} at {}", task.timestamp())))
    }

    fn close(&mut self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_transformer_begins_before_its_first_row_and_is_closed_with_its_task() {
    const TABLE: Topic<String, i64> = Topic::new("table");
    const JOINED: Topic<String, String> = Topic::new("joined");
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    for topic in [IN, TABLE] {
        log.create_topic(&topic, 1).unwrap();
    }
    log.create_topic(&JOINED, 1).unwrap();
    let (begun, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let builder = StreamsBuilder::new();
    let counters = (begun.clone(), closed.clone());
    // It is not kept, so the join transforms rows again when it looks them up.
    let table = builder.table(&TABLE).transform_values(move |_| Begun {
        begun: counters.0.clone(),
        closed: counters.1.clone(),
        number: None,
    });
    builder.stream(&IN).join_table(&table, |value, row| format!("{value}: {row}")).to(&JOINED);
    log.send(&TABLE, [Record::new("a".to_owned(), 7, 1)]).unwrap();
    log.send(&IN, [Record::new("a".to_owned(), 8, 2)]).unwrap();
    let app = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap();
    assert_eq!(log.read(&JOINED, 1).unwrap()[0].value, "8: 7 by 2 at 2");
    app.stop().await.unwrap();
    assert_eq!((begun.load(Ordering::SeqCst), closed.load(Ordering::SeqCst)), (2, 2), "the node's, and the join's");
}
