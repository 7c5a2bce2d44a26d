//! Aggregating a grouped stream: one row a key.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Record;

use super::change::Change;
use super::table::TableStore;
use super::{Boxed, user};
use crate::codec::{Data, Field};
use crate::error::{TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, take_record};

/// The aggregate before the first record; `None` for none.
pub(crate) type Init<A> = Arc<dyn Fn() -> Option<A> + Send + Sync>;
/// Adds a value to an aggregate; `None` deletes it.
pub(crate) type Add<K, V, A> = Arc<dyn Fn(&K, V, Option<A>) -> Result<Option<A>, UserError> + Send + Sync>;
/// Makes one aggregate of two sessions'.
pub(crate) type Merge<K, A> = Arc<dyn Fn(&K, Option<A>, Option<A>) -> Result<Option<A>, UserError> + Send + Sync>;

/// The node of `count`, `reduce` and `aggregate`.
pub(crate) struct Aggregate<K: Field, V: Field, A: Data> {
    pub id: NodeId,
    pub store: TableStore<K::Some, A>,
    pub init: Init<A>,
    pub add: Add<K::Some, V::Some, A>,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, A: Data> Node for Aggregate<K, V, A> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let Some(value) = value.into_some() else {
            core.drop_record(DropReason::NullValue);
            return Ok(());
        };
        let raw = self.store.access.key_bytes(&key)?;
        let (old, timestamp) = match self.store.access.get(core, &raw)? {
            Some((old, old_time)) => (Some(old), timestamp.max(old_time)),
            None => ((self.init)(), timestamp),
        };
        let sent_old = if self.store.send_old { old.clone() } else { None };
        let new = (self.add)(&key, value, old).map_err(user)?;
        let change = Change::new(new, sent_old);
        self.store.update(core, self.id, &raw, Record { key, value: change, timestamp, headers })
    }
}
