//! Reading and writing the fields of records that Apache Kafka's coordinators keep in their logs.
//!
//! Up to some version of a record, texts have their length in 2 bytes and arrays and bytes theirs in 4, −1 for null; from it on lengths are
//! *compact*, a varint of one more than the length with 0 for null, and every structure ends in tagged fields.

use uuid::Uuid;

/// Writes fields.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub fn new(version: i16) -> Self {
        Writer(version.to_be_bytes().to_vec())
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Fields without a version before them, as those of a structure within.
    pub fn part() -> Self {
        Writer::default()
    }

    pub fn i8(&mut self, number: i8) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn uuid(&mut self, id: Uuid) {
        self.0.extend_from_slice(id.as_bytes());
    }

    pub fn i16(&mut self, number: i16) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn i32(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn i64(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// A text with its length in 2 bytes.
    pub fn text(&mut self, text: &str) {
        self.i16(text.len() as i16);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.i16(-1),
        }
    }

    /// Bytes with their length in 4.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.i32(bytes.len() as i32);
        self.0.extend_from_slice(bytes);
    }

    pub fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// The length of a compact text, array, or bytes.
    pub fn compact_length(&mut self, length: usize) {
        self.varint(length as u32 + 1);
    }

    pub fn compact_text(&mut self, text: &str) {
        self.compact_length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn nullable_compact_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_text(text),
            None => self.varint(0),
        }
    }

    pub fn compact_bytes(&mut self, bytes: &[u8]) {
        self.compact_length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Tagged fields, by their tags in ascending order.
    pub fn tagged(&mut self, fields: &[(u32, &[u8])]) {
        self.varint(fields.len() as u32);
        for (tag, field) in fields {
            self.varint(*tag);
            self.varint(field.len() as u32);
            self.0.extend_from_slice(field);
        }
    }
}

/// Reads fields; each is `None` where the bytes end, or are none of the kind.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        self.nullable_text()?
    }

    pub fn nullable_text(&mut self) -> Option<Option<&'a str>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => std::str::from_utf8(self.take(length)?).ok().map(Some),
            Err(_) => Some(None),
        }
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i32()?).ok()?;
        self.take(length)
    }

    /// Bytes with their length in 4, or null.
    pub fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }

    /// Compact bytes.
    pub fn compact_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.compact_length()?;
        self.take(length)
    }

    pub fn varint(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let [byte] = self.array()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A length that is not null.
    pub fn compact_length(&mut self) -> Option<usize> {
        Some(self.varint()?.checked_sub(1)? as usize)
    }

    /// A length, or null.
    pub fn nullable_compact_length(&mut self) -> Option<Option<usize>> {
        Some(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    pub fn compact_text(&mut self) -> Option<&'a str> {
        let length = self.compact_length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub fn nullable_compact_text(&mut self) -> Option<Option<&'a str>> {
        match self.varint()?.checked_sub(1) {
            Some(length) => std::str::from_utf8(self.take(length as usize)?).ok().map(Some),
            None => Some(None),
        }
    }

    /// A compact array, given what reads one of its elements.
    pub fn compact_array<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.compact_length()?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Hands each tagged field to `read`.
    pub fn tagged(&mut self, mut read: impl FnMut(u32, &'a [u8])) -> Option<()> {
        for _ in 0..self.varint()? {
            let (tag, length) = (self.varint()?, self.varint()?);
            read(tag, self.take(length as usize)?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::new(4);
        writer.i64(i64::MIN);
        writer.text("a");
        writer.nullable_text(None);
        writer.bytes(b"xyz");
        writer.varint(300);
        writer.compact_text("long");
        writer.tagged(&[(0, b"t"), (9, b"")]);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.i16(), reader.i64()), (Some(4), Some(i64::MIN)));
        assert_eq!((reader.text(), reader.nullable_text(), reader.bytes()), (Some("a"), Some(None), Some(&b"xyz"[..])));
        assert_eq!((reader.varint(), reader.compact_text()), (Some(300), Some("long")));
        let mut fields = Vec::new();
        reader.tagged(|tag, field| fields.push((tag, field))).unwrap();
        assert_eq!(fields, [(0, &b"t"[..]), (9, b"")]);
        assert_eq!(reader.varint(), None);
    }

    #[test]
    fn lying_lengths_are_nothing() {
        assert_eq!(Reader::new(&[0x7f, 0xff, b'a']).text(), None);
        assert_eq!(Reader::new(&[0xff, 0xff]).text(), None);
        assert_eq!(Reader::new(&[0x80; 9]).varint(), None);
        assert_eq!(Reader::new(&[0]).compact_text(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).bytes(), None);
    }
}
