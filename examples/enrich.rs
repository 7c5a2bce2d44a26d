//! Orders joined with their customers: each order takes the customer's row as it is when the order comes.

use serde::{Deserialize, Serialize};
use tidewater::prelude::*;

/// Who orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Customer {
    /// Their name.
    pub name: String,
    /// Where they live.
    pub city: String,
}
tidewater::json!(Customer);

/// Customers by id: a table.
pub const CUSTOMERS: Topic<String, Customer> = Topic::new("customers");
/// What was ordered, by the customer's id.
pub const ORDERS: Topic<String, String> = Topic::new("orders");
/// Orders with names.
pub const ENRICHED: Topic<String, String> = Topic::new("orders-enriched");

/// A stream joined with a table; orders of unknown customers go on too.
pub fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let customers = builder.table(&CUSTOMERS).store("customers");
    builder
        .stream(&ORDERS)
        .left_join_table(&customers, |order, customer| match customer {
            Some(customer) => format!("{order} for {} in {}", customer.name, customer.city),
            None => format!("{order} for somebody unknown"),
        })
        .to(&ENRICHED);
    builder.build()
}

#[allow(dead_code, reason = "tests use the topology alone")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Log::open(folder.path())?;
    log.create_topic(&CUSTOMERS, 2)?;
    log.create_topic(&ORDERS, 2)?;
    log.create_topic(&ENRICHED, 2)?;
    let customer = |(id, name, city): (&str, &str, &str)| {
        let customer = Customer { name: name.to_owned(), city: city.to_owned() };
        Record::new(id.to_owned(), customer, 0)
    };
    log.send(&CUSTOMERS, [("1", "Ada", "London"), ("2", "Blaise", "Paris")].map(customer))?;
    let order = |(id, what): (&str, &str)| Record::new(id.to_owned(), what.to_owned(), 10);
    log.send(&ORDERS, [("1", "an engine"), ("2", "a wager"), ("3", "a ticket")].map(order))?;

    let app = Tidewater::app("enrich").log(&log).start(topology()?).await?;
    for record in log.read(&ENRICHED, 3)? {
        println!("{}", record.value);
    }
    app.stop().await?;
    Ok(())
}
