//! What all handles share: their operator, and the codecs that were set for their keys and values.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::codec::{Field, Serde};
use crate::error::BuildError;
use crate::graph::{AnySerde, NodeMaker, OpId, OpKind, Plan, StoreOptions};
use crate::task::{Node, TaskBuild};

/// A plan that handles share while the program is written.
pub(crate) type SharedPlan = Arc<Mutex<Plan>>;

pub(crate) fn lock(plan: &SharedPlan) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An operator of a plan.
#[derive(Clone)]
pub(crate) struct Handle {
    pub plan: SharedPlan,
    pub op: OpId,
}

impl Handle {
    /// Adds an operator behind this one.
    pub fn then(&self, kind: OpKind) -> Handle {
        self.join(&[], kind)
    }

    /// Adds an operator behind this one and others.
    pub fn join(&self, others: &[&Handle], kind: OpKind) -> Handle {
        let mut plan = lock(&self.plan);
        let mut inputs = vec![self.op];
        for other in others {
            if !Arc::ptr_eq(&self.plan, &other.plan) {
                plan.errors.push(BuildError::ForeignHandle("a stream or table".to_owned()));
                continue;
            }
            inputs.push(other.op);
        }
        // A stranger's handle is an error already; the plan only has to stay whole.
        while inputs.len() < others.len() + 1 {
            inputs.push(self.op);
        }
        let op = plan.add(kind, inputs);
        Handle { plan: self.plan.clone(), op }
    }

    /// Adds an operator behind this one that looks into another one of the same builder without taking its records.
    pub fn then_beside(&self, other: &Handle, kind: OpKind) -> Handle {
        if Arc::ptr_eq(&self.plan, &other.plan) {
            lock(&self.plan).ops[other.op].used = true;
        } else {
            self.fail(BuildError::ForeignHandle("a global table".to_owned()));
        }
        self.then(kind)
    }

    pub fn set_name(&self, name: String) {
        let mut plan = lock(&self.plan);
        self.check_unused(&mut plan);
        plan.ops[self.op].name = Some(name);
    }

    pub fn store(&self, set: impl FnOnce(&mut StoreOptions)) {
        let mut plan = lock(&self.plan);
        self.check_unused(&mut plan);
        set(plan.ops[self.op].store.get_or_insert_default());
    }

    /// Changes the operator itself, by an option.
    pub fn option(&self, change: impl FnOnce(&mut OpKind)) {
        let mut plan = lock(&self.plan);
        self.check_unused(&mut plan);
        change(&mut plan.ops[self.op].kind);
    }

    /// Changes the operator itself, by what comes behind it.
    pub fn change(&self, change: impl FnOnce(&mut OpKind)) {
        change(&mut lock(&self.plan).ops[self.op].kind);
    }

    /// Sets the serdes of the operator's result; `None` leaves one as it is.
    pub fn set_serdes(&self, key: Option<AnySerde>, value: Option<AnySerde>) {
        let mut plan = lock(&self.plan);
        self.check_unused(&mut plan);
        let op = &mut plan.ops[self.op];
        op.key_serde = key.or(op.key_serde.take());
        op.value_serde = value.or(op.value_serde.take());
    }

    pub fn fail(&self, error: BuildError) {
        lock(&self.plan).errors.push(error);
    }

    fn check_unused(&self, plan: &mut Plan) {
        if plan.ops[self.op].used {
            let name = plan.ops[self.op].name.clone().unwrap_or_else(|| format!("operator {}", self.op + 1));
            plan.errors.push(BuildError::LateOption(name));
        }
    }
}

/// A serde that was set for keys or values of some type, if one was.
#[derive(Clone, Default)]
pub(crate) struct SerdeSlot(Option<Arc<dyn Any + Send + Sync>>);

impl SerdeSlot {
    pub fn of<T: 'static>(serde: Serde<T>) -> Self {
        SerdeSlot(Some(Arc::new(serde)))
    }

    pub fn maybe<T: 'static>(serde: &Option<Serde<T>>) -> Self {
        SerdeSlot(serde.as_ref().map(|serde| Arc::new(serde.clone()) as Arc<dyn Any + Send + Sync>))
    }

    /// The serde that was set, or the type's own.
    pub fn get<T: Field>(&self) -> Serde<T::Some> {
        self.0.as_ref().and_then(|serde| serde.downcast_ref::<Serde<T::Some>>()).cloned().unwrap_or_default()
    }
}

/// A node's maker from a closure.
pub(crate) fn maker<N: Node + 'static>(make: impl Fn(&mut TaskBuild<'_>) -> N + Send + Sync + 'static) -> NodeMaker {
    Arc::new(move |build| Box::new(make(build)))
}
