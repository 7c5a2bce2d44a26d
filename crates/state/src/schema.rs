//! The byte layouts of composed keys, equal to Kafka Streams'. All numbers are big-endian.
//!
//! | key of | layout |
//! |---|---|
//! | window store and its changelog | key, window start (8), sequence number (4) |
//! | session store and its changelog | key, session end (8), session start (8) |
//! | versioned store, newest version | 0 (1), key; the value is its time (8), and the bytes |
//! | versioned store, older version | 1 (1), key, end of validity (8); the value is its time (8), 1 or 0 for none (1), the bytes |
//!
//! The changelog of a versioned store has the plain key and value, and the time as that of the record.

/// Bytes of a window key behind the key proper.
pub const WINDOW_SUFFIX: usize = 12;
/// Bytes of a session key behind the key proper.
pub(crate) const SESSION_SUFFIX: usize = 16;

/// Marks newest versions.
const LATEST: u8 = 0;
/// Marks older versions.
const HISTORY: u8 = 1;

/// Key, window start and sequence number as one.
pub fn window_key(key: &[u8], start: i64, sequence: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + WINDOW_SUFFIX);
    out.extend_from_slice(key);
    push_window_suffix(&mut out, start, sequence);
    out
}

/// Makes a window key of a key, in place.
pub fn push_window_suffix(key: &mut Vec<u8>, start: i64, sequence: u32) {
    key.extend_from_slice(&start.to_be_bytes());
    key.extend_from_slice(&sequence.to_be_bytes());
}

/// The parts of a window key; `None` if it is too short.
pub fn split_window_key(bytes: &[u8]) -> Option<(&[u8], i64, u32)> {
    let (key, suffix) = bytes.split_at_checked(bytes.len().checked_sub(WINDOW_SUFFIX)?)?;
    let (start, sequence) = suffix.split_first_chunk::<8>()?;
    Some((key, i64::from_be_bytes(*start), u32::from_be_bytes(sequence.try_into().ok()?)))
}

/// Key, session end and session start as one.
pub fn session_key(key: &[u8], start: i64, end: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + SESSION_SUFFIX);
    out.extend_from_slice(key);
    out.extend_from_slice(&end.to_be_bytes());
    out.extend_from_slice(&start.to_be_bytes());
    out
}

/// The parts of a session key, as key, start and end; `None` if it is too short.
pub fn split_session_key(bytes: &[u8]) -> Option<(&[u8], i64, i64)> {
    let (key, suffix) = bytes.split_at_checked(bytes.len().checked_sub(SESSION_SUFFIX)?)?;
    let (end, start) = suffix.split_first_chunk::<8>()?;
    Some((key, i64::from_be_bytes(start.try_into().ok()?), i64::from_be_bytes(*end)))
}

/// The key of a key's newest version.
pub(crate) fn latest_key(key: &[u8]) -> Vec<u8> {
    [&[LATEST], key].concat()
}

/// The key of an older version.
pub(crate) fn history_key(key: &[u8], valid_to: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 9);
    out.push(HISTORY);
    out.extend_from_slice(key);
    out.extend_from_slice(&valid_to.to_be_bytes());
    out
}

/// The plain key of a newest version; `None` if it is of an older one.
pub(crate) fn split_latest_key(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split_first().filter(|(kind, _)| **kind == LATEST).map(|(_, key)| key)
}

/// The plain key of an older version, and the end of its validity; `None` if it is of a newest one.
pub(crate) fn split_history_key(bytes: &[u8]) -> Option<(&[u8], i64)> {
    let (_, rest) = bytes.split_first().filter(|(kind, _)| **kind == HISTORY)?;
    let (key, valid_to) = rest.split_last_chunk::<8>()?;
    Some((key, i64::from_be_bytes(*valid_to)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_split_into_what_made_them(key: Vec<u8>, start: i64, end: i64, sequence: u32) {
            let window = window_key(&key, start, sequence);
            prop_assert_eq!(split_window_key(&window), Some((&key[..], start, sequence)));
            let session = session_key(&key, start, end);
            prop_assert_eq!(split_session_key(&session), Some((&key[..], start, end)));
        }
    }

    #[test]
    fn a_session_key_has_its_end_first() {
        assert_eq!(session_key(b"k", 1, 2), [b'k', 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
