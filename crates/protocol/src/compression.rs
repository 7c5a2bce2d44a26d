//! The five codecs of record batches.
//!
//! Snappy is framed as the snappy-java stream that Kafka's Java client writes (a 16-byte header, then blocks with their
//! lengths); a bare block, as some clients send, is read too. Reading is bounded: a batch that unpacks to more than the
//! caller allows is refused before the memory is taken.

use std::io::{self, BufRead, BufReader, Read, Write};

use thiserror::Error;

use crate::lz4;

/// How the records of a batch are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy in snappy-java's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Why packed records could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The attributes name a codec that does not exist.
    #[error("unknown compression codec {0}; Kafka has 0 (none) to 4 (zstd)")]
    UnknownCodec(u8),
    /// The packed bytes are damaged.
    #[error("the {codec} data of the batch cannot be unpacked: {source}")]
    Damaged {
        /// The codec by name.
        codec: &'static str,
        /// What the codec said.
        source: io::Error,
    },
    /// The records are larger than the reader allows.
    #[error("the batch unpacks to more than {limit} bytes, the most that is allowed here")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

const SNAPPY_JAVA_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
/// What codecs without blocks unpack at once.
const PIECE_BYTES: usize = 64 << 10;

impl Compression {
    /// The codec's number in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with that number.
    pub const fn from_id(id: u8) -> Result<Self, CompressionError> {
        Ok(match id {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            unknown => return Err(CompressionError::UnknownCodec(unknown)),
        })
    }

    /// The codec of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        all.into_iter().find(|codec| codec.name() == name)
    }

    /// The codec's name in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Packs `plain` and appends it to `out`.
    pub(crate) fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
        let damaged = |source| CompressionError::Damaged { codec: self.name(), source };
        match self {
            Compression::None => out.extend_from_slice(plain),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(plain).and_then(|()| encoder.finish().map(drop)).map_err(damaged)?;
            }
            Compression::Snappy => {
                out.extend_from_slice(&SNAPPY_JAVA_HEADER);
                for block in plain.chunks(SNAPPY_BLOCK_BYTES) {
                    let packed =
                        snap::raw::Encoder::new().compress_vec(block).map_err(|e| damaged(io::Error::other(e)))?;
                    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                    out.extend_from_slice(&packed);
                }
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(plain).map_err(damaged)?;
                encoder.finish().map_err(|e| damaged(io::Error::other(e)))?;
            }
            Compression::Zstd => zstd::stream::copy_encode(plain, out, 0).map_err(damaged)?,
        }
        Ok(())
    }

    /// Unpacks `packed` into at most `limit` bytes.
    pub(crate) fn decompress(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut plain = Vec::new();
        self.unpack(packed, limit, |piece| {
            plain.extend_from_slice(piece);
            Ok::<(), CompressionError>(())
        })?;
        Ok(plain)
    }

    /// Unpacks `packed` piece by piece, to at most `limit` bytes in all. A piece is a block of the codec or less.
    pub(crate) fn unpack<E: From<CompressionError>>(
        self,
        packed: &[u8],
        limit: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let damaged = |source| CompressionError::Damaged { codec: self.name(), source };
        let read = |decoder: &mut dyn BufRead, each: &mut dyn FnMut(&[u8]) -> Result<(), E>| {
            let mut left = limit;
            loop {
                let piece = decoder.fill_buf().map_err(damaged)?;
                let length = piece.len();
                if length == 0 {
                    return Ok(());
                }
                left = left.checked_sub(length).ok_or(CompressionError::TooLarge { limit })?;
                each(piece)?;
                decoder.consume(length);
            }
        };
        match self {
            Compression::None => each(packed),
            Compression::Gzip => read(&mut pieces(flate2::read::MultiGzDecoder::new(packed)), &mut each),
            Compression::Lz4 => lz4::unpack(packed, limit, each),
            Compression::Zstd => {
                read(&mut pieces(zstd::stream::read::Decoder::with_buffer(packed).map_err(damaged)?), &mut each)
            }
            Compression::Snappy => {
                let cut = || damaged(io::ErrorKind::UnexpectedEof.into());
                let mut plain = Vec::new();
                let Some(framed) = packed.strip_prefix(&SNAPPY_JAVA_HEADER[..8]) else {
                    return each(snappy_block(packed, limit, limit, &mut plain)?);
                };
                let mut left = limit;
                let mut rest = framed.get(8..).ok_or_else(cut)?;
                while !rest.is_empty() {
                    let (length, blocks) = rest.split_first_chunk().ok_or_else(cut)?;
                    let (block, behind) =
                        blocks.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
                    let piece = snappy_block(block, left, limit, &mut plain)?;
                    left -= piece.len();
                    each(piece)?;
                    rest = behind;
                }
                Ok(())
            }
        }
    }
}

fn pieces<R: Read>(decoder: R) -> BufReader<R> {
    BufReader::with_capacity(PIECE_BYTES, decoder)
}

/// Unpacks one snappy block into `plain`, of `left` bytes at most.
fn snappy_block<'a>(
    block: &[u8],
    left: usize,
    limit: usize,
    plain: &'a mut Vec<u8>,
) -> Result<&'a [u8], CompressionError> {
    let damaged = |e| CompressionError::Damaged { codec: "snappy", source: io::Error::other(e) };
    let length = snap::raw::decompress_len(block).map_err(damaged)?;
    if length > left {
        return Err(CompressionError::TooLarge { limit });
    }
    plain.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(block, plain).map_err(damaged)?;
    Ok(&plain[..written])
}
