//! The log broker: many partitions in one data folder, with topics, their settings, and the offsets of groups.
//!
//! [`Broker`] implements `Door`: what a client can ask for stands in `api/`, one file a request. Topics live in a log of
//! their own (`__cluster_metadata-0`), groups and their offsets in `__consumer_offsets`, transactions in `__transaction_state`, both in
//! Apache Kafka's record formats; all are replayed when the folder is opened.

mod admin;
mod api;
mod broker;
mod config;
mod coordinator;
mod dynamic;
mod error;
mod folder;
mod groups;
mod journal;
mod maintenance;
mod metadata;
mod properties;
mod re2;
mod server;
mod timers;
mod topics;
mod transactions;
mod wire;

pub use broker::{Broker, BrokerSettings};
pub use config::parse_topic_settings;
pub use error::BrokerError;
pub use groups::{Assignor, GroupSettings, MigrationPolicy, StreamsGroupSettings};
pub use properties::BrokerConfig;
pub use server::{Listener, ListenerError, Server, ServerSettings};
pub use transactions::TransactionSettings;

pub(crate) use broker::dispatch;
