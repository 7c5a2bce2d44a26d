//! The way into a broker: typed requests in, typed responses out.
//!
//! The door in the process hands messages and shared bytes over as they are; one over TCP encodes them. A request never
//! waits: a fetch at the end of the log answers with nothing, and a watcher is woken when there may be more.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

use crate::requests::{Request, Response};

/// Called when something was appended; must return at once.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A broker, as its clients see it.
pub trait Door: Send + Sync {
    /// Answers a request. One that this broker does not know is answered with `None`.
    fn call(&self, context: &RequestContext, request: Request) -> Option<Response>;

    /// Has `wake` called from now on whenever records were appended, as long as somebody holds it.
    fn watch(&self, wake: &Wake);
}

/// Who is known to ask, in Kafka's form: `User:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Somebody who did not say who they are.
    pub fn anonymous() -> Self {
        Principal("User:ANONYMOUS".into())
    }
}

/// Who is at the other end of a connection, and how they came in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who they are.
    pub principal: Principal,
    /// The name of the listener that they came through; `None` in the process.
    pub listener: Option<Arc<str>>,
    /// Their address; `None` in the process.
    pub peer: Option<SocketAddr>,
    /// The address of this machine that they have reached; `None` in the process.
    pub reached: Option<IpAddr>,
}

/// What stands around a request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The version in which the response is written; the newest there is, in the process.
    pub version: i16,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

impl RequestContext {
    /// That of a client in the same process.
    pub fn in_process() -> Self {
        let caller = Caller { principal: Principal::anonymous(), listener: None, peer: None, reached: None };
        RequestContext { version: i16::MAX, caller: Arc::new(caller), client_id: None }
    }
}
