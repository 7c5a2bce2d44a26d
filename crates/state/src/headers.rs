//! The bytes of headers before a value: their count (4), then for each the length of its name (4), the name, the length of its
//! value (4; −1 for none), and the value. Numbers are big-endian.

use bytes::Bytes;
use tidewater_types::Headers;

/// Appends headers.
pub fn write_headers(headers: &Headers, out: &mut Vec<u8>) {
    out.extend_from_slice(&(headers.as_slice().len() as u32).to_be_bytes());
    for header in headers {
        out.extend_from_slice(&(header.name.len() as u32).to_be_bytes());
        out.extend_from_slice(header.name.as_bytes());
        match &header.value {
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(value) => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

/// Reads headers, and gives what follows; `None` if the bytes are not in the layout.
pub fn split_headers(raw: &[u8]) -> Option<(Headers, &[u8])> {
    let (count, mut rest) = raw.split_first_chunk::<4>()?;
    let mut headers = Headers::EMPTY;
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (value, after) = match i32::from_be_bytes(*length) {
            -1 => (None, after),
            length => {
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(Bytes::copy_from_slice(value)), after)
            }
        };
        headers.add(std::str::from_utf8(name).ok()?, value);
        rest = after;
    }
    Some((headers, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn headers_are_read_as_written(pairs: Vec<(String, Option<Vec<u8>>)>, value: Vec<u8>) {
            let mut headers = Headers::EMPTY;
            for (name, content) in pairs {
                headers.add(name.as_str(), content.map(Bytes::from));
            }
            let mut out = Vec::new();
            write_headers(&headers, &mut out);
            out.extend_from_slice(&value);
            prop_assert_eq!(split_headers(&out), Some((headers, &value[..])));
        }

        #[test]
        fn no_bytes_panic(raw: Vec<u8>) {
            let _ = split_headers(&raw);
        }
    }
}
