//! An `IGpuAllocator` in Rust: TensorRT's device memory comes from where TensorFlow's does.
//!
//! TensorFlow takes nearly all of a GPU's memory when it starts. What TensorRT asked CUDA for directly would have to fit into
//! the rest.

use super::interface::{InterfaceInfo, cpp, entries, keep};
use super::table::Table;
use crate::engine::DeviceMemory;
use std::ffi::c_void;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The object that TensorRT sees: its first word is the vtable, as in C++; the rest is ours.
#[repr(C)]
pub struct Allocator {
    vtable: *const c_void,
    memory: &'static dyn DeviceMemory,
}

// SAFETY: a pointer to an immutable static, and a reference that may be shared.
unsafe impl Send for Allocator {}
// SAFETY: as above; nothing in it changes after construction.
unsafe impl Sync for Allocator {}

type Allocate = unsafe extern "C" fn(*const Allocator, u64, u64, u32) -> *mut c_void;
type AllocateAsync = unsafe extern "C" fn(*const Allocator, u64, u64, u32, *mut c_void) -> *mut c_void;
type Reallocate = extern "C" fn(*const Allocator, *mut c_void, u64, u64) -> *mut c_void;
type Free = unsafe extern "C" fn(*const Allocator, *mut c_void);
type Deallocate = unsafe extern "C" fn(*const Allocator, *mut c_void) -> bool;
type DeallocateAsync = unsafe extern "C" fn(*const Allocator, *mut c_void, *mut c_void) -> bool;
type Destroy = extern "C" fn(*const Allocator);

/// The vtable of 8.6: allocate, free, the destructor's two entries, reallocate, deallocate.
#[repr(C)]
struct PlainVtable {
    offset_to_top: isize,
    type_info: usize,
    allocate: Allocate,
    free: Free,
    destroy: Destroy,
    delete: Destroy,
    reallocate: Reallocate,
    deallocate: Deallocate,
}

/// The vtable from major 10 on and of TensorRT-RTX: the interface is an `IVersionedInterface`.
#[repr(C)]
struct VersionedVtable {
    offset_to_top: isize,
    type_info: usize,
    language: extern "C" fn(*const Allocator) -> i32,
    info: extern "C" fn(*const Allocator) -> InterfaceInfo,
    destroy: Destroy,
    delete: Destroy,
    allocate: Allocate,
    reallocate: Reallocate,
    deallocate: Deallocate,
    allocate_async: AllocateAsync,
    deallocate_async: DeallocateAsync,
}

static PLAIN: PlainVtable = PlainVtable {
    offset_to_top: 0,
    type_info: 0,
    allocate,
    free,
    destroy: keep,
    delete: keep,
    reallocate: cannot,
    deallocate,
};

static VERSIONED: VersionedVtable = VersionedVtable {
    offset_to_top: 0,
    type_info: 0,
    language: cpp,
    info: interface,
    destroy: keep,
    delete: keep,
    allocate,
    reallocate: cannot,
    deallocate,
    allocate_async,
    deallocate_async,
};

