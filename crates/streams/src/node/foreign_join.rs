//! Joining two tables by a key that is taken from the left one's rows (KIP-213).
//!
//! ```text
//!   left row ──Register──> registration topic ──Receive──> registrations, by foreign and primary key
//!                          (by foreign key)        │
//!                                                Answer <── right row
//!   right row ──ForeignChange: all registrations of its key──┤
//!                                                            v
//!   result <──Resolve: is the left row still that one? <── response topic (by primary key)
//! ```
//!
//! A registration carries the hash of the left row, and its response brings it back: a response to an older row is dropped.
//!
//! - Registration: version 1, with bit 0x80 if there is no hash (1), instruction (1), hash (16, absent with 0x80), primary key,
//!   partition of the left task (4).
//! - Key of the store: length of the foreign key (4), foreign key, primary key.
//! - Response: version 0, with bit 0x80 if there is no hash (1), hash (16), right value (nothing for none).

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_state::KeyRange;
use tidewater_types::{Partition, Record, Timestamp, Topic};

use super::change::Change;
use super::murmur3::hash128;
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Codec, CodecError, Data, Serde};
use crate::error::{FailureKind, TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, OutRecord, PartitionBy, StoreAccess, take_record};

/// What the receiver of a registration is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    /// Forget it.
    Delete = 0,
    /// Forget it, and answer that there is no right row.
    DeleteAndAnswer = 1,
    /// Keep it, and answer even if there is no right row.
    Answer = 2,
    /// Keep it, and answer if there is a right row.
    AnswerIfFound = 3,
}

impl Instruction {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Delete, Self::DeleteAndAnswer, Self::Answer, Self::AnswerIfFound].get(usize::from(byte)).copied()
    }
}

/// The hash of a left row's value; `None` for no row.
type RowHash = Option<[u8; 16]>;

/// A left row's interest in a foreign key.
#[derive(Clone, Debug)]
pub(crate) struct Registration<K> {
    hash: RowHash,
    instruction: Instruction,
    primary_key: K,
    partition: Partition,
}

/// The right row, or its absence, for a left row.
#[derive(Clone, Debug)]
pub(crate) struct Response<V> {
    hash: RowHash,
    value: Option<V>,
    /// Where to send it; not part of its bytes.
    partition: Partition,
}

const REGISTRATION_VERSION: u8 = 1;
const RESPONSE_VERSION: u8 = 0;
const NO_HASH: u8 = 0x80;

fn write_hash(version: u8, hash: &RowHash, between: &[u8], out: &mut Vec<u8>) {
    out.push(if hash.is_some() { version } else { version | NO_HASH });
    out.extend_from_slice(between);
    out.extend_from_slice(hash.as_ref().map_or(&[], |hash| hash));
}

fn split_hash(has_none: bool, rest: &[u8]) -> Option<(RowHash, &[u8])> {
    if has_none {
        return Some((None, rest));
    }
    rest.split_first_chunk::<16>().map(|(hash, rest)| (Some(*hash), rest))
}

/// The bytes of registrations.
pub(crate) struct RegistrationCodec<K>(pub Serde<K>);

impl<K: Data> Codec<Registration<K>> for RegistrationCodec<K> {
    fn write(&self, registration: &Registration<K>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        write_hash(REGISTRATION_VERSION, &registration.hash, &[registration.instruction as u8], out);
        self.0.write(&registration.primary_key, out)?;
        out.extend_from_slice(&registration.partition.to_be_bytes());
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<Registration<K>, CodecError> {
        let malformed =
            || CodecError::new("registration of a foreign key", format!("{} bytes not in the layout", bytes.len()));
        let [version, instruction, rest @ ..] = bytes else { return Err(malformed()) };
        if version & !NO_HASH != REGISTRATION_VERSION {
            let reason = format!("version {}, only {REGISTRATION_VERSION} is known", version & !NO_HASH);
            return Err(CodecError::new("registration of a foreign key", reason));
        }
        let instruction = Instruction::from_byte(*instruction).ok_or_else(malformed)?;
        let (hash, rest) = split_hash(version & NO_HASH != 0, rest).ok_or_else(malformed)?;
        let (primary_key, partition) = rest.split_last_chunk::<4>().ok_or_else(malformed)?;
        let (primary_key, partition) = (self.0.read(primary_key)?, Partition::from_be_bytes(*partition));
        Ok(Registration { hash, instruction, primary_key, partition })
    }
}

/// The bytes of responses.
pub(crate) struct ResponseCodec<V>(pub Serde<V>);

impl<V: Data> Codec<Response<V>> for ResponseCodec<V> {
    fn write(&self, response: &Response<V>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        write_hash(RESPONSE_VERSION, &response.hash, &[], out);
        response.value.as_ref().map_or(Ok(()), |value| self.0.write(value, out))
    }

