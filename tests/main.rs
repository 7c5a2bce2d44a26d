//! Scenarios across crates: topologies on the embedded log.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bad_input;
mod build_errors;
mod debounce;
mod delay;
mod distinct;
mod event_order;
mod examples;
mod failures;
mod foreign_partitions;
mod gaps;
mod golden_concrete;
mod golden_embedded;
mod idle_windows;
mod join_models;
mod join_stores;
mod kill;
mod map_async;
mod news;
mod operators;
mod printed;
mod processor_life;
mod rate_limit;
mod readme;
mod restart;
mod signal;
mod store_methods;
mod ttl;
mod window_models;
mod window_restore;
mod word_count;
