//! TensorRT's objects and the calls on them.
//!
//! An [`Owned`] is one object of TensorRT's, deleted when it is dropped, and not outliving its parent. Its pointer makes it
//! neither `Send` nor `Sync`: TensorRT wants one thread at a time at an object, and promises more only where it is said here.

use super::dims::{Dims, Dims32, Dims64};
use super::library::Library;
use super::slots::{MissingMethod, Slot};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

mod sealed {
    /// How an object of a class goes away.
    #[derive(Clone, Copy)]
    pub enum Deletion {
        /// Its own vtable's slot 1.
        Destructor,
        /// Its own vtable, where the table says: the parser's destructor was not declared first.
        Parser,
        /// With its parent.
        Parent,
    }

    pub trait Class {
        const DELETION: Deletion;
    }
}
use sealed::{Class, Deletion};

macro_rules! classes {
    ($($(#[$text:meta])* $name:ident: $deletion:ident;)*) => {
        $(
            $(#[$text])*
            pub enum $name {}
            impl Class for $name {
                const DELETION: Deletion = Deletion::$deletion;
            }
        )*
    };
}

classes! {
    /// `IBuilder`.
    Builder: Destructor;
    /// `IBuilderConfig`.
    Config: Destructor;
    /// `ITimingCache`.
    TimingCache: Destructor;
    /// `IOptimizationProfile`; its builder owns it.
    Profile: Parent;
    /// `INetworkDefinition`.
    Network: Destructor;
    /// `ITensor`; its network owns it.
    Tensor: Parent;
    /// `IHostMemory`.
    HostMemory: Destructor;
    /// `nvonnxparser::IParser`.
    Parser: Parser;
    /// `IRuntime`.
    Runtime: Destructor;
    /// `ICudaEngine`.
    CudaEngine: Destructor;
    /// `IExecutionContext`.
    ExecutionContext: Destructor;
    /// `IEngineInspector`.
    Inspector: Destructor;
}

/// A life that the compiler neither shortens nor stretches.
type Invariant<'p> = fn(&'p ()) -> &'p ();

/// An object of class `C` that lives no longer than `'p`, its parent. `'p` is invariant: a config that keeps a pointer to a
/// profile cannot be passed off as one with a shorter life.
pub struct Owned<'p, C: Class> {
    object: NonNull<c_void>,
    library: Arc<Library>,
    parent: PhantomData<(Invariant<'p>, C)>,
}

// SAFETY: a plan's memory is read-only once it is built, and belongs to no thread: TensorRT's samples hand it on.
unsafe impl Send for Owned<'static, HostMemory> {}
// SAFETY: `data` and `size` only read.
unsafe impl Sync for Owned<'static, HostMemory> {}

// SAFETY: a builder is bound to no thread: TensorRT wants one caller at a time (developer guide, "Thread Safety"), which an owner that is
// not `Sync` is. It is used and dropped where the CUDA context of its device is current; `safe::Builders` sees to that.
unsafe impl Send for Owned<'static, Builder> {}

// SAFETY: a timing cache belongs to no config and no builder (NvInfer.h: it "can be shared by multiple builder instances"), nor to a
// thread, so builds of several threads may have it one after the other. It is not `Sync`: NVIDIA says nothing of two builds at
// once, which both would write to it.
unsafe impl Send for Owned<'static, TimingCache> {}

/// Which end of a profile's range a call speaks of (`OptProfileSelector`, the same numbers in every version).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Selector {
    Min = 0,
    Opt = 1,
    Max = 2,
}

/// One error of the ONNX parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserError {
    /// `nvonnxparser::ErrorCode`.
    pub code: i32,
    /// Index of the node in the ONNX graph; -1 where it is not about a node.
    pub node: i32,
    /// The node's name and op type; empty where the version does not tell.
    pub node_name: String,
    pub operator: String,
    pub text: String,
    /// Where in the parser's source.
    pub file: String,
    pub line: i32,
}

/// Calls the function in `slot` of the vtable that `this` begins with.
///
/// # Safety (of the expansion)
/// `this` is a live object of the slot's class, and the function type given is that method's in the loaded version: the slot
/// is from that version's own table.
macro_rules! vcall {
    ($this:expr, $index:expr, fn($($type:ty),*) $(-> $result:ty)?, $($argument:expr),*) => {{
        let this: *mut c_void = $this;
        let entry = this.cast::<*const *const c_void>().read().add($index).read();
        let entry: unsafe extern "C" fn(*mut c_void $(, $type)*) $(-> $result)? = std::mem::transmute(entry);
        entry(this $(, $argument)*)
    }};
}
pub(super) use vcall;

