//! Timing caches: what builders have measured, for the next build.
//!
//! The builds of a process hand on the cache itself, an object in memory: TensorRT 8.6.0 does not take back what it serialized. As
//! bytes, where the version reads what it wrote, it goes to other processes, and to a build that begins while another has the cache.
//!
//! NVIDIA says that builders may share a cache, and that it is to outlive them; of two at once it says nothing, and a build writes
//! to it. So at any time one build has a cache, in one thread: who begins takes an idle one out of [`MergePool`], adds what other idle ones
//! know, and gives it back when its builder is gone. The compiler holds it: a cache is `Send` and not `Sync`, and a config borrows
//! it for the life of its builder. A build never waits for another: one that finds no idle cache makes one, of what was serialized last.

use super::plan::Plan;
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Builder, Config, Library, Owned, TimingCache};
use crate::sync::merge_pool::{Lease, MergePool};
use bytes::Bytes;
use parking_lot::Mutex;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What the builds of one TensorRT on one device have measured in this process.
#[derive(Default)]
pub struct Timings {
    idle: MergePool<Live>,
    /// What was serialized last, or read before the first build; empty where there is nothing, or the version does not read it.
    serialized: Mutex<Bytes>,
    /// Whether the version has refused what it wrote: it is not asked to write again.
    unreadable: AtomicBool,
    /// Whether it has refused to merge two caches: each is used for itself from then on.
    unmergeable: AtomicBool,
}

/// A cache of TensorRT's.
struct Live {
    cache: Owned<'static, TimingCache>,
    /// What it was made from, or last serialized as.
    serialized: Bytes,
}

/// A timing cache as bytes.
#[derive(Clone, Debug)]
pub struct Written {
    pub bytes: Bytes,
    /// What the cache was made from, or was written as before this build; empty where it was new.
    pub before: Bytes,
}

impl Timings {
    /// Where nothing is known as bytes yet, `read` may know something, of another process say.
    pub fn begin_with(&self, read: impl FnOnce() -> Option<Bytes>) {
        let mut serialized = self.serialized.lock();
        if serialized.is_empty()
            && let Some(found) = read()
        {
            *serialized = found;
        }
    }

