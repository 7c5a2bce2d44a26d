//! Operators that look at one record at a time.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Record;

use super::{Boxed, user};
use crate::error::{TaskError, UserError};
use crate::task::{Core, Node, NodeId, take_record};

/// Passes records on as they are: merges, branches, joins' ends.
pub(crate) struct Pass<K, V> {
    pub id: NodeId,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> Node for Pass<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        core.forward(self.id, record)
    }
}

/// Passes on what a predicate says.
pub(crate) struct Filter<K, V, F> {
    pub id: NodeId,
    pub predicate: Arc<F>,
    /// What the predicate must say.
    pub keep: bool,
    pub types: PhantomData<fn(K, V)>,
}

impl<K, V, F> Node for Filter<K, V, F>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
    F: Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        if (self.predicate)(&record.key, &record.value).map_err(user)? == self.keep {
            core.forward(self.id, record)
        } else {
            Ok(())
        }
    }
}

/// Makes one record of one.
pub(crate) struct Map<K, V, K2, V2, F> {
    pub id: NodeId,
    pub map: Arc<F>,
    pub types: PhantomData<fn(K, V) -> (K2, V2)>,
}

impl<K, V, K2, V2, F> Node for Map<K, V, K2, V2, F>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
    K2: Clone + Send + 'static,
    V2: Clone + Send + 'static,
    F: Fn(K, V) -> Result<(K2, V2), UserError> + Send + Sync + 'static,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let (key, value) = (self.map)(key, value).map_err(user)?;
        core.forward(self.id, Record { key, value, timestamp, headers })
    }
}

/// Makes any number of records of one.
pub(crate) struct FlatMap<K, V, K2, V2, F, I> {
    pub id: NodeId,
    pub map: Arc<F>,
    pub types: PhantomData<fn(K, V) -> (K2, V2, I)>,
}

impl<K, V, K2, V2, F, I> Node for FlatMap<K, V, K2, V2, F, I>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
    K2: Clone + Send + 'static,
    V2: Clone + Send + 'static,
    I: IntoIterator<Item = (K2, V2)> + 'static,
    F: Fn(K, V) -> Result<I, UserError> + Send + Sync + 'static,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        for (key, value) in (self.map)(key, value).map_err(user)? {
            core.forward(self.id, Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

/// One test of a branching, and the child that gets the records that pass it.
pub(crate) type BranchTest<K, V> = Arc<dyn Fn(&K, &V) -> Result<bool, UserError> + Send + Sync>;

/// Sends each record to the child of the first test that it passes.
pub(crate) struct Branch<K, V> {
    pub id: NodeId,
    /// One test a child, in the order of the children.
    pub tests: Vec<BranchTest<K, V>>,
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> Node for Branch<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        for (index, test) in self.tests.iter().enumerate() {
            if test(&record.key, &record.value).map_err(user)? {
                let child = core.nodes[self.id].children[index];
                return core.forward_to(child, record);
            }
        }
        Ok(())
    }
}
