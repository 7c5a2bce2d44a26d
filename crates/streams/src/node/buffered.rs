//! The bytes of records that wait in a buffer: record context (timestamp 8, offset 8, topic length 4, topic, partition 4, header
//! count 4, headers with their lengths), then prior, old and new value, each with its length (4; −1 null, and for old −2: same
//! as prior), then the buffer time (8). As Kafka Streams has them in changelogs.

use bytes::Bytes;
use tidewater_types::{Headers, Offset, RecordContext, RecordPlace, Timestamp};

/// A record that waits.
#[derive(Clone)]
pub(crate) struct Buffered {
    pub context: RecordContext,
    /// What there was before it began to wait.
    pub prior: Option<Vec<u8>>,
    pub old: Option<Vec<u8>>,
    pub new: Option<Vec<u8>>,
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// The bytes of a waiting record.
pub(crate) fn write_entry(entry: &Buffered, time: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let context = &entry.context;
    out.extend_from_slice(&context.timestamp.0.to_be_bytes());
    let place = context.place.as_ref();
    out.extend_from_slice(&place.map_or(-1, |place| place.offset.0).to_be_bytes());
    put_bytes(&mut out, Some(place.map_or("", |place| &place.topic).as_bytes()));
    out.extend_from_slice(&place.map_or(-1, |place| place.partition).to_be_bytes());
    out.extend_from_slice(&(context.headers.as_slice().len() as i32).to_be_bytes());
    for header in &context.headers {
        put_bytes(&mut out, Some(header.name.as_bytes()));
        put_bytes(&mut out, header.value.as_deref());
    }
    put_bytes(&mut out, entry.prior.as_deref());
    if entry.old.is_some() && entry.old == entry.prior {
        out.extend_from_slice(&(-2i32).to_be_bytes());
    } else {
        put_bytes(&mut out, entry.old.as_deref());
    }
    put_bytes(&mut out, entry.new.as_deref());
    out.extend_from_slice(&time.to_be_bytes());
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn int(&mut self) -> Option<i32> {
        let (raw, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*raw))
    }

    fn long(&mut self) -> Option<i64> {
        let (raw, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(i64::from_be_bytes(*raw))
    }

    fn take(&mut self, length: i32) -> Option<Option<&'a [u8]>> {
        if length < 0 {
            return Some(None);
        }
        let (taken, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(Some(taken))
    }

    fn bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.int()?;
        self.take(length)
    }
}

/// A waiting record and its buffer time; `None` if the bytes are not in the layout.
pub(crate) fn read_entry(raw: &[u8]) -> Option<(Buffered, i64)> {
    let mut reader = Reader(raw);
    let timestamp = Timestamp(reader.long()?);
    let offset = Offset(reader.long()?);
    let topic = std::str::from_utf8(reader.bytes()??).ok()?;
    let partition = reader.int()?;
    let mut headers = Headers::EMPTY;
    for _ in 0..reader.int()? {
        let name = std::str::from_utf8(reader.bytes()??).ok()?;
        headers.add(name, reader.bytes()?.map(Bytes::copy_from_slice));
    }
    let prior = reader.bytes()?.map(<[u8]>::to_vec);
    let old = match reader.int()? {
        -2 => prior.clone(),
        length => reader.take(length)?.map(<[u8]>::to_vec),
    };
    let new = reader.bytes()?.map(<[u8]>::to_vec);
    let time = reader.long()?;
    let place = (!topic.is_empty()).then(|| RecordPlace { topic: topic.into(), partition, offset });
    Some((Buffered { context: RecordContext { place, timestamp, headers }, prior, old, new }, time))
}
