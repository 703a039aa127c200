//! TensorFlow's C API in safe Rust, as far as loading and running a SavedModel needs it.
//!
//! It is opened at run time, and needs nothing of this crate: `examples/c_api.rs` takes this file as its own module, so that the
//! plugin comes into that program by `TF_LoadLibrary` alone.

#![allow(unsafe_code, reason = "TensorFlow's C API")]

mod sys;

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use sys::{Functions, Object, Output};

/// TensorFlow's C API.
#[derive(Clone)]
pub struct Tensorflow(Arc<Functions>);

// SAFETY: the functions may be called from any thread; the objects behind them are in types of their own.
unsafe impl Send for Tensorflow {}
// SAFETY: as above.
unsafe impl Sync for Tensorflow {}

fn text(what: &str) -> Result<CString, String> {
    CString::new(what).map_err(|_| format!("'{}' has a zero byte in it", what.escape_default()))
}

impl Tensorflow {
    /// The TensorFlow in the library at `path`, or else the one that the loader finds.
    ///
    /// # Errors
    /// The library cannot be opened, or lacks a function: each file that was tried, and why not.
    pub fn open(path: Option<&Path>) -> Result<Tensorflow, String> {
        Functions::open(path).map(|functions| Tensorflow(Arc::new(functions)))
    }

    /// "2.21.0".
    pub fn version(&self) -> String {
        // SAFETY: A static string that ends in a zero.
        unsafe { CStr::from_ptr((self.0.version)()) }.to_string_lossy().into_owned()
    }

    /// Loads a library of ops, kernels and optimizers (`TF_LoadLibrary`). It stays as long as the process.
    ///
    /// # Errors
    /// What the loader says.
    pub fn load_library(&self, path: &Path) -> Result<(), String> {
        let name = text(&path.to_string_lossy())?;
        // SAFETY: `name` ends in a zero, and `status` lives until `checked` returns.
        let handle = self.checked(&path.display().to_string(), |status| unsafe {
            (self.0.load_library)(name.as_ptr(), status)
        })?;
        // SAFETY: the handle alone is deleted, once: the library is not unloaded with it.
        unsafe { (self.0.delete_library_handle)(handle) };
        Ok(())
    }

    /// Loads the SavedModel in `folder` into a session with the options of `config`, a serialized `ConfigProto`.
    ///
    /// # Errors
    /// What TensorFlow says, with the folder in front.
    pub fn load_saved_model(&self, folder: &Path, tags: &[String], config: &[u8]) -> Result<Session, String> {
        let name = text(&folder.to_string_lossy())?;
        let tags: Vec<CString> = tags.iter().map(|tag| text(tag)).collect::<Result<_, _>>()?;
        let tags: Vec<*const c_char> = tags.iter().map(|tag| tag.as_ptr()).collect();
        let f = &self.0;
        // SAFETY: each object is deleted once, after its last use; the graph lives as long as the session.
        unsafe {
            let mut session = Session {
                tensorflow: self.clone(),
                graph: (f.new_graph)(),
                session: ptr::null_mut(),
                meta_graph: Vec::new(),
            };
            let options = (f.new_session_options)();
            let meta_graph = (f.new_buffer)();
            let loaded = self
                .checked("the session's options", |status| {
                    (f.set_config)(options, config.as_ptr().cast(), config.len(), status)
                })
                .and_then(|()| {
                    self.checked(&folder.display().to_string(), |status| {
                        let (tags, count) = (tags.as_ptr(), tags.len() as c_int);
                        (f.load_session)(options, ptr::null(), name.as_ptr(), tags, count, session.graph, meta_graph, status)
                    })
                });
            if loaded.is_ok() && (*meta_graph).length > 0 {
                session.meta_graph = std::slice::from_raw_parts((*meta_graph).data.cast::<u8>(), (*meta_graph).length).to_vec();
            }
            (f.delete_buffer)(meta_graph);
            (f.delete_session_options)(options);
            session.session = loaded?;
            Ok(session)
        }
    }

