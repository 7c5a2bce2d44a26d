//! Whether a request's bytes have the shape that its version says, before they are read into messages.
//!
//! The message types take memory for as many elements as an array claims, so a few bytes could claim all there is. What has passed
//! here has as many elements as it claims, and no more of them than are allowed.

mod table;

/// Elements of all arrays of a request together, at most.
const ELEMENTS_LIMIT: usize = 1 << 20;

/// The fields of a request.
struct Shape {
    /// From this version on, lengths are varints, and structures end in tagged fields.
    flexible: i16,
    fields: &'static [Field],
}

/// A field, in the versions that have it.
struct Field {
    from: i16,
    to: i16,
    /// Its tag, and the version from which it is tagged.
    tag: Option<(u32, i16)>,
    kind: Kind,
}

/// What a field is.
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, with a length of two bytes.
    Text,
    /// Bytes, with a length of four.
    Bytes,
    /// Fields, one after the other.
    Structure(&'static [Field]),
    /// The same, or, from a version on, nothing, as a byte says.
    Optional(i16, &'static [Field]),
    /// Any number of the same.
    Array(&'static Kind),
}

/// Walks through the bytes of a body.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

/// What is wrong with a request's body; `None` if it has its shape. A request without a known shape is not checked.
pub(crate) fn fault(key: i16, version: i16, body: &[u8]) -> Option<&'static str> {
    let (_, shape) = table::SHAPES.iter().find(|(known, _)| *known == key)?;
    let mut walk = Walk { rest: body, version, flexible: version >= shape.flexible, elements: 0 };
    walk.structure(shape.fields).err()
}

/// What is wrong with a request's header, which every request begins with.
pub(crate) fn header_fault(header_version: i16, frame: &[u8]) -> Option<&'static str> {
    let mut walk = Walk { rest: frame, version: header_version, flexible: false, elements: 0 };
    let walked = walk.skip(KEY_VERSION_CORRELATION_BYTES).and_then(|()| {
        if header_version >= HEADER_WITH_CLIENT {
            match walk.length::<2>()? {
                Some(length) if length > CLIENT_ID_LIMIT_BYTES => return Err("its client id is longer than is taken"),
                length => walk.skip(length.unwrap_or(0))?,
            }
        }
        walk.flexible = header_version >= HEADER_WITH_TAGS;
        walk.structure(&[])
    });
    walked.err()
}

/// What each header has before the client's id.
const KEY_VERSION_CORRELATION_BYTES: usize = 8;
const HEADER_WITH_CLIENT: i16 = 1;
/// From this version on, a header ends in tagged fields.
const HEADER_WITH_TAGS: i16 = 2;
/// The longest id of a client: with a number behind it, as members have it, it is still a text.
const CLIENT_ID_LIMIT_BYTES: usize = TEXT_LIMIT_BYTES - 64;

/// The longest text, as in Apache Kafka, also where its length could be larger: records of coordinators have a length of two bytes for it.
const TEXT_LIMIT_BYTES: usize = i16::MAX as usize;

