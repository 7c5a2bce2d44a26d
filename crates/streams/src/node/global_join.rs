//! Joining a stream with a global table by a key that is taken from each record.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Record;

use super::stream_table_join::JoinRow;
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Data, Field};
use crate::error::{TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, take_record};

/// Takes the table's key from a record, if it has one.
pub(crate) type SelectKey<K, V, GK> = Arc<dyn Fn(&K, &V) -> Result<Option<GK>, UserError> + Send + Sync>;

/// The node of `join_global` and `left_join_global`.
pub(crate) struct GlobalJoin<K: Field, V: Field, GK, G, R> {
    pub id: NodeId,
    pub table: Box<dyn ValueGetter<GK, G>>,
    pub select: SelectKey<K, V::Some, GK>,
    pub join: JoinRow<K, V::Some, G, R>,
    pub left: bool,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, GK: Data, G: Data, R: Clone + Send + 'static> Node for GlobalJoin<K, V, GK, G, R> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(value) = value.into_some() else {
            core.drop_record(DropReason::NullValue);
            return Ok(());
        };
        let row = match (self.select)(&key, &value).map_err(user)? {
            Some(global_key) => self.table.get(core, &global_key)?.map(|(row, _)| row),
            None if self.left => None,
            None => {
                core.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        if row.is_none() && !self.left {
            return Ok(());
        }
        let value = (self.join)(&key, &value, row.as_ref()).map_err(user)?;
        core.forward(self.id, Record { key, value, timestamp, headers })
    }
}
