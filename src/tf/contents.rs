//! The large contents of constants, which cross the bridge beside their graph.

use crate::memory::{self, NoMemory};
use bytes::Bytes;

/// The large contents of a graph's constants, by their marks.
#[derive(Default)]
pub struct Contents(pub Vec<Bytes>);

/// The content of that place; empty if there is none.
pub fn content_at(contents: &Contents, place: i64) -> &[u8] {
    usize::try_from(place)
        .ok()
        .and_then(|place| contents.0.get(place))
        .map(|content| &content[..])
        .unwrap_or_default()
}

/// What is taken of the large contents of a function's constants: copies, or else checksums alone.
#[derive(Default)]
pub struct LargeContents {
    pub copied: bool,
    pub copies: Vec<Bytes>,
    /// CRC-32C's.
    pub checksums: Vec<u32>,
    /// Why a content was not copied: what was taken is of no use then.
    pub lacking: Option<NoMemory>,
}

/// Takes the next content.
pub fn large_contents_take(contents: &mut LargeContents, content: &[u8]) {
    match contents.copied {
        true => match memory::copy("a constant's elements", content) {
            Ok(copy) => contents.copies.push(copy.into()),
            Err(why) => contents.lacking = Some(why),
        },
        false => contents.checksums.push(crc32c::crc32c(content)),
    }
}

/// Zeros, to be written over.
pub fn new_bytes(len: usize) -> Vec<u8> {
    memory::zeros("a message", len).unwrap_or_default()
}
