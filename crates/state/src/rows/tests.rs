//! The rows of a store, one by one.

use super::*;
use tidewater_types::{Headers, Timestamp};

fn context(timestamp: i64) -> RecordContext {
    RecordContext { place: None, timestamp: Timestamp(timestamp), headers: Headers::EMPTY }
}

#[test]
fn a_key_written_again_moves_to_the_end() {
    let mut rows = Rows::new(1000, 0, None);
    rows.put(b"a", Some(b"1"), context(1));
    rows.put(b"b", Some(b"2"), context(2));
    rows.put(b"a", None, context(3));
    let taken: Vec<_> = std::iter::from_fn(|| rows.next_dirty()).collect();
    let keys: Vec<_> = taken.iter().map(|entry| (&entry.key[..], entry.context.timestamp.0)).collect();
    assert_eq!(keys, [(&b"b"[..], 2), (b"a", 3)]);
    assert_eq!(rows.get(b"a"), Known::Value(None));
    assert!(rows.next_dirty().is_none());
}

#[test]
fn what_is_to_be_written_comes_in_the_order_of_keys() {
    let mut rows = Rows::new(10_000, 0, None);
    let mut keys: Vec<&[u8]> = vec![b"", b"\0", b"a", b"a\0", b"abcdefgh", b"abcdefgh\0", b"abcdefghi", b"b", b"\xff"];
    keys.iter().rev().for_each(|key| rows.write(key, Some(key)));
    assert_eq!(rows.unwritten().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    rows.all_written();
    keys.truncate(2);
    keys.iter().for_each(|key| rows.write(key, None));
    assert_eq!(rows.unwritten(), [(&b""[..], None), (b"\0", None)]);
}

#[test]
fn clean_rows_make_room_and_others_stay() {
    let budget = 3 * (size_of::<Row>() + INDEX_BYTES);
    let mut rows = Rows::new(budget, 0, None);
    rows.put(b"dirty", Some(b"1"), context(1));
    rows.write(b"written", Some(b"2"));
    for key in 0..100u8 {
        rows.remember(&[key], Some(&[key]));
    }
    assert!(rows.bytes <= budget + size_of::<Row>() + INDEX_BYTES);
    assert_eq!(rows.get(b"dirty"), Known::Value(Some(b"1")));
    assert_eq!(rows.get(b"written"), Known::Value(Some(b"2")));
    assert_eq!(rows.get(&[0]), Known::Nothing);
}

#[test]
fn a_row_is_found_wherever_it_is_now() {
    let mut rows = Rows::new(10_000, 0, None);
    rows.write(b"a", Some(b"1"));
    let slot = rows.found();
    rows.write(b"b", Some(b"2"));
    for (slot, key, value) in [(slot, b"a", b"1"), (slot, b"b", b"2"), (77, b"a", b"1")] {
        assert_eq!(rows.get_at(slot, key), Known::Value(Some(value)));
    }
    assert_eq!(rows.get_at(slot, b"c"), Known::Nothing);
}

#[test]
fn who_reads_past_the_cache_sees_what_was_written_last() {
    let mut rows = Rows::new(10_000, 0, None);
    rows.put(b"a", Some(b"1"), context(1));
    assert_eq!(rows.get_flushed(b"a"), Known::Nothing);
    assert!(rows.next_dirty().is_some());
    assert_eq!(rows.get_flushed(b"a"), Known::Nothing, "taken, not written yet");
    rows.write(b"a", Some(b"1"));
    rows.put(b"a", Some(b"2"), context(2));
    rows.put(b"a", Some(b"3"), context(3));
    assert_eq!(rows.get_flushed(b"a"), Known::Value(Some(b"1")));
    assert_eq!(rows.get(b"a"), Known::Value(Some(b"3")));
    assert_eq!(rows.unwritten(), [(&b"a"[..], Some(&b"1"[..]))]);
    assert_eq!(rows.unwritten_bytes(), rows.bytes, "each is counted once");
    rows.all_written();
    assert!(rows.unwritten().is_empty());
}

#[test]
fn without_an_engine_rows_are_all_there_is() {
    let mut rows = Rows::without_engine(1000, None);
    assert_eq!(rows.get(b"a"), Known::Value(None));
    rows.write(b"a", Some(b"1"));
    rows.write(b"b", Some(b"2"));
    rows.put(b"a", None, context(1));
    rows.put(b"c", Some(b"3"), context(2));
    rows.put(b"d", None, context(3));
    assert_eq!((rows.unwritten_values(), rows.get(b"a")), (2, Known::Value(None)));
    assert_eq!(rows.get_flushed(b"a"), Known::Value(Some(b"1")));
    assert_eq!(rows.get_flushed(b"c"), Known::Value(None));
    let taken = std::iter::from_fn(|| {
        let entry = rows.next_dirty()?;
        // What is not there is not deleted.
        (&*entry.key != b"d").then(|| rows.write(&entry.key, entry.value.as_deref()));
        Some(entry.key)
    });
    assert_eq!(taken.count(), 3);
    let keys: Vec<_> = rows.range(&KeyRange::all()).map(|row| row.key.to_vec()).collect();
    assert_eq!(keys, [b"b", b"c"]);
    assert_eq!((rows.slots.iter().flatten().count(), rows.unwritten_values()), (2, 2));
    assert_eq!(rows.range(&KeyRange { from: b"c".to_vec(), to: Some(b"b".to_vec()) }).count(), 0);
    rows.sweep(|key| key == b"b");
    assert_eq!(rows.get(b"b"), Known::Value(Some(b"2")), "the record cache has it");
    assert_eq!((rows.get_flushed(b"b"), rows.unwritten_values()), (Known::Value(None), 1));
    rows.let_go(b"b");
    rows.write(b"b", Some(b"4"));
    assert_eq!((rows.get_flushed(b"b"), rows.shadows), (Known::Value(Some(b"4")), 0));
    rows.let_go(b"b");
    for key in 0..20u8 {
        rows.write(&[key], Some(&[key]));
    }
    assert_eq!((rows.shadows, rows.get(b"b")), (0, Known::Value(None)), "there was no room");
    rows.all_written();
    assert_eq!(rows.get(b"c"), Known::Value(Some(b"3")));
}

#[test]
fn what_leaves_and_is_not_written_is_in_the_record_cache_alone() {
    let mut rows = Rows::without_engine(1000, None);
    rows.write(b"a", Some(b"1"));
    rows.let_go(b"a");
    rows.put(b"a", None, context(1));
    rows.put(b"late", Some(b"2"), context(1));
    assert_eq!(std::iter::from_fn(|| rows.next_dirty()).count(), 2, "neither is written");
    assert_eq!((rows.slots.iter().flatten().count(), rows.shadows, rows.unwritten_values()), (1, 1, 0));
    assert_eq!(rows.get_flushed(b"late"), Known::Value(None));
    rows.put(b"late", Some(b"3"), context(2));
    assert_eq!(rows.shadows, 0);
}

#[test]
fn a_chain_has_the_rows_of_one_prefix_by_time() {
    let mut rows = Rows::new(10_000, 0, Some(1));
    for key in [b"a3", b"b1"] {
        rows.write(key, Some(key));
    }
    assert_eq!(rows.chain(b"a", &KeyRange::all()).len(), 1);
    for key in [b"a1", b"a2"] {
        rows.write(key, Some(key));
    }
    let range = KeyRange::inclusive(b"a2".to_vec(), b"a9".to_vec());
    let keys = |found: Vec<RowRef<'_>>| found.into_iter().map(|row| row.key.to_vec()).collect::<Vec<_>>();
    assert_eq!(keys(rows.chain(b"a", &range)), [b"a2", b"a3"]);
    assert_eq!(keys(rows.range(&KeyRange::all()).collect()), [b"a1", b"a2", b"a3", b"b1"]);
    rows.committed();
    assert!(rows.by_prefix.is_some() && rows.sorted.is_some(), "both were asked for since the last commit");
    rows.committed();
    assert!(rows.by_prefix.is_none() && rows.sorted.is_none());
}