    /// A tensor in host memory. `dtype` is a number of `DataType`, of fixed size an element; `bytes` are all elements in order.
    ///
    /// # Errors
    /// `bytes` is not what TensorFlow has for that shape and type.
    pub fn tensor(&self, dtype: i32, dims: &[i64], bytes: &[u8]) -> Result<Tensor, String> {
        let f = &self.0;
        // SAFETY: the size is checked before anything is written.
        unsafe {
            let object = (f.allocate_tensor)(dtype, dims.as_ptr(), dims.len() as c_int, bytes.len());
            if object.is_null() {
                return Err(format!("no tensor of type {dtype}, shape {dims:?} and {} bytes", bytes.len()));
            }
            let tensor = Tensor {
                tensorflow: self.clone(),
                object,
            };
            let size = (f.tensor_bytes)(object);
            if size != bytes.len() {
                return Err(format!("a tensor of shape {dims:?} has {size} bytes, {} were given", bytes.len()));
            }
            if size > 0 {
                ptr::copy_nonoverlapping(bytes.as_ptr(), (f.tensor_data)(object).cast::<u8>(), size);
            }
            Ok(tensor)
        }
    }

    /// Hands `f` a status, and gives what it then says: `what` goes before an error's message.
    fn checked<T>(&self, what: &str, f: impl FnOnce(Object) -> T) -> Result<T, String> {
        // SAFETY: made, read and deleted here; the message is copied before that.
        unsafe {
            let status = (self.0.new_status)();
            let result = f(status);
            let outcome = match (self.0.get_code)(status) {
                0 => Ok(result),
                _ => Err(format!("{what}: {}", CStr::from_ptr((self.0.message)(status)).to_string_lossy())),
            };
            (self.0.delete_status)(status);
            outcome
        }
    }
}

/// A tensor in host memory.
pub struct Tensor {
    tensorflow: Tensorflow,
    object: Object,
}

impl Tensor {
    /// A number of `DataType`.
    pub fn dtype(&self) -> i32 {
        // SAFETY: the object is a live tensor.
        unsafe { (self.tensorflow.0.tensor_type)(self.object) }
    }

    pub fn dims(&self) -> Vec<i64> {
        let f = &self.tensorflow.0;
        // SAFETY: each index is below the rank.
        unsafe { (0..(f.tensor_rank)(self.object)).map(|i| (f.tensor_dim)(self.object, i)).collect() }
    }

    /// All elements in order; for strings, TensorFlow's own form of them.
    pub fn bytes(&self) -> &[u8] {
        let f = &self.tensorflow.0;
        // SAFETY: the tensor's memory, of that size, which lives and does not change as long as the tensor.
        unsafe {
            match (f.tensor_bytes)(self.object) {
                0 => &[],
                size => std::slice::from_raw_parts((f.tensor_data)(self.object).cast::<u8>(), size),
            }
        }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: owned, and deleted once.
        unsafe { (self.tensorflow.0.delete_tensor)(self.object) }
    }
}

/// A SavedModel in a session.
pub struct Session {
    tensorflow: Tensorflow,
    graph: Object,
    session: Object,
    meta_graph: Vec<u8>,
}

impl Session {
    /// The model's `MetaGraphDef`, serialized.
    pub fn meta_graph(&self) -> &[u8] {
        &self.meta_graph
    }

    /// Runs the graph: `feeds` are tensors by name ("x:0"), `fetches` names of tensors.
    ///
    /// # Errors
    /// A name that the graph has not, or what TensorFlow says.
    pub fn run(&self, feeds: &[(&str, &Tensor)], fetches: &[&str]) -> Result<Vec<Tensor>, String> {
        let f = &self.tensorflow.0;
        let inputs: Vec<Output> = feeds.iter().map(|(name, _)| self.output(name)).collect::<Result<_, _>>()?;
        let values: Vec<Object> = feeds.iter().map(|(_, tensor)| tensor.object).collect();
        let outputs: Vec<Output> = fetches.iter().map(|name| self.output(name)).collect::<Result<_, _>>()?;
        let mut results: Vec<Object> = vec![ptr::null_mut(); outputs.len()];
        self.tensorflow.checked("the session failed", |status| {
            // SAFETY: there are as many of each as are counted, and the results are owned here.
            unsafe {
                (f.session_run)(
                    self.session,
                    ptr::null(),
                    inputs.as_ptr(),
                    values.as_ptr(),
                    inputs.len() as c_int,
                    outputs.as_ptr(),
                    results.as_mut_ptr(),
                    outputs.len() as c_int,
                    ptr::null(),
                    0,
                    ptr::null_mut(),
                    status,
                )
            }
        })?;
        let own = |object| Tensor {
            tensorflow: self.tensorflow.clone(),
            object,
        };
        Ok(results.into_iter().map(own).collect())
    }

