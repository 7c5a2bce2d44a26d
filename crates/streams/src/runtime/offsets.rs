//! The note beside a committed offset, in Kafka Streams' form: base 64 of version 2 (1 byte) and the partition's time (8).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidewater_types::Timestamp;

const VERSION: u8 = 2;

/// The note for a partition's time.
pub(crate) fn write_metadata(partition_time: Timestamp) -> String {
    let mut raw = vec![VERSION];
    raw.extend_from_slice(&partition_time.0.to_be_bytes());
    STANDARD.encode(raw)
}

/// The partition's time in a note; none if the note is of another form.
pub(crate) fn read_metadata(metadata: &str) -> Option<Timestamp> {
    let raw = STANDARD.decode(metadata).ok()?;
    // Version 1 has the time alone; later ones add to it.
    let (version, rest) = raw.split_first()?;
    let (time, _) = rest.split_first_chunk::<8>()?;
    (*version >= 1).then(|| Timestamp(i64::from_be_bytes(*time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let note = write_metadata(Timestamp(1_700_000_000_000));
        assert_eq!(note, "AgAAAYvP5WgA");
        assert_eq!(read_metadata(&note), Some(Timestamp(1_700_000_000_000)));
        assert_eq!(read_metadata(""), None);
    }
}
