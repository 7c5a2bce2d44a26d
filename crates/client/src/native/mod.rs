//! The native client: Kafka's requests through a [`Door`].

mod admin;
mod consumer;
mod group;
mod producer;

use std::sync::Arc;

use tidewater_protocol::messages::TopicName;
use tidewater_protocol::{Door, RequestContext, StrBytes};

use crate::Ports;

/// A client of one broker, as a member of one group.
#[derive(Clone)]
pub struct NativeClient {
    door: Arc<dyn Door>,
    context: RequestContext,
    group: String,
}

impl NativeClient {
    /// A client that commits offsets for `group`.
    pub fn new(door: Arc<dyn Door>, group: impl Into<String>) -> Self {
        NativeClient { door, context: RequestContext::in_process(), group: group.into() }
    }

    /// This client as all four ports.
    pub fn ports(self) -> Ports {
        let client = Arc::new(self);
        Ports { consumer: client.clone(), producer: client.clone(), admin: client.clone(), group: client }
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sends a request and takes the response of the same kind out.
macro_rules! call {
    ($client:expr, $kind:ident, $request:expr, $action:literal) => {
        match $client.door.call(&$client.context, tidewater_protocol::Request::$kind($request)) {
            Some(tidewater_protocol::Response::$kind(response)) => Ok(response),
            _ => Err($crate::ClientError::Unsupported($action)),
        }
    };
}
pub(crate) use call;
