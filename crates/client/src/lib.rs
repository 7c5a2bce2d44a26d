//! The four ports through which a runtime uses a log, and the adapter that speaks Kafka's protocol through a `Door`.

mod error;
mod native;
mod partitioner;
mod ports;

pub use error::ClientError;
pub use native::NativeClient;
pub use partitioner::{murmur2, partition_of};
pub use ports::{Admin, CommittedOffset, Consumer, Fetched, GroupMember, Ports, Producer};