impl<'p, C: Class> Owned<'p, C> {
    /// `None` for null, TensorRT's way to say that it could not.
    ///
    /// # Safety
    /// `object` is null or a live object of class `C` of `library`, which nothing else deletes (but for its parent, where that
    /// is the class's way), and which may live as long as `'p`.
    pub(super) unsafe fn adopt(object: *mut c_void, library: &Arc<Library>) -> Option<Owned<'p, C>> {
        Some(Owned {
            object: NonNull::new(object)?,
            library: library.clone(),
            parent: PhantomData,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.object.as_ptr()
    }

    /// The library that the object is of.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// The object that an API object's calls go to: its second word.
    pub(super) fn implementation(&self) -> *mut c_void {
        // SAFETY: a live API object is 16 bytes (abi.tsv, sizeof): its vtable and this pointer.
        unsafe { self.as_ptr().cast::<*mut c_void>().add(1).read() }
    }

    pub(super) fn index(&self, slot: Slot) -> Result<usize, MissingMethod> {
        slot.index(self.library.version())
    }

    pub(super) fn wide_dims(&self) -> bool {
        self.library.table.size_of("Dims_element") == Some(8)
    }
}

impl<C: Class> Drop for Owned<'_, C> {
    fn drop(&mut self) {
        let slot = match C::DELETION {
            Deletion::Parent => return,
            Deletion::Destructor => 1,
            // Every table has the row (a test of `slots` sees to it); without it, leaking is what is safe.
            Deletion::Parser => match self.index(self.library.slots.parser.delete) {
                Ok(slot) => slot,
                Err(_) => return,
            },
        };
        // SAFETY: the object is ours, alive, and dropped once; its children borrowed it, so they are gone.
        unsafe { vcall!(self.as_ptr(), slot, fn(),) }
    }
}

impl Owned<'_, Builder> {
    /// `createNetworkV2`; `flags` as bits of `NetworkDefinitionCreationFlag`.
    pub fn create_network(&self, flags: u32) -> Result<Option<Owned<'_, Network>>, MissingMethod> {
        let slot = self.index(self.library.slots.builder.create_network)?;
        // SAFETY: `INetworkDefinition* createNetworkV2(uint32_t)`; the network is ours and borrows the builder.
        Ok(unsafe { Owned::adopt(vcall!(self.implementation(), slot, fn(u32) -> *mut c_void, flags), &self.library) })
    }

    /// `createBuilderConfig`.
    pub fn create_config(&self) -> Result<Option<Owned<'_, Config>>, MissingMethod> {
        let slot = self.index(self.library.slots.builder.create_config)?;
        // SAFETY: `IBuilderConfig* createBuilderConfig()`; the config is ours and borrows the builder.
        Ok(unsafe { Owned::adopt(vcall!(self.implementation(), slot, fn() -> *mut c_void,), &self.library) })
    }

    /// `createOptimizationProfile`.
    pub fn create_profile(&self) -> Result<Option<Owned<'_, Profile>>, MissingMethod> {
        let slot = self.index(self.library.slots.builder.create_profile)?;
        // SAFETY: `IOptimizationProfile* createOptimizationProfile()`; it lives as long as the builder and is deleted with it.
        Ok(unsafe { Owned::adopt(vcall!(self.implementation(), slot, fn() -> *mut c_void,), &self.library) })
    }

    /// `buildSerializedNetwork`; `None` where the build failed. The plan does not depend on the builder any more.
    pub fn build(
        &self,
        network: &Owned<'_, Network>,
        config: &Owned<'_, Config>,
    ) -> Result<Option<Owned<'static, HostMemory>>, MissingMethod> {
        let slot = self.index(self.library.slots.builder.build)?;
        // SAFETY: `IHostMemory* buildSerializedNetwork(INetworkDefinition&, IBuilderConfig&)`: references are pointers to the
        // API objects; both are alive.
        Ok(unsafe {
            let plan = vcall!(
                self.implementation(),
                slot,
                fn(*mut c_void, *mut c_void) -> *mut c_void,
                network.as_ptr(),
                config.as_ptr()
            );
            Owned::adopt(plan, &self.library)
        })
    }
}