    /// Adds a node of type `op` with one input, the tensor of that name, and an attribute of a type; its name is `name`.
    ///
    /// # Errors
    /// What TensorFlow says of it.
    pub fn add_unary(&mut self, op: &str, name: &str, input: &str, attribute: &str, dtype: i32) -> Result<(), String> {
        let (of, attribute, input) = (text(op)?, text(attribute)?, self.output(input)?);
        let own = text(name)?;
        // SAFETY: A node of that name would end the process. The description is used up by finish_operation.
        unsafe {
            let f = &self.tensorflow.0;
            if !(f.operation_by_name)(self.graph, own.as_ptr()).is_null() {
                return Err(format!("the graph has a node '{name}' already"));
            }
            let node = (f.new_operation)(self.graph, of.as_ptr(), own.as_ptr());
            (f.add_input)(node, input);
            (f.set_type)(node, attribute.as_ptr(), dtype);
            self.tensorflow
                .checked(&format!("a node of type {op}"), |status| (f.finish_operation)(node, status))
                .map(|_| ())
        }
    }

    /// The output of that name: "node:1", or "node" for the first one.
    fn output(&self, name: &str) -> Result<Output, String> {
        let (node_name, index) = match name.rsplit_once(':') {
            Some((node, index)) => (node, index.parse().map_err(|_| format!("'{name}' is no name of a tensor"))?),
            None => (name, 0),
        };
        let c_name = text(node_name)?;
        // SAFETY: only looked up and asked; the graph owns its nodes.
        unsafe {
            let f = &self.tensorflow.0;
            let node = (f.operation_by_name)(self.graph, c_name.as_ptr());
            if node.is_null() {
                return Err(format!("the graph has no node '{node_name}'"));
            }
            match (f.output_count)(node) {
                count if (0..count).contains(&index) => Ok(Output { node, index }),
                count => Err(format!("node '{node_name}' has {count} outputs, and '{name}' is none of them")),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let f = &self.tensorflow.0;
        // SAFETY: made by load_saved_model and deleted once; what it gave is owned by tensors of their own.
        unsafe {
            if !self.session.is_null() {
                for (what, end) in [("close", *f.close_session), ("delete", *f.delete_session)] {
                    if let Err(why) = self.tensorflow.checked(what, |status| end(self.session, status)) {
                        eprintln!("the session did not end well: {why}");
                    }
                }
            }
            (f.delete_graph)(self.graph);
        }
    }
}

/// Asks the plugin at `path`, which is loaded already: `tftrt_request`, JSON to JSON.
///
/// # Errors
/// The library cannot be opened, or is no libtftrt.so.
pub fn plugin_request(path: &Path, request: &str) -> Result<String, String> {
    let request = text(request)?;
    let failed = |e: libloading::Error| format!("{}: {e}", path.display());
    // SAFETY: the signatures are those of src/tf/api.rs; the answer is freed once, by the function for it.
    unsafe {
        let library = libloading::Library::new(path).map_err(failed)?;
        let ask: libloading::Symbol<unsafe extern "C" fn(*const c_char) -> *mut c_char> =
            library.get(b"tftrt_request\0").map_err(failed)?;
        let free: libloading::Symbol<unsafe extern "C" fn(*mut c_char)> = library.get(b"tftrt_free\0").map_err(failed)?;
        let answer = ask(request.as_ptr());
        let told = CStr::from_ptr(answer).to_string_lossy().into_owned();
        free(answer);
        Ok(told)
    }
}
