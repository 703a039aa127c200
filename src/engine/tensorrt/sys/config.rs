//! `IBuilderConfig`, and the timing caches that it makes and uses.

use super::calls::{Config, HostMemory, Owned, Profile, TimingCache, vcall};
use super::slots::MissingMethod;
use std::ffi::c_void;

impl<'b> Owned<'b, Config> {
    /// `setMemoryPoolLimit`; `pool` is a `MemoryPoolType`.
    pub fn set_memory_pool_limit(&self, pool: i32, bytes: usize) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.set_memory_pool_limit)?;
        // SAFETY: `void setMemoryPoolLimit(MemoryPoolType, std::size_t)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32, usize), pool, bytes) };
        Ok(())
    }

    /// `setFlag`; `flag` is a `BuilderFlag`.
    pub fn set_flag(&self, flag: i32) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.set_flag)?;
        // SAFETY: `void setFlag(BuilderFlag)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32), flag) };
        Ok(())
    }

    /// `clearFlag`; `flag` is a `BuilderFlag`.
    pub fn clear_flag(&self, flag: i32) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.clear_flag)?;
        // SAFETY: `void clearFlag(BuilderFlag)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32), flag) };
        Ok(())
    }

    /// `getFlag`; `flag` is a `BuilderFlag`.
    pub fn flag(&self, flag: i32) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library().slots.config.get_flag)?;
        // SAFETY: `bool getFlag(BuilderFlag) const`.
        Ok(unsafe { vcall!(self.implementation(), slot, fn(i32) -> bool, flag) })
    }

    /// `setBuilderOptimizationLevel`, 0 to 5; TensorRT takes what is above for its highest, and logs an error for what is below 0.
    pub fn set_optimization_level(&self, level: i32) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.set_optimization_level)?;
        // SAFETY: `void setBuilderOptimizationLevel(int32_t)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32), level) };
        Ok(())
    }

    /// `setPreviewFeature`: turns on a `PreviewFeature`.
    pub fn set_preview_feature(&self, feature: i32) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.set_preview_feature)?;
        // SAFETY: `void setPreviewFeature(PreviewFeature, bool)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32, bool), feature, true) };
        Ok(())
    }

    /// `setProfilingVerbosity`; `verbosity` is a `ProfilingVerbosity`.
    pub fn set_profiling_verbosity(&self, verbosity: i32) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.config.set_profiling_verbosity)?;
        // SAFETY: `void setProfilingVerbosity(ProfilingVerbosity)`.
        unsafe { vcall!(self.implementation(), slot, fn(i32), verbosity) };
        Ok(())
    }

    /// `createTimingCache` from what `serialize` gave, or an empty one from nothing; `None` where TensorRT cannot read it. It
    /// belongs to no config.
    pub fn create_timing_cache(&self, blob: &[u8]) -> Result<Option<Owned<'static, TimingCache>>, MissingMethod> {
        let slot = self.index(self.library().slots.config.create_timing_cache)?;
        let data = if blob.is_empty() { std::ptr::null() } else { blob.as_ptr() };
        // SAFETY: `ITimingCache* createTimingCache(void const*, std::size_t) const`; it copies what it reads, and what it
        // returns is ours.
        Ok(unsafe {
            let cache = vcall!(self.implementation(), slot, fn(*const u8, usize) -> *mut c_void, data, blob.len());
            Owned::adopt(cache, self.library())
        })
    }

    /// `setTimingCache`; `false` where the cache is of another device or version (with `ignore_mismatch`: another version).
    /// The config keeps the pointer, and a build writes to the cache: it outlives the builder, and as it is not `Sync`, no other
    /// thread has it meanwhile.
    pub fn set_timing_cache(&self, cache: &'b Owned<'static, TimingCache>, ignore_mismatch: bool) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library().slots.config.set_timing_cache)?;
        // SAFETY: `bool setTimingCache(ITimingCache const&, bool)`: a reference is a pointer to the API object.
        Ok(unsafe {
            vcall!(
                self.implementation(),
                slot,
                fn(*mut c_void, bool) -> bool,
                cache.as_ptr(),
                ignore_mismatch
            )
        })
    }

    /// `setNbComputeCapabilities` and `setComputeCapability` for each: whom a plan of TensorRT-RTX is for. `false` where
    /// TensorRT does not take one.
    pub fn set_compute_capabilities(&self, capabilities: &[i32]) -> Result<bool, MissingMethod> {
        let count = self.index(self.library().slots.config.set_compute_capability_count)?;
        let each = self.index(self.library().slots.config.set_compute_capability)?;
        let Ok(length) = i32::try_from(capabilities.len()) else {
            return Ok(false);
        };
        // SAFETY: `bool setNbComputeCapabilities(int32_t)`.
        let mut taken = unsafe { vcall!(self.implementation(), count, fn(i32) -> bool, length) };
        for (index, &capability) in (0..length).zip(capabilities) {
            // SAFETY: `bool setComputeCapability(ComputeCapability, int32_t)`.
            taken &= unsafe { vcall!(self.implementation(), each, fn(i32, i32) -> bool, capability, index) };
        }
        Ok(taken)
    }

    /// `addOptimizationProfile`: the profile's index, or `None` where TensorRT finds it invalid.
    pub fn add_profile(&self, profile: &Owned<'b, Profile>) -> Result<Option<usize>, MissingMethod> {
        let slot = self.index(self.library().slots.config.add_profile)?;
        // SAFETY: `int32_t addOptimizationProfile(IOptimizationProfile const*)`. The config keeps the pointer; the builder,
        // which both borrow, keeps the profile.
        let index = unsafe { vcall!(self.implementation(), slot, fn(*mut c_void) -> i32, profile.as_ptr()) };
        Ok(usize::try_from(index).ok())
    }
}

impl Owned<'_, TimingCache> {
    /// `combine`: takes up what `other` holds; `false` where the two do not go together. One thread at a time.
    pub fn combine(&self, other: &Owned<'_, TimingCache>, ignore_mismatch: bool) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library().slots.timing_cache.combine)?;
        // SAFETY: `bool combine(ITimingCache const&, bool)`; who has a reference to one of them has it in this thread alone, so no
        // builder uses either at the same time.
        Ok(unsafe {
            vcall!(
                self.implementation(),
                slot,
                fn(*mut c_void, bool) -> bool,
                other.as_ptr(),
                ignore_mismatch
            )
        })
    }

    /// `serialize`: what [`Owned::create_timing_cache`] takes; `None` where TensorRT cannot.
    pub fn serialize(&self) -> Result<Option<Owned<'static, HostMemory>>, MissingMethod> {
        let slot = self.index(self.library().slots.timing_cache.serialize)?;
        // SAFETY: `IHostMemory* serialize() const`; the memory is ours and does not depend on the cache.
        Ok(unsafe { Owned::adopt(vcall!(self.implementation(), slot, fn() -> *mut c_void,), self.library()) })
    }
}
