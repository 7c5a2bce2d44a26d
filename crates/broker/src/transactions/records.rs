//! The records of `__transaction_state`, in Apache Kafka's format. A transaction's are in the partition of its id's Java hash.
//!
//! Key: version 0 (2), the transactional id. Value: version 1 (2), producer id (8), epoch (2), timeout (4), state (1), topics with
//! their partitions, null where there is no transaction, time of the last change (8), time of the begin (8), tag 0: the producer
//! id before (8), tag 1: the next producer id (8), tag 2: the version of transactions that the client has (2). The value is
//! compact; see [`crate::wire`]. A null value deletes. Version 0, which is not compact and has no tags, is read.

use std::collections::BTreeMap;

use tidewater_types::{Timestamp, TopicPartition};

use super::transaction::{NO_EPOCH, NO_PRODUCER, State, Transaction};
use crate::journal::Producer;
use crate::wire::{Reader, Writer};

/// The topic.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

const KEY: i16 = 0;
const VALUE: i16 = 1;
const PREVIOUS_ID_TAG: u32 = 0;
const NEXT_ID_TAG: u32 = 1;
const CLIENT_TAG: u32 = 2;

pub(super) fn transaction_key(id: &str) -> Vec<u8> {
    let mut out = Writer::new(KEY);
    out.text(id);
    out.finish()
}

/// The transactional id; `None` for a key of another kind, or that is none.
pub(super) fn read_key(key: &[u8]) -> Option<String> {
    let mut key = Reader::new(key);
    (key.i16()? == KEY).then_some(())?;
    key.text().map(str::to_owned)
}

pub(super) fn transaction_value(transaction: &Transaction) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    out.i64(transaction.producer.id);
    out.i16(transaction.producer.epoch);
    out.i32(transaction.timeout_ms);
    out.i8(transaction.state.id());
    if transaction.state == State::Empty {
        out.varint(0);
    } else {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in &transaction.places {
            topics.entry(&place.topic).or_default().push(place.partition);
        }
        out.compact_length(topics.len());
        for (topic, partitions) in topics {
            out.compact_text(topic);
            out.compact_length(partitions.len());
            partitions.iter().for_each(|partition| out.i32(*partition));
            out.tagged(&[]);
        }
    }
    out.i64(transaction.updated.0);
    out.i64(transaction.started.0);
    let (previous, next) = (transaction.previous_id.to_be_bytes(), transaction.next_id.to_be_bytes());
    let client = transaction.client_version.to_be_bytes();
    let mut tags: Vec<(u32, &[u8])> = Vec::new();
    if transaction.previous_id != NO_PRODUCER {
        tags.push((PREVIOUS_ID_TAG, &previous));
    }
    if transaction.next_id != NO_PRODUCER {
        tags.push((NEXT_ID_TAG, &next));
    }
    if transaction.client_version != 0 {
        tags.push((CLIENT_TAG, &client));
    }
    out.tagged(&tags);
    out.finish()
}

