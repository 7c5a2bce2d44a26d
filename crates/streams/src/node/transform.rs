//! Making other values of a table's rows by a transformer of the program's.

use std::cell::{Cell, RefCell};

use tidewater_types::{Record, Timestamp};

use super::change::Change;
use super::table::{TableStore, ValueGetter};
use super::{Boxed, user};
use crate::codec::Data;
use crate::error::{TaskError, UserError};
use crate::task::{Core, Node, NodeId, take_record};

/// Makes other values of a table's; see `KTable::transform_values`.
pub trait ValueTransformer: Send + 'static {
    /// Key of the rows.
    type K: Data;
    /// Value of the rows that come in.
    type V: Data;
    /// Value of the rows that go out.
    type VOut: Data;

    /// Called once, before the first row.
    ///
    /// # Errors
    /// Whatever keeps the transformer from its work; the application does not start.
    fn init(&mut self, _task: &mut Core) -> Result<(), UserError> {
        Ok(())
    }

    /// The new value of a row, given its key and its value, or `None` where it is deleted. `task` is what stores are reached
    /// through.
    fn transform(
        &mut self,
        key: &Self::K,
        value: Option<Self::V>,
        task: &mut Core,
    ) -> Result<Option<Self::VOut>, UserError>;

    /// Called when the task is closed in good order.
    fn close(&mut self) {}
}

/// The node of `transform_values`.
pub(crate) struct TransformTable<T: ValueTransformer> {
    pub id: NodeId,
    pub transformer: T,
    pub store: Option<TableStore<T::K, T::VOut>>,
    pub send_old: bool,
}

impl<T: ValueTransformer> Node for TransformTable<T> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        self.transformer.init(core).map_err(user)
    }

    fn close(&mut self) {
        self.transformer.close();
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, headers } = take_record::<T::K, Change<T::V>>(record);
        let new = self.transformer.transform(&key, change.new, core).map_err(user)?;
        let is_latest = change.is_latest;
        let Some(store) = &self.store else {
            let old = match self.send_old {
                true => self.transformer.transform(&key, change.old, core).map_err(user)?,
                false => None,
            };
            let value = Change { new, old, is_latest };
            return core.forward(self.id, Record { key, value, timestamp, headers });
        };
        let raw = store.access.key_bytes(&key)?;
        let old = if self.send_old { store.access.get(core, &raw)?.map(|(old, _)| old) } else { None };
        let value = Change { new, old, is_latest };
        store.update(core, self.id, &raw, Record { key, value, timestamp, headers })
    }
}

/// Looks up a transformed row by transforming it again, with a transformer of its own, which begins with the first look.
pub(crate) struct TransformGetter<T: ValueTransformer> {
    parent: Box<dyn ValueGetter<T::K, T::V>>,
    transformer: RefCell<T>,
    has_begun: Cell<bool>,
}

impl<T: ValueTransformer> TransformGetter<T> {
    pub fn new(parent: Box<dyn ValueGetter<T::K, T::V>>, transformer: T) -> Self {
        TransformGetter { parent, transformer: RefCell::new(transformer), has_begun: Cell::new(false) }
    }
}

impl<T: ValueTransformer> Drop for TransformGetter<T> {
    fn drop(&mut self) {
        if self.has_begun.get() && !std::thread::panicking() {
            self.transformer.get_mut().close();
        }
    }
}

impl<T: ValueTransformer> TransformGetter<T> {
    fn transform(
        &self,
        core: &mut Core,
        key: &T::K,
        row: Option<(T::V, Timestamp)>,
    ) -> Result<Option<(T::VOut, Timestamp)>, TaskError> {
        let (value, timestamp) = row.unzip();
        if !self.has_begun.replace(true) {
            self.transformer.borrow_mut().init(core).map_err(user)?;
        }
        let made = self.transformer.borrow_mut().transform(key, value, core).map_err(user)?;
        Ok(made.map(|value| (value, timestamp.unwrap_or(Timestamp::NONE))))
    }
}

impl<T: ValueTransformer> ValueGetter<T::K, T::VOut> for TransformGetter<T> {
    fn get(&self, core: &mut Core, key: &T::K) -> Result<Option<(T::VOut, Timestamp)>, TaskError> {
        let row = self.parent.get(core, key)?;
        self.transform(core, key, row)
    }

    fn get_as_of(&self, core: &mut Core, key: &T::K, at: Timestamp) -> Result<Option<(T::VOut, Timestamp)>, TaskError> {
        let row = self.parent.get_as_of(core, key, at)?;
        self.transform(core, key, row)
    }
}
