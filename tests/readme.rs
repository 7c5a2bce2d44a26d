//! The program of the README's first screen.

use tidewater::prelude::*;
use tidewater_testkit::TestDriver;

const CLICKS: Topic<String, String> = Topic::new("clicks");
const PER_MINUTE: Topic<Windowed<String>, Option<i64>> = Topic::new("clicks-per-minute");

fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&CLICKS)
        .filter(|_, page| !page.starts_with("/health"))
        .group_by_key()
        .windowed_by(Tumbling::of(minutes(1)))
        .count()
        .store("clicks") // names the store, and so its changelog topic
        .suppress(Suppress::until_window_closes())
        .to_stream()
        .to(&PER_MINUTE);
    builder.build()
}

#[test]
fn a_minute_is_counted_once_it_is_over() {
    let driver = TestDriver::new(topology().unwrap());
    let clicks = driver.input(&CLICKS);
    clicks.send("ann".into(), "/home".into(), 1_000);
    clicks.send("ann".into(), "/news".into(), 2_000);
    clicks.send("bob".into(), "/home".into(), 61_000);
    assert_eq!(driver.output(&PER_MINUTE).read_values(), [Some(2)]);
}
