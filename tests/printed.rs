//! Printing a stream to somewhere else than standard output.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tidewater::Printed;
use tidewater::prelude::*;
use tidewater_testkit::TestDriver;

const IN: Topic<String, i64> = Topic::new("in");

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn prints_labels_keys_and_values() {
    let (plain, mapped) = (Page::default(), Page::default());
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    stream.print(Printed::to(plain.clone()).label("in"));
    stream.print(Printed::to(mapped.clone()).mapped(|key: &String, value: &i64| format!("{key}+{value}")));
    let driver = TestDriver::new(builder.build().unwrap());
    driver.input(&IN).send("a".to_owned(), 1, 0);
    driver.input(&IN).send("b".to_owned(), 2, 0);
    let text = |page: &Page| String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text(&plain), "[in]: \"a\", 1\n[in]: \"b\", 2\n");
    assert_eq!(text(&mapped), "[KSTREAM-SOURCE-0000000000]: a+1\n[KSTREAM-SOURCE-0000000000]: b+2\n");
}
