//! TensorFlow's C API, as far as a session needs it.
//!
//! Linked from the `libtensorflow_cc.so.2` of the TensorFlow that build.rs found (it gives folder and rpath): kernels and
//! session factories are in there, and registered before tftrt's initializer runs, as in a program that loads tftrt.

#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "the C API, for a benchmark alone")]

use prost::Message;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use tftrt::proto::tensorflow as tf;

/// An object of the C API; which one is told by the function's own declaration in `tensorflow/c/c_api.h`.
type Object = *mut c_void;

/// `TF_Output`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Output {
    node: Object,
    index: c_int,
}

// As declared in `tensorflow/c/c_api.h`, whose signatures are stable.
#[link(name = "libtensorflow_cc.so.2", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn TF_Version() -> *const c_char;
    fn TF_NewStatus() -> Object;
    fn TF_DeleteStatus(status: Object);
    fn TF_GetCode(status: Object) -> c_int;
    fn TF_Message(status: Object) -> *const c_char;
    fn TF_NewBufferFromString(bytes: *const c_void, length: usize) -> Object;
    fn TF_NewBuffer() -> *mut Buffer;
    fn TF_DeleteBuffer(buffer: Object);
    fn TF_NewGraph() -> Object;
    fn TF_DeleteGraph(graph: Object);
    fn TF_NewImportGraphDefOptions() -> Object;
    fn TF_DeleteImportGraphDefOptions(options: Object);
    fn TF_GraphImportGraphDef(graph: Object, graph_def: Object, options: Object, status: Object);
    fn TF_GraphOperationByName(graph: Object, name: *const c_char) -> Object;
    fn TF_NewSessionOptions() -> Object;
    fn TF_DeleteSessionOptions(options: Object);
    fn TF_SetConfig(options: Object, proto: *const c_void, length: usize, status: Object);
    fn TF_NewSession(graph: Object, options: Object, status: Object) -> Object;
    fn TF_DeleteSession(session: Object, status: Object);
    fn TF_SessionRun(
        session: Object,
        run_options: Object,
        inputs: *const Output,
        input_values: *const Object,
        input_count: c_int,
        outputs: *const Output,
        output_values: *mut Object,
        output_count: c_int,
        targets: *const Object,
        target_count: c_int,
        run_metadata: *mut Buffer,
        status: Object,
    );
    fn TF_AllocateTensor(dtype: c_int, dims: *const i64, rank: c_int, length: usize) -> Object;
    fn TF_DeleteTensor(tensor: Object);
    fn TF_TensorData(tensor: Object) -> *mut c_void;
    fn TF_TensorByteSize(tensor: Object) -> usize;
}

/// `TF_Buffer`.
#[repr(C)]
pub struct Buffer {
    data: *const c_void,
    length: usize,
    deallocator: Option<unsafe extern "C" fn(*mut c_void, usize)>,
}

pub fn version() -> String {
    // A static string that ends in a zero.
    unsafe { CStr::from_ptr(TF_Version()) }.to_string_lossy().into_owned()
}

/// Hands `f` a status, and gives what it then says: `what` goes before an error's message.
fn checked<T>(what: &str, f: impl FnOnce(Object) -> T) -> Result<T, String> {
    // Made, read and deleted here; the message is copied before that.
    unsafe {
        let status = TF_NewStatus();
        let result = f(status);
        let failed = TF_GetCode(status) != 0;
        let outcome = match failed {
            true => Err(format!("{what}: {}", CStr::from_ptr(TF_Message(status)).to_string_lossy())),
            false => Ok(result),
        };
        TF_DeleteStatus(status);
        outcome
    }
}

/// `f` with a TF_Buffer that holds a copy of `bytes` while it runs.
fn with_buffer<T>(bytes: &[u8], f: impl FnOnce(Object) -> T) -> T {
    // The buffer copies the bytes; no function of this file keeps one.
    unsafe {
        let buffer = TF_NewBufferFromString(bytes.as_ptr().cast(), bytes.len());
        let result = f(buffer);
        TF_DeleteBuffer(buffer);
        result
    }
}

/// `ConfigProto` and `GraphOptions` of tensorflow/core/protobuf/config.proto: the two fields that are needed. build.rs
/// generates only what the library itself reads.
#[derive(Clone, PartialEq, Message)]
struct ConfigProto {
    #[prost(message, optional, tag = "10")]
    graph_options: Option<GraphOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphOptions {
    #[prost(message, optional, tag = "10")]
    rewrite_options: Option<tf::RewriterConfig>,
}

/// `RunOptions`: the one field that is needed.
#[derive(Clone, PartialEq, Message)]
struct RunOptions {
    #[prost(bool, tag = "5")]
    output_partition_graphs: bool,
}

/// A session with Grappler off, so that what is measured is the graph as it was written.
pub struct Session {
    graph: Object,
    session: Object,
}

impl Session {
    pub fn new(graph_def: &tf::GraphDef) -> Result<Session, String> {
        let config = ConfigProto {
            graph_options: Some(GraphOptions {
                rewrite_options: Some(tf::RewriterConfig {
                    disable_meta_optimizer: true,
                    ..Default::default()
                }),
            }),
        }
        .encode_to_vec();
        let bytes = graph_def.encode_to_vec();
        // Each object is deleted once, after the last use; graph and session live as long as `made`.
        unsafe {
            let mut made = Session {
                graph: TF_NewGraph(),
                session: ptr::null_mut(),
            };
            let import = TF_NewImportGraphDefOptions();
            let imported = with_buffer(&bytes, |buffer| {
                checked("the graph cannot be imported", |status| {
                    TF_GraphImportGraphDef(made.graph, buffer, import, status)
                })
            });
            TF_DeleteImportGraphDefOptions(import);
            imported?;
            let options = TF_NewSessionOptions();
            let session = checked("the session's options", |status| {
                TF_SetConfig(options, config.as_ptr().cast(), config.len(), status)
            })
            .and_then(|()| checked("no session", |status| TF_NewSession(made.graph, options, status)));
            TF_DeleteSessionOptions(options);
            made.session = session?;
            Ok(made)
        }
    }