    fn read(&self, bytes: &[u8]) -> Result<Response<V>, CodecError> {
        let malformed =
            || CodecError::new("response to a foreign key", format!("{} bytes not in the layout", bytes.len()));
        let (version, rest) = bytes.split_first().ok_or_else(malformed)?;
        if version & !NO_HASH != RESPONSE_VERSION {
            let reason = format!("version {}, only {RESPONSE_VERSION} is known", version & !NO_HASH);
            return Err(CodecError::new("response to a foreign key", reason));
        }
        let (hash, rest) = split_hash(version & NO_HASH != 0, rest).ok_or_else(malformed)?;
        let value = if rest.is_empty() { None } else { Some(self.0.read(rest)?) };
        Ok(Response { hash, value, partition: -1 })
    }
}

/// Always written by [`RegistrationCodec`]; these are its bytes over those of the key's type.
impl<K: Data> Data for Registration<K> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        RegistrationCodec(Serde::default()).write(self, out)
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        RegistrationCodec(Serde::default()).read(bytes)
    }
}

/// Always written by [`ResponseCodec`]; these are its bytes over those of the value's type.
impl<V: Data> Data for Response<V> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        ResponseCodec(Serde::default()).write(self, out)
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        ResponseCodec(Serde::default()).read(bytes)
    }
}

/// Takes the foreign key of a left row, if it has one.
pub(crate) type ForeignKey<K, V, FK> = Arc<dyn Fn(&K, &V) -> Result<Option<FK>, UserError> + Send + Sync>;

/// Registers left rows for the right rows that they name.
pub(crate) struct Register<K, V, FK> {
    pub id: NodeId,
    pub foreign_key: ForeignKey<K, V, FK>,
    pub foreign_serde: Serde<FK>,
    pub value: Serde<V>,
    pub left: bool,
    /// Whether the left table is versioned: its late changes are left out.
    pub versioned: bool,
}

impl<K: Data, V: Data, FK: Data> Register<K, V, FK> {
    /// What to tell whom about a change of a row.
    fn decide(
        &self,
        old: Option<FK>,
        new: Option<FK>,
        change: &Change<V>,
    ) -> Result<Vec<(Option<FK>, Instruction)>, TaskError> {
        let bytes = |key: &Option<FK>| key.as_ref().map(|key| self.foreign_serde.to_bytes(key)).transpose();
        let is_same = bytes(&old)? == bytes(&new)?;
        if self.left {
            if change.old.is_none() && change.new.is_none() {
                return Ok(vec![]);
            }
            return Ok(match old {
                Some(old) if !is_same => {
                    vec![(Some(old), Instruction::Delete), (new, Instruction::Answer)]
                }
                _ => vec![(new, Instruction::Answer)],
            });
        }
        Ok(match (old, new) {
            (None, None) => vec![],
            (None, Some(new)) => vec![(Some(new), Instruction::AnswerIfFound)],
            (Some(old), None) => vec![(Some(old), Instruction::DeleteAndAnswer)],
            (Some(_), Some(new)) if is_same => vec![(Some(new), Instruction::AnswerIfFound)],
            (Some(old), Some(new)) => vec![(Some(old), Instruction::Delete), (Some(new), Instruction::Answer)],
        })
    }
}

