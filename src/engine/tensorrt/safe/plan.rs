//! What TensorRT gives as bytes.

use crate::engine::tensorrt::sys::{HostMemory, Owned};
use bytes::Bytes;

/// A serialized engine, or timing cache, in TensorRT's own memory.
pub struct Plan {
    memory: Owned<'static, HostMemory>,
}

impl Plan {
    pub(super) fn new(memory: Owned<'static, HostMemory>) -> Plan {
        Plan { memory }
    }

    /// The bytes without a copy; TensorRT's memory goes with the last of them.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Plan {
    fn as_ref(&self) -> &[u8] {
        // Every version has both methods (a test of `sys::slots` holds it), so this is never the empty default.
        self.memory.bytes().unwrap_or_default()
    }
}
