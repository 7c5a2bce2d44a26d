//! One partition of the log on disk, in Apache Kafka's files: `.log` segments of record batches, `.index`, `.timeindex`,
//! `.txnindex`, snapshots of producers, and the leader-epoch checkpoint.
//!
//! A [`PartitionLog`] appends batches as they arrive, reads ranges of whole batches, finds offsets by time, and cuts a torn
//! tail when it is opened after a crash. [`Compactor`] rewrites closed segments without a lock on the log; [`PartitionLog::expire`]
//! drops whole segments by age and size. Which partitions exist, and when these are called, is the broker's business.

mod compact;
mod config;
mod error;
mod index;
mod inspect;
mod partition;
mod producers;
mod read;
mod recovery;
mod retention;
mod segment;
mod sync;

pub use compact::{CompactionPlan, Compactor, Step};
pub use config::{CleanupPolicy, LogConfig, RetentionClock, TimestampType};
pub use error::LogError;
pub use index::AbortedTransaction;
pub use inspect::{Inspected, inspect};
pub use partition::{Appended, Isolation, OpenOptions, PartitionLog, TransactionMarker};
pub use producers::{ActiveProducer, ProducerError};
pub use read::{Extent, FoundOffset, ReadSlice, TimeSearch};
pub use recovery::Recovered;
pub use segment::{SegmentFiles, segment_file_name};
pub use sync::SyncWork;
