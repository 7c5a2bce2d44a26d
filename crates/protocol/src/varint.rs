//! Variable-length integers with zig-zag signs, as record batches use them (seven bits a byte, lowest first).

/// Appends `value`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`put`] takes for `value`.
#[inline]
pub(crate) fn length(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    let bits = 64 - (zigzag | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The most bytes of a value.
pub(crate) const MAX_LENGTH: usize = 10;

/// Takes a value off the front of `input`; `None` if it is cut or longer than ten bytes.
#[inline]
pub(crate) fn take(input: &mut &[u8]) -> Option<i64> {
    // Most values are small.
    if let [byte @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
    }
    take_long(input)
}

fn take_long(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().enumerate().take(MAX_LENGTH) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *input = &input[index + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_it_wrote(value: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(bytes.len(), length(value));
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }
    }
}
