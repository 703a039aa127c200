//! The bridge between Rust and `cpp_shim/`.
//!
//! Nothing crosses it but plain values: no panic (Rust functions that do any work are guarded, see `entry.rs`), no C++
//! exception (C++ functions that may throw catch), no TensorFlow type. A failure is an [`Outcome`].

// cxx writes the `unsafe` of the foreign calls; each signature below is matched by a C++ declaration in
// cpp_shim/shim.h, and cxx's static assertions hold the two together.
#[cxx::bridge(namespace = "tftrt")]
pub mod bridge {
    /// Success (code 0) or a TensorFlow status (its canonical code and message).
    #[derive(Debug, Clone, Default)]
    struct Outcome {
        code: i32,
        message: String,
    }

    /// Bytes, or why there are none.
    struct Blob {
        outcome: Outcome,
        bytes: Vec<u8>,
    }

    /// A number, or why there is none: an address, or a function's handle.
    struct Number {
        outcome: Outcome,
        value: u64,
    }

    /// An instantiated function.
    struct Instantiated {
        outcome: Outcome,
        handle: u64,
        /// Whether it takes and gives int32 on the device, and not on the host as others do.
        ints_on_device: bool,
    }

    /// A GPU as TensorFlow uses it.
    #[derive(Debug, Clone, Copy, Default)]
    struct GpuHandle {
        /// False on the CPU; the rest is zero then.
        present: bool,
        /// The `CUstream` that TensorFlow computes on.
        stream: u64,
        /// Its `tensorflow::Allocator`.
        allocator: usize,
    }

    struct OutputInfo {
        dtype: i32,
        unknown_rank: bool,
        /// Negative where a dimension is open; those with the same number below -1 are equal.
        dims: Vec<i64>,
    }

    struct NodeOutputs {
        name: String,
        outputs: Vec<OutputInfo>,
    }

    /// What shape inference found.
    struct Inferred {
        outcome: Outcome,
        nodes: Vec<NodeOutputs>,
    }

    /// What Grappler hands to an optimizer, in bytes.
    struct OptimizerItem {
        id: String,
        graph: Vec<u8>,
        nodes: Vec<NodeOutputs>,
        preserve: Vec<String>,
        /// Where unplaced engines go; empty leaves it to TensorFlow.
        device: String,
        /// For a function: an `AttrValue.func` message of its attributes, else empty.
        function_attrs: Vec<u8>,
    }

    struct Rewritten {
        outcome: Outcome,
        changed: bool,
        /// The new graph, in which large constants are empty and carry a mark.
        graph: Vec<u8>,
        /// The attribute that is the mark: a content's place.
        mark: &'static str,
        contents: Box<Contents>,
    }

    /// What a metric of TensorFlow's monitoring is called.
    struct MetricText {
        name: String,
        help: String,
        /// Whether its value may fall.
        gauge: bool,
        /// The name of its label; empty where it has none.
        label: String,
    }

    /// One value of a metric.
    struct MetricPoint {
        label: String,
        value: i64,
    }

    /// A point as TensorFlow's registry collects it.
    struct CollectedPoint {
        name: String,
        label: String,
        /// A histogram: `value` is how many there are.
        histogram: bool,
        value: i64,
        sum: f64,
    }