impl Owned<'_, Profile> {
    /// `setDimensions`: `false` where TensorRT does not take it, or `shape` does not fit its `Dims`.
    pub fn set_dimensions(&self, input: &CStr, selector: Selector, shape: &[i64]) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library.slots.profile.set_dimensions)?;
        let name = input.as_ptr();
        // SAFETY: `bool setDimensions(char const*, OptProfileSelector, Dims const&)`, `Dims` as wide as the version has it;
        // name and shape are copied.
        Ok(unsafe {
            if self.wide_dims() {
                Dims64::of(shape).is_some_and(|dims| {
                    vcall!(
                        self.implementation(),
                        slot,
                        fn(*const c_char, i32, *const Dims64) -> bool,
                        name,
                        selector as i32,
                        &raw const dims
                    )
                })
            } else {
                Dims32::of(shape).is_some_and(|dims| {
                    vcall!(
                        self.implementation(),
                        slot,
                        fn(*const c_char, i32, *const Dims32) -> bool,
                        name,
                        selector as i32,
                        &raw const dims
                    )
                })
            }
        })
    }

    /// `setShapeValuesV2`, or where the version has only that, `setShapeValues`: `false` where TensorRT does not take it, or a
    /// value does not fit.
    pub fn set_values(&self, input: &CStr, selector: Selector, values: &[i64]) -> Result<bool, MissingMethod> {
        let Ok(count) = i32::try_from(values.len()) else {
            return Ok(false);
        };
        let slots = &self.library.slots.profile;
        let (name, selector) = (input.as_ptr(), selector as i32);
        if slots.set_values_64.is_there() {
            let slot = self.index(slots.set_values_64)?;
            // SAFETY: `bool setShapeValuesV2(char const*, OptProfileSelector, int64_t const*, int32_t)`; all is copied.
            return Ok(unsafe {
                let values = values.as_ptr();
                vcall!(
                    self.implementation(),
                    slot,
                    fn(*const c_char, i32, *const i64, i32) -> bool,
                    name,
                    selector,
                    values,
                    count
                )
            });
        }
        let slot = self.index(slots.set_values)?;
        let Ok(narrow) = values.iter().map(|&value| i32::try_from(value)).collect::<Result<Vec<i32>, _>>() else {
            return Ok(false);
        };
        // SAFETY: `bool setShapeValues(char const*, OptProfileSelector, int32_t const*, int32_t)`; all is copied.
        Ok(unsafe {
            let values = narrow.as_ptr();
            vcall!(
                self.implementation(),
                slot,
                fn(*const c_char, i32, *const i32, i32) -> bool,
                name,
                selector,
                values,
                count
            )
        })
    }

    /// `isValid`.
    pub fn is_valid(&self) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library.slots.profile.is_valid)?;
        // SAFETY: `bool isValid() const`.
        Ok(unsafe { vcall!(self.implementation(), slot, fn() -> bool,) })
    }
}

impl Owned<'_, Network> {
    /// `setName`; the name is copied.
    pub fn set_name(&self, name: &CStr) -> Result<(), MissingMethod> {
        let slot = self.index(self.library.slots.network.set_name)?;
        // SAFETY: `void setName(char const*)`.
        unsafe { vcall!(self.implementation(), slot, fn(*const c_char), name.as_ptr()) };
        Ok(())
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> Result<Vec<Owned<'_, Tensor>>, MissingMethod> {
        let slots = &self.library.slots.network;
        self.tensors(slots.input_count, slots.input)
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> Result<Vec<Owned<'_, Tensor>>, MissingMethod> {
        let slots = &self.library.slots.network;
        self.tensors(slots.output_count, slots.output)
    }

    /// `getNbLayers`.
    pub fn layer_count(&self) -> Result<i32, MissingMethod> {
        let slot = self.index(self.library.slots.network.layer_count)?;
        // SAFETY: `int32_t getNbLayers() const`.
        Ok(unsafe { vcall!(self.implementation(), slot, fn() -> i32,) })
    }

    fn tensors(&self, count: Slot, get: Slot) -> Result<Vec<Owned<'_, Tensor>>, MissingMethod> {
        let (count, get) = (self.index(count)?, self.index(get)?);
        // SAFETY: `int32_t getNb{In,Out}puts() const`.
        let count = unsafe { vcall!(self.implementation(), count, fn() -> i32,) };
        Ok((0..count)
            // SAFETY: `ITensor* get{In,Out}put(int32_t) const`, index in range; the tensor is the network's.
            .filter_map(|i| unsafe { Owned::adopt(vcall!(self.implementation(), get, fn(i32) -> *mut c_void, i), &self.library) })
            .collect())
    }
}

