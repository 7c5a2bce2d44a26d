//! The words every other crate shares: where a record stands, when it happened, what it carries.
//!
//! Nothing here does I/O, reads a clock or knows of a wire format.
//!
//! ```
//! use tidewater_types::{Offset, TopicPartition};
//!
//! let place = TopicPartition::new("articles", 3);
//! assert_eq!(place.to_string(), "articles-3");
//! assert_eq!(Offset(41).next(), Offset(42));
//! ```

mod duration;
mod headers;
mod name;
mod place;
mod record;
mod timestamp;

pub use duration::{days, hours, minutes, ms, seconds};
pub use headers::{Header, Headers};
pub use name::{WrongLine, nearest_name, property_lines};
pub use place::{Offset, Partition, TaskId, Topic, TopicPartition};
pub use record::{Record, RecordContext, RecordPlace};
pub use timestamp::Timestamp;
