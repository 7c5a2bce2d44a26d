//! The LZ4 frames that Apache Kafka reads.
//!
//! They are those of the [frame format] with blocks that do not depend on each other; a frame whose blocks do is refused, as no Java
//! consumer could read it. As in Apache Kafka the checksum of a block is verified, that of the content is not, a frame ends with its end
//! mark, and what follows that is not looked at.
//!
//! Blocks are unpacked from where they stand: a library's reader copies each of them first, which is a tenth of what a broker takes for
//! a batch.
//!
//! [frame format]: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md

use std::cell::Cell;
use std::error::Error;
use std::io;

use lz4_flex::block::{DecompressError, decompress_into};
use xxhash_rust::xxh32::xxh32;

use crate::{Compression, CompressionError};

const MAGIC: u32 = 0x184D_2204;
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const RESERVED: u8 = 0b0000_0011;
const CONTENT_SIZE_BYTES: usize = 8;
/// A block with this bit in its length is not packed.
const PLAIN: u32 = 1 << 31;
/// A thread keeps a buffer of this size for its next frame: that of the blocks that Kafka's clients write.
const KEPT_BYTES: usize = 64 << 10;
/// A block seldom unpacks to more than so many times its length; if it does, it is tried again with so many times the room.
const LIKELY_FACTOR: usize = 4;

thread_local! {
    static BLOCK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Unpacks a frame block by block, to at most `limit` bytes in all.
pub(crate) fn unpack<E: From<CompressionError>>(
    frame: &[u8],
    limit: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut frame = Frame::begin(frame, limit)?;
    let mut buffer = BLOCK.take();
    let mut unpacked = Ok(());
    while unpacked.is_ok() {
        unpacked = match frame.next_block(&mut buffer) {
            Ok(Some(plain)) => each(plain),
            Ok(None) => break,
            Err(error) => Err(error.into()),
        };
    }
    if buffer.len() <= KEPT_BYTES {
        BLOCK.set(buffer);
    }
    unpacked
}

/// A frame that is read.
struct Frame<'a> {
    rest: &'a [u8],
    /// The most that a block unpacks to.
    block_bytes: usize,
    has_block_checksums: bool,
    has_checksum: bool,
    limit: usize,
    /// What of the limit is left.
    left: usize,
}