    /// For one build; before its builder is made.
    pub(super) fn begin(&self, scope: &mut Scope) -> Caches<'_> {
        Caches {
            timings: self,
            earlier: self.idle.take(|one, other| self.add(scope, one, other)),
            read: OnceCell::new(),
            empty: OnceCell::new(),
            refused: Cell::new(false),
            used: Cell::new(Used::None),
        }
    }

    /// Adds to `one` what `other` knows. Both are idle, but for this.
    fn add(&self, scope: &mut Scope, one: &Live, other: &Live) {
        if self.unmergeable.load(Relaxed) {
            return;
        }
        scope.tell_so_far();
        if matches!(one.cache.combine(&other.cache, false), Ok(true)) {
            tracing::debug!(node = scope.node(), "the timing cache of another build is merged");
        } else if !self.unmergeable.swap(true, Relaxed) {
            tracing::warn!(
                node = scope.node(),
                "TensorRT cannot merge the timing caches of builds that ran at once; each is used for itself{}",
                scope.so_far()
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    None,
    Earlier,
    Read,
    Empty,
}

/// The caches of one build: an earlier build's, one of what was serialized, and the empty one in their place where TensorRT does not
/// take it.
pub(super) struct Caches<'t> {
    timings: &'t Timings,
    earlier: Option<Lease<'t, Live>>,
    /// Whether TensorRT does not take that one any more.
    refused: Cell<bool>,
    read: OnceCell<Live>,
    empty: OnceCell<Live>,
    used: Cell<Used>,
}

impl Caches<'_> {
    /// Has `config` use the cache of earlier builds; where there is none, one of what was serialized; an empty one where that is
    /// nothing. What TensorRT does not take is a warning.
    pub fn attach<'b>(&'b self, scope: &mut Scope, config: &Owned<'b, Config>) -> Result<(), Error> {
        // TensorRT may take a cache, say in its log that it will not be used, and measure nothing into it.
        scope.tell_so_far();
        if let Some(earlier) = &self.earlier {
            if config.set_timing_cache(&earlier.cache, false)? && !scope.has_errors() {
                tracing::debug!(node = scope.node(), "the build goes on with the timing cache of earlier builds");
                self.used.set(Used::Earlier);
                return Ok(());
            }
            self.refused.set(true);
            tracing::warn!(
                node = scope.node(),
                "TensorRT does not take the timing cache of earlier builds; the build starts another one{}",
                scope.so_far()
            );
        }
        let serialized = self.timings.serialized.lock().clone();
        if !serialized.is_empty() {
            if set(config, &self.read, serialized.clone())? && !scope.has_errors() {
                self.used.set(Used::Read);
                return Ok(());
            }
            tracing::warn!(
                node = scope.node(),
                "the timing cache given ({} bytes) is not for this {} and device, or is damaged; the build starts an empty one{}",
                serialized.len(),
                config.library().version(),
                scope.so_far()
            );
        }
        if set(config, &self.empty, Bytes::new())? {
            self.used.set(Used::Empty);
        } else {
            tracing::warn!(node = scope.node(), "TensorRT takes no timing cache{}", scope.so_far());
        }
        Ok(())
    }

    /// The cache after a build, as bytes; `None` where there is none, TensorRT cannot write it, or could not read it again.
    pub fn serialize(&self, scope: &mut Scope, builder: &Owned<'static, Builder>) -> Result<Option<Bytes>, Error> {
        let Some(live) = self.used() else {
            return Ok(None);
        };
        if self.timings.unreadable.load(Relaxed) {
            return Ok(None);
        }
        // The engine is built; only another process's builds will take longer.
        let Some(memory) = live.cache.serialize()? else {
            tracing::warn!(node = scope.node(), "TensorRT cannot write its timing cache{}", scope.so_far());
            return Ok(None);
        };
        let bytes = Plan::new(memory).into_bytes();
        scope.tell_so_far();
        // What is kept unread would spoil later builds.
        if bytes == live.serialized || readable(scope, builder, &bytes)? {
            return Ok(Some(bytes));
        }
        if !self.timings.unreadable.swap(true, Relaxed) {
            tracing::warn!(
                node = scope.node(),
                "TensorRT does not take the timing cache that it wrote ({} bytes); it is handed on in this process, and not kept{}",
                bytes.len(),
                scope.so_far()
            );
        }
        Ok(None)
    }

    /// Hands on the cache, after a build that failed, too: what it has measured is measured. To be called when the builder is gone.
    pub fn end(mut self, bytes: Option<Bytes>) -> Option<Written> {
        if self.refused.get()
            && let Some(refused) = self.earlier.take()
        {
            refused.discard();
        }
        let used = self.used.get();
        let mut made = match used {
            Used::Read => self.read.take(),
            Used::Empty => self.empty.take(),
            Used::None | Used::Earlier => None,
        };
        let live = match used {
            Used::Earlier => self.earlier.as_deref_mut(),
            _ => made.as_mut(),
        };
        let written = live.zip(bytes).map(|(live, bytes)| {
            *self.timings.serialized.lock() = bytes.clone();
            Written {
                before: std::mem::replace(&mut live.serialized, bytes.clone()),
                bytes,
            }
        });
        if let Some(made) = made {
            self.timings.idle.give(made);
        }
        written
    }

    /// Whether TensorRT was given a cache that it did not take: that one does not outlive the build.
    pub fn refused(&self) -> bool {
        self.refused.get() || (self.used.get() != Used::Read && self.read.get().is_some())
    }

    fn used(&self) -> Option<&Live> {
        match self.used.get() {
            Used::None => None,
            Used::Earlier => self.earlier.as_deref(),
            Used::Read => self.read.get(),
            Used::Empty => self.empty.get(),
        }
    }
}

/// Whether a build could use this cache.
fn readable(scope: &Scope, builder: &Owned<'static, Builder>, blob: &Bytes) -> Result<bool, Error> {
    let place = OnceCell::new();
    let Some(config) = builder.create_config()? else {
        return Ok(false);
    };
    Ok(set(&config, &place, blob.clone())? && !scope.has_errors())
}

/// What two timing caches know, in one; where both know something, the first.
///
/// # Errors
/// [`Error::Refused`] where TensorRT takes one of them no more, or cannot merge or write them.
pub fn combine(library: &Arc<Library>, node: &str, first: &[u8], second: &[u8]) -> Result<Bytes, Error> {
    let mut scope = Scope::enter(library, node);
    let builder = library.create_builder()?;
    let builder = scope.some("create a builder", builder)?;
    let config = builder.create_config()?;
    let config = scope.some("create a builder config", config)?;
    let ours = config.create_timing_cache(first)?;
    let ours = scope.some("read a timing cache", ours)?;
    let other = config.create_timing_cache(second)?;
    let other = scope.some("read a timing cache", other)?;
    if !ours.combine(&other, false)? {
        return Err(scope.refused("merge timing caches"));
    }
    let memory = ours.serialize()?;
    Ok(Plan::new(scope.some("write a timing cache", memory)?).into_bytes())
}

/// Makes the cache of `blob`, keeps it in `place` (which is empty), and has `config` use it; `false` where TensorRT does not.
fn set<'b>(config: &Owned<'b, Config>, place: &'b OnceCell<Live>, blob: Bytes) -> Result<bool, Error> {
    match config.create_timing_cache(&blob)? {
        Some(cache) => {
            let live = place.get_or_init(|| Live { cache, serialized: blob });
            Ok(config.set_timing_cache(&live.cache, false)?)
        }
        None => Ok(false),
    }
}