/// `None` for a version that is not known, and for what has not its layout.
pub(super) fn read_value(value: &[u8]) -> Option<Transaction> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    if !(0..=VALUE).contains(&version) {
        return None;
    }
    let producer = Producer { id: value.i64()?, epoch: value.i16()? };
    let (timeout_ms, state) = (value.i32()?, State::of(value.i8()?)?);
    let mut places = Vec::new();
    if version == 0 {
        for _ in 0..value.i32()?.max(0) {
            let topic = value.text()?;
            for _ in 0..value.i32()? {
                places.push(TopicPartition::new(topic, value.i32()?));
            }
        }
    } else {
        for _ in 0..value.nullable_compact_length()?.unwrap_or(0) {
            let (topic, partitions) = (value.compact_text()?, value.compact_array(Reader::i32)?);
            places.extend(partitions.into_iter().map(|partition| TopicPartition::new(topic, partition)));
            value.tagged(|_, _| {})?;
        }
    }
    let mut transaction = Transaction {
        producer,
        previous_id: NO_PRODUCER,
        next_id: NO_PRODUCER,
        last_epoch: NO_EPOCH,
        timeout_ms,
        state,
        places: places.into_iter().collect(),
        updated: Timestamp(value.i64()?),
        started: Timestamp(value.i64()?),
        client_version: 0,
    };
    if version > 0 {
        value.tagged(|tag, field| {
            let mut field = Reader::new(field);
            match tag {
                PREVIOUS_ID_TAG => transaction.previous_id = field.i64().unwrap_or(NO_PRODUCER),
                NEXT_ID_TAG => transaction.next_id = field.i64().unwrap_or(NO_PRODUCER),
                CLIENT_TAG => transaction.client_version = field.i16().unwrap_or(0),
                _ => {}
            }
        })?;
    }
    Some(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Apache Kafka 4.3.1 wrote for a producer that began, wrote to a partition, and let its time pass; and for one of two partitions.
    const APACHE_KEY: &str = "0000000a783835343431736c6f77";
    const APACHE_VALUES: [&str; 5] = [
        "000100000000000000010000000007d00000000001a201f31b7affffffffffffffff0100080000000000000001",
        "000100000000000000010000000007d001020878383534343174020000000000000001a201f31b84000001a201f31b84020008000000000000000102\
         020002",
        "000100000000000000010001000007d003020878383534343174020000000000000001a201f33755000001a201f31b84020008000000000000000102\
         020002",
        "000100000000000000010001000007d00501000001a201f3375b000001a201f31b84020008000000000000000102020002",
        "0001000000000000000000000000ea600102087838353434317403000000010000000000000001a201f2fdc2000001a201f2fdc20200080000000000\
         00000002020002",
    ];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn transactions_have_apaches_bytes() {
        let id = read_key(&hex(APACHE_KEY)).unwrap();
        assert_eq!((id.as_str(), transaction_key(&id)), ("x85441slow", hex(APACHE_KEY)));
        // The partitions of a topic have the order of a hash set there.
        for value in APACHE_VALUES[..4].iter().map(|value| hex(value)) {
            let transaction = read_value(&value).unwrap();
            assert_eq!(transaction_value(&transaction), value, "{transaction:?}");
            // Cut within its tags, it may be read as one without them.
            assert!((0..value.len() - 17).all(|cut| read_value(&value[..cut]).is_none()));
        }
        let prepared = read_value(&hex(APACHE_VALUES[2])).unwrap();
        assert_eq!((prepared.state, prepared.producer), (State::PrepareAbort, Producer { id: 1, epoch: 1 }));
        assert_eq!((prepared.timeout_ms, prepared.client_version, prepared.previous_id), (2000, 2, 1));
        assert_eq!(prepared.places.iter().map(ToString::to_string).collect::<Vec<_>>(), ["x85441t-0"]);
        let both = read_value(&hex(APACHE_VALUES[4])).unwrap();
        assert_eq!(both.places.len(), 2);
    }

    #[test]
    fn version_0_is_read() {
        let old = [
            &[0, 0][..],
            &7i64.to_be_bytes(),
            &3i16.to_be_bytes(),
            &9i32.to_be_bytes(),
            &[1],
            &1i32.to_be_bytes(),
            &[0, 1, b't'],
            &1i32.to_be_bytes(),
            &5i32.to_be_bytes(),
            &100i64.to_be_bytes(),
            &50i64.to_be_bytes(),
        ]
        .concat();
        let transaction = read_value(&old).unwrap();
        assert_eq!((transaction.producer, transaction.state), (Producer { id: 7, epoch: 3 }, State::Ongoing));
        assert_eq!((transaction.updated, transaction.started), (Timestamp(100), Timestamp(50)));
        assert_eq!(transaction.places.iter().next(), Some(&TopicPartition::new("t", 5)));
    }
}
