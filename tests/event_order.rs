//! A task takes the earliest record of its inputs, also where one input's records are so large that few are read at once.

use tidewater::prelude::*;

const TABLE: Topic<String, String> = Topic::new("table");
const STREAM: Topic<String, String> = Topic::new("stream");
const JOINED: Topic<String, String> = Topic::new("joined");
const RECORDS: i64 = 600;

#[tokio::test]
async fn a_join_sees_the_row_of_its_time_and_not_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    for topic in [&TABLE, &STREAM, &JOINED] {
        log.create_topic(topic, 1).unwrap();
    }
    // Each side in turn: a row at 10 n, a record at 10 n + 5. The records are large, the rows are not.
    let row = |n: i64| Record::new("k".to_owned(), format!("row {n}"), 10 * n);
    let record = |n: i64| Record::new("k".to_owned(), format!("{n} {}", "x".repeat(20_000)), 10 * n + 5);
    log.send(&TABLE, (0..RECORDS).map(row)).unwrap();
    log.send(&STREAM, (0..RECORDS).map(record)).unwrap();

    let builder = StreamsBuilder::new();
    let table = builder.table(&TABLE).store("rows");
    let number = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    builder.stream(&STREAM).join_table(&table, move |text, row| format!("{} {row}", number(text))).to(&JOINED);
    let app = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap();
    let joined: Vec<String> =
        log.read(&JOINED, RECORDS as usize).unwrap().into_iter().map(|record| record.value).collect();
    app.stop().await.unwrap();
    let expected: Vec<String> = (0..RECORDS).map(|n| format!("{n} row {n}")).collect();
    assert_eq!(joined, expected);
}
