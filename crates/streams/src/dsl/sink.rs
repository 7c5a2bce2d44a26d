//! Where streams end: topics, and the options of writing to them.

use std::sync::Arc;

use tidewater_types::{Partition, Record, RecordContext};

use super::handle::Handle;
use super::{KStream, Topic};
use crate::codec::{Field, Fits, Serde};
use crate::graph::{OpKind, SinkMaker};
use crate::node::sink::{Routing, Sink};
use crate::task::Node;
use crate::topology::SinkTopic;

/// The end of a stream, to be named.
pub struct Terminal(pub(crate) Handle);

impl Terminal {
    /// Names the operator.
    pub fn named(self, name: impl Into<String>) {
        self.0.set_name(name.into());
    }
}

/// A sink: where a stream of `K` and `V` is written to topics of `K2` and `V2`.
pub struct SinkHandle<K, V, K2: Field, V2: Field> {
    handle: Handle,
    key: Serde<K2::Some>,
    value: Serde<V2::Some>,
    routing: Routing<K, V>,
}

impl<K, V, K2: Field, V2: Field> SinkHandle<K, V, K2, V2>
where
    K: Fits<K2>,
    V: Fits<V2>,
{
    pub(crate) fn new(handle: Handle, key: Serde<K2::Some>, value: Serde<V2::Some>, routing: Routing<K, V>) -> Self {
        SinkHandle { handle, key, value, routing }
    }

    /// Names the sink.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }

    /// Chooses the partitions of each record, given its topic, key and value, and how many partitions the topic has. `None` leaves it
    /// to the hash of the key; of several partitions each gets the record; no partition at all drops it, and counts it.
    pub fn partitioned_by(
        mut self,
        choose: impl Fn(&str, &K, &V, Partition) -> Option<Vec<Partition>> + Send + Sync + 'static,
    ) -> Self {
        self.routing.partitions = Some(Arc::new(choose));
        let made = sink_maker::<K, V, K2, V2>(self.key.clone(), self.value.clone(), self.routing.clone());
        self.handle.option(|kind| {
            if let OpKind::Sink { sink, .. } = kind {
                *sink = made;
            }
        });
        self
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Writes the records to a topic; the stream ends here.
    ///
    /// Keeps nothing. Records without a key go to any partition; a null value is a deletion to whoever reads the topic as a table.
    pub fn to<K2: Field, V2: Field>(&self, topic: &Topic<K2, V2>) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        self.sink_to(topic, SinkTopic::Named(topic.name().to_owned()), Routing::default())
    }

    /// Writes each record to the topic that `choose` names; the stream ends here. The topics must exist. `choose` is also given
    /// where the record at work came from.
    ///
    /// `extractor` is what the topology's description calls the choice; `types` gives the topics' types and bytes, its own name
    /// does not count.
    ///
    /// Keeps nothing; null keys and values are as with [`KStream::to`].
    pub fn to_chosen<K2: Field, V2: Field>(
        &self,
        extractor: impl Into<String>,
        types: &Topic<K2, V2>,
        choose: impl Fn(&Record<K, V>, &RecordContext) -> String + Send + Sync + 'static,
    ) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        let routing = Routing { topic: Some(Arc::new(choose)), partitions: None };
        self.sink_to(types, SinkTopic::Extracted(extractor.into()), routing)
    }

    fn sink_to<K2: Field, V2: Field>(
        &self,
        types: &Topic<K2, V2>,
        topic: SinkTopic,
        routing: Routing<K, V>,
    ) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        let key = types.key.clone().unwrap_or_else(|| self.key.get::<K2>());
        let value = types.value.clone().unwrap_or_else(|| self.value.get::<V2>());
        let sink = sink_maker::<K, V, K2, V2>(key.clone(), value.clone(), routing.clone());
        SinkHandle::new(self.handle.then(OpKind::Sink { topic, sink }), key, value, routing)
    }
}

/// Makes sinks of these types.
pub(crate) fn sink_maker<K, V, K2: Field, V2: Field>(
    key: Serde<K2::Some>,
    value: Serde<V2::Some>,
    routing: Routing<K, V>,
) -> SinkMaker
where
    K: Fits<K2>,
    V: Fits<V2>,
{
    Arc::new(move |build, topic| {
        let topic = build.topic(topic);
        Box::new(Sink::<K, V, K2, V2>::new(topic, key.clone(), value.clone(), routing.clone())) as Box<dyn Node>
    })
}
