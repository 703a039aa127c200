//! Timing caches: what a builder has measured, for the next build.

use super::plan::Plan;
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Builder, Config, Library, Owned, TimingCache};
use bytes::Bytes;
use std::cell::OnceCell;
use std::sync::Arc;

/// The caches of one build: the one that was given, and the empty one in its place where TensorRT does not take it.
#[derive(Default)]
pub(super) struct Caches {
    given: OnceCell<Owned<'static, TimingCache>>,
    empty: OnceCell<Owned<'static, TimingCache>>,
}

impl Caches {
    /// Has `config` use the cache in `blob`; an empty one where that is empty, or where TensorRT does not take it, which is a
    /// warning: TensorRT's own where it makes the empty one itself, as it does of bytes that it cannot read.
    pub fn attach<'b>(&'b self, scope: &mut Scope, config: &Owned<'b, Config>, blob: &[u8]) -> Result<(), Error> {
        if !blob.is_empty() {
            scope.tell_so_far();
            // TensorRT may take it, say in its log that it will not be used, and measure nothing into it.
            if set(config, &self.given, blob)? && !scope.has_errors() {
                return Ok(());
            }
            tracing::warn!(
                node = scope.node(),
                "the timing cache given ({} bytes) is not for this {} and device, or is damaged; the build starts an empty one{}",
                blob.len(),
                config.library().version(),
                scope.so_far()
            );
        }
        if !set(config, &self.empty, &[])? {
            tracing::warn!(node = scope.node(), "TensorRT takes no timing cache{}", scope.so_far());
        }
        Ok(())
    }

    /// The cache that `config` has after a build; `None` where TensorRT cannot write it, or could not read it again.
    pub fn serialized(
        &self,
        scope: &mut Scope,
        builder: &Owned<'static, Builder>,
        config: &Owned<'_, Config>,
    ) -> Result<Option<Bytes>, Error> {
        if self.given.get().is_none() && self.empty.get().is_none() {
            return Ok(None);
        }
        let Some(cache) = config.timing_cache()? else {
            return Ok(None);
        };
        let memory = cache.serialize()?;
        // The engine is built; only the next build will take longer.
        let Some(memory) = memory else {
            tracing::warn!(node = scope.node(), "TensorRT cannot write its timing cache{}", scope.so_far());
            return Ok(None);
        };
        let bytes = Plan::new(memory).into_bytes();
        scope.tell_so_far();
        if readable(scope, builder, &bytes)? {
            return Ok(Some(bytes));
        }
        tracing::warn!(
            node = scope.node(),
            "TensorRT does not take the timing cache that it wrote ({} bytes); it is not kept{}",
            bytes.len(),
            scope.so_far()
        );
        Ok(None)
    }
}

/// Whether a build could use this cache: what is kept unread would spoil every later build.
fn readable(scope: &Scope, builder: &Owned<'static, Builder>, blob: &[u8]) -> Result<bool, Error> {
    let place = OnceCell::new();
    let Some(config) = builder.create_config()? else {
        return Ok(false);
    };
    Ok(set(&config, &place, blob)? && !scope.has_errors())
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
fn set<'b>(config: &Owned<'b, Config>, place: &'b OnceCell<Owned<'static, TimingCache>>, blob: &[u8]) -> Result<bool, Error> {
    match config.create_timing_cache(blob)? {
        Some(cache) => Ok(config.set_timing_cache(place.get_or_init(|| cache), false)?),
        None => Ok(false),
    }
}
