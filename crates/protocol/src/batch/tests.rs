//! Properties of batches: what is written is read, and no damage goes unseen.

use bytes::Bytes;
use proptest::prelude::*;
use tidewater_types::{Header, Headers, Timestamp};

use super::*;

const LIMIT: usize = 1 << 20;

type Plain = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn plain_record() -> impl Strategy<Value = Plain> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let header = ("[a-z]{0,6}", bytes());
    (-1_000_000i64..2_000_000_000_000, bytes(), bytes(), proptest::collection::vec(header, 0..3))
}

fn codec() -> impl Strategy<Value = Compression> {
    (0u8..5).prop_map(|id| Compression::from_id(id).unwrap())
}

fn build(compression: Compression, records: &[Plain]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (timestamp, key, value, headers) in records {
        let headers: Headers = headers
            .iter()
            .map(|(name, value)| Header { name: name.as_str().into(), value: value.clone().map(Bytes::from) })
            .collect();
        builder.push(Timestamp(*timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    builder.finish().unwrap()
}

fn read(batch: &Batch) -> Result<Vec<Plain>, BatchError> {
    let records = batch.records(LIMIT)?;
    records
        .iter()
        .map(|record| {
            let record = record?;
            let headers = record.headers();
            let headers =
                headers.iter().map(|h| (h.name.to_string(), h.value.as_ref().map(|value| value.to_vec()))).collect();
            Ok((record.timestamp.0, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers))
        })
        .collect()
}

/// Packs `body` and says of it that it is so many records.
fn claiming(count: i32, compression: Compression, body: &[u8]) -> Batch {
    let mut bytes = build(compression, &[(0, None, None, Vec::new())])[..HEADER_LENGTH].to_vec();
    compression.compress(body, &mut bytes).unwrap();
    let length = (bytes.len() - LENGTH_PREFIX) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    Batch::parse(&Bytes::from(bytes)).unwrap()
}

proptest! {
    #[test]
    fn records_in_pieces_are_checked_as_records_at_once(
        records in proptest::collection::vec(plain_record(), 1..20),
        sizes in proptest::collection::vec(1usize..60, 1..20),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        count_is_off in prop_oneof![8 => Just(0), 1 => -1..=1],
    ) {
        let whole = build(Compression::None, &records);
        let mut body = whole[HEADER_LENGTH..].to_vec();
        if let Some((at, byte)) = damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let batch = claiming(records.len() as i32 + count_is_off, Compression::None, &body);
        let mut check = RecordCheck::new(&batch);
        let mut rest = &body[..];
        let mut sizes = sizes.iter().cycle();
        let mut found = Ok(());
        while !rest.is_empty() && found.is_ok() {
            let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            found = check.take(piece);
            rest = behind;
        }
        let found = found.and_then(|()| check.finish());
        let all = batch.records(LIMIT).unwrap();
        let expected = all.iter().collect::<Result<Vec<_>, _>>();
        let expected = expected.ok().map(|records| RecordsSeen {
            min_timestamp: records.iter().map(|record| record.timestamp).min().unwrap_or(Timestamp(i64::MAX)),
            max_timestamp: records.iter().map(|record| record.timestamp).max().max(Some(Timestamp(-1))).unwrap(),
            is_sequential: records.iter().enumerate().all(|(index, record)| record.offset == Offset(index as i64)),
        });
        prop_assert_eq!(found.ok(), expected);
        prop_assert_eq!(batch.check_records(LIMIT).ok(), expected);
    }

    #[test]
    fn records_are_checked_in_every_codec(compression in codec(), size in 0usize..200_000, count_is_off in -1..=1) {
        let records: Vec<Plain> = (0..10).map(|n| (n, None, Some(vec![n as u8; size]), Vec::new())).collect();
        let whole = build(Compression::None, &records);
        let batch = claiming(10 + count_is_off, compression, &whole[HEADER_LENGTH..]);
        prop_assert_eq!(batch.check_records(1 << 22).is_ok(), count_is_off == 0);
        let too_large = matches!(
            batch.check_records(10 * size),
            Err(BatchError::Compression(CompressionError::TooLarge { .. }))
        );
        prop_assert!(count_is_off != 0 || too_large == (compression != Compression::None));
    }

    #[test]
    fn reads_what_it_wrote(compression in codec(), records in proptest::collection::vec(plain_record(), 1..20)) {
        let bytes = build(compression, &records);
        let batch = Batch::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        prop_assert_eq!(batch.len(), bytes.len());
        prop_assert_eq!(batch.record_count() as usize, records.len());
        prop_assert_eq!(batch.last_offset_delta() as usize, records.len() - 1);
        prop_assert_eq!(batch.max_timestamp().0, records.iter().map(|r| r.0).max().unwrap());
        prop_assert_eq!(read(&batch).unwrap(), records);
    }

    #[test]
    fn every_truncation_is_seen(records in proptest::collection::vec(plain_record(), 1..4)) {
        let bytes = build(Compression::None, &records);
        for length in 0..bytes.len() {
            let cut = Batch::parse(&bytes.slice(..length));
            prop_assert!(matches!(cut, Err(BatchError::Cut { .. })), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn every_flipped_bit_under_the_crc_is_seen(compression in codec(), records in proptest::collection::vec(plain_record(), 1..3)) {
        let bytes = build(compression, &records);
        for bit in CRC_AT * 8..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let batch = Batch::parse(&Bytes::from(flipped)).unwrap();
            prop_assert!(matches!(batch.check_crc(), Err(BatchError::BadCrc { .. })), "bit {bit}");
        }
    }

    #[test]
    fn random_records_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80), count in -2i32..10, codec in 0u8..8) {
        let mut bytes = build(Compression::None, &[(0, None, None, vec![])]).to_vec();
        bytes.truncate(HEADER_LENGTH);
        bytes.extend(body);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = codec;
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let _ = read(&Batch::parse(&Bytes::from(bytes)).unwrap());
    }
}

#[test]
fn a_count_that_lies_is_seen() {
    for claimed in [0, 1, 3] {
        let mut bytes = build(Compression::None, &[(0, None, None, vec![]), (0, None, None, vec![])]).to_vec();
        bytes[57..61].copy_from_slice(&i32::to_be_bytes(claimed));
        let batch = Batch::parse(&Bytes::from(bytes)).unwrap();
        assert!(matches!(read(&batch), Err(BatchError::BadRecords { .. })), "{claimed}");
    }
}

#[test]
fn other_formats_are_refused_by_name() {
    let mut bytes = build(Compression::None, &[(0, None, None, vec![])]).to_vec();
    bytes[16] = 1;
    let error = Batch::parse(&Bytes::from(bytes)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch has magic 1; only version 2 is read (versions 0 and 1 ended with Kafka 4.0)"
    );
}

#[test]
fn a_bomb_is_not_unpacked() {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bytes = build(codec, &[(0, None, Some(vec![0; 2 * LIMIT]), vec![])]);
        let batch = Batch::parse(&bytes).unwrap();
        assert!(
            matches!(batch.records(LIMIT), Err(BatchError::Compression(CompressionError::TooLarge { limit: LIMIT }))),
            "{codec:?}"
        );
    }
}

#[test]
fn a_bare_snappy_block_is_read() {
    let plain = build(Compression::None, &[(5, Some(b"k".to_vec()), Some(b"v".to_vec()), vec![])]);
    let mut bytes = plain[..HEADER_LENGTH].to_vec();
    bytes.extend(snap::raw::Encoder::new().compress_vec(&plain[HEADER_LENGTH..]).unwrap());
    bytes[22] = Compression::Snappy.id();
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let batch = Batch::parse(&Bytes::from(bytes)).unwrap();
    assert_eq!(read(&batch).unwrap()[0].2.as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_marker_is_a_control_batch_of_one_record() {
    let batch = Batch::parse(&control_batch(ControlKind::Commit, 7, 2, 3, Timestamp(9))).unwrap();
    batch.check_crc().unwrap();
    assert!(batch.is_control() && batch.is_transactional());
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (7, 2, NO_SEQUENCE));
    let records = batch.records(LIMIT).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]));
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 3][..]));
}