impl Allocator {
    /// For a library of this table, for the rest of the process: TensorRT keeps it in every object made with it. `None` where
    /// the table has a layout that none of ours follows.
    pub fn leak(table: &Table, memory: &'static dyn DeviceMemory) -> Option<&'static Allocator> {
        let at = |member| table.slot("IGpuAllocator", member);
        let vtable = match (at("allocate")?, at("reallocate")?, at("deallocate")?, at("allocateAsync")) {
            (0, 4, 5, None) => entries(&PLAIN, offset_of!(PlainVtable, allocate)),
            (4, 5, 6, Some(7)) => entries(&VERSIONED, offset_of!(VersionedVtable, language)),
            _ => return None,
        };
        Some(Box::leak(Box::new(Allocator { vtable, memory })))
    }

    /// What TensorRT's calls take.
    pub(super) fn as_ptr(&'static self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

/// `IGpuAllocator::allocate`: null where there is no such block.
///
/// # Safety
/// `allocator` is one of [`Allocator::leak`]'s: TensorRT calls it with what it was handed.
unsafe extern "C" fn allocate(allocator: *const Allocator, bytes: u64, alignment: u64, _flags: u32) -> *mut c_void {
    // SAFETY: see above; it is never freed.
    let memory = unsafe { (*allocator).memory };
    // A panic must not cross into C++: it is no memory there.
    let given = catch_unwind(AssertUnwindSafe(|| memory.allocate(bytes as usize, alignment as usize)));
    given.ok().flatten().unwrap_or(0) as *mut c_void
}

/// `IGpuAllocator::allocateAsync`: what is allocated for all streams serves one.
///
/// # Safety
/// As for [`allocate`].
unsafe extern "C" fn allocate_async(
    allocator: *const Allocator,
    bytes: u64,
    alignment: u64,
    flags: u32,
    _stream: *mut c_void,
) -> *mut c_void {
    // SAFETY: the same promise.
    unsafe { allocate(allocator, bytes, alignment, flags) }
}

/// `IGpuAllocator::deallocate`.
///
/// # Safety
/// As for [`allocate`]; `address` came from it, or is null.
unsafe extern "C" fn deallocate(allocator: *const Allocator, address: *mut c_void) -> bool {
    if !address.is_null() {
        // SAFETY: see above.
        let memory = unsafe { (*allocator).memory };
        let _ = catch_unwind(AssertUnwindSafe(|| memory.free(address as u64)));
    }
    true
}

/// `IGpuAllocator::deallocateAsync`: `free` waits for the device, and so for this stream.
///
/// # Safety
/// As for [`deallocate`].
unsafe extern "C" fn deallocate_async(allocator: *const Allocator, address: *mut c_void, _stream: *mut c_void) -> bool {
    // SAFETY: the same promise.
    unsafe { deallocate(allocator, address) }
}

/// 8.6's `IGpuAllocator::free`.
///
/// # Safety
/// As for [`deallocate`].
unsafe extern "C" fn free(allocator: *const Allocator, address: *mut c_void) {
    // SAFETY: the same promise.
    unsafe { deallocate(allocator, address) };
}

/// `IGpuAllocator::reallocate`: null says that the block stays as it is.
extern "C" fn cannot(_: *const Allocator, _: *mut c_void, _: u64, _: u64) -> *mut c_void {
    std::ptr::null_mut()
}

/// `getInterfaceInfo`.
extern "C" fn interface(_: *const Allocator) -> InterfaceInfo {
    InterfaceInfo {
        kind: c"IGpuAllocator".as_ptr(),
        major: 1,
        minor: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::supported_versions;
    use super::*;
    use parking_lot::Mutex;

    struct Recorded(Mutex<Vec<(usize, usize)>>);

    impl DeviceMemory for Recorded {
        fn allocate(&self, bytes: usize, alignment: usize) -> Option<u64> {
            self.0.lock().push((bytes, alignment));
            (bytes < 1000).then_some(0x1000)
        }

        fn free(&self, address: u64) {
            self.0.lock().push((address as usize, 0));
        }
    }

    /// Calls through the object's vtable at the slots that each version's table names, as TensorRT does.
    #[test]
    fn every_version_finds_its_methods_where_its_table_says() {
        for version in supported_versions() {
            let table = Table::of(version).unwrap();
            let memory: &'static Recorded = Box::leak(Box::new(Recorded(Mutex::default())));
            let object = Allocator::leak(table, memory).unwrap();
            let slot = |member| {
                let index = usize::from(table.slot("IGpuAllocator", member).unwrap());
                // SAFETY: the vtable has at least as many entries as the table names.
                unsafe { object.as_ptr().cast::<*const *const c_void>().read().add(index).read() }
            };
            // SAFETY: the entries have these types; that they are those methods is what is tested.
            unsafe {
                let allocate: Allocate = std::mem::transmute(slot("allocate"));
                let deallocate: Deallocate = std::mem::transmute(slot("deallocate"));
                let reallocate: Reallocate = std::mem::transmute(slot("reallocate"));
                assert_eq!(allocate(object, 512, 256, 0) as usize, 0x1000);
                assert!(allocate(object, 5000, 64, 0).is_null());
                assert!(reallocate(object, 0x1000 as *mut c_void, 64, 600).is_null());
                assert!(deallocate(object, 0x1000 as *mut c_void));
                assert!(deallocate(object, std::ptr::null_mut()));
                let mut expected = vec![(512, 256), (5000, 64), (0x1000, 0)];
                if table.slot("IGpuAllocator", "allocateAsync").is_some() {
                    let allocate: AllocateAsync = std::mem::transmute(slot("allocateAsync"));
                    let deallocate: DeallocateAsync = std::mem::transmute(slot("deallocateAsync"));
                    assert_eq!(allocate(object, 16, 256, 0, std::ptr::null_mut()) as usize, 0x1000);
                    assert!(deallocate(object, 0x2000 as *mut c_void, std::ptr::null_mut()));
                    expected.extend([(16, 256), (0x2000, 0)]);
                }
                assert_eq!(*memory.0.lock(), expected, "{version}");
            }
        }
    }
}
