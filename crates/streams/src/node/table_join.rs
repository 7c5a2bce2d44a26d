//! Joining two tables by key: a change of either side looks the other side's row up.

use std::sync::Arc;

use tidewater_types::{Record, Timestamp};

use super::change::Change;
use super::table::{TableStore, ValueGetter};
use super::{Boxed, user};
use crate::codec::Data;
use crate::error::{TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, take_record};

/// Which rows a join has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// Those of both sides.
    Inner,
    /// Those of the left side.
    Left,
    /// Those of either side.
    Outer,
}

/// Makes a joined value of what the two sides have; called with at least one.
pub(crate) type Join<K, L, R, V> =
    Arc<dyn Fn(&K, Option<&L>, Option<&R>) -> Result<Option<V>, UserError> + Send + Sync>;

/// One side of a table-table join. `join` is given this side's value first.
pub(crate) struct TableJoinSide<K, L, R, V> {
    pub id: NodeId,
    pub other: Box<dyn ValueGetter<K, R>>,
    pub join: Join<K, L, R, V>,
    /// Whether a row of this side stands without the other one.
    pub keeps_this: bool,
    /// Whether a row of the other side stands without this one.
    pub keeps_other: bool,
    pub send_old: bool,
    /// Whether this side is versioned: its late changes are left out.
    pub versioned: bool,
}

impl<K: Data, L: Data, R: Data, V: Data> Node for TableJoinSide<K, L, R, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, headers } = take_record::<K, Change<L>>(record);
        if self.versioned && !change.is_latest {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let is_latest = change.is_latest;
        let other = self.other.get(core, &key)?;
        let timestamp = other.as_ref().map_or(timestamp, |(_, other_time)| timestamp.max(*other_time));
        let other = other.map(|(other, _)| other);
        if other.is_none() && (!self.keeps_this || (change.new.is_none() && change.old.is_none())) {
            return Ok(());
        }
        let join = |this: Option<&L>| -> Result<Option<V>, TaskError> {
            let stands = this.is_some() || (self.keeps_other && other.is_some());
            if stands { (self.join)(&key, this, other.as_ref()).map_err(user) } else { Ok(None) }
        };
        let new = join(change.new.as_ref())?;
        let old = if self.send_old { join(change.old.as_ref())? } else { None };
        core.forward(self.id, Record { key, value: Change { new, old, is_latest }, timestamp, headers })
    }
}

/// Where the two sides of a join meet, and where its store stands if it has one.
pub(crate) struct TableJoinMerge<K, V> {
    pub id: NodeId,
    pub store: Option<TableStore<K, V>>,
    pub send_old: bool,
}

impl<K: Data, V: Data> Node for TableJoinMerge<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let mut record = take_record::<K, Change<V>>(record);
        match &self.store {
            Some(store) => {
                let raw = store.access.key_bytes(&record.key)?;
                store.update(core, self.id, &raw, record)
            }
            None => {
                if !self.send_old {
                    record.value.old = None;
                }
                core.forward(self.id, record)
            }
        }
    }
}

/// Looks up a joined row by joining again.
pub(crate) struct JoinGetter<K, L, R, V> {
    pub left: Box<dyn ValueGetter<K, L>>,
    pub right: Box<dyn ValueGetter<K, R>>,
    pub join: Join<K, L, R, V>,
    pub kind: JoinKind,
}

impl<K: Data, L: Data, R: Data, V: Data> ValueGetter<K, V> for JoinGetter<K, L, R, V> {
    fn get(&self, core: &mut Core, key: &K) -> Result<Option<(V, Timestamp)>, TaskError> {
        let left = self.left.get(core, key)?;
        if left.is_none() && self.kind != JoinKind::Outer {
            return Ok(None);
        }
        let right = self.right.get(core, key)?;
        if right.is_none() && (self.kind == JoinKind::Inner || left.is_none()) {
            return Ok(None);
        }
        let time = |side: Option<Timestamp>| side.unwrap_or(Timestamp::NONE);
        let timestamp = time(left.as_ref().map(|(_, at)| *at)).max(time(right.as_ref().map(|(_, at)| *at)));
        let joined = (self.join)(key, left.as_ref().map(|(left, _)| left), right.as_ref().map(|(right, _)| right));
        Ok(joined.map_err(user)?.map(|joined| (joined, timestamp)))
    }
}