    extern "Rust" {
        type EngineKernel;
        type ResourceState;
        type Keeper;
        type OptimizerState;
        type LargeContents;
        type Contents;

        fn engine_kernel_new(node_def: &[u8], gpu: bool) -> Box<EngineKernel>;
        fn engine_kernel_status(kernel: &EngineKernel) -> Outcome;
        fn engine_kernel_compute(kernel: &EngineKernel, call: UniquePtr<Call>);

        fn keeper_new() -> Box<Keeper>;
        fn keeper_holds(keeper: &Keeper) -> bool;
        fn resource_new(keeper: &Keeper, name: &str, device: &str, capacity: i64) -> Box<ResourceState>;
        fn resource_describe(state: &ResourceState) -> String;
        fn resource_initialize(state: &ResourceState, file: &[u8], capacity: i64, gpu: GpuHandle) -> Outcome;
        fn resource_serialize(state: &ResourceState, file: &[u8], save_engines: bool) -> Outcome;
        fn resource_calibration_table(state: &ResourceState) -> Blob;

        fn optimizer_new(config: &[u8]) -> Box<OptimizerState>;
        fn optimizer_status(state: &OptimizerState) -> Outcome;
        fn optimizer_concerns(state: &OptimizerState, id: &str, function_attrs: &[u8]) -> bool;
        fn optimizer_run(state: &OptimizerState, item: OptimizerItem) -> Rewritten;

        /// Takes the next of a function's large contents.
        fn large_contents_take(contents: &mut LargeContents, content: &[u8]);
        /// The content of that place; nothing where there is none.
        fn content_at(contents: &Contents, place: i64) -> &[u8];
        /// The metrics that TensorFlow's monitoring gets, and the points of one of them.
        fn metric_texts() -> Vec<MetricText>;
        fn metric_points(index: usize) -> Vec<MetricPoint>;
        fn build_seconds_text() -> MetricText;

        /// Whether a node need not be where it asks to be: an op of an engine, on a GPU, where there is none. `giver` is the op that gives
        /// its first input.
        fn placement_is_free(op: &str, giver: &str, device: &str, gpu: bool) -> bool;
        /// The name of a device without its type and number.
        fn without_gpu(device: &str) -> String;

        /// Zeros, to be written over; none where there is no memory for that many.
        fn new_bytes(len: usize) -> Vec<u8>;
    }