impl<'a> Frame<'a> {
    fn begin(bytes: &'a [u8], limit: usize) -> Result<Self, CompressionError> {
        let mut frame =
            Frame { rest: bytes, block_bytes: 0, has_block_checksums: false, has_checksum: false, limit, left: limit };
        if frame.take_u32()? != MAGIC {
            return Err(damaged("no LZ4 frame begins here"));
        }
        let descriptor = frame.rest;
        let [flags, block_size] = frame.take_array()?;
        if flags & VERSION_MASK != VERSION || flags & RESERVED != 0 {
            return Err(damaged("the frame has unknown flags"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(damaged("the frame's blocks depend on each other"));
        }
        frame.has_block_checksums = flags & BLOCK_CHECKSUM != 0;
        frame.has_checksum = flags & CONTENT_CHECKSUM != 0;
        frame.block_bytes = match block_size {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(damaged("the frame has an unknown block size")),
        };
        if flags & CONTENT_SIZE != 0 {
            frame.take_array::<CONTENT_SIZE_BYTES>()?;
        }
        let descriptor = &descriptor[..descriptor.len() - frame.rest.len()];
        let [checksum] = frame.take_array()?;
        if checksum != (xxh32(descriptor, 0) >> 8) as u8 {
            return Err(damaged("the checksum of the frame's header does not fit"));
        }
        Ok(frame)
    }

    /// The next block, unpacked into `buffer` if it is packed; `None` at the end mark.
    fn next_block<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, CompressionError>
    where
        'a: 'b,
    {
        let word = self.take_u32()?;
        let length = (word & !PLAIN) as usize;
        if length == 0 {
            if self.has_checksum {
                self.take_u32()?;
            }
            return Ok(None);
        }
        if length > self.block_bytes {
            return Err(damaged("a block of the frame is longer than its header allows"));
        }
        let block = self.take(length)?;
        if self.has_block_checksums && self.take_u32()? != xxh32(block, 0) {
            return Err(damaged("the checksum of a block of the frame does not fit"));
        }
        let plain = if word & PLAIN == 0 { self.unpack_block(block, buffer)? } else { block };
        self.left = self.left.checked_sub(plain.len()).ok_or(CompressionError::TooLarge { limit: self.limit })?;
        Ok(Some(plain))
    }

    fn unpack_block<'b>(&self, block: &[u8], buffer: &'b mut Vec<u8>) -> Result<&'b [u8], CompressionError> {
        let most = self.block_bytes.min(self.left);
        // Room for what comes, not for what the header claims.
        let mut room = most.min(KEPT_BYTES.max(block.len().saturating_mul(LIKELY_FACTOR)));
        loop {
            if buffer.len() < room {
                buffer.resize(room, 0);
            }
            match decompress_into(block, &mut buffer[..room]) {
                Ok(length) => return Ok(&buffer[..length]),
                Err(DecompressError::OutputTooSmall { .. }) if room < most => {
                    room = most.min(room.saturating_mul(LIKELY_FACTOR));
                }
                Err(DecompressError::OutputTooSmall { .. }) if most < self.block_bytes => {
                    return Err(CompressionError::TooLarge { limit: self.limit });
                }
                Err(error) => return Err(damaged(error)),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CompressionError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], CompressionError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_u32(&mut self) -> Result<u32, CompressionError> {
        self.take_array().map(u32::from_le_bytes)
    }
}

fn damaged(why: impl Into<Box<dyn Error + Send + Sync>>) -> CompressionError {
    CompressionError::Damaged { codec: Compression::Lz4.name(), source: io::Error::other(why) }
}

fn cut() -> CompressionError {
    damaged("the frame ends before its end mark")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn packed(plain: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(frame: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut plain = Vec::new();
        unpack(frame, limit, |piece| {
            plain.extend_from_slice(piece);
            Ok::<(), CompressionError>(())
        })?;
        Ok(plain)
    }

    fn refusal(frame: &[u8]) -> String {
        match unpacked(frame, LIMIT).unwrap_err() {
            CompressionError::Damaged { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// As `Lz4BlockOutputStream` of Apache Kafka 4.3.1 wrote it: "tidewater" thirty times.
    const JAVA: [u8; 34] = [
        0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82, 0x13, 0x00, 0x00, 0x00, 0x9F, 0x74, 0x69, 0x64, 0x65, 0x77, 0x61,
        0x74, 0x65, 0x72, 0x09, 0x00, 0xED, 0x50, 0x77, 0x61, 0x74, 0x65, 0x72, 0x00, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn what_apache_kafka_wrote_is_read() {
        assert_eq!(unpacked(&JAVA, LIMIT).unwrap(), b"tidewater".repeat(30));
    }

    #[test]
    fn blocks_that_depend_on_each_other_are_refused() {
        let frame = packed(&[7; 300], FrameInfo::new().block_mode(BlockMode::Linked));
        assert_eq!(refusal(&frame), "the frame's blocks depend on each other");
    }

    #[test]
    fn damage_is_seen_where_it_is() {
        let frame = packed(b"what is in a block", FrameInfo::new().block_checksums(true).content_checksum(true));
        for (at, why) in [
            (0, "no LZ4 frame begins here"),
            (4, "the frame has unknown flags"),
            (5, "the frame has an unknown block size"),
            (6, "the checksum of the frame's header does not fit"),
            (9, "a block of the frame is longer than its header allows"),
            (12, "the checksum of a block of the frame does not fit"),
        ] {
            let mut bytes = frame.clone();
            bytes[at] ^= 2;
            assert_eq!(refusal(&bytes), why, "{at}");
        }
        for length in 0..frame.len() {
            assert_eq!(refusal(&frame[..length]), "the frame ends before its end mark", "{length}");
        }
    }

    #[test]
    fn what_follows_the_end_mark_is_not_looked_at() {
        let mut frame = packed(b"block", FrameInfo::new());
        frame.extend_from_slice(b"and more");
        assert_eq!(unpacked(&frame, LIMIT).unwrap(), b"block");
    }

    #[test]
    fn a_limit_holds_to_the_byte() {
        for length in [1, 100, 64 << 10, 200_000] {
            let noise = (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            for plain in [vec![7; length], noise] {
                let frame = packed(&plain, FrameInfo::new().block_size(BlockSize::Max64KB));
                assert_eq!(unpacked(&frame, length).unwrap(), plain);
                let error = unpacked(&frame, length - 1).unwrap_err();
                assert!(matches!(error, CompressionError::TooLarge { limit } if limit == length - 1), "{error}");
            }
        }
    }

    proptest! {
        /// Held against the library's writer.
        #[test]
        fn frames_of_every_kind_are_read(
            runs in proptest::collection::vec((any::<u32>(), any::<u32>(), 1..5000usize), 0..60),
            size in prop_oneof![Just(BlockSize::Max64KB), Just(BlockSize::Max256KB), Just(BlockSize::Max4MB)],
            (blocks, content, sized) in any::<(bool, bool, bool)>(),
        ) {
            let run = |(start, step, length): (u32, u32, usize)| {
                (0..length as u32).map(move |at| (step.wrapping_mul(at).wrapping_add(start) >> 24) as u8)
            };
            let plain: Vec<u8> = runs.into_iter().flat_map(run).collect();
            let info = FrameInfo::new().block_size(size).block_checksums(blocks).content_checksum(content);
            let info = info.content_size(sized.then_some(plain.len() as u64));
            prop_assert_eq!(unpacked(&packed(&plain, info), LIMIT).unwrap(), plain);
        }

        /// Whatever comes, it is read or refused, and is not larger than is allowed.
        #[test]
        fn no_bytes_do_harm(behind in proptest::collection::vec(any::<u8>(), 0..300), limit in 0..400usize) {
            let frame = [&[0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82, behind.len() as u8, 0, 0, 0][..], &behind].concat();
            if let Ok(plain) = unpacked(&frame, limit) {
                prop_assert!(plain.len() <= limit);
            }
        }
    }
}
