//! Keys and values that may, or may not, be missing.

use super::Data;

/// The type of a stream's key or value: a [`Data`] type, or `Option` of one where it may be null.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key or value of a record that is stored, grouped or sent",
    note = "write `tidewater::json!({Self});` beside the type, or implement `Data` for it"
)]
pub trait Field: Clone + Send + Sync + 'static {
    /// The type when it is there.
    type Some: Data;

    /// From what was read; `None` if this type has no place for a null.
    fn from_option(value: Option<Self::Some>) -> Option<Self>;

    /// The value, if it is there.
    fn as_some(&self) -> Option<&Self::Some>;

    /// The value, if it is there.
    fn into_some(self) -> Option<Self::Some>;

    /// From a value that is there.
    fn from_some(value: Self::Some) -> Self;
}

impl<T: Data> Field for T {
    type Some = T;

    fn from_option(value: Option<T>) -> Option<T> {
        value
    }

    fn as_some(&self) -> Option<&T> {
        Some(self)
    }

    fn into_some(self) -> Option<T> {
        Some(self)
    }

    fn from_some(value: T) -> T {
        value
    }
}

impl<T: Data> Field for Option<T> {
    type Some = T;

    fn from_option(value: Option<T>) -> Option<Option<T>> {
        Some(value)
    }

    fn as_some(&self) -> Option<&T> {
        self.as_ref()
    }

    fn into_some(self) -> Option<T> {
        self
    }

    fn from_some(value: T) -> Option<T> {
        Some(value)
    }
}

/// A stream's type that fits a place of type `T`: the same one, or one without nulls where `T` allows them.
#[diagnostic::on_unimplemented(
    message = "a stream of `{Self}` does not fit a topic of `{T}`",
    note = "`.filter_some()` turns `Option<V>` values into `V`"
)]
pub trait Fits<T>: Clone + Send + 'static {
    /// As the other type.
    fn fit(self) -> T;
}

impl<T: Field> Fits<T> for T {
    fn fit(self) -> T {
        self
    }
}

impl<T: Data> Fits<Option<T>> for T {
    fn fit(self) -> Option<T> {
        Some(self)
    }
}
