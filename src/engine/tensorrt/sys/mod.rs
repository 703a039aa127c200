//! The lowest layer: which library, which version, where each method is, and the calls themselves.
//!
//! An API object of TensorRT is two pointers: its own vtable, and the "V-object" that does the work. A method call is
//! `v->vtable[slot](v, ...)`; the slots differ from version to version and come from `abi.tsv`, computed from TensorRT's
//! public headers (Itanium C++ ABI, x86-64). What leaves this module is safe to use: objects are owned, know their parents'
//! lifetimes, and a method that the loaded version lacks is an error instead of a call into nowhere.

#![allow(unsafe_code, reason = "TensorRT's C++ objects")]

mod allocator;
mod calls;
mod config;
mod dims;
mod interface;
mod library;
mod logger;
mod runtime;
mod slots;
mod table;
mod version;

pub use allocator::Allocator;
pub use calls::{Builder, Config, HostMemory, Network, Owned, Parser, ParserError, Profile, Selector, TimingCache};
pub use dims::{Dims, MAX_DIMS};
pub use library::{Library, LibraryError, PATH_VARIABLE};
pub use logger::{Severity, Sink};
pub use runtime::{ContextObject, EngineObject, RuntimeObject, TensorFacts};
pub use slots::MissingMethod;
pub use table::{Table, supported_versions};
pub use version::{Family, Version};
