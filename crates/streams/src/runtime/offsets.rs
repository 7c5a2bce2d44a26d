//! The note beside a committed offset, in Kafka Streams' form: base 64 of version 2 (1 byte), the partition's time (8), and, if
//! there are any, the close times up to which windows were sent: their count (4), and for each the length of its store's name
//! (4), the name, and the time (8). Numbers are big-endian.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidewater_types::Timestamp;

const VERSION: u8 = 2;

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The largest timestamp met, or −1.
    pub partition_time: Timestamp,
    /// By store, the close time up to which its windows were sent.
    pub emitted: BTreeMap<String, i64>,
}

/// The text of a note.
pub(crate) fn write_metadata(note: &Note) -> String {
    let mut raw = vec![VERSION];
    raw.extend_from_slice(&note.partition_time.0.to_be_bytes());
    if !note.emitted.is_empty() {
        raw.extend_from_slice(&(note.emitted.len() as u32).to_be_bytes());
        for (store, time) in &note.emitted {
            raw.extend_from_slice(&(store.len() as u32).to_be_bytes());
            raw.extend_from_slice(store.as_bytes());
            raw.extend_from_slice(&time.to_be_bytes());
        }
    }
    STANDARD.encode(raw)
}

/// What a text says; none if it is of another form.
pub(crate) fn read_metadata(metadata: &str) -> Option<Note> {
    let raw = STANDARD.decode(metadata).ok()?;
    // Version 1 has the time alone; later ones add to it.
    let (version, rest) = raw.split_first()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let emitted = if *version >= 2 { read_emitted(rest).unwrap_or_default() } else { BTreeMap::new() };
    (*version >= 1).then(|| Note { partition_time: Timestamp(i64::from_be_bytes(*time)), emitted })
}

fn read_emitted(raw: &[u8]) -> Option<BTreeMap<String, i64>> {
    let (count, mut rest) = raw.split_first_chunk::<4>()?;
    let mut emitted = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (time, after) = after.split_first_chunk::<8>()?;
        emitted.insert(String::from_utf8(name.to_vec()).ok()?, i64::from_be_bytes(*time));
        rest = after;
    }
    Some(emitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(emitted: &[(&str, i64)]) -> Note {
        let emitted = emitted.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
        Note { partition_time: Timestamp(1_700_000_000_000), emitted }
    }

    #[test]
    fn reads_what_it_wrote() {
        let plain = note(&[]);
        assert_eq!(write_metadata(&plain), "AgAAAYvP5WgA");
        assert_eq!(read_metadata("AgAAAYvP5WgA"), Some(plain));
        let emitted = note(&[("counts", 7), ("sums", 1 << 40)]);
        assert_eq!(read_metadata(&write_metadata(&emitted)), Some(emitted));
        assert_eq!(read_metadata(""), None);
    }

    #[test]
    fn a_note_that_is_cut_keeps_its_time() {
        let text = write_metadata(&note(&[("counts", 7)]));
        let mut raw = STANDARD.decode(text).unwrap();
        raw.truncate(raw.len() - 3);
        assert_eq!(read_metadata(&STANDARD.encode(raw)), Some(note(&[])));
    }
}
