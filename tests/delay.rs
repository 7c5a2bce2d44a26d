//! `delay`: records go on once they are old enough, and a restart loses none that wait.

use tidewater::prelude::*;
use tidewater_testkit::TestDriver;

const IN: Topic<String, Option<i64>> = Topic::new("in");
const OUT: Topic<String, Option<i64>> = Topic::new("out");

fn driver(wait: impl Into<Wait>) -> TestDriver {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).delay(wait).to(&OUT);
    TestDriver::new(builder.build().unwrap())
}

fn out(driver: &TestDriver) -> Vec<(String, Option<i64>, i64)> {
    driver.output(&OUT).read().into_iter().map(|record| (record.key, record.value, record.timestamp.0)).collect()
}

#[test]
fn by_the_wall_clock_each_record_waits_from_its_own_time() {
    let driver = driver(seconds(10));
    let input = driver.input(&IN);
    input.send("a".to_owned(), Some(1), 5_000);
    input.send("b".to_owned(), None, 2_000);
    input.send("a".to_owned(), Some(3), 2_000);
    assert_eq!(out(&driver), []);
    driver.advance_wall_clock(ms(11_999));
    assert_eq!(out(&driver), []);
    driver.advance_wall_clock(ms(1));
    assert_eq!(out(&driver), [("b".to_owned(), None, 2_000), ("a".to_owned(), Some(3), 2_000)]);
    // One that is old enough when it comes does not wait.
    input.send("c".to_owned(), Some(4), 1_000);
    assert_eq!(out(&driver), [("c".to_owned(), Some(4), 1_000)]);
    driver.advance_wall_clock(seconds(3));
    assert_eq!(out(&driver), [("a".to_owned(), Some(1), 5_000)]);
    assert_eq!(driver.store("KSTREAM-DELAY-0000000001-store").unwrap().entries, []);
}

#[test]
fn by_stream_time_a_later_record_lets_earlier_ones_go() {
    let driver = driver(Wait::of(ms(10)).on(PunctuationClock::StreamTime));
    let input = driver.input(&IN);
    for (number, time) in [(1, 0), (2, 3), (3, 10), (4, 12), (5, 30)] {
        input.send("a".to_owned(), Some(number), time);
    }
    let numbers: Vec<_> = out(&driver).into_iter().map(|(_, number, _)| number.unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn copies_of_one_record_wait_side_by_side() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).flat_map_values(|n| vec![n, n]).delay(ms(10)).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    driver.input(&IN).send("a".to_owned(), Some(7), 0);
    driver.advance_wall_clock(ms(10));
    assert_eq!(driver.output(&OUT).read_values(), [Some(7), Some(7)]);
}

/// Sends three records of one time whenever the wall clock asks for it.
struct Three;

impl Processor for Three {
    type KIn = String;
    type VIn = Option<i64>;
    type KOut = String;
    type VOut = Option<i64>;

    fn init(&mut self, ctx: &mut Context<'_, String, Option<i64>>) -> Result<(), tidewater::UserError> {
        ctx.schedule(every(ms(5)).on(PunctuationClock::WallClock));
        Ok(())
    }

    fn process(
        &mut self,
        _: Record<String, Option<i64>>,
        _: &mut Context<'_, String, Option<i64>>,
    ) -> Result<(), tidewater::UserError> {
        Ok(())
    }

    fn punctuate(
        &mut self,
        _: Punctuation,
        ctx: &mut Context<'_, String, Option<i64>>,
    ) -> Result<(), tidewater::UserError> {
        for number in 0..3 {
            ctx.forward(Record::new("a".to_owned(), Some(number), 100))?;
        }
        Ok(())
    }
}

#[test]
fn records_that_come_of_none_wait_side_by_side() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).process(|_| Three).delay(seconds(1)).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    driver.advance_wall_clock(ms(5));
    driver.advance_wall_clock(ms(5));
    driver.advance_wall_clock(ms(1090));
    // Those of the last call are old enough at once.
    assert_eq!(driver.output(&OUT).read_values(), [0, 1, 2, 0, 1, 2, 0, 1, 2].map(Some));
}

/// Two tables of one stream leave their caches one after the other, and so their records come in turns.
#[test]
fn records_that_come_again_wait_side_by_side() {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&IN).group_by_key();
    let (counts, sums) = (grouped.count(), grouped.aggregate(|| 100i64, |_, _, sum| sum + 1));
    counts.to_stream().merge(&sums.to_stream()).delay(ms(10)).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    driver.input(&IN).send("a".to_owned(), Some(1), 0);
    driver.input(&IN).send("b".to_owned(), Some(1), 0);
    driver.advance_wall_clock(ms(10));
    let mut out = driver.output(&OUT).read_values();
    out.sort_unstable();
    assert_eq!(out, [1, 1, 101, 101].map(Some));
}