impl Owned<'_, Tensor> {
    /// `getName`.
    pub fn name(&self) -> Result<String, MissingMethod> {
        let slot = self.index(self.library.slots.tensor.name)?;
        // SAFETY: `char const* getName() const`; the text is copied before anything can change it.
        Ok(unsafe { text(vcall!(self.implementation(), slot, fn() -> *const c_char,)) })
    }

    /// `getDimensions`; -1 is an open size.
    pub fn dimensions(&self) -> Result<Dims, MissingMethod> {
        let slot = self.index(self.library.slots.tensor.dimensions)?;
        // SAFETY: `Dims getDimensions() const`, returned through a hidden pointer by C's rules as by C++'s.
        Ok(unsafe {
            if self.wide_dims() {
                vcall!(self.implementation(), slot, fn() -> Dims64,).shape()
            } else {
                vcall!(self.implementation(), slot, fn() -> Dims32,).shape()
            }
        })
    }

    /// `isShapeTensor`: whether its values are needed to know shapes.
    pub fn is_shape_tensor(&self) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library.slots.tensor.is_shape_tensor)?;
        // SAFETY: `bool isShapeTensor() const`.
        Ok(unsafe { vcall!(self.implementation(), slot, fn() -> bool,) })
    }
}

impl Owned<'_, HostMemory> {
    /// The bytes.
    pub fn bytes(&self) -> Result<&[u8], MissingMethod> {
        let slots = &self.library.slots.memory;
        let (data, size) = (self.index(slots.data)?, self.index(slots.size)?);
        // SAFETY: `void* data() const`, `std::size_t size() const`; the memory stays as it is until the object goes.
        Ok(unsafe {
            let data = vcall!(self.implementation(), data, fn() -> *const u8,);
            let size = vcall!(self.implementation(), size, fn() -> usize,);
            if data.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(data, size)
            }
        })
    }
}

impl Owned<'_, Parser> {
    /// `parse`: fills the network that the parser was made for; `false` where there are errors.
    pub fn parse(&self, model: &[u8]) -> Result<bool, MissingMethod> {
        let slot = self.index(self.library.slots.parser.parse)?;
        // SAFETY: `bool parse(void const*, std::size_t, char const* path)` on the parser's own vtable; it reads the model while
        // it runs and keeps its own copy; without a path, a model with external files is an error.
        Ok(unsafe {
            vcall!(
                self.as_ptr(),
                slot,
                fn(*const u8, usize, *const c_char) -> bool,
                model.as_ptr(),
                model.len(),
                std::ptr::null()
            )
        })
    }

    /// The errors of the last parse.
    pub fn errors(&self) -> Result<Vec<ParserError>, MissingMethod> {
        let slots = &self.library.slots;
        let (count, get) = (self.index(slots.parser.error_count)?, self.index(slots.parser.error)?);
        // SAFETY: `int getNbErrors() const`.
        let count = unsafe { vcall!(self.as_ptr(), count, fn() -> c_int,) };
        let mut errors = Vec::new();
        for i in 0..count {
            // SAFETY: `IParserError const* getError(int) const`, index in range; the parser keeps it until the next parse.
            let error = unsafe { vcall!(self.as_ptr(), get, fn(c_int) -> *mut c_void, i) };
            if error.is_null() {
                continue;
            }
            let of = &slots.parser_error;
            // SAFETY: not null, and the parser's.
            errors.push(unsafe {
                ParserError {
                    code: self.number(error, of.code)?,
                    node: self.number(error, of.node)?,
                    node_name: self.text(error, of.node_name).unwrap_or_default(),
                    operator: self.text(error, of.operator).unwrap_or_default(),
                    text: self.text(error, of.text)?,
                    file: self.text(error, of.file)?,
                    line: self.number(error, of.line)?,
                }
            });
        }
        Ok(errors)
    }

    /// # Safety
    /// `error` is a live `IParserError`, `slot` one of its methods that return a number.
    unsafe fn number(&self, error: *mut c_void, slot: Slot) -> Result<i32, MissingMethod> {
        let slot = self.index(slot)?;
        // SAFETY: `int|ErrorCode ...() const`, on the error's own vtable.
        Ok(unsafe { vcall!(error, slot, fn() -> c_int,) })
    }

    /// # Safety
    /// `error` is a live `IParserError`, `slot` one of its methods that return a text.
    unsafe fn text(&self, error: *mut c_void, slot: Slot) -> Result<String, MissingMethod> {
        let slot = self.index(slot)?;
        // SAFETY: `char const* ...() const`, on the error's own vtable.
        Ok(unsafe { text(vcall!(error, slot, fn() -> *const c_char,)) })
    }
}

/// A copy of a C string; null is the empty one.
///
/// # Safety
/// `pointer` is null or a C string.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
