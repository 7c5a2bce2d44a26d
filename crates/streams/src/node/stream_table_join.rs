//! Joining a stream with a table: each record looks the table's row up as it is now.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Record;

use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Data, Field};
use crate::error::{TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, take_record};

/// Makes a joined value of a record and the table's row.
pub(crate) type JoinRow<K, V, T, V2> = Arc<dyn Fn(&K, &V, Option<&T>) -> Result<V2, UserError> + Send + Sync>;

/// The node of `join_table` and `left_join_table`.
pub(crate) struct StreamTableJoin<K: Field, V: Field, T, V2> {
    pub id: NodeId,
    pub table: Box<dyn ValueGetter<K::Some, T>>,
    pub join: JoinRow<K, V::Some, T, V2>,
    pub left: bool,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, T: Data, V2: Clone + Send + 'static> Node for StreamTableJoin<K, V, T, V2> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(value) = value.into_some() else {
            core.drop_record(DropReason::NullValue);
            return Ok(());
        };
        let row = match key.as_some() {
            Some(key) => self.table.get(core, key)?.map(|(row, _)| row),
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
