//! The way into a broker: typed requests in, typed responses out.
//!
//! The door in the process hands messages and shared bytes over as they are; one over TCP encodes them. A request never
//! waits: a fetch at the end of the log answers with nothing, and a watcher is woken when there may be more.

use std::sync::Arc;

use kafka_protocol::messages::{RequestKind, ResponseKind};

/// Called when something was appended; must return at once.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A broker, as its clients see it.
pub trait Door: Send + Sync {
    /// Answers a request. One that this broker does not know is answered with `None`.
    fn call(&self, request: RequestKind) -> Option<ResponseKind>;

    /// Has `wake` called from now on whenever records were appended, as long as somebody holds it.
    fn watch(&self, wake: &Wake);
}
