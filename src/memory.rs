//! Memory that may be lacking.
//!
//! What grows with a tensor, a graph, a plan or a file is asked for here. Lack of it is an error then, which fails one load, one build or one
//! call. Rust's own collections end the process instead, and so does the lack of the little that everything else takes.

use bytes::Bytes;
use prost::{DecodeError, Message};
use std::hint::black_box;

/// There is no block of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for {bytes} bytes of {what}")]
pub struct NoMemory {
    /// What would have been in it, as "the plan".
    what: &'static str,
    bytes: usize,
}

/// For the errors that are words alone.
impl From<NoMemory> for String {
    fn from(why: NoMemory) -> String {
        why.to_string()
    }
}

/// Why a message cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    #[error(transparent)]
    Message(#[from] DecodeError),
}

/// An empty vector that takes `count` items without another allocation.
pub fn room<T>(what: &'static str, count: usize) -> Result<Vec<T>, NoMemory> {
    let mut items = Vec::new();
    match items.try_reserve_exact(count) {
        Ok(()) => Ok(items),
        Err(_) => Err(NoMemory {
            what,
            bytes: count.saturating_mul(size_of::<T>()),
        }),
    }
}

/// Whether there are that many bytes just now: one block of them is asked for, and given back.
///
/// # Errors
/// There are not. Where there are, another thread may take them meanwhile.
pub fn ask(what: &'static str, bytes: usize) -> Result<(), NoMemory> {
    // A block that nobody looks at would not be asked for.
    room::<u8>(what, bytes).map(|block| drop(black_box(block)))
}

/// That many zeros.
pub fn zeros(what: &'static str, len: usize) -> Result<Vec<u8>, NoMemory> {
    let mut bytes = room(what, len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// A copy of `bytes`.
pub fn copy(what: &'static str, bytes: &[u8]) -> Result<Vec<u8>, NoMemory> {
    let mut copied = room(what, bytes.len())?;
    copied.extend_from_slice(bytes);
    Ok(copied)
}

/// Appends `bytes`, with room for as much again.
pub fn append(what: &'static str, to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), NoMemory> {
    to.try_reserve(bytes.len()).map_err(|_| NoMemory {
        what,
        bytes: to.len().saturating_add(bytes.len()),
    })?;
    to.extend_from_slice(bytes);
    Ok(())
}

/// All that `items` gives, which is `count` items.
pub fn collect<T>(what: &'static str, count: usize, items: impl IntoIterator<Item = T>) -> Result<Vec<T>, NoMemory> {
    let mut all = room(what, count)?;
    all.extend(items.into_iter().take(count));
    Ok(all)
}

/// The elements of a tensor, of `N` bytes each, one behind the other.
pub fn elements<const N: usize>(what: &'static str, count: usize, items: impl IntoIterator<Item = [u8; N]>) -> Result<Bytes, NoMemory> {
    let mut bytes = room(what, count.saturating_mul(N))?;
    for item in items.into_iter().take(count) {
        bytes.extend_from_slice(&item);
    }
    Ok(bytes.into())
}

/// A message as bytes.
pub fn encode(what: &'static str, message: &impl Message) -> Result<Vec<u8>, NoMemory> {
    let mut bytes = room(what, message.encoded_len())?;
    message.encode_raw(&mut bytes);
    Ok(bytes)
}

/// What a list takes while it grows, as often as its own size: it doubles, and the half is there still.
const MOST_FOR_EACH_BYTE: usize = 3;

/// Reads a message. What it holds in bytes is shared, as weights mostly are. All else is allocated piece by piece, and its lack would end the
/// process. So the most that it may take is asked for before.
pub fn decode<M: Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, Unreadable> {
    ask(what, bytes.len().saturating_mul(MOST_FOR_EACH_BYTE))?;
    Ok(M::decode(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tensorflow as tf;

    #[test]
    fn what_no_machine_has_is_an_error_in_words() {
        let why = zeros("the plan", 1 << 62).unwrap_err();
        assert_eq!(why.to_string(), "there is no memory for 4611686018427387904 bytes of the plan");
        assert_eq!(String::from(why), why.to_string());
        assert_eq!(ask("the plan", 1 << 62), Err(why));
        let why = room::<u64>("the plan", usize::MAX).unwrap_err();
        assert!(why.to_string().contains("18446744073709551615 bytes"), "{why}");
    }

    #[test]
    fn what_is_asked_for_is_given() {
        assert_eq!(zeros("x", 3).unwrap(), [0, 0, 0]);
        assert_eq!(copy("x", b"abc").unwrap(), b"abc");
        assert_eq!(collect("x", 3, 0..9).unwrap(), [0, 1, 2]);
        assert_eq!(elements("x", 2, [1u16, 2].map(u16::to_le_bytes)).unwrap()[..], [1, 0, 2, 0]);
        let mut bytes = vec![1];
        append("x", &mut bytes, &[2, 3]).unwrap();
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn a_message_comes_back() {
        let node = tf::NodeDef {
            name: "a".into(),
            ..Default::default()
        };
        let bytes = encode("a node", &node).unwrap();
        assert_eq!(bytes, node.encode_to_vec());
        assert_eq!(decode::<tf::NodeDef>("a node", bytes.into()).unwrap(), node);
        assert!(matches!(
            decode::<tf::NodeDef>("a node", Bytes::from_static(b"\xff")),
            Err(Unreadable::Message(_))
        ));
    }
}
