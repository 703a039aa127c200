//! What the interfaces that TensorRT calls back have in common: those that are versioned (`IVersionedInterface`), and the destructor
//! of an object that is never freed.

use std::ffi::{c_char, c_void};

/// `nvinfer1::InterfaceInfo`; 16 bytes without destructor, so it comes back in registers, here as in C++.
#[repr(C)]
pub(super) struct InterfaceInfo {
    pub kind: *const c_char,
    pub major: i32,
    pub minor: i32,
}

/// `getAPILanguage`: `APILanguage::kCPP`, the layout that the library shall expect.
pub(super) extern "C" fn cpp<T>(_: *const T) -> i32 {
    0
}

/// The destructor's entries: the object outlives TensorRT.
pub(super) extern "C" fn keep<T>(_: *const T) {}

/// The entries of a vtable, which begin `first` bytes into it: what an object's first word points to. Made of the whole table, as a
/// pointer made of one field may be read for that field only.
pub(super) fn entries<T>(vtable: &'static T, first: usize) -> *const c_void {
    (&raw const *vtable).cast::<c_void>().wrapping_byte_add(first)
}
