//! The processors behind the operators, one kind a file.

pub(crate) mod aggregate;
pub(crate) mod buffered;
pub(crate) mod change;
pub(crate) mod closing;
pub(crate) mod foreign_join;
pub(crate) mod global_join;
pub(crate) mod murmur3;
pub(crate) mod origin;
pub(crate) mod session_aggregate;
pub(crate) mod sink;
pub(crate) mod sliding_aggregate;
pub(crate) mod source;
pub(crate) mod stateless;
pub(crate) mod stream_join;
pub(crate) mod stream_table_join;
pub(crate) mod suppress;
pub(crate) mod table;
pub(crate) mod table_aggregate;
pub(crate) mod table_join;
pub(crate) mod transform;
pub(crate) mod window_aggregate;

use std::any::Any;

pub(crate) use source::Source;

use crate::error::{FailureKind, TaskError, UserError};

/// A user's failure as the task's.
pub(crate) fn user(error: UserError) -> TaskError {
    TaskError::new(FailureKind::Processing, error)
}

/// A record on its way between two nodes.
pub(crate) type Boxed<'a> = &'a mut dyn Any;