impl<K: Data, V: Data, FK: Data> Node for Register<K, V, FK> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, headers } = take_record::<K, Change<V>>(record);
        if self.versioned && !change.is_latest {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let foreign = |value: &Option<V>| match value {
            Some(value) => (self.foreign_key)(&key, value).map_err(user),
            None => Ok(None),
        };
        let (old, new) = (foreign(&change.old)?, foreign(&change.new)?);
        let names_none = new.is_none() && change.new.is_some();
        let told = self.decide(old, new, &change)?;
        if !self.left && names_none {
            core.drop_record(DropReason::NullKey);
        }
        let hash = match &change.new {
            Some(value) => Some(hash128(&self.value.to_bytes(value)?)),
            None => None,
        };
        let partition = core.outbox.partition;
        for (foreign_key, instruction) in told {
            let value = Registration { hash, instruction, primary_key: key.clone(), partition };
            core.forward(self.id, Record { key: foreign_key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

/// The key of a registration in its store, or what such keys begin with.
fn store_key<FK: Data>(serde: &Serde<FK>, foreign_key: &FK, primary_key: &[u8]) -> Result<Vec<u8>, TaskError> {
    let foreign_key = serde.to_bytes(foreign_key)?;
    let mut out = Vec::with_capacity(4 + foreign_key.len() + primary_key.len());
    out.extend_from_slice(&(foreign_key.len() as u32).to_be_bytes());
    out.extend_from_slice(&foreign_key);
    out.extend_from_slice(primary_key);
    Ok(out)
}

/// Keeps registrations on the right side.
pub(crate) struct Receive<K: Data, FK: Data> {
    pub id: NodeId,
    pub store: StoreAccess<FK, Registration<K>>,
    pub primary_serde: Serde<K>,
}

impl<K: Data, FK: Data> Node for Receive<K, FK> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record = take_record::<Option<FK>, Registration<K>>(record);
        let instruction = record.value.instruction;
        match &record.key {
            None if instruction != Instruction::Answer => {
                core.drop_record(DropReason::NullKey);
                return Ok(());
            }
            None => {}
            Some(foreign_key) => {
                let primary_key = self.primary_serde.to_bytes(&record.value.primary_key)?;
                let key = store_key(&self.store.key, foreign_key, &primary_key)?;
                let is_kept = matches!(instruction, Instruction::Answer | Instruction::AnswerIfFound);
                self.store.put(core, &key, is_kept.then_some(&record.value), record.timestamp)?;
            }
        }
        core.forward(self.id, record)
    }
}

/// Answers registrations with the right row as it is.
pub(crate) struct Answer<K, FK, FV> {
    pub id: NodeId,
    pub right: Box<dyn ValueGetter<FK, FV>>,
    pub types: PhantomData<fn(K)>,
}

impl<K: Data, FK: Data, FV: Data> Node for Answer<K, FK, FV> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: registration, timestamp, headers } =
            take_record::<Option<FK>, Registration<K>>(record);
        let row = match &key {
            Some(key) => self.right.get(core, key)?,
            None => None,
        };
        let timestamp = row.as_ref().map_or(timestamp, |(_, time)| timestamp.max(*time));
        let value = match (registration.instruction, row) {
            (Instruction::Delete, _) | (Instruction::AnswerIfFound, None) => return Ok(()),
            (Instruction::DeleteAndAnswer, _) => None,
            (Instruction::Answer | Instruction::AnswerIfFound, row) => row.map(|(row, _)| row),
        };
        let Registration { hash, primary_key, partition, .. } = registration;
        let value = Response { hash, value, partition };
        core.forward(self.id, Record { key: primary_key, value, timestamp, headers })
    }
}

/// Registrations that are answered at once when a right row changes.
const ANSWERED_AT_ONCE: usize = 1000;

