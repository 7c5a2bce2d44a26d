//! State stores: ordered bytes under a key-value, window or session interface, with a record cache, a changelog and a commit.
//!
//! Three parts stack up in every [`Store`], whatever its kind:
//!
//! ```text
//!   put ──> record cache (if asked for) ──flush──> changelog sink + unwritten rows ──commit──> engine
//!   get <── rows in memory <────────────────────────────────────────────────────────────────── engine
//! ```
//!
//! The [`Engine`] is a column family of RocksDB. Record cache, unwritten rows and lately read ones lie in one slab; a store in memory
//! has all its rows there, and no engine. Stores hold bytes; the typed handles that programs use stand in the `streams` crate.

mod backend;
mod engine;
mod error;
mod filter;
mod headers;
mod recency;
#[cfg(feature = "rocksdb")]
mod rocks;
mod rows;
mod schema;
mod session;
mod shared;
mod spec;
mod store;
mod times;
mod ttl;
mod versioned;
mod window;

pub use backend::{Backend, MemoryBackend, StoreWrites};
pub use engine::{Committed, Engine, KeyRange, NewestTime, Visit};
pub use error::StateError;
pub use headers::{split_headers, write_headers};
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksBackend, RocksMemory};
pub use rows::{DirtyEntry, RowBytes};
pub use schema::{WINDOW_SUFFIX, push_window_suffix, session_key, split_session_key, split_window_key, window_key};
pub use session::SessionEntry;
pub use shared::SharedBackend;
pub use spec::{Logging, Retention, StoreHeaders, StoreKind, StoreSpec};
pub use store::{ChangelogSink, Store, StoreMemory};
pub use ttl::ExpiredRow;
pub use versioned::{Version, VersionPut};
pub use window::{WindowEntry, Windows};
