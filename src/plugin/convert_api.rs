//! The C function behind `cpp_shim/include/tftrt/convert_api.h`.

#![allow(unsafe_code, reason = "functions that C calls")]

use crate::memory;
use crate::proto::tensorflow as tf;
use crate::saved_model::passes;
use crate::tf::{Code, Status, optimize_graph};
use prost::Message;
use std::ffi::{CStr, c_char};
use std::panic::catch_unwind;

/// What the function gives: a serialized GraphDef, or the words of an error.
#[repr(C)]
pub struct Answer {
    data: *mut u8,
    length: usize,
}

/// Runs the conversion on a frozen graph: a serialized GraphDef, a serialized `RewriterConfig.CustomGraphOptimizer` with the
/// parameters of TensorRTOptimizer, and the names of the tensors that are fetched and of the nodes that have to stay, each list in
/// lines. Gives a code of `absl::StatusCode`, and in `answer` the converted GraphDef or the error's message.
///
/// # Safety
/// The pointers are valid for their lengths, the texts are terminated, and `answer` can be written. `answer` is freed once, with
/// `tftrt_free_answer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tftrt_convert_graph(
    graph: *const u8,
    graph_length: usize,
    optimizer: *const u8,
    optimizer_length: usize,
    fetches: *const c_char,
    keep: *const c_char,
    answer: *mut Answer,
) -> i32 {
    // SAFETY: all of it is the caller's promise.
    let (graph, optimizer, fetches, keep) = unsafe {
        (
            bytes(graph, graph_length),
            bytes(optimizer, optimizer_length),
            lines(CStr::from_ptr(fetches)),
            lines(CStr::from_ptr(keep)),
        )
    };
    let converted = catch_unwind(|| convert(graph, optimizer, &fetches, &keep)).unwrap_or_else(|_| {
        Err(Status::new(
            Code::Internal,
            "a defect in the library, please report it: the conversion panicked",
        ))
    });
    let (code, given) = match converted {
        Ok(graph) => (0, graph),
        Err(status) => (status.code, status.message.into_bytes()),
    };
    let given = Box::leak(given.into_boxed_slice());
    // SAFETY: the caller promises that `answer` can be written.
    unsafe {
        answer.write(Answer {
            data: given.as_mut_ptr(),
            length: given.len(),
        })
    };
    code
}

/// Frees what `tftrt_convert_graph` gave.
///
/// # Safety
/// The answer came from `tftrt_convert_graph`, unchanged, and is freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tftrt_free_answer(answer: Answer) {
    if !answer.data.is_null() {
        // SAFETY: the box that was leaked above.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(answer.data, answer.length)) });
    }
}

/// # Safety
/// `data` has `length` bytes, which outlive the result; it may be null for none.
unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    match length {
        0 => &[],
        // SAFETY: the caller's promise.
        length => unsafe { std::slice::from_raw_parts(data, length) },
    }
}

fn lines(text: &CStr) -> Vec<String> {
    text.to_string_lossy().lines().map(str::to_string).collect()
}

fn convert(graph: &[u8], optimizer: &[u8], fetches: &Vec<String>, keep: &Vec<String>) -> Result<Vec<u8>, Status> {
    const GRAPH: &str = "the graph";
    let unreadable = |what: &str, e: String| Status::new(Code::InvalidArgument, format!("{what} cannot be read: {e}"));
    let graph: tf::GraphDef = memory::decode(GRAPH, memory::copy(GRAPH, graph)?.into()).map_err(|e| unreadable(GRAPH, e.to_string()))?;
    let optimizer =
        tf::rewriter_config::CustomGraphOptimizer::decode(optimizer).map_err(|e| unreadable("the parameters", e.to_string()))?;
    let converted = optimize_graph(&graph, &passes::conversion(optimizer.parameter_map), fetches, keep)?;
    Ok(memory::encode("the converted graph", &converted)?)
}
