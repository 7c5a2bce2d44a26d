//! Requests and responses as they go over a connection: a length (4 bytes), a header, a body.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use thiserror::Error;

use crate::messages::fields::{put_no_tags, put_varint};
use crate::requests::{ApiKey, Request, Response};
use crate::shape::{fault, header_fault};

/// Length of a frame's length.
pub const LENGTH_BYTES: usize = 4;
/// From this version on, strings and arrays of a fetch response are compact, and structures end in tagged fields.
const FLEXIBLE_FETCH: i16 = 12;
/// From this version on, a fetch response names topics by their ids.
const FETCH_BY_ID: i16 = 13;
/// From this version on, a fetch response has a session and an error of its own.
const FETCH_SESSIONS: i16 = 7;

/// What stands before a request's body.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead {
    /// Which request.
    pub key: ApiKey,
    /// In which version it and its response are written.
    pub version: i16,
    /// The client's number of it, which the response repeats.
    pub correlation: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

/// Why a frame is no request that can be answered.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FrameError {
    /// The frame ends before its header does.
    #[error("a request of {0} bytes has no whole header")]
    Short(usize),
    /// There is no request with this key, or it is not answered here.
    #[error("request {key} is not known here")]
    UnknownKey {
        /// The key.
        key: i16,
    },
    /// The request is known, in other versions.
    #[error("{key:?} has no version {version} here")]
    UnknownVersion {
        /// The key.
        key: ApiKey,
        /// The version.
        version: i16,
        /// The client's number of the request.
        correlation: i32,
    },
    /// The header or body does not have its layout.
    #[error("{key:?} version {version} cannot be read: {reason}")]
    Malformed {
        /// The key.
        key: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        reason: String,
    },
    /// A response has a field that its version does not.
    #[error("the response to {key:?} version {version} cannot be written: {reason}")]
    Unwritable {
        /// The key.
        key: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a request, of a frame without its length. Bytes in it are shared with the frame.
///
/// # Errors
/// When it is not one that is answered here.
pub fn read_request(mut frame: Bytes) -> Result<(RequestHead, Request), FrameError> {
    let Some(&[k0, k1, v0, v1, c0, c1, c2, c3]) = frame.first_chunk::<8>() else {
        return Err(FrameError::Short(frame.len()));
    };
    let (number, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let correlation = i32::from_be_bytes([c0, c1, c2, c3]);
    let key = ApiKey::of(number).ok_or(FrameError::UnknownKey { key: number })?;
    if !key.versions().contains(&version) {
        return Err(FrameError::UnknownVersion { key, version, correlation });
    }
    let malformed = |error: anyhow::Error| FrameError::Malformed { key, version, reason: format!("{error:#}") };
    let header_version = key.request_header_version(version);
    if let Some(what) = header_fault(header_version, &frame) {
        return Err(FrameError::Malformed { key, version, reason: what.to_owned() });
    }
    let header = RequestHeader::decode(&mut frame, header_version).map_err(malformed)?;
    if let Some(what) = fault(number, version, &frame) {
        return Err(FrameError::Malformed { key, version, reason: what.to_owned() });
    }
    let request = Request::decode(key, &mut frame, version).map_err(malformed)?;
    Ok((RequestHead { key, version, correlation, client_id: header.client_id }, request))
}

/// Writes a response, with its length.
///
/// # Errors
/// When the response does not fit into the version.
pub fn write_response(head: &RequestHead, response: &Response) -> Result<BytesMut, FrameError> {
    let mut out = begin(head)?;
    response.encode(&mut out, head.version).map_err(unwritable(head))?;
    let length = (out.len() - LENGTH_BYTES) as u32;
    out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

/// The records of a partition in a fetch response that are sent from elsewhere.
pub trait Body {
    /// How many bytes they are.
    fn length(&self) -> usize;
}

/// A part of a frame.
#[derive(Debug)]
pub enum Part<B> {
    /// Bytes.
    Bytes(Bytes),
    /// Records from elsewhere.
    Body(B),
}

/// Writes a fetch response around records that lie elsewhere: `bodies` has those of each partition, in order, for which the
/// response has none.
///
/// # Errors
/// When the response does not fit into the version.
pub fn write_fetch_response<B: Body>(
    head: &RequestHead,
    response: FetchResponse,
    bodies: Vec<Option<B>>,
) -> Result<Vec<Part<B>>, FrameError> {
    let (version, flexible) = (head.version, head.version >= FLEXIBLE_FETCH);
    let mut before: Vec<(BytesMut, B)> = Vec::with_capacity(bodies.len());
    let mut out = begin(head)?;
    out.put_i32(response.throttle_time_ms);
    if version >= FETCH_SESSIONS {
        out.put_i16(response.error_code);
        out.put_i32(response.session_id);
    }
    put_count(&mut out, flexible, response.responses.len());
    let mut bodies = bodies.into_iter();
    for topic in &response.responses {
        if version >= FETCH_BY_ID {
            out.put_slice(topic.topic_id.as_bytes());
        } else if flexible {
            put_varint(&mut out, topic.topic.len() as u32 + 1);
            out.put_slice(topic.topic.as_bytes());
        } else {
            out.put_i16(topic.topic.len() as i16);
            out.put_slice(topic.topic.as_bytes());
        }
        put_count(&mut out, flexible, topic.partitions.len());
        for partition in &topic.partitions {
            let Some(body) = bodies.next().flatten() else {
                partition.encode(&mut out, version).map_err(unwritable(head))?;
                continue;
            };
            put_before_records(&mut out, partition, version).map_err(unwritable(head))?;
            match flexible {
                true => put_varint(&mut out, body.length() as u32 + 1),
                false => out.put_i32(body.length() as i32),
            }
            before.push((out.split(), body));
            if flexible {
                put_no_tags(&mut out);
            }
        }
        if flexible {
            put_no_tags(&mut out);
        }
    }
    if flexible {
        put_no_tags(&mut out);
    }
    let length = before.iter().map(|(bytes, body)| bytes.len() + body.length()).sum::<usize>() + out.len();
    let first = before.first_mut().map_or(&mut out, |(bytes, _)| bytes);
    first[..LENGTH_BYTES].copy_from_slice(&((length - LENGTH_BYTES) as u32).to_be_bytes());
    let parts = before.into_iter().flat_map(|(bytes, body)| [Part::Bytes(bytes.freeze()), Part::Body(body)]);
    Ok(parts.chain([Part::Bytes(out.freeze())]).collect())
}

/// Room for the length, and the header.
fn begin(head: &RequestHead) -> Result<BytesMut, FrameError> {
    let mut out = BytesMut::new();
    out.put_u32(0);
    let header = ResponseHeader::default().with_correlation_id(head.correlation);
    header.encode(&mut out, head.key.response_header_version(head.version)).map_err(unwritable(head))?;
    Ok(out)
}

fn unwritable(head: &RequestHead) -> impl Fn(anyhow::Error) -> FrameError {
    let (key, version) = (head.key, head.version);
    move |error| FrameError::Unwritable { key, version, reason: format!("{error:#}") }
}

/// A partition up to the length of its records, which are its last field before the tagged ones.
fn put_before_records(out: &mut BytesMut, partition: &PartitionData, version: i16) -> anyhow::Result<()> {
    let none = partition.clone().with_records(Some(Bytes::new()));
    none.encode(out, version)?;
    // A length of nothing: 1 byte and one for no tagged fields, or 4 bytes.
    let cut = if version >= FLEXIBLE_FETCH { 2 } else { 4 };
    out.truncate(out.len() - cut);
    Ok(())
}

fn put_count(out: &mut BytesMut, flexible: bool, count: usize) {
    match flexible {
        true => put_varint(out, count as u32 + 1),
        false => out.put_i32(count as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
    use kafka_protocol::messages::{MetadataRequest, TopicName};

    impl Body for Bytes {
        fn length(&self) -> usize {
            self.len()
        }
    }

    fn head(key: ApiKey, version: i16) -> RequestHead {
        RequestHead { key, version, correlation: 7, client_id: Some(StrBytes::from_static_str("me")) }
    }

    fn frame(head: &RequestHead, request: &Request) -> Bytes {
        let mut out = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(head.key as i16)
            .with_request_api_version(head.version)
            .with_correlation_id(head.correlation)
            .with_client_id(head.client_id.clone());
        header.encode(&mut out, head.key.request_header_version(head.version)).unwrap();
        request.encode(&mut out, head.version).unwrap();
        out.freeze()
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let head = head(ApiKey::Metadata, 12);
        let request = Request::Metadata(MetadataRequest::default());
        let frame = frame(&head, &request);
        assert_eq!(read_request(frame.clone()), Ok((head, request)));
        for cut in 0..frame.len() {
            assert!(read_request(frame.slice(..cut)).is_err());
        }
    }

    #[test]
    fn what_is_not_known_is_told_apart() {
        let unknown = Bytes::from_static(&[0x7f, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(read_request(unknown), Err(FrameError::UnknownKey { key: 0x7f00 }));
        let newer = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 9]);
        let expected = FrameError::UnknownVersion { key: ApiKey::ApiVersions, version: 99, correlation: 9 };
        assert_eq!(read_request(newer), Err(expected));
    }

    #[test]
    fn records_from_elsewhere_stand_where_they_belong() {
        let records = Bytes::from_static(b"some records");
        for version in ApiKey::Fetch.versions() {
            let partition = PartitionData::default().with_high_watermark(5);
            let other = partition.clone().with_partition_index(1).with_error_code(3).with_records(Some(Bytes::new()));
            let mut topic = FetchableTopicResponse::default();
            match version {
                FETCH_BY_ID.. => topic.topic_id = uuid::Uuid::from_u128(9),
                _ => topic.topic = TopicName(StrBytes::from_static_str("news")),
            }
            let with = |records: Option<Bytes>| {
                let first = partition.clone().with_records(records);
                let topic = topic.clone().with_partitions(vec![first, other.clone()]);
                FetchResponse::default().with_responses(vec![topic])
            };
            let head = head(ApiKey::Fetch, version);
            let parts = write_fetch_response(&head, with(None), vec![Some(records.clone()), None]).unwrap();
            let bytes = |part: Part<Bytes>| match part {
                Part::Bytes(bytes) | Part::Body(bytes) => bytes,
            };
            let whole: Vec<u8> = parts.into_iter().flat_map(bytes).collect();
            let expected = write_response(&head, &Response::Fetch(with(Some(records.clone())))).unwrap();
            assert_eq!(whole, expected, "version {version}");
        }
    }
}