    unsafe extern "C++" {
        include!("tftrt/cpp_shim/shim.h");

        /// One invocation of TRTEngineOp. Dropped unfinished, it fails the step with an internal error.
        type Call;
        fn input_count(self: &Call) -> usize;
        fn output_count(self: &Call) -> usize;
        fn input_dtype(self: &Call, i: usize) -> i32;
        fn input_rank(self: &Call, i: usize) -> usize;
        fn input_dim(self: &Call, i: usize, dim: usize) -> i64;
        fn input_address(self: &Call, i: usize) -> usize;
        fn input_bytes(self: &Call, i: usize) -> usize;
        /// Identifies the function library runtime of this call: handles belong to it.
        fn library_id(self: &Call) -> usize;
        fn device_name(self: &Call) -> String;
        fn output_dtype(self: &Call, i: usize) -> i32;
        /// Allocates output `i`; the address of its memory, whose size follows from type and shape.
        fn allocate_output(self: &Call, i: usize, dims: &[i64]) -> Number;
        /// The GPU that the call runs on.
        fn gpu(self: &Call) -> GpuHandle;
        /// Allocates device memory that lives until the call ends; its address. Called once a call.
        fn allocate_scratch(self: &Call, bytes: usize) -> Number;
        /// Copies input `i`, whose size `to` has, to the host, and waits for it.
        fn copy_input_to_host(self: &Call, i: usize, to: &mut [u8]) -> Outcome;
        /// Hands the allocated outputs to TensorFlow.
        fn commit_outputs(self: &Call);
        /// The shared state of engine `name` on this call's device, made where absent.
        fn resource(self: &Call, name: &str, capacity: i64, out: &mut Outcome) -> UniquePtr<ResourceRef>;
        /// Makes function `name` (with the attributes of a serialized NameAttrList) ready to run.
        fn instantiate(self: &Call, function: &[u8], soft_placement: bool) -> Instantiated;
        /// The body of a function as a serialized GraphDef with _Arg and _Retval nodes. Contents of more than `large` bytes of
        /// constants that are no integers go to `contents` instead, in order; the node gets its place there as attribute `mark`.
        fn function_body(self: &Call, function: &[u8], large: usize, mark: &str, contents: &mut LargeContents) -> Blob;
        fn fail(self: &Call, code: i32, message: &str);
        /// Gives back what `instantiate` made, to the function library runtime whose id this is and which has to live.
        fn release_function(library: usize, handle: u64);
        fn finish_call(call: UniquePtr<Call>);
        /// Runs an instantiated function on the call's inputs, gives its results as the call's outputs, and
        /// finishes the call. `why` goes before the message of a failure; the rest is what `instantiate` said.
        fn run_native(call: UniquePtr<Call>, handle: u64, ints_on_device: bool, why: &str);

        type ResourceRef;
        fn state(self: &ResourceRef) -> &ResourceState;

        /// A file of one of TensorFlow's file systems, open for reading.
        type RemoteFile;
        /// Reads from `offset` on into `to`; `read` is how many bytes. Nothing is the end of the file.
        fn read(self: &RemoteFile, offset: u64, to: &mut [u8], read: &mut usize) -> Outcome;
        /// One that is being written.
        type RemoteWriter;
        fn append(self: &RemoteWriter, bytes: &[u8]) -> Outcome;
        fn close(self: &RemoteWriter) -> Outcome;
        fn remote_open(path: &str, length: &mut u64, out: &mut Outcome) -> UniquePtr<RemoteFile>;
        fn remote_create(path: &str, out: &mut Outcome) -> UniquePtr<RemoteWriter>;
        fn remote_exists(path: &str) -> Outcome;
        fn remote_rename(from: &str, to: &str) -> Outcome;
        fn remote_delete(path: &str) -> Outcome;

        fn infer_shapes(graph: &[u8]) -> Inferred;
        fn infer_forward(graph: &[u8]) -> Inferred;
        fn graph_to_function(graph: &[u8], library: &[u8], name: &str) -> Blob;
        /// The body of a serialized FunctionDef, as a serialized GraphDef with `_Arg` and `_Retval` nodes.
        fn function_to_graph(function: &[u8], library: &[u8]) -> Blob;
        /// A serialized GraphDef after the passes of a serialized RewriterConfig. What computes `fetches` (names of tensors) and the
        /// nodes `keep` stays.
        fn optimize_graph(graph: &[u8], rewriter: &[u8], fetches: &Vec<String>, keep: &Vec<String>) -> Blob;
        fn op_is_stateful(op: &str) -> bool;
        /// Whether there is an op of that type.
        fn op_is_known(op: &str) -> bool;

        /// Registers one op from the text of its OpDef; empty, or why it was not.
        fn register_op(op_def: &str) -> String;
        /// Registers all kernels and the optimizer; empty, or why they were not.
        fn register_kernels() -> String;
        fn record_build_seconds(seconds: f64);
        /// What TensorFlow's registry has under names that begin so.
        fn collected_metrics(prefix: &str) -> Vec<CollectedPoint>;
        /// Device memory of a TensorFlow allocator: its address.
        fn device_allocate(allocator: usize, bytes: usize, alignment: usize) -> Number;
        fn device_free(allocator: usize, address: u64);
        /// Whether TensorFlow may compute float32 in TF32 (`tf.config.experimental.enable_tensor_float_32_execution`).
        fn tensor_float_32_enabled() -> bool;
        /// Begins an activity in TensorFlow's profiler, for `trace_end`.
        fn trace_begin(name: &str) -> i64;
        fn trace_end(id: i64);
        /// 0: INFO, 1: WARNING, else ERROR.
        fn log_message(severity: i32, message: &str);
        /// The level of verbose logging for a source file of that name, by TF_CPP_MAX_VLOG_LEVEL and TF_CPP_VMODULE.
        fn vlog_level(file: &str) -> i32;
        /// A verbose message of that file and line. The caller has asked for the level.
        fn vlog_message(level: i32, file: &str, line: u32, message: &str);
    }
}

pub use bridge::*;

use super::contents::*;
use super::entry::*;
use super::monitoring::{build_seconds_text, metric_points, metric_texts};
use super::placement::{placement_is_free, without_gpu};

// SAFETY: A call is handed from thread to thread by TensorFlow itself; nothing in it is bound to a thread.
unsafe impl Send for Call {}
// SAFETY: the methods that take `&self` read, or call functions of OpKernelContext that TensorFlow allows from any thread while the kernel
// runs.
unsafe impl Sync for Call {}
