//! Scenarios across crates: topologies on the embedded log.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bad_input;
mod distinct;
mod event_order;
mod examples;
mod failures;
mod gaps;
mod golden_concrete;
mod golden_embedded;
mod kill;
mod news;
mod readme;
mod restart;
mod signal;
mod window_restore;
mod word_count;