    /// A run that feeds the float `input` of shape `dims` to `feed` and fetches `fetch`.
    pub fn run_of<'s>(&'s self, feed: &str, input: &[f32], dims: &[i64], fetch: &str) -> Result<Run<'s>, String> {
        let bytes = std::mem::size_of_val(input);
        // Allocated for `bytes` bytes and filled with as many; Run deletes it.
        let tensor = unsafe {
            let tensor = TF_AllocateTensor(tf::DataType::DtFloat as c_int, dims.as_ptr(), dims.len() as c_int, bytes);
            ptr::copy_nonoverlapping(input.as_ptr().cast::<u8>(), TF_TensorData(tensor).cast::<u8>(), bytes);
            tensor
        };
        Ok(Run {
            session: self,
            feed: self.output(feed)?,
            input: tensor,
            fetch: self.output(fetch)?,
            calls: Cell::new(0),
        })
    }

    fn output(&self, name: &str) -> Result<Output, String> {
        let text = CString::new(name).map_err(|e| e.to_string())?;
        // Only looked up; the graph owns its nodes.
        let node = unsafe { TF_GraphOperationByName(self.graph, text.as_ptr()) };
        match node.is_null() {
            true => Err(format!("the graph has no node '{name}'")),
            false => Ok(Output { node, index: 0 }),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Made by `new`, deleted once; runs borrow the session and are gone.
        unsafe {
            if !self.session.is_null() {
                let deleted = checked("a session was not deleted", |status| TF_DeleteSession(self.session, status));
                if let Err(why) = deleted {
                    eprintln!("{why}");
                }
            }
            TF_DeleteGraph(self.graph);
        }
    }
}

/// One signature of a session with its input.
pub struct Run<'s> {
    session: &'s Session,
    feed: Output,
    input: Object,
    fetch: Output,
    calls: Cell<u64>,
}

impl Run<'_> {
    /// Runs the session and drops the output. Panics with TensorFlow's message where it fails.
    pub fn call(&self) {
        self.fetch(None, ptr::null_mut(), |_| ()).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Runs the session and gives the output's elements.
    pub fn output(&self) -> Result<Vec<f32>, String> {
        self.fetch(None, ptr::null_mut(), |tensor| {
            // A float tensor, which lives until this closure ends.
            let data = unsafe { TF_TensorData(tensor).cast::<f32>() };
            let count = unsafe { TF_TensorByteSize(tensor) } / size_of::<f32>();
            (0..count).map(|i| unsafe { data.add(i).read() }).collect()
        })
    }

    /// How many nodes of type `op` the executor really runs, after all of TensorFlow's own rewriting.
    pub fn count_executed(&self, op: &str) -> Result<usize, String> {
        let options = RunOptions {
            output_partition_graphs: true,
        }
        .encode_to_vec();
        // Filled by the run, read and deleted here.
        let metadata = unsafe { TF_NewBuffer() };
        let run = with_buffer(&options, |options| self.fetch(Some(options), metadata, |_| ()));
        let bytes = unsafe { std::slice::from_raw_parts((*metadata).data.cast::<u8>(), (*metadata).length) };
        // RunMetadata holds GraphDefs, in which field 2 of each NodeDef is its op.
        let field = [&[0x12, op.len() as u8], op.as_bytes()].concat();
        let count = bytes.windows(field.len()).filter(|window| *window == field).count();
        unsafe { TF_DeleteBuffer(metadata.cast()) };
        run.map(|()| count)
    }

    /// The runs so far.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    fn fetch<T>(&self, options: Option<Object>, metadata: *mut Buffer, read: impl FnOnce(Object) -> T) -> Result<T, String> {
        let mut output = ptr::null_mut();
        self.calls.set(self.calls.get() + 1);
        // One input and one output, as counted; the output is ours to delete.
        checked("the session failed", |status| unsafe {
            TF_SessionRun(
                self.session.session,
                options.unwrap_or(ptr::null_mut()),
                &self.feed,
                &self.input,
                1,
                &self.fetch,
                &mut output,
                1,
                ptr::null(),
                0,
                metadata,
                status,
            )
        })?;
        let result = read(output);
        unsafe { TF_DeleteTensor(output) };
        Ok(result)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Allocated by `run_of`, deleted once.
        unsafe { TF_DeleteTensor(self.input) }
    }
}
