//! Running topologies in tests: no broker, no files, no threads, and time in the test's hands.
//!
//! ```
//! use tidewater_streams::{StreamsBuilder, Topic};
//! use tidewater_testkit::TestDriver;
//!
//! const IN: Topic<Option<String>, String> = Topic::new("in");
//! const OUT: Topic<Option<String>, String> = Topic::new("out");
//!
//! let builder = StreamsBuilder::new();
//! builder.stream(&IN).map_values(|text| text.to_uppercase()).to(&OUT);
//! let driver = TestDriver::new(builder.build()?);
//! driver.input(&IN).send(None, "tide".to_owned(), 0);
//! assert_eq!(driver.output(&OUT).read_values(), ["TIDE"]);
//! # Ok::<(), tidewater_streams::BuildError>(())
//! ```

mod driver;
mod stores;

pub use driver::{DriverSettings, SentRecord, TestDriver, TestInput, TestOutput};
pub use stores::{StoreEntry, StoreView};
