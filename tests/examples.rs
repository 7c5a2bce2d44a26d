//! The topologies of the examples, in the test driver.

use tidewater_testkit::TestDriver;

#[path = "../examples/enrich.rs"]
mod enrich;
#[path = "../examples/processor.rs"]
mod processor;
#[path = "../examples/temperature.rs"]
mod temperature;

#[test]
fn temperature_gives_one_result_a_window_with_late_readings() {
    use temperature::{HIGHEST, READINGS, Reading, topology};
    let driver = TestDriver::new(topology().unwrap());
    let readings = driver.input(&READINGS);
    for (at, celsius) in [(1_000, 20.0), (11_000, 5.0), (9_000, 30.0), (12_500, 6.0), (8_000, 99.0)] {
        readings.send("attic".to_owned(), Reading { celsius }, at);
    }
    let highest = driver.output(&HIGHEST).read();
    assert_eq!(highest.len(), 1, "the window of 0 to 10 s closed at 12 s; the last reading came too late");
    assert_eq!((highest[0].key.window.start, highest[0].value), (0, Some(30.0)));
}

#[test]
fn enrich_takes_the_row_as_it_is() {
    use enrich::{CUSTOMERS, Customer, ENRICHED, ORDERS, topology};
    let driver = TestDriver::new(topology().unwrap());
    let (customers, orders) = (driver.input(&CUSTOMERS), driver.input(&ORDERS));
    let customer = |city: &str| Customer { name: "Ada".to_owned(), city: city.to_owned() };
    orders.send("1".to_owned(), "a book".to_owned(), 0);
    customers.send("1".to_owned(), customer("London"), 1);
    orders.send("1".to_owned(), "an engine".to_owned(), 2);
    customers.send("1".to_owned(), customer("Paris"), 3);
    orders.send("1".to_owned(), "a loom".to_owned(), 4);
    let expected = ["a book for somebody unknown", "an engine for Ada in London", "a loom for Ada in Paris"];
    assert_eq!(driver.output(&ENRICHED).read_values(), expected);
}

#[test]
fn processor_sends_what_changed_once_in_ten_seconds() {
    use processor::{PRICES, SUMMARY, topology};
    let driver = TestDriver::new(topology().unwrap());
    let prices = driver.input(&PRICES);
    for (at, price) in [(1_000, 1.0), (2_000, 2.0), (9_000, 3.0), (10_500, 4.0), (12_000, 5.0)] {
        prices.send("TIDE".to_owned(), price, at);
    }
    // The first record fires, because 0 is due; then 10,500 is the first time past 10,000.
    assert_eq!(driver.output(&SUMMARY).read_values(), [1.0, 4.0]);
}