const CUT: &str = "it ends before its fields do";
const NEGATIVE: &str = "a length is negative";

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(bytes..).ok_or(CUT)?;
        Ok(())
    }

    fn int<const N: usize>(&mut self) -> Result<i32, &'static str> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Ok(bytes.iter().fold(sign, |all, byte| all << 8 | i32::from(*byte)))
    }

    fn varint(&mut self) -> Result<u32, &'static str> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(CUT)?;
            self.rest = rest;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a length has more than five bytes")
    }

    /// A length or count; `None` for null. `N` is its bytes where it is not a varint.
    fn length<const N: usize>(&mut self) -> Result<Option<usize>, &'static str> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1).map(|length| length as usize));
        }
        match self.int::<N>()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| NEGATIVE),
        }
    }

    fn value(&mut self, kind: &Kind) -> Result<(), &'static str> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => match self.length::<2>()? {
                Some(length) if length > TEXT_LIMIT_BYTES => Err("a text is longer than is taken"),
                Some(length) => self.skip(length),
                None => Ok(()),
            },
            Kind::Bytes => self.length::<4>()?.map_or(Ok(()), |length| self.skip(length)),
            Kind::Structure(fields) => self.structure(fields),
            Kind::Optional(from, fields) => {
                if self.version >= *from && self.int::<1>()? < 0 {
                    Ok(())
                } else {
                    self.structure(fields)
                }
            }
            Kind::Array(element) => {
                let Some(count) = self.length::<4>()? else { return Ok(()) };
                self.elements = self.elements.saturating_add(count);
                if count > self.rest.len() {
                    return Err("an array claims more elements than there are bytes");
                }
                if self.elements > ELEMENTS_LIMIT {
                    return Err("its arrays have more elements than are taken");
                }
                (0..count).try_for_each(|_| self.value(element))
            }
        }
    }

    fn structure(&mut self, fields: &[Field]) -> Result<(), &'static str> {
        let (version, flexible) = (self.version, self.flexible);
        let is_tagged = |field: &Field| field.tag.is_some_and(|(_, from)| version >= from);
        for field in fields.iter().filter(|field| (field.from..=field.to).contains(&version) && !is_tagged(field)) {
            self.value(&field.kind)?;
        }
        if !flexible {
            return Ok(());
        }
        let tags = self.varint()?;
        self.elements = self.elements.saturating_add(tags as usize);
        if self.elements > ELEMENTS_LIMIT {
            return Err("its fields have more tags than are taken");
        }
        for _ in 0..tags {
            let (tag, size) = (self.varint()?, self.varint()? as usize);
            let inside = self.rest.get(..size).ok_or(CUT)?;
            let known = fields.iter().find(|field| field.tag.is_some_and(|(known, _)| known == tag));
            if let Some(field) = known {
                let mut inner = Walk { rest: inside, version, flexible, elements: self.elements };
                inner.value(&field.kind)?;
                self.elements = inner.elements;
            }
            self.skip(size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::{MetadataRequest, RequestHeader};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;
    use crate::{ApiKey, Request, read_request, supported_versions};

    /// What a client sends that asks for one topic, behind the header.
    fn metadata(version: i16) -> Vec<u8> {
        let topic = MetadataRequestTopic::default()
            .with_name(Some(kafka_protocol::messages::TopicName(StrBytes::from_static_str("news"))));
        let mut out = BytesMut::new();
        MetadataRequest::default().with_topics(Some(vec![topic])).encode(&mut out, version).unwrap();
        out.to_vec()
    }

    #[test]
    fn a_request_has_its_shape_and_no_part_of_it_has() {
        for version in 4..=12 {
            let body = metadata(version);
            assert_eq!(fault(3, version, &body), None, "version {version}");
            for cut in 0..body.len() {
                assert!(fault(3, version, &body[..cut]).is_some(), "version {version}, {cut} bytes");
            }
        }
    }

    #[test]
    fn a_header_is_checked_before_it_is_read() {
        let header = |version: i16, client: usize, tags: &[u8]| {
            let client = [&(client as i16).to_be_bytes()[..], &vec![b'c'; client]].concat();
            header_fault(version, &[&[0; 8][..], &client, tags].concat())
        };
        assert_eq!((header(1, 7, &[]), header(2, 7, &[0]), header(2, 7, &[1, 9, 2, 0, 0])), (None, None, None));
        assert_eq!(header(1, 32_700, &[]), None);
        assert_eq!(header(1, 32_704, &[]), Some("its client id is longer than is taken"));
        assert_eq!(header(2, 7, &[0xff, 0xff, 0xff, 0x7f]), Some("its fields have more tags than are taken"));
        assert_eq!(header(2, 7, &[]), Some(CUT));
        let tags = [&[0x80, 0x80, 0x80, 1][..], &[0; 100]].concat();
        assert_eq!(fault(3, 9, &[&[0, 0, 0, 0][..], &tags].concat()), Some("its fields have more tags than are taken"));
    }

    #[test]
    fn every_request_that_is_answered_has_a_shape() {
        for (key, _) in supported_versions() {
            assert!(table::SHAPES.iter().any(|(known, _)| *known == key as i16), "{key:?}");
        }
    }

    #[test]
    fn counts_that_lie_are_told_before_memory_is_taken() {
        let claims = [&[0x3b, 0x9a, 0xca, 0x00][..], &[0, 0, 0, 1]].concat();
        assert_eq!(fault(3, 4, &claims), Some("an array claims more elements than there are bytes"));
        // Ten bytes of a version with varints: two thousand million topics.
        assert_eq!(
            fault(3, 12, &[0xff, 0xff, 0xff, 0xff, 0x07, 0]),
            Some("an array claims more elements than there are bytes")
        );
        let many = [&(ELEMENTS_LIMIT as u32 + 1).to_be_bytes()[..], &vec![0; 4 * ELEMENTS_LIMIT]].concat();
        assert_eq!(fault(3, 4, &many), Some("its arrays have more elements than are taken"));
    }

    #[test]
    fn a_text_is_no_longer_than_a_record_can_say() {
        let named = |length: usize| {
            let name = kafka_protocol::messages::TopicName(StrBytes::from_string("n".repeat(length)));
            let mut out = BytesMut::new();
            let topic = MetadataRequestTopic::default().with_name(Some(name));
            MetadataRequest::default().with_topics(Some(vec![topic])).encode(&mut out, 12).unwrap();
            fault(3, 12, &out)
        };
        assert_eq!((named(32_767), named(32_768)), (None, Some("a text is longer than is taken")));
    }

    fn frame(key: ApiKey, version: i16, body: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        let header = RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
        header.encode(&mut out, key.request_header_version(version)).unwrap();
        out.extend_from_slice(body);
        out.freeze()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever comes is a request or an error, and what the messages read has its shape.
        #[test]
        fn random_bytes_do_no_harm(
            which in 0usize..100, step in 0i16..20, body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 0..120),
        ) {
            let supported: Vec<_> = supported_versions().collect();
            let (key, versions) = &supported[which % supported.len()];
            let version = versions.start() + step % (versions.end() - versions.start() + 1);
            let _ = read_request(frame(*key, version, &body));
            if fault(*key as i16, version, &body).is_none() {
                // It may still be refused, as for text that is not UTF-8, but it takes no more memory than it is long.
                let mut bytes = Bytes::from(body);
                let _ = Request::decode(*key, &mut bytes, version);
            }
        }
    }
}
