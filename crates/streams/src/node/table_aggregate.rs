//! Aggregating a grouped table: what a row was is subtracted, what it is now is added.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Record;

use super::aggregate::{Add, Init};
use super::change::Change;
use super::table::TableStore;
use super::{Boxed, user};
use crate::codec::{Data, Field};
use crate::error::{TaskError, UserError};
use crate::task::{Core, Node, NodeId, take_record};

/// The group of a row: its new key, and the value that is aggregated.
pub(crate) type SelectGroup<K, V, K2, V2> = Arc<dyn Fn(&K, &V) -> Result<(K2, V2), UserError> + Send + Sync>;

/// The node behind a table's `group_by`: sends each change of a row to the group it leaves and the group it enters.
pub(crate) struct GroupTable<K, V, K2: Field, V2: Field> {
    pub id: NodeId,
    pub select: SelectGroup<K, V, K2, V2>,
    /// Group keys are compared as bytes.
    pub key_bytes: Arc<dyn Fn(&K2::Some) -> Result<Vec<u8>, TaskError> + Send + Sync>,
    /// Whether the table is versioned: its late changes are left out.
    pub versioned: bool,
}

impl<K: Data, V: Data, K2: Field, V2: Field> Node for GroupTable<K, V, K2, V2> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, Change<V>>(record);
        if self.versioned && !value.is_latest {
            return Ok(());
        }
        let select = |value: Option<V>| -> Result<Option<(K2::Some, V2::Some)>, TaskError> {
            let Some(value) = value else { return Ok(None) };
            let (group, value) = (self.select)(&key, &value).map_err(user)?;
            Ok(group.into_some().zip(value.into_some()))
        };
        let (new, old) = (select(value.new)?, select(value.old)?);
        let record = |key, value| Record { key, value, timestamp, headers: headers.clone() };
        match (new, old) {
            (Some((new_key, new)), Some((old_key, old))) => {
                if (self.key_bytes)(&new_key)? == (self.key_bytes)(&old_key)? {
                    return core.forward(self.id, record(new_key, Change::new(Some(new), Some(old))));
                }
                core.forward(self.id, record(old_key, Change::new(None, Some(old))))?;
                core.forward(self.id, record(new_key, Change::new(Some(new), None)))
            }
            (None, Some((key, old))) => core.forward(self.id, record(key, Change::new(None, Some(old)))),
            (Some((key, new)), None) => core.forward(self.id, record(key, Change::new(Some(new), None))),
            (None, None) => Ok(()),
        }
    }
}

/// The node of a grouped table's `count`, `reduce` and `aggregate`.
pub(crate) struct TableAggregate<K: Data, V: Data, A: Data> {
    pub id: NodeId,
    pub store: TableStore<K, A>,
    pub init: Init<A>,
    pub add: Add<K, V, A>,
    pub subtract: Add<K, V, A>,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Data, V: Data, A: Data> Node for TableAggregate<K, V, A> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, headers } = take_record::<K, Change<V>>(record);
        let raw = self.store.access.key_bytes(&key)?;
        let stored = self.store.access.get(core, &raw)?;
        let old = stored.as_ref().map(|(old, _)| old.clone());
        let mut new_time = timestamp;
        let mut aggregate = old.clone();
        if let (Some(subtracted), Some((_, old_time))) = (change.old, &stored) {
            aggregate = (self.subtract)(&key, subtracted, aggregate).map_err(user)?;
            new_time = timestamp.max(*old_time);
        }
        if let Some(added) = change.new {
            let initial = match aggregate {
                None => (self.init)(),
                some => some,
            };
            aggregate = (self.add)(&key, added, initial).map_err(user)?;
            if let Some((_, old_time)) = &stored {
                new_time = timestamp.max(*old_time);
            }
        }
        let change = Change::new(aggregate, old.filter(|_| self.store.send_old));
        self.store.update(core, self.id, &raw, Record { key, value: change, timestamp: new_time, headers })
    }
}
