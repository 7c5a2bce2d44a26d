//! How the coordinators write: records of a key, into the one partition of a topic that the key's name says.

use tidewater_protocol::ResponseError;

/// A record: its key, and its value if it deletes nothing.
pub(crate) type Record = (Vec<u8>, Option<Vec<u8>>);

/// A producer in one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// Where a coordinator's records are written.
pub(crate) trait Journal {
    /// Writes records of a group or a transaction, all or none; in a producer's transaction, if there is one.
    fn append_as(&mut self, owner: &str, producer: Option<Producer>, records: Vec<Record>)
    -> Result<(), ResponseError>;

    /// Writes records of a group or a transaction, all or none.
    fn append(&mut self, owner: &str, records: Vec<Record>) -> Result<(), ResponseError> {
        self.append_as(owner, None, records)
    }
}

/// The partition that a group or a transaction has, by its name's hash in Java.
pub(crate) fn partition_of(owner: &str, partitions: i32) -> i32 {
    let hash = owner.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Java's Utils.abs: the smallest number stands for 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_names_partition_is_that_of_java() {
        // "hello".hashCode() is 99162322.
        assert_eq!(partition_of("hello", 50), 22);
    }
}
