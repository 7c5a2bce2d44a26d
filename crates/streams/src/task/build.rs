//! What a node's factory is given when a task is built: its number, its stores, and what the plan decided.

use std::collections::BTreeMap;

use tidewater_state::StoreHeaders;
use tidewater_types::Topic;

use super::core::{FlushListener, NodeId, StoreId};
use super::stores::{DefinedStore, StoreAccess};
use crate::codec::Serde;
use crate::graph::{AnySerde, OpFacts, OpId};
use crate::topology::Topology;

/// The surroundings of a factory.
pub(crate) struct TaskBuild<'a> {
    pub node: NodeId,
    pub topology: &'a Topology,
    pub application_id: &'a str,
    pub store_ids: &'a BTreeMap<String, StoreId>,
    /// Where calls to the outside run; on a runtime of their own if there is none.
    pub executor: Option<&'a tokio::runtime::Handle>,
    pub listeners: &'a mut Vec<Option<FlushListener>>,
}

impl TaskBuild<'_> {
    /// What the plan decided about an operator.
    pub fn facts(&self, op: OpId) -> &OpFacts {
        self.topology.facts(op)
    }

    /// Typed access to a store of this task.
    pub fn access<K, V>(&self, store: &str, key: &Serde<K>, value: &Serde<V>) -> StoreAccess<K, V> {
        let spec = self.topology.store_named(store);
        let stamped = spec.is_some_and(|spec| spec.is_timestamped());
        let with_headers = spec.is_some_and(|spec| spec.headers == StoreHeaders::Kept);
        let plain = StoreAccess::plain(self.store_id(store), key.clone(), value.clone());
        StoreAccess { stamped, with_headers, ..plain }
    }

    /// The same for the store of an operator's result, whose serdes may have been set after the operator.
    pub fn access_of<K: 'static, V: 'static>(
        &self,
        op: OpId,
        store: &str,
        key: &Serde<K>,
        value: &Serde<V>,
    ) -> StoreAccess<K, V> {
        let facts = self.facts(op);
        let set = |serde: &Option<AnySerde>| serde.as_ref().and_then(|serde| serde.downcast_ref::<Serde<V>>()).cloned();
        let value = set(&facts.value_serde).unwrap_or_else(|| value.clone());
        self.access(store, key, &value)
    }

    pub fn store_id(&self, store: &str) -> StoreId {
        match self.store_ids.get(store) {
            Some(&id) => id,
            None => unreachable!("the topology put store {store} into the sub-topology of the nodes connected to it"),
        }
    }

    /// Sets who sends the updates on that leave a store's cache.
    pub fn listen(&mut self, store: StoreId, listener: FlushListener) {
        self.listeners[store] = Some(listener);
    }

    /// The full name of a topic: internal ones begin with the application's id.
    pub fn topic(&self, name: &str) -> Topic {
        self.topology.topic_name(name, self.application_id).into()
    }

    pub fn defined_stores(&self) -> &[DefinedStore] {
        self.topology.defined_stores()
    }
}
