//! Stream processing in the Kafka Streams model, with the log in the box.
//!
//! A program is a topology, an application id, and a log; here the log is a folder, opened in the process.
//!
//! ```
//! use tidewater::prelude::*;
//!
//! const WORDS: Topic<Option<String>, String> = Topic::new("words");
//! const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");
//!
//! fn topology() -> Result<Topology, BuildError> {
//!     let builder = StreamsBuilder::new();
//!     builder.stream(&WORDS).group_by(|_, word| word.clone()).count().store("counts").to_stream().to(&COUNTS);
//!     builder.build()
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let log = Log::open(folder)?;
//! log.create_topic(&WORDS, 2)?;
//! log.create_topic(&COUNTS, 2)?;
//! log.send(&WORDS, [Record::new(None, "tide".to_owned(), 0)])?;
//!
//! let app = Tidewater::app("word-count").log(&log).start(topology()?).await?;
//! let counted = log.read(&COUNTS, 1)?; // waits for one record
//! assert_eq!((counted[0].key.as_str(), counted[0].value), ("tide", Some(1)));
//! app.stop().await?;
//! # Ok(())
//! # }
//! ```

mod app;
mod groups;
mod log;
mod topics;

pub use app::{AppBuilder, Tidewater};
pub use log::{Log, LogError, inspect_partition};

pub use tidewater_broker::{BrokerError, Listener, ListenerError, Server};
pub use tidewater_protocol::UNPACK_LIMIT_BYTES;
pub use tidewater_streams::*;
pub use tidewater_types::{
    Header, Headers, Offset, Record, RecordContext, RecordPlace, TaskId, Timestamp, TopicPartition, days, hours,
    minutes, ms, seconds,
};

/// The log as a broker of its own: what `tidewater broker` is made of.
pub mod broker {
    pub use tidewater_broker::{Broker, BrokerConfig, BrokerSettings, ServerSettings};
    pub use tidewater_env::asked_to_end;
}

/// What most programs use.
pub mod prelude {
    pub use tidewater_streams::{
        BuildError, Concurrency, Context, Data, Distinct, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord,
        GlobalKTable, Hopping, JoinWindows, KStream, KTable, KeyValueStore, Processor, Punctuation, PunctuationClock,
        RateLimit, SessionStore, SessionWindowed, Sessions, Sliding, Stores, StreamsBuilder, Suppress, Topic, Topology,
        Tumbling, Unlimited, Wait, WindowStore, Windowed, every,
    };
    pub use tidewater_types::{Headers, Record, Timestamp, days, hours, minutes, ms, seconds};

    pub use crate::{Log, Tidewater};
}