/// Tells all that are registered for a right row of its change.
pub(crate) struct ForeignChange<K: Data, FK: Data, FV> {
    pub id: NodeId,
    pub store: StoreAccess<FK, Registration<K>>,
    /// Whether the right table is versioned: its late changes are left out.
    pub versioned: bool,
    pub types: PhantomData<fn(FV)>,
}

impl<K: Data, FK: Data, FV: Data> Node for ForeignChange<K, FK, FV> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, headers } = take_record::<FK, Change<FV>>(record);
        if self.versioned && !change.is_latest {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let prefix = store_key(&self.store.key, &key, &[])?;
        let mut range = KeyRange::with_prefix(&prefix);
        loop {
            let mut registered: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            core.stores[self.store.id].visit(&range, &mut |full, raw| {
                if registered.len() == ANSWERED_AT_ONCE {
                    return ControlFlow::Break(());
                }
                registered.push((full.to_vec(), raw.to_vec()));
                ControlFlow::Continue(())
            })?;
            let Some((last, _)) = registered.last() else { return Ok(()) };
            range.from = [last.as_slice(), &[0]].concat();
            for (_, raw) in registered {
                let (registration, _) = self.store.read_stamped(&raw)?;
                let Registration { hash, primary_key, partition, .. } = registration;
                let value = Response { hash, value: change.new.clone(), partition };
                core.forward(self.id, Record { key: primary_key, value, timestamp, headers: headers.clone() })?;
            }
        }
    }
}

/// Sends responses to the partition that the registration came from.
pub(crate) struct ResponseSink<K, FV> {
    /// Where responses go; to where the registration came from, if it does not say.
    pub partition: Option<ChoosePartition<K>>,
    pub topic: Topic,
    pub key: Serde<K>,
    pub value: Serde<Response<FV>>,
}

impl<K: Data, FV: Data> Node for ResponseSink<K, FV> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record = take_record::<K, Response<FV>>(record);
        let (key, value) = (self.key.to_bytes(&record.key)?, self.value.to_bytes(&record.value)?);
        let unsent = |error| TaskError::new(FailureKind::Production, error);
        let partition = match &self.partition {
            Some(choose) => choose(&record.key, core.outbox.collector.partitions(&self.topic).map_err(unsent)?),
            None => record.value.partition,
        };
        let out = OutRecord {
            topic: &self.topic,
            partition: PartitionBy::Fixed(partition),
            key: Some(&key),
            value: Some(&value),
            timestamp: Some(record.timestamp),
            headers: &record.headers,
        };
        core.outbox.collector.send(out).map_err(unsent)
    }
}

/// Names the partition of a key among so many.
pub(crate) type ChoosePartition<K> = Arc<dyn Fn(&K, Partition) -> Partition + Send + Sync>;

/// Makes a joined value of a left row and, if there is one, the right row.
pub(crate) type JoinForeign<V, FV, R> = Arc<dyn Fn(&V, Option<&FV>) -> Result<Option<R>, UserError> + Send + Sync>;

/// Joins what comes back with the left row, if that is still the same.
pub(crate) struct Resolve<K, V, FV, R> {
    pub id: NodeId,
    pub rows: Box<dyn ValueGetter<K, V>>,
    pub value: Serde<V>,
    pub join: JoinForeign<V, FV, R>,
    pub left: bool,
}

impl<K: Data, V: Data, FV: Data, R: Data> Node for Resolve<K, V, FV, R> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: response, timestamp, headers } = take_record::<K, Response<FV>>(record);
        let row = self.rows.get(core, &key)?.map(|(row, _): (V, Timestamp)| row);
        let hash = match &row {
            Some(row) => Some(hash128(&self.value.to_bytes(row)?)),
            None => None,
        };
        if hash != response.hash {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let value = match row {
            Some(row) if self.left || response.value.is_some() => {
                (self.join)(&row, response.value.as_ref()).map_err(user)?
            }
            _ => None,
        };
        core.forward(self.id, Record { key, value, timestamp, headers })
    }
}
